package nn

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNewRefuses(t *testing.T) {
	huge := 1 << 30
	for _, c := range []struct {
		want   string
		input  Shape
		layers []Layer
	}{
		{"nn: input shape [] has 0 sizes, want 1 (vector), 2 (sequence) or 3 (image)", Shape{}, nil},
		{"nn: input shape [1 2 3 4] has 4 sizes, want 1 (vector), 2 (sequence) or 3 (image)", Shape{1, 2, 3, 4}, nil},
		{"nn: input shape [3 0]: want sizes of at least 1 and a product of at most 2^31", Shape{3, 0}, nil},
		{"nn: input shape [1073741824 4]: want sizes of at least 1 and a product of at most 2^31", Shape{huge, 4}, nil},
		{"nn: layer 1 (Linear) on 3×4×4: wants a vector or a sequence; put Flatten before it", Shape{1, 4, 4}, []Layer{Conv2D{Out: 3, Kernel: 1}, Linear{Out: 2}}},
		{"nn: layer 0 (Linear) on 4: has Out 0, want 1 to 2^31", Shape{4}, []Layer{Linear{}}},
		{"nn: layer 0 (Linear) on 4: has Out -1, want 1 to 2^31", Shape{4}, []Layer{Linear{Out: -1}}},
		{"nn: layer 0 (Linear) on 1073741824: weight of shape [1073741824 1073741824] has more than 2^31 parameters", Shape{huge}, []Layer{Linear{Out: huge}}},
		{"nn: layer 0 (Conv2D) on 4: wants an image", Shape{4}, []Layer{Conv2D{Out: 1, Kernel: 1}}},
		{"nn: layer 0 (Conv2D) on 1×4×4: has Out 0, want 1 to 2^31", Shape{1, 4, 4}, []Layer{Conv2D{Kernel: 1}}},
		{"nn: layer 0 (Conv2D) on 1×4×4: has Kernel 0, want 1 to 2^31", Shape{1, 4, 4}, []Layer{Conv2D{Out: 1}}},
		{"nn: layer 0 (Conv2D) on 1×4×4: has Kernel 5: windows of 5 do not fit in 4×4 with Padding 0", Shape{1, 4, 4}, []Layer{Conv2D{Out: 1, Kernel: 5}}},
		{"nn: layer 0 (Conv2D) on 1×4×4: has Kernel 3: windows of 5 do not fit in 4×4 with Padding 0", Shape{1, 4, 4}, []Layer{Conv2D{Out: 1, Kernel: 3, Dilation: 2}}},
		{"nn: layer 0 (Conv2D) on 1×4×4: has Stride -1, want at least 0 (which stands for 1)", Shape{1, 4, 4}, []Layer{Conv2D{Out: 1, Kernel: 1, Stride: -1}}},
		{"nn: layer 0 (Conv2D) on 1×4×4: has Dilation -2, want at least 0 (which stands for 1)", Shape{1, 4, 4}, []Layer{Conv2D{Out: 1, Kernel: 1, Dilation: -2}}},
		{"nn: layer 0 (Conv2D) on 1×4×4: has Padding -1, want 0 to 2^31", Shape{1, 4, 4}, []Layer{Conv2D{Out: 1, Kernel: 1, Padding: -1}}},
		{"nn: layer 0 (Conv2D) on 1×4×4: has Padding 1073741824: more than 2^31 elements", Shape{1, 4, 4}, []Layer{Conv2D{Out: 1, Kernel: 1, Padding: huge}}},
		{"nn: layer 0 (Conv2D) on 4×4×4: has Groups 3, want a divisor of the 4 channels in and the 6 out", Shape{4, 4, 4}, []Layer{Conv2D{Out: 6, Kernel: 1, Groups: 3}}},
		{"nn: layer 0 (Conv2D) on 6×4×4: has Groups 3, want a divisor of the 6 channels in and the 4 out", Shape{6, 4, 4}, []Layer{Conv2D{Out: 4, Kernel: 1, Groups: 3}}},
		{"nn: layer 0 (MaxPool) on 4: wants an image", Shape{4}, []Layer{MaxPool{Kernel: 2}}},
		{"nn: layer 0 (MaxPool) on 1×4×4: has Kernel 0, want 1 to 2^31", Shape{1, 4, 4}, []Layer{MaxPool{}}},
		{"nn: layer 0 (MaxPool) on 1×4×4: has Padding 2, want at most half of Kernel 3", Shape{1, 4, 4}, []Layer{MaxPool{Kernel: 3, Padding: 2}}},
		{"nn: layer 0 (AvgPool) on 1×4×4: has Stride -3, want at least 0 (which stands for Kernel)", Shape{1, 4, 4}, []Layer{AvgPool{Kernel: 2, Stride: -3}}},
		{"nn: layer 0 (GlobalAvgPool) on 4: wants an image", Shape{4}, []Layer{GlobalAvgPool{}}},
		{"nn: layer 0 (Polynomial) on 4: has no Coefficients, want at least one", Shape{4}, []Layer{Polynomial{}}},
		{"nn: layer 0 (Polynomial) on 4: has Coefficients[1] NaN, want a finite number", Shape{4}, []Layer{Polynomial{Coefficients: []float32{0, float32(math.NaN())}}}},
		{"nn: layer 1: is nil, want a layer", Shape{4}, []Layer{ReLU{}, nil}},
		{"nn: layer 0: is *nn.Linear, want the value (not a pointer) of a layer of this package", Shape{4}, []Layer{&Linear{Out: 1}}},
	} {
		_, err := New(c.input, c.layers...)
		require.EqualError(t, err, c.want)
	}
	_, err := New(Shape{1 << 15}, Linear{Out: 1 << 15}, Linear{Out: 1 << 15}, Linear{Out: 1 << 15})
	require.EqualError(t, err, "nn: model has more than 2^31 parameters")
}

// TestExtremeFields: whatever the numbers, a layer is built within the limits
// or refused.
func TestExtremeFields(t *testing.T) {
	values := []int{math.MinInt, -1, 0, 1, 2, 3, 5, 1 << 16, 1<<31 - 1, 1 << 31, 1<<31 + 1, 1 << 33, 1 << 62, math.MaxInt}
	random := rand.New(rand.NewPCG(5, 5))
	v := func() int {
		if random.IntN(3) > 0 {
			return 1 + random.IntN(4)
		}
		return values[random.IntN(len(values))]
	}
	built := 0
	for range 20000 {
		in := make(Shape, 1+random.IntN(3))
		for i := range in {
			in[i] = v()
		}
		if in.check() != nil {
			continue
		}
		c, err := buildChain(in, []Layer{[]Layer{
			Linear{Out: v()},
			Conv2D{Out: v(), Kernel: v(), Stride: v(), Padding: v(), Dilation: v(), Groups: v()},
			MaxPool{Kernel: v(), Stride: v(), Padding: v()},
			AvgPool{Kernel: v(), Stride: v(), Padding: v()},
			GlobalAvgPool{}, Flatten{},
			GroupNorm{Groups: v()}, LayerNorm{},
			Embedding{Vocabulary: v(), Dim: v()},
		}[random.IntN(9)]})
		if err != nil {
			continue
		}
		built++
		require.NoError(t, c.shape().check())
		for _, p := range c.tensors() {
			require.LessOrEqual(t, p.size(), sizeLimit)
		}
	}
	require.Greater(t, built, 2000)
}

func TestModelDescribesItself(t *testing.T) {
	m, err := New(Shape{2, 6, 6}, Conv2D{Out: 4, Kernel: 3, Groups: 2}, ReLU{}, Flatten{}, Linear{Out: 5, NoBias: true}, Linear{Out: 3})
	require.NoError(t, err)
	require.Equal(t, []Parameter{
		{"0.weight", []int{4, 3, 3, 1}, 0, true},
		{"0.bias", []int{4}, 36, false},
		{"3.weight", []int{5, 64}, 40, false},
		{"4.weight", []int{3, 5}, 360, false},
		{"4.bias", []int{3}, 375, false},
	}, m.Parameters())
	require.Len(t, m.Params(), 378)
	require.Equal(t, Shape{2, 6, 6}, m.Input())
	require.Equal(t, Shape{3}, m.Output())
	require.Equal(t, "2×6×6", m.Input().String())

	m.Init(HeNormal, 4)
	weights := func(name string) []float32 {
		for _, p := range m.Parameters() {
			if p.Name == name {
				return m.Params()[p.Offset : p.Offset+p.Size()]
			}
		}
		return nil
	}
	require.Equal(t, make([]float32, 4), weights("0.bias"))
	var square float64
	for _, v := range weights("3.weight") {
		square += float64(v) * float64(v)
	}
	// A sum of 320 squares of N(0, 2/64): mean 10, sigma 0.79.
	require.InDelta(t, 10, square, 4)
	first := append([]float32(nil), m.Params()...)
	m.Init(HeNormal, 5)
	require.NotEqual(t, first, m.Params())
	m.Init(HeNormal, 4)
	require.Equal(t, first, m.Params())
}

func TestSpecRoundTrip(t *testing.T) {
	layers := Layers{
		Conv2D{Out: 4, Kernel: 3, Stride: 2, Padding: 1, Dilation: 1, Groups: 2, NoBias: true}, ReLU{}, MaxPool{Kernel: 2, Stride: 1},
		AvgPool{Kernel: 2, Padding: 1}, Tanh{}, SiLU{}, GELU{}, GELU{Exact: true}, Square{}, Polynomial{Coefficients: []float32{0.1, 2}},
		Flatten{}, Linear{Out: 5}, Linear{Out: 3, NoBias: true},
	}
	m, err := New(Shape{2, 12, 12}, layers...)
	require.NoError(t, err)
	out, err := json.Marshal(m.Spec())
	require.NoError(t, err)
	require.Contains(t, string(out), `{"input":[2,12,12],"layers":[{"type":"Conv2D","Out":4,"Kernel":3,"Stride":2,"Padding":1,"Dilation":1,"Groups":2,"NoBias":true},{"type":"ReLU"}`)
	var spec Spec
	require.NoError(t, json.Unmarshal(out, &spec))
	require.Equal(t, m.Spec(), spec)
	again, err := New(spec.Input, spec.Layers...)
	require.NoError(t, err)
	require.Equal(t, m.Parameters(), again.Parameters())

	for bad, want := range map[string]string{
		`[{"type":"Linaer"}]`:              `nn: layer 0: type "Linaer" is unknown`,
		`[{"type":"ReLU"},{"Out":3}]`:      `nn: layer 1: has no string "type"`,
		`[{"type":"Linear","Outs":3}]`:     `nn: layer 0: (Linear): json: unknown field "Outs"`,
		`[{"type":"Linear","Out":"many"}]`: `nn: layer 0: (Linear): json: cannot unmarshal`,
		`[null]`:                           `nn: layer 0: has no string "type"`,
		`{}`:                               `nn: layers: json: cannot unmarshal`,
	} {
		var l Layers
		err := json.Unmarshal([]byte(bad), &l)
		require.ErrorContains(t, err, want, bad)
		require.Nil(t, l)
	}
	_, err = json.Marshal(Layers{nil})
	require.ErrorContains(t, err, "nn: layer 0: is nil")
}

func TestPassPanics(t *testing.T) {
	m, err := New(Shape{2}, Linear{Out: 3})
	require.NoError(t, err)
	image, err := New(Shape{2, 3, 3}, ReLU{})
	require.NoError(t, err)
	y, err := Labels([]int{0, 1}, 3)
	require.NoError(t, err)
	other, err := Labels([]int{0, 1}, 4)
	require.NoError(t, err)
	x := [][]float32{{1, 2}, {3, 4}}
	p := NewPass(m, SoftmaxCrossEntropy{})
	good := func() *Gradients { return p.Backward(x, y, nil) }
	for _, c := range []struct {
		want string
		f    func()
	}{
		{"nn: loss does not fit the model's output", func() { NewPass(image, SoftmaxCrossEntropy{}) }},
		{"nn: loss does not fit the model's output", func() { NewPass(image, MeanSquaredError{}) }},
		{"nn: loss does not fit the model's output", func() { NewPass(image, BinaryCrossEntropy{}) }},
		{"nn: Backward on a Pass without a loss", func() { NewPass(m, nil).Backward(x, y, nil) }},
		{"nn: example's length is not the input's size", func() { p.Forward([][]float32{{1}}) }},
		{"nn: example's length is not the input's size", func() { p.Backward([][]float32{{1, 2}, {1, 2, 3}}, y, nil) }},
		{"nn: targets do not fit the examples and the loss", func() { p.Backward(x[:1], y, nil) }},
		{"nn: targets do not fit the examples and the loss", func() { p.Backward(x, other, nil) }},
		{"nn: ids and examples differ in number", func() { p.Backward(x, y, []int{1}) }},
		{"nn: destination has the wrong length", func() { good().Norms(make([]float32, 3)) }},
		{"nn: destination has the wrong length", func() { good().LayerNorms(make([]float32, 3)) }},
		{"nn: destination has the wrong length", func() { good().Losses(make([]float32, 1)) }},
		{"nn: destination has the wrong length", func() { good().Mean(make([]float32, 8)) }},
		{"nn: weights and examples differ in number", func() { good().WeightedSum(make([]int64, 9), make([]float32, 3), []int{2}) }},
		{"nn: weights and examples differ in number", func() { good().LayerWeightedSum(make([]int64, 9), make([]float32, 3), []int{2}) }},
		{"nn: sum and parameters differ in length", func() { good().WeightedSum(make([]int64, 8), make([]float32, 2), []int{2}) }},
		{"nn: runs do not end with the examples", func() { good().WeightedSum(make([]int64, 9), make([]float32, 2), []int{1}) }},
		{"nn: runs do not end with the examples", func() { good().WeightedSum(make([]int64, 9), make([]float32, 2), nil) }},
		{"nn: ends of runs decrease", func() { good().WeightedSum(make([]int64, 9), make([]float32, 2), []int{1, 0, 2}) }},
		{"nn: gradients outlived by their pass", func() { g := good(); p.Forward(x); g.Norms(nil) }},
		{"nn: gradients outlived by their pass", func() {
			g := good()
			func() {
				defer func() { _ = recover() }()
				p.Backward([][]float32{{1, 2}, {3}}, y, nil)
			}()
			g.Mean(nil)
		}},
	} {
		require.PanicsWithValue(t, c.want, c.f)
	}
}

// What package dp asks of gradients, by the letter.
var _ interface {
	Norms(dst []float32) []float32
	WeightedSum(sum []int64, w []float32, ends []int)
	Layers() []int
	LayerNorms(dst []float32) []float32
	LayerWeightedSum(sum []int64, w []float32, ends []int)
} = (*Gradients)(nil)

// TestEmptyBatch: Poisson sampling may draw no one.
func TestEmptyBatch(t *testing.T) {
	for _, layers := range [][]Layer{
		{Flatten{}, Linear{Out: 3}},
		{Conv2D{Out: 2, Kernel: 3, Padding: 1}, Tanh{}, MaxPool{Kernel: 2}, AvgPool{Kernel: 1}, GlobalAvgPool{}, Linear{Out: 3}},
	} {
		tr := newTrial(t, 1, 2, SoftmaxCrossEntropy{}, Shape{2, 4, 4}, layers...)
		for _, p := range []*Pass{NewPass(tr.model, tr.loss), NewPass(tr.model, tr.loss)} {
			none := tr.only()
			g := p.Backward(none.x, none.y, nil)
			d := len(tr.model.Params())
			sum := make([]int64, d)
			require.Empty(t, g.Norms(nil))
			require.Empty(t, g.LayerNorms(nil))
			require.Empty(t, g.Losses(nil))
			g.WeightedSum(sum, nil, nil)
			g.LayerWeightedSum(sum, nil, []int{0, 0})
			require.Equal(t, make([]int64, d), sum)
			require.Equal(t, make([]float32, d), g.Mean(nil))
			require.Empty(t, p.Forward(nil))
			p.Backward(tr.x, tr.y, nil) // and used before
		}
	}
	m, err := New(Shape{3}) // the identity
	require.NoError(t, err)
	p := NewPass(m, SoftmaxCrossEntropy{})
	require.Equal(t, [][]float32{{1, 2, 3}}, p.Forward([][]float32{{1, 2, 3}}))
	y, err := Labels([]int{1}, 3)
	require.NoError(t, err)
	g := p.Backward([][]float32{{1, 2, 3}}, y, nil)
	require.Equal(t, []float32{0}, g.Norms(nil))
	require.Empty(t, g.Mean(nil))
	require.Empty(t, g.Layers())
}

// steadyTrials are models of every kind of layer that this file's neighbours
// hold.
func steadyTrials(t testing.TB) []*trial {
	return []*trial{
		newTrial(t, 1, 9, SoftmaxCrossEntropy{}, Shape{1, 12, 12}, Conv2D{Out: 3, Kernel: 3, Padding: 1}, Tanh{}, MaxPool{Kernel: 2, Padding: 1},
			Conv2D{Out: 4, Kernel: 2, Groups: 1, Dilation: 2}, ReLU{}, AvgPool{Kernel: 2, Stride: 1}, Flatten{}, Linear{Out: 6}, GELU{}, Linear{Out: 3}),
		newTrial(t, 1, 9, MeanSquaredError{}, Shape{4, 8, 8}, Conv2D{Out: 4, Kernel: 3, Groups: 2}, SiLU{}, GlobalAvgPool{}, Linear{Out: 3}),
		newTrial(t, 1, 9, BinaryCrossEntropy{}, Shape{6, 4}, Linear{Out: 4}, Square{}, Linear{Out: 3}, Polynomial{Coefficients: []float32{0, 1, 1}}, Flatten{}, Linear{Out: 2}),
	}
}

// TestPassesShareAModel runs passes side by side (the race detector watches)
// and expects each to give what it gives alone.
func TestPassesShareAModel(t *testing.T) {
	for _, tr := range steadyTrials(t) {
		alone := NewPass(tr.model, tr.loss).Backward(tr.x, tr.y, nil)
		want, wantNorms := alone.Mean(nil), alone.Norms(nil)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				p := NewPass(tr.model, tr.loss)
				for range 5 {
					g := p.Backward(tr.x, tr.y, nil)
					sum := make([]int64, len(want))
					g.WeightedSum(sum, make([]float32, len(tr.x)), []int{len(tr.x)})
					if norms := g.Norms(nil); !equalBits(norms, wantNorms) || !equalBits(g.Mean(nil), want) {
						t.Error("passes disturb each other")
					}
				}
			})
		}
		group.Wait()
	}
}

func equalBits(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// TestRowsAreNotKept: the caller may do what it likes with rows after a call.
func TestRowsAreNotKept(t *testing.T) {
	tr := newTrial(t, 1, 5, SoftmaxCrossEntropy{}, Shape{4}, Linear{Out: 3}, ReLU{}, Linear{Out: 3})
	before := make([][]float32, len(tr.x))
	for i, row := range tr.x {
		before[i] = append([]float32(nil), row...)
	}
	tr.x[1][0] = float32(math.NaN())
	before[1][0] = tr.x[1][0]
	p := NewPass(tr.model, tr.loss)
	g := p.Backward(tr.x, tr.y, nil)
	g.WeightedSum(make([]int64, len(tr.model.Params())), make([]float32, 5), []int{5})
	for i, row := range tr.x {
		require.True(t, equalBits(before[i], row))
	}
	want := g.Mean(nil)
	clear(tr.x[0])
	require.True(t, equalBits(want, g.Mean(nil)))
}
