package he

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/nn"
)

// What an assessment says is what one finds by hand.
func TestCompareByHand(t *testing.T) {
	a := Compare(
		[][]float32{{1, 0}, {0, 8}, {2, 2.25}, {-1, 3}},
		[][]float64{{1.5, 0}, {0, 8.125}, {2.25, 2.125}, {3.5, 3}},
	)
	require.Equal(t, 4, a.Inputs)
	require.Equal(t, 2, a.Disagreements, "of inputs 2 and 3")
	require.Equal(t, .5, a.Agreement)
	require.Equal(t, 4.5, a.LargestError)
	require.Equal(t, 1, a.Ties, "errors of 0.5 turn input 2, not input 3")
	require.InDelta(t, -math.Log2(4.5/8), a.OutputBits[0], 1e-12)
	require.InDelta(t, 6, a.OutputBits[1], 1e-12)
	require.Equal(t, a.OutputBits[0], a.PrecisionBits)
	a = Compare([][]float32{{1, 0}, {0, 1}}, [][]float64{{.875, 0}, {.125, 1.125}})
	require.Equal(t, 1., a.Agreement)
	b := Compare([][]float32{{1, 0, .5}}, [][]float64{{.9, 0, 1.1}})
	require.Equal(t, 1, b.Disagreements)
	require.Zero(t, b.Ties, "nothing tells which errors are usual")
	b = Compare([][]float32{{1}, {-2}, {.25}, {4}}, [][]float64{{1.5}, {-2}, {-.125}, {-1}})
	require.Equal(t, 2, b.Disagreements, "of signs")
	require.Equal(t, 1, b.Ties, "0.25 is nearer to 0 than the error 0.5")
	require.Equal(t, 52., Compare([][]float32{{1}}, [][]float64{{1}}).PrecisionBits)
	require.PanicsWithValue(t, "he: Compare of 1 rows with 2, must be as many and at least 1", func() { Compare(make([][]float32, 1), make([][]float64, 2)) })
	require.PanicsWithValue(t, "he: Compare: row 0 has 1 outputs and 2, must have 1", func() { Compare([][]float32{{1}}, [][]float64{{1, 2}}) })
}

// Garbage is no tie.
func TestGarbageIsNoTie(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	plain, encrypted := make([][]float32, 200), make([][]float64, 200)
	for i := range plain {
		for range 10 {
			x := rng.NormFloat64()
			plain[i] = append(plain[i], float32(x))
			if i%2 == 0 {
				x += 1e-3 * rng.NormFloat64()
			} else {
				x = 100 * rng.NormFloat64()
			}
			encrypted[i] = append(encrypted[i], x)
		}
		if i%2 == 1 && label(plain[i]) == label(encrypted[i]) {
			encrypted[i][(label(encrypted[i])+1)%10] = 1e3
		}
	}
	a := Compare(plain, encrypted)
	require.GreaterOrEqual(t, a.Disagreements, 100)
	require.Less(t, a.Ties, 5)
}

// An assessment on a test set agrees with queries sent by hand, in both modes, and says
// so if inputs leave the range of a fit.
func TestAssess(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		m := network(t, nn.Shape{10}, nn.Linear{Out: 8}, nn.GELU{}, nn.Linear{Out: 3})
		p, err := Compile(m, examples(40, 10, 1), Options{Mode: mode, Degree: 2})
		require.NoError(t, err)
		test := examples(12, 10, 2)
		a, err := p.Assess(test)
		require.NoError(t, err)
		require.Equal(t, 12, a.Inputs)
		require.Equal(t, p.schema.outputs, len(a.OutputBits))
		require.Equal(t, slices.Min(a.OutputBits), a.PrecisionBits)
		// The arithmetic is right to the bits asked, the fit of degree 2 costs more.
		require.Greater(t, a.ArithmeticBits, 8.)
		require.Less(t, a.PrecisionBits, a.ArithmeticBits)
		require.Greater(t, a.PrecisionBits, 4.)
		require.Equal(t, 1-float64(a.Disagreements)/12, a.Agreement)
		require.Zero(t, a.OutOfRange)
		by := Compare(nn.Predict(m, test), through(t, p, test))
		require.Equal(t, by.Disagreements, a.Disagreements)
		require.InDelta(t, by.LargestError, a.LargestError, 2*p.schema.ErrorBound())

		// Within the bound on inputs, beyond what calibration showed.
		far := float32(p.schema.InputBound() * .99)
		strange := [][]float32{slices.Clone(test[0]), slices.Repeat([]float32{-far}, 10), slices.Repeat([]float32{far}, 10)}
		for i, w := range m.Params()[:10] { // the first neuron's: as far as it goes
			strange[2][i] = far * float32(math.Copysign(1, float64(w)))
		}
		a, err = p.Assess(strange)
		require.NoError(t, err)
		require.Greater(t, a.OutOfRange, 0)
		require.Less(t, a.OutOfRange, 3)

		_, err = p.Assess(nil)
		require.ErrorContains(t, err, "no inputs")
		_, err = p.Assess([][]float32{test[0], slices.Repeat([]float32{2 * far}, 10)})
		require.ErrorContains(t, err, "allowed are")
		again := readBack(t, p)
		a, err = again.Assess(test)
		require.NoError(t, err)
		require.Zero(t, a.OutOfRange, "a program from a file knows its ranges")
	}
}

// No calibration input leaves a fit's range, though fits move what later layers see.
func TestFitsWidenRanges(t *testing.T) {
	var layers []nn.Layer
	for range 8 {
		layers = append(layers, nn.Linear{Out: 8}, nn.ReLU{})
	}
	m := network(t, nn.Shape{10}, append(layers, nn.Linear{Out: 3})...)
	for i := range m.Params() {
		m.Params()[i] *= 3
	}
	rows := examples(40, 10, 1)
	var inputs [][]float64
	for _, x := range rows {
		inputs = append(inputs, widened(x))
	}
	g, _, err := newGraph(m, inputs, nil, false)
	require.NoError(t, err)
	_, err = g.calibrate(inputs, Options{Mode: Latency, Degree: 2, Margin: 1e-4})
	require.NoError(t, err)
	wider := 0
	for k := range g.stages[:8] {
		s := &g.stages[k]
		require.LessOrEqual(t, s.fit.mid-s.fit.half, s.lo)
		require.GreaterOrEqual(t, s.fit.mid+s.fit.half, s.hi)
		if 2*s.fit.half > (s.hi-s.lo)*1.01 {
			wider++
		}
	}
	require.Positive(t, wider, "the test needs a network whose fits leave the ranges")
	for _, x := range inputs {
		_, left := g.fitted(x)
		require.Equal(t, -1, left)
	}
}

// Fits that drive values apart without end are refused by the stage's name.
func TestFitsThatRunAwayAreRefused(t *testing.T) {
	// Of one value at all calibration inputs, which its fit does not have.
	wave := smooth(func(x float64) float64 { return math.Cos(2 * math.Pi * x) })
	g := &graph{}
	for k := range 2 {
		g.stages = append(g.stages, stage{
			name: string(rune('A' + k)), act: wave,
			z: expression{parts: map[int]*affine{k: identity(1)}, bias: []float64{0}},
		})
	}
	g.stages = append(g.stages, stage{name: "C", z: expression{parts: map[int]*affine{2: identity(1)}, bias: []float64{0}}})
	_, err := g.calibrate([][]float64{{1}, {-1}, {0}}, Options{Mode: Latency, Degree: 2, Margin: .1})
	require.ErrorContains(t, err, "stage B: with the fits of degree 2 before it, its inputs leave")
	require.ErrorContains(t, err, "set Options.Degree or Options.Margin higher")
}

// readBack is a program written to its file and read.
func readBack(t *testing.T, p *Program) *Program {
	t.Helper()
	again, err := ReadProgram(bytes.NewReader(written(t, p)))
	require.NoError(t, err)
	return again
}

// The report holds for every layer what the plan does, names every key with the bytes
// that it takes, and the row of the table that makes it secure.
func TestReportSaysAll(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		m := network(t, nn.Shape{10}, nn.Linear{Out: 8}, nn.GELU{}, nn.Linear{Out: 4}, nn.Square{}, nn.Linear{Out: 3})
		p, err := Compile(m, examples(20, 10, 1), Options{Mode: mode, Degree: 2})
		require.NoError(t, err)
		r, s := p.Report(), p.Schema()
		require.Equal(t, mode, r.Mode)
		require.Equal(t, 128, r.SecurityBits)
		require.Equal(t, maxLogQP[r.LogN], r.SecurityLimit)
		require.LessOrEqual(t, r.LogQP, float64(r.SecurityLimit))
		require.Contains(t, r.SecuritySource, "2024/463, table 5.2")
		require.Equal(t, .1, r.Margin)
		require.Len(t, r.OutputBits, 3)
		require.Len(t, r.Layers, 3)
		require.Equal(t, []string{"0 Linear + 1 GELU", "2 Linear + 3 Square", "4 Linear"}, []string{r.Layers[0].Layers, r.Layers[1].Layers, r.Layers[2].Layers})
		total := int64(headerSize + seedSize)
		for _, k := range r.Keys {
			total += k.Bytes
			require.NotEmpty(t, k.Name)
		}
		require.Equal(t, total, r.KeyBytes)
		require.Equal(t, s.KeyBytes(), r.KeyBytes)
		sum, rotations := 0., 0
		for i, l := range r.Layers {
			require.NotEmpty(t, l.Packing)
			require.Positive(t, l.PlainProducts)
			require.Positive(t, l.PredictedMS)
			sum += l.PredictedMS
			rotations += l.Rotations
			if i > 0 {
				require.Less(t, l.Level, r.Layers[i-1].Level)
			}
		}
		require.InDelta(t, r.PredictedMS, sum, 1e-9)
		require.Positive(t, r.Layers[0].FitError, "a GELU is no polynomial")
		require.Zero(t, r.Layers[1].FitError, "a square is one")
		require.NotEmpty(t, r.Layers[0].FitRange)
		require.Empty(t, r.Layers[2].FitRange)
		if mode == Latency {
			require.Positive(t, rotations)
			require.Len(t, r.Keys, 1+len(s.Rotations()))
			require.InEpsilon(t, p.plan.ms, r.PredictedMS, 1e-9, "what the planner has minimised")
			require.Equal(t, []int{1, 1, 0}, []int{r.Layers[0].Products, r.Layers[1].Products, r.Layers[2].Products})
		} else {
			require.Zero(t, rotations)
		}
		var text strings.Builder
		require.NoError(t, r.WriteText(&text))
		for _, k := range r.Keys {
			require.Contains(t, text.String(), k.Name)
		}
		for _, want := range []string{"0 Linear + 1 GELU", "128 bits of security", "table 5.2", "exact", "MB seeded", "margin of 10%"} {
			require.Contains(t, text.String(), want)
		}
	}
}

// Without a mode the one that is predicted to take less time for what comes together is
// taken.
func TestModeByCost(t *testing.T) {
	m := network(t, nn.Shape{100}, nn.Linear{Out: 60}, nn.Square{}, nn.Linear{Out: 3})
	x := examples(20, 100, 1)
	took := map[Mode]float64{}
	for _, mode := range []Mode{Latency, Batch} {
		p, err := Compile(m, x, Options{Mode: mode, Together: 1 << 20})
		require.NoError(t, err)
		require.Equal(t, mode, p.Report().Mode, "the caller's word")
		took[mode] = p.Report().PredictedMS
	}
	even := int(took[Batch] / took[Latency])
	require.Greater(t, even, 1)
	for together, want := range map[int]Mode{0: Latency, 1: Latency, even: Latency, even + 1: Batch, 1000: Batch} {
		p, err := Compile(m, x, Options{Together: together})
		require.NoError(t, err)
		require.Equal(t, want, p.Report().Mode, "%d inputs", together)
	}
	// One that batch mode has no form for.
	deep := network(t, nn.Shape{100}, nn.Linear{Out: 6}, nn.GELU{}, nn.Linear{Out: 3})
	p, err := Compile(deep, x, Options{Together: 1000, Degree: 3})
	require.NoError(t, err)
	require.Equal(t, Latency, p.Report().Mode)
	// One whose labels batch mode's fits of degree 2 would not keep.
	bent := network(t, nn.Shape{100}, nn.Linear{Out: 6}, nn.ReLU{}, nn.Linear{Out: 6}, nn.ReLU{}, nn.Linear{Out: 5})
	batch, err := Compile(bent, x, Options{Mode: Batch})
	require.NoError(t, err)
	p, err = Compile(bent, x, Options{Together: 1000})
	require.NoError(t, err)
	require.Equal(t, Latency, p.Report().Mode)
	require.Greater(t, p.Report().FitAgreement, batch.Report().FitAgreement)
	_, err = Compile(m, nil, Options{Together: 1000})
	require.EqualError(t, err, "he: no calibration inputs, at least 1 is needed", "said once")
}

// The moduli have room for the calibrated ranges of exact activations too.
func TestSquaresLeaveTheirRange(t *testing.T) {
	m := network(t, nn.Shape{2}, nn.Linear{Out: 1}, nn.Square{}, nn.Linear{Out: 1}, nn.Square{}, nn.Linear{Out: 1})
	copy(m.Params(), []float32{1, -1, 0, 1, 0, 1, 0}) // (x-y)⁴
	var calibration [][]float32
	for i := range 20 {
		v := float32(i+1) / 20
		calibration = append(calibration, []float32{v, .7 * v})
	}
	for _, mode := range []Mode{Latency, Batch} {
		p, err := Compile(m, calibration, Options{Mode: mode})
		require.NoError(t, err)
		a, err := p.Assess(calibration)
		require.NoError(t, err)
		require.Zero(t, a.OutOfRange)
		a, err = p.Assess([][]float32{{1, -1}, {.5, .4}})
		require.NoError(t, err)
		require.Equal(t, 1, a.OutOfRange)
	}
}

// Calibration inputs that are run are those nearest to the ranges' ends, not the first.
func TestProbesAreExtreme(t *testing.T) {
	m := network(t, nn.Shape{2}, nn.Linear{Out: 2}, nn.Square{}, nn.Linear{Out: 2})
	var calibration [][]float32
	for i := range 40 {
		v := float32(1e-3)
		if i == 17 || i == 30 {
			v = 1
		}
		calibration = append(calibration, []float32{v * float32(i+1) / 40, -v})
	}
	p, err := Compile(m, calibration, Options{})
	require.NoError(t, err)
	some := p.probesOf(calibration)
	require.Len(t, some, probes)
	require.Contains(t, some[:2], calibration[30])
	require.Contains(t, some[:2], calibration[17])
	require.Len(t, p.probesOf(calibration[:3]), 3)
}

// Where planning promises too much, more bits are planned; a program says how many and
// reads back.
func TestMissedPrecisionIsPlannedAgain(t *testing.T) {
	m := network(t, nn.Shape{6}, nn.Residual{Layers: []nn.Layer{nn.Square{}}}, nn.Residual{Layers: []nn.Layer{nn.Square{}}}, nn.Square{})
	p, err := Compile(m, examples(20, 6, 1), Options{Mode: Batch})
	require.NoError(t, err)
	require.Positive(t, p.start.Extra)
	require.GreaterOrEqual(t, p.Report().ArithmeticBits, 8.)
	var file bytes.Buffer
	_, err = p.WriteTo(&file)
	require.NoError(t, err)
	back, err := ReadProgram(&file)
	require.NoError(t, err)
	require.Equal(t, p.Schema().Digest(), back.Schema().Digest())
	_, err = Compile(m, examples(20, 6, 1), Options{Mode: Batch, Precision: 24})
	require.Error(t, err)
}

// Outputs as large as prices compile: their errors are as large too.
func TestLargeOutputs(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		m := network(t, nn.Shape{4}, nn.Linear{Out: 3}, nn.Square{}, nn.Linear{Out: 2})
		for _, p := range m.Parameters() {
			for i := range p.Size() {
				if strings.HasPrefix(p.Name, "2.") {
					m.Params()[p.Offset+i] *= 1e10
				}
			}
		}
		p, err := Compile(m, examples(10, 4, 1), Options{Mode: mode})
		require.NoError(t, err)
		require.True(t, mode == Batch || p.schema.leastError() > 1, p.schema.leastError())
		var file bytes.Buffer
		_, err = p.WriteTo(&file)
		require.NoError(t, err)
		_, err = ReadProgram(&file)
		require.NoError(t, err)
	}
}
