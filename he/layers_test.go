package he

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/nn"
)

// network builds a model with public random weights, biases too.
func network(t testing.TB, input nn.Shape, layers ...nn.Layer) *nn.Model {
	t.Helper()
	m, err := nn.New(input, layers...)
	require.NoError(t, err)
	m.Init(nn.XavierNormal, 1)
	r := rand.New(rand.NewPCG(1, 2))
	for _, p := range m.Parameters() {
		if len(p.Shape) == 1 {
			for i := range p.Size() {
				m.Params()[p.Offset+i] += float32(r.NormFloat64()) / 10
			}
		}
	}
	return m
}

// examples are values in [0, 1), as pixels are.
func examples(n, size int, seed uint64) [][]float32 {
	r := rand.New(rand.NewPCG(seed, 4))
	x := make([][]float32, n)
	for i := range x {
		x[i] = make([]float32, size)
		for j := range x[i] {
			x[i][j] = r.Float32()
		}
	}
	return x
}

// through sends inputs the whole way over the wire, one query each in mode Latency.
func through(t testing.TB, p *Program, rows [][]float32) [][]float64 {
	t.Helper()
	c := NewClient(p.Schema())
	var wire bytes.Buffer
	_, err := c.Keys().WriteTo(&wire)
	require.NoError(t, err)
	require.EqualValues(t, p.Schema().KeyBytes(), wire.Len())
	keys, err := p.Schema().ReadKeys(&wire)
	require.NoError(t, err)
	s, err := NewServer(p, keys)
	require.NoError(t, err)
	var out [][]float64
	for len(rows) > 0 {
		n := min(len(rows), p.Schema().Capacity())
		q, err := c.Encrypt(rows[:n])
		require.NoError(t, err)
		wire.Reset()
		_, err = q.WriteTo(&wire)
		require.NoError(t, err)
		require.EqualValues(t, p.Schema().QueryBytes(), wire.Len())
		q, err = p.Schema().ReadQuery(&wire)
		require.NoError(t, err)
		a, err := s.Evaluate(q)
		require.NoError(t, err)
		wire.Reset()
		_, err = a.WriteTo(&wire)
		require.NoError(t, err)
		require.EqualValues(t, p.Schema().AnswerBytes(), wire.Len())
		a, err = p.Schema().ReadAnswer(&wire)
		require.NoError(t, err)
		values, err := c.Decrypt(a)
		require.NoError(t, err)
		out = append(out, values...)
		rows = rows[n:]
	}
	return out
}

// Every kind of layer answers as nn.Predict does: exactly built ones to the precision
// asked, fitted ones to that and what the fits leave, which the plain evaluation with
// the same fits tells.
func TestLayersEqualPredict(t *testing.T) {
	image := nn.Shape{2, 8, 8}
	both := []Mode{Latency, Batch}
	for _, c := range []struct {
		name   string
		input  nn.Shape
		layers []nn.Layer
		o      Options
		modes  []Mode
		fitted bool
	}{
		{"linear", nn.Shape{20}, []nn.Layer{nn.Linear{Out: 7}}, Options{}, both, false},
		{"one output", nn.Shape{3}, []nn.Layer{nn.Linear{Out: 1}}, Options{}, both, false},
		{"more outputs than inputs", nn.Shape{5}, []nn.Layer{nn.Linear{Out: 33}, nn.Square{}, nn.Linear{Out: 70}}, Options{}, both, false},
		{"square first", nn.Shape{6}, []nn.Layer{nn.Square{}, nn.Linear{Out: 3}}, Options{}, both, false},
		{"square last", nn.Shape{9}, []nn.Layer{nn.Linear{Out: 4}, nn.Square{}}, Options{}, both, false},
		{"three linear", nn.Shape{50}, []nn.Layer{nn.Linear{Out: 40}, nn.Square{}, nn.Linear{Out: 30}, nn.Square{}, nn.Linear{Out: 5}}, Options{}, both, false},
		{"conv stride and padding", image, []nn.Layer{nn.Conv2D{Out: 3, Kernel: 3, Stride: 2, Padding: 1}, nn.Square{}, nn.Flatten{}, nn.Linear{Out: 5}}, Options{}, both, false},
		{"conv groups and dilation", image, []nn.Layer{nn.Conv2D{Out: 4, Kernel: 3, Groups: 2, Dilation: 2}, nn.Square{}, nn.Conv2D{Out: 3, Kernel: 3, Padding: 1}, nn.Square{}, nn.Flatten{}, nn.Linear{Out: 5}}, Options{}, both, false},
		{"average pool", image, []nn.Layer{nn.Conv2D{Out: 3, Kernel: 3, Padding: 1}, nn.Square{}, nn.AvgPool{Kernel: 2}, nn.Flatten{}, nn.Linear{Out: 4}}, Options{}, both, false},
		{"padded pool", image, []nn.Layer{nn.AvgPool{Kernel: 3, Stride: 2, Padding: 1}, nn.Flatten{}, nn.Linear{Out: 4}}, Options{}, both, false},
		{"global pool", image, []nn.Layer{nn.Conv2D{Out: 6, Kernel: 3}, nn.Square{}, nn.GlobalAvgPool{}, nn.Linear{Out: 4}}, Options{}, both, false},
		{"residual", nn.Shape{12}, []nn.Layer{nn.Linear{Out: 8}, nn.Square{}, nn.Residual{Layers: []nn.Layer{nn.Linear{Out: 8}, nn.Square{}, nn.Linear{Out: 8}}}, nn.Linear{Out: 3}}, Options{}, both, false},
		{"residual from the input", nn.Shape{8}, []nn.Layer{nn.Residual{Layers: []nn.Layer{nn.Linear{Out: 8}, nn.Square{}}}, nn.Linear{Out: 3}}, Options{}, both, false},
		{"dropout", nn.Shape{12}, []nn.Layer{nn.Linear{Out: 8}, nn.Dropout{Rate: .5}, nn.Square{}, nn.Linear{Out: 3}}, Options{}, both, false},
		{"quadratic", nn.Shape{12}, []nn.Layer{nn.Linear{Out: 8}, nn.Polynomial{Coefficients: []float32{.3, .5, -.2}}, nn.Linear{Out: 3}}, Options{}, both, false},
		{"straight polynomial", nn.Shape{12}, []nn.Layer{nn.Linear{Out: 8}, nn.Polynomial{Coefficients: []float32{.3, .5}}, nn.Linear{Out: 3}}, Options{}, both, false},
		{"cubic", nn.Shape{12}, []nn.Layer{nn.Linear{Out: 8}, nn.Polynomial{Coefficients: []float32{.3, .5, -.2, .1}}, nn.Linear{Out: 3}}, Options{}, []Mode{Latency}, false},
		{"sequence", nn.Shape{4, 6}, []nn.Layer{nn.Linear{Out: 5}, nn.Square{}, nn.Flatten{}, nn.Linear{Out: 3}}, Options{}, both, false},
		{"tanh", nn.Shape{12}, []nn.Layer{nn.Linear{Out: 8}, nn.Tanh{}, nn.Linear{Out: 3}}, Options{Degree: 7}, []Mode{Latency}, true},
		{"gelu", nn.Shape{12}, []nn.Layer{nn.Linear{Out: 8}, nn.GELU{Exact: true}, nn.Linear{Out: 3}}, Options{Degree: 2}, both, true},
		{"silu", nn.Shape{12}, []nn.Layer{nn.Linear{Out: 8}, nn.SiLU{}, nn.Linear{Out: 8}, nn.SiLU{}, nn.Linear{Out: 3}}, Options{Degree: 3}, []Mode{Latency}, true},
		{"relu", nn.Shape{12}, []nn.Layer{nn.Linear{Out: 8}, nn.ReLU{}, nn.Linear{Out: 3}}, Options{Degree: 15}, []Mode{Latency}, true},
		{"group norm", image, []nn.Layer{nn.Conv2D{Out: 4, Kernel: 3}, nn.GroupNorm{Groups: 2}, nn.Square{}, nn.Flatten{}, nn.Linear{Out: 3}}, Options{FreezeNorms: true}, both, true},
		{"layer norm", nn.Shape{12}, []nn.Layer{nn.LayerNorm{}, nn.Linear{Out: 3}}, Options{FreezeNorms: true}, both, true},
	} {
		for _, mode := range c.modes {
			t.Run(fmt.Sprintf("%s/%s", c.name, mode), func(t *testing.T) {
				t.Parallel()
				m := network(t, c.input, c.layers...)
				calibration := examples(60, c.input.Size(), 7)
				o := c.o
				o.Mode = mode
				p, err := Compile(m, calibration, o)
				require.NoError(t, err)
				test := examples(3, c.input.Size(), 8)
				want := nn.Predict(m, test)
				biggest := 0.
				for _, row := range nn.Predict(m, calibration) {
					for _, v := range row {
						biggest = max(biggest, math.Abs(float64(v)))
					}
				}
				for i, got := range through(t, p, test) {
					require.Len(t, got, len(want[i]))
					x := make([]float64, len(test[i]))
					for j, v := range test[i] {
						x[j] = float64(v)
					}
					values := p.graph.evaluate(x, true, nil)
					fitted := values[len(values)-1]
					for j := range got {
						require.InDelta(t, fitted[j], got[j], biggest/256, "output %d of input %d", j, i)
						if !c.fitted { // the folded graph is the model itself
							require.InDelta(t, float64(want[i][j]), fitted[j], biggest*1e-5)
						}
					}
				}
				if c.fitted && !o.FreezeNorms {
					// A fit is near what it stands for.
					for i := range p.graph.stages {
						if s := &p.graph.stages[i]; s.act != nil {
							require.Less(t, s.fit.typical, .05*(s.hi-s.lo), s.name)
							require.GreaterOrEqual(t, s.fit.worst, s.fit.typical)
						}
					}
				}
			})
		}
	}
}

// With norms frozen at the deviation of inputs that all have the same one, nothing is
// lost.
func TestFrozenNormIsExactForItsOwnDeviation(t *testing.T) {
	m := network(t, nn.Shape{6}, nn.LayerNorm{}, nn.Linear{Out: 3})
	x := examples(1, 6, 1)
	shifted := [][]float32{make([]float32, 6)}
	for j, v := range x[0] {
		shifted[0][j] = 1 - v // mirrored: another mean, the same deviation
	}
	p, err := Compile(m, x, Options{FreezeNorms: true})
	require.NoError(t, err)
	for _, rows := range [][][]float32{x, shifted} {
		want := nn.Predict(m, rows)
		for j, v := range through(t, p, rows)[0] {
			require.InDelta(t, float64(want[0][j]), v, .02)
		}
	}
}

func TestRefusedLayers(t *testing.T) {
	image := nn.Shape{1, 8, 8}
	for _, c := range []struct {
		input  nn.Shape
		layers []nn.Layer
		want   string
	}{
		{image, []nn.Layer{nn.Conv2D{Out: 2, Kernel: 3}, nn.MaxPool{Kernel: 2}}, "layer 1 (MaxPool) cannot be compiled: a maximum is no polynomial; use AvgPool"},
		{nn.Shape{4}, []nn.Layer{nn.Linear{Out: 4}, nn.LayerNorm{}}, "layer 1 (LayerNorm) cannot be compiled: it divides by each example's own deviation"},
		{nn.Shape{4}, []nn.Layer{nn.Residual{Layers: []nn.Layer{nn.LayerNorm{}}}}, "layer 0.0 (LayerNorm)"},
		{nn.Shape{4}, []nn.Layer{nn.Embedding{Vocabulary: 9, Dim: 3}}, "layer 0 (Embedding) cannot be compiled"},
	} {
		m, err := nn.New(c.input, c.layers...)
		require.NoError(t, err)
		_, err = Compile(m, examples(2, c.input.Size(), 1), Options{})
		require.ErrorContains(t, err, c.want)
	}
}

func TestCompileRefuses(t *testing.T) {
	m := network(t, nn.Shape{4}, nn.Linear{Out: 3}, nn.Square{}, nn.Linear{Out: 2})
	x := examples(3, 4, 1)
	for want, o := range map[string]Options{
		`Options.Mode is "x"`:                  {Mode: "x"},
		"Options.Together is -1":               {Together: -1},
		"Options.Precision is 25":              {Precision: 25},
		"Options.Degree is 1":                  {Degree: 1},
		"Options.Margin is -1":                 {Margin: -1},
		"Options.LogN is 17":                   {LogN: 17},
		"no secure parameters: depth 3 leaves": {LogN: 12, Precision: 20},
		"no secure parameters for batch mode":  {LogN: 12, Precision: 24, Mode: Batch},
	} {
		_, err := Compile(m, x, o)
		require.ErrorContains(t, err, want)
	}
	_, err := Compile(m, nil, Options{})
	require.ErrorContains(t, err, "no calibration inputs")
	_, err = Compile(m, [][]float32{{1, 2, 3}}, Options{})
	require.ErrorContains(t, err, "calibration input 0 has 3 values, must have 4")
	_, err = Compile(m, [][]float32{{1, 2, 3, float32(math.NaN())}}, Options{})
	require.ErrorContains(t, err, "holds NaN at 3")
	_, err = Compile(m, [][]float32{{0, 0, 0, 0}}, Options{})
	require.ErrorContains(t, err, "all calibration inputs are zero")
	m.Params()[1] = float32(math.Inf(1))
	_, err = Compile(m, x, Options{})
	require.ErrorContains(t, err, "parameter 1 of the model is +Inf")
}

// What does not fit is refused by its stage, with the numbers.
func TestRefusalsNameTheStage(t *testing.T) {
	wide := network(t, nn.Shape{4}, nn.Linear{Out: 3}, nn.Square{}, nn.Linear{Out: 3000}, nn.Square{}, nn.Linear{Out: 2})
	cubic := network(t, nn.Shape{4}, nn.Linear{Out: 3}, nn.Polynomial{Coefficients: []float32{0, 1, 0, 1}}, nn.Linear{Out: 2})
	tanh := network(t, nn.Shape{4}, nn.Linear{Out: 3}, nn.Tanh{}, nn.Linear{Out: 2})
	deep := network(t, nn.Shape{4}, nn.Linear{Out: 3}, nn.Square{}, nn.Linear{Out: 3}, nn.Square{}, nn.Linear{Out: 3}, nn.Square{}, nn.Linear{Out: 2})
	for _, c := range []struct {
		m    *nn.Model
		o    Options
		want string
	}{
		{wide, Options{LogN: 12}, "stage 2 Linear + 3 Square: its 3000 outputs do not fit into the 2048 slots of a ciphertext"},
		{cubic, Options{Mode: Batch}, "activations of degree 2, this one has degree 3; set Options.Mode to latency"},
		{tanh, Options{Mode: Batch, Degree: 3}, "activations of degree 2, the fit has degree 3; set Options.Degree to 2"},
		{deep, Options{Mode: Batch, LogN: 12}, "values of "},
	} {
		_, err := Compile(c.m, examples(20, 4, 1), c.o)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "stage ")
	}
}

// Through the middle of an odd function no parabola goes: the next degree stands for it.
func TestFlatFitsTakeTheNextDegree(t *testing.T) {
	m := network(t, nn.Shape{2}, nn.Linear{Out: 2, NoBias: true}, nn.Tanh{}, nn.Linear{Out: 3})
	copy(m.Params(), []float32{1, -1, .5, .7})
	var x [][]float32
	for i := range 10 {
		v, w := float32(i+1)/10, float32(i%3)/3
		x = append(x, []float32{v, w}, []float32{-v, -w})
	}
	p, err := Compile(m, x, Options{})
	require.NoError(t, err)
	require.GreaterOrEqual(t, p.graph.stages[0].fit.degree(), 3)
	_, err = Compile(m, x, Options{Degree: 2})
	require.ErrorContains(t, err, "the fit of degree 2 over")
	require.ErrorContains(t, err, "set Options.Degree to 3")
	_, err = Compile(m, x, Options{Mode: Batch})
	require.ErrorContains(t, err, "set Options.Mode to latency")
}

// One output has no label that any fit would keep: its value is looked at.
func TestFitsOfOneOutput(t *testing.T) {
	for _, act := range []nn.Layer{nn.Tanh{}, nn.ReLU{}, nn.GELU{}} {
		m := network(t, nn.Shape{6}, nn.Linear{Out: 16}, act, nn.Linear{Out: 16}, act, nn.Linear{Out: 1})
		x := examples(200, 6, 3)
		for _, row := range x {
			for j := range row {
				row[j] = 4*row[j] - 2
			}
		}
		p, kept, err := plan(m, x, Options{}.withDefaults(), [32]byte{})
		require.NoError(t, err, "%T", act)
		var fitted [][]float64
		for _, row := range x {
			values, _ := p.graph.fitted(widened(row))
			fitted = append(fitted, values)
		}
		a := Compare(nn.Predict(m, x), fitted)
		require.Greater(t, p.graph.stages[0].fit.degree(), 2, "%T", act)
		require.Greater(t, kept, .99, "%T", act)
		require.Greater(t, a.PrecisionBits, 4., "%T", act)
		require.Greater(t, a.Agreement, .95, "%T: signs", act)
		for _, same := range [][][]float32{x[:1], {x[0], x[0], x[0]}} { // outputs without a range
			p, kept, err := plan(m, same, Options{}.withDefaults(), [32]byte{})
			require.NoError(t, err)
			require.Equal(t, 1., kept)
			require.Less(t, p.graph.stages[0].fit.degree(), 31)
		}
	}
}

// Squares of small numbers are squares.
func TestSmallSquareIsNotFlat(t *testing.T) {
	m := network(t, nn.Shape{4}, nn.Linear{Out: 3}, nn.Square{}, nn.Linear{Out: 2})
	for _, p := range m.Parameters() {
		for i := range p.Size() {
			switch p.Name {
			case "0.weight":
				m.Params()[p.Offset+i] *= 1e-5
			case "2.weight":
				m.Params()[p.Offset+i] *= 1e10
			}
		}
	}
	x := examples(10, 4, 1)
	p, err := Compile(m, x, Options{})
	require.NoError(t, err)
	a, err := p.Assess(x)
	require.NoError(t, err)
	require.Greater(t, a.PrecisionBits, 8.)
}

func TestPolynomialOfHighDegree(t *testing.T) {
	for _, degree := range []int{31, 32, 100} {
		c := make([]float32, degree+1)
		c[1], c[degree] = .5, .01
		m := network(t, nn.Shape{4}, nn.Linear{Out: 3}, nn.Polynomial{Coefficients: c}, nn.Linear{Out: 2})
		_, err := Compile(m, examples(10, 4, 1), Options{})
		if degree <= mostDegree {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, fmt.Sprintf("its polynomial has degree %d, at most 31 is taken", degree))
		}
	}
}
