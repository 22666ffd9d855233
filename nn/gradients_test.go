package nn

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// trial is a model with parameters, a loss and a batch.
type trial struct {
	model *Model
	loss  Loss
	x     [][]float32
	y     Targets
	loose bool // gradients may cancel altogether: norms have no upper bound
}

// newTrial draws parameters, n examples and targets.
func newTrial(t testing.TB, seed uint64, n int, loss Loss, input Shape, layers ...Layer) *trial {
	t.Helper()
	m, err := New(input, layers...)
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(seed, 7))
	m.Init(XavierUniform, seed)
	for i := range m.Params() { // biases and gains too
		m.Params()[i] += 0.2 * float32(random.NormFloat64())
	}
	tr := &trial{model: m, loss: loss}
	width := m.Output().Size()
	var labels []int
	var values [][]float32
	for range n {
		tr.x = append(tr.x, normal(random, input.Size()))
		labels = append(labels, random.IntN(width))
		row := normal(random, width)
		if _, ok := loss.(SoftmaxCrossEntropy); !ok {
			if _, ok := loss.(MeanSquaredError); !ok {
				for j := range row {
					row[j] = float32(random.IntN(2))
				}
			}
		}
		values = append(values, row)
	}
	if _, ok := loss.(SoftmaxCrossEntropy); ok {
		tr.y, err = Labels(labels, width)
	} else {
		tr.y, err = Values(values)
	}
	require.NoError(t, err)
	return tr
}

func normal(random *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(random.NormFloat64())
	}
	return out
}

// single returns the trial of examples ids alone.
func (tr *trial) only(ids ...int) *trial {
	out := &trial{model: tr.model, loss: tr.loss, y: tr.y.Pick(Targets{}, ids)}
	for _, id := range ids {
		out.x = append(out.x, tr.x[id])
	}
	return out
}

// perExample is the naive loop: the gradient of every example from a batch of
// one, by Mean.
func (tr *trial) perExample() [][]float64 {
	var out [][]float64
	p := NewPass(tr.model, tr.loss)
	for i := range tr.x {
		one := tr.only(i)
		g := p.Backward(one.x, one.y, []int{i}).Mean(nil)
		row := make([]float64, len(g))
		for j, v := range g {
			row[j] = float64(v)
		}
		out = append(out, row)
	}
	return out
}

// meanLoss is the mean loss, in float64 over float32 losses.
func (tr *trial) meanLoss(p *Pass) float64 {
	var sum float64
	for _, l := range p.Backward(tr.x, tr.y, nil).Losses(nil) {
		sum += float64(l)
	}
	return sum / float64(len(tr.x))
}

func norm2(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v * v
	}
	return math.Sqrt(s)
}

// checkDerivatives compares Mean with differences of the loss in every
// parameter. Float32 losses spoil short differences, curvature and kinks (ReLU,
// MaxPool) long ones, and a kink only on its side: the best of
// several, the shortest h, counts.
func checkDerivatives(t *testing.T, tr *trial, h, tolerance float64) {
	t.Helper()
	p := NewPass(tr.model, tr.loss)
	grad := slices.Clone(p.Backward(tr.x, tr.y, nil).Mean(nil))
	params := tr.model.Params()
	var scale float64
	for _, v := range grad {
		scale = max(scale, math.Abs(float64(v)))
	}
	require.Positive(t, scale)
	here := tr.meanLoss(p)
	for j, was := range params {
		best := math.Inf(1)
		for _, h := range []float32{16 * float32(h), 4 * float32(h), float32(h)} {
			params[j] = was + h
			up, high := tr.meanLoss(p), float64(params[j])
			params[j] = was - h
			down, low := tr.meanLoss(p), float64(params[j])
			params[j] = was
			for _, slope := range []float64{(up - down) / (high - low), (up - here) / (high - float64(was)), (here - down) / (float64(was) - low)} {
				best = min(best, math.Abs(slope-float64(grad[j])))
			}
		}
		require.LessOrEqual(t, best, tolerance*max(scale, 1), "parameter %d: %v", j, grad[j])
	}
}

// checkPrivate holds every quantity that clipping relies on to the naive loop.
func checkPrivate(t *testing.T, tr *trial) {
	t.Helper()
	naive := tr.perExample()
	n, d := len(tr.x), len(tr.model.Params())
	p := NewPass(tr.model, tr.loss)
	g := p.Backward(tr.x, tr.y, nil)
	layers := g.Layers()
	require.Equal(t, d, layers[len(layers)-1])

	dirty := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(math.NaN())
		}
		return out
	}
	norms, layerNorms := g.Norms(dirty(n)), g.LayerNorms(dirty(n*len(layers)))
	// Where an example's gradient cancels by chance its norm may be raised more:
	// the slack above is of the largest example's.
	const slack = 5e-3
	largest, layerLargest := 0.0, make([]float64, len(layers))
	for _, row := range naive {
		largest = max(largest, norm2(row))
		from := 0
		for l, to := range layers {
			layerLargest[l] = max(layerLargest[l], norm2(row[from:to]))
			from = to
		}
	}
	for i, row := range naive {
		want := norm2(row)
		require.GreaterOrEqual(t, float64(norms[i]), want*(1-0x1p-14), "example %d", i)
		if !tr.loose {
			require.LessOrEqual(t, float64(norms[i]), want+slack*largest, "example %d", i)
		}
		from := 0
		for l, to := range layers {
			want := norm2(row[from:to])
			got := float64(layerNorms[i*len(layers)+l])
			require.GreaterOrEqual(t, got, want*(1-0x1p-14), "example %d layer %d", i, l)
			if !tr.loose {
				require.LessOrEqual(t, got, want+slack*layerLargest[l], "example %d layer %d", i, l)
			}
			from = to
		}
	}

	// Weighted sums, against the naive loop: flat and by layer.
	const grid = 1 << 24
	random := rand.New(rand.NewPCG(uint64(n), uint64(d)))
	ends := []int{n / 3, n / 3, n/3 + (n-n/3)/2, n}
	w, lw := make([]float32, n), make([]float32, n*len(layers))
	var bound float64
	for i := range w {
		w[i] = grid * random.Float32() / norms[i]
		for l := range layers {
			lw[i*len(layers)+l] = grid * random.Float32() / norms[i]
		}
		bound += grid
	}
	if n > 1 {
		w[n/2] = 0
		lw[(n/2)*len(layers)] = 0
	}
	sum, lsum := make([]int64, d), make([]int64, d)
	for j := range sum { // it adds
		sum[j], lsum[j] = int64(j)-7, 3
	}
	g.WeightedSum(sum, w, ends)
	g.LayerWeightedSum(lsum, lw, ends)
	from := 0
	for l, to := range layers {
		for j := from; j < to; j++ {
			want, lwant := float64(j)-7, 3.0
			for i, row := range naive {
				want += float64(w[i]) * row[j]
				lwant += float64(lw[i*len(layers)+l]) * row[j]
			}
			require.InDelta(t, want, float64(sum[j]), bound*1e-6+4, "parameter %d", j)
			require.InDelta(t, lwant, float64(lsum[j]), bound*1e-6+4, "parameter %d", j)
		}
		from = to
	}

	// Unweighted, it is the mean.
	mean := g.Mean(dirty(d))
	clear(sum)
	for i := range w {
		w[i] = grid
	}
	g.WeightedSum(sum, w, ends)
	for j := range sum {
		var scale float64
		for _, row := range naive {
			scale += math.Abs(row[j])
		}
		require.InDelta(t, float64(sum[j])/grid, float64(mean[j])*float64(n), 1e-5*scale+1e-5, "parameter %d", j)
	}
	require.Equal(t, norms, g.Norms(nil))
}

// checkInvariance permutes and splits the batch and compares bits: outputs,
// losses, norms, and the sums of single examples.
func checkInvariance(t *testing.T, tr *trial) {
	t.Helper()
	n, d := len(tr.x), len(tr.model.Params())
	type result struct {
		y     []float32
		loss  float32
		norms []float32
		sum   []int64
	}
	weigh := func(norm float32) float32 { return (1 << 22) / norm }
	run := func(ids []int) map[int]result {
		part := tr.only(ids...)
		p := NewPass(tr.model, tr.loss)
		out := map[int]result{}
		for k, row := range p.Forward(part.x) {
			out[ids[k]] = result{y: slices.Clone(row)}
		}
		g := p.Backward(part.x, part.y, ids)
		losses, norms := g.Losses(nil), g.LayerNorms(nil)
		flat := g.Norms(nil)
		layers := len(g.Layers())
		ends := make([]int, len(ids))
		for k := range ends {
			ends[k] = k + 1
		}
		for k, id := range ids {
			r := out[id]
			r.loss, r.norms = losses[k], append(slices.Clone(norms[k*layers:(k+1)*layers]), flat[k])
			r.sum = make([]int64, d)
			w := make([]float32, len(ids))
			w[k] = weigh(flat[k])
			g.WeightedSum(r.sum, w, ends)
			out[id] = r
		}
		return out
	}
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i
	}
	want := run(ids)
	random := rand.New(rand.NewPCG(uint64(n), 5))
	for range 3 {
		random.Shuffle(n, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		cut := random.IntN(n)
		for _, part := range [][]int{ids[:cut], ids[cut:]} {
			for id, r := range run(part) {
				require.Equal(t, want[id], r, "example %d", id)
			}
		}
	}
	// A used pass gives what a new one does.
	used := NewPass(tr.model, tr.loss)
	for range 3 {
		g := used.Backward(tr.x, tr.y, nil)
		losses, norms := g.Losses(nil), g.LayerNorms(nil)
		layers := len(g.Layers())
		for i := range tr.x {
			require.Equal(t, want[i].loss, losses[i], "example %d", i)
			require.Equal(t, want[i].norms[:layers], norms[i*layers:(i+1)*layers], "example %d", i)
		}
		require.Equal(t, want[0].y, used.Forward(tr.x[:1])[0])
	}
	// Whole runs over any chunking: the same integers.
	sums := func(chunks ...[]int) []int64 {
		sum := make([]int64, d)
		p := NewPass(tr.model, tr.loss)
		for _, c := range chunks {
			part := tr.only(c...)
			g := p.Backward(part.x, part.y, c)
			w := g.Norms(nil)
			for i, v := range w {
				w[i] = weigh(v)
			}
			g.WeightedSum(sum, w, []int{len(c)})
		}
		return sum
	}
	half := n / 2
	whole := func() []int64 {
		sum := make([]int64, d)
		p := NewPass(tr.model, tr.loss)
		part := tr.only(ids...)
		g := p.Backward(part.x, part.y, ids)
		w := g.Norms(nil)
		for i, v := range w {
			w[i] = weigh(v)
		}
		g.WeightedSum(sum, w, []int{half, n})
		return sum
	}
	require.Equal(t, whole(), sums(ids[:half], ids[half:]))
}

// checkNaN plants a NaN and an infinity in two examples and expects nothing of
// them in the others.
func checkNaN(t *testing.T, tr *trial) {
	t.Helper()
	n, d := len(tr.x), len(tr.model.Params())
	require.Greater(t, n, 3)
	good := []int{0}
	for i := 3; i < n; i++ {
		good = append(good, i)
	}
	bad := &trial{model: tr.model, loss: tr.loss, x: slices.Clone(tr.x), y: tr.y}
	for i, v := range []float64{math.NaN(), math.Inf(1)} {
		row := slices.Clone(tr.x[1+i])
		row[len(row)/2] = float32(v)
		bad.x[1+i] = row
	}
	sums := func(tr *trial) ([]float32, []int64) {
		g := NewPass(tr.model, tr.loss).Backward(tr.x, tr.y, nil)
		norms, w := g.Norms(nil), make([]float32, len(tr.x))
		for i, v := range norms {
			if v-v == 0 {
				w[i] = (1 << 22) / v
			}
		}
		sum := make([]int64, d)
		g.WeightedSum(sum, w, []int{len(tr.x)})
		again := make([]int64, d)
		g.WeightedSum(again, w, []int{len(tr.x)})
		require.Equal(t, sum, again)
		return norms, sum
	}
	norms, got := sums(bad)
	kept, want := sums(tr.only(good...))
	require.Equal(t, want, got)
	for i := range 2 {
		v := norms[1+i]
		require.False(t, v-v == 0, "norm %v of a gradient that is not finite", v)
	}
	require.Equal(t, kept[1:], norms[3:])
}

func TestGradients(t *testing.T) {
	for _, c := range []struct {
		name   string
		loss   Loss
		input  Shape
		layers []Layer
	}{
		{"linear", SoftmaxCrossEntropy{}, Shape{7}, []Layer{Linear{Out: 3}}},
		{"no bias", SoftmaxCrossEntropy{}, Shape{7}, []Layer{Linear{Out: 3, NoBias: true}}},
		{"two", SoftmaxCrossEntropy{}, Shape{6}, []Layer{Linear{Out: 9}, ReLU{}, Linear{Out: 4}}},
		{"sequence", MeanSquaredError{}, Shape{3, 4}, []Layer{Linear{Out: 5}, ReLU{}, Linear{Out: 2}}},
		{"pools", SoftmaxCrossEntropy{}, Shape{2, 9, 8}, []Layer{
			Conv2D{Out: 3, Kernel: 3, Padding: 1}, Tanh{}, MaxPool{Kernel: 2, Stride: 1}, Conv2D{Out: 4, Kernel: 2},
			MaxPool{Kernel: 3, Stride: 2, Padding: 1}, Conv2D{Out: 3, Kernel: 2, Padding: 1}, AvgPool{Kernel: 2, Padding: 1}, GlobalAvgPool{}, Linear{Out: 3},
		}},
		{"average", MeanSquaredError{}, Shape{3, 6, 7}, []Layer{
			Conv2D{Out: 2, Kernel: 1}, AvgPool{Kernel: 3, Stride: 1, Padding: 1}, SiLU{}, AvgPool{Kernel: 3, Stride: 2}, Flatten{}, Linear{Out: 2},
		}},
		{"activations", MeanSquaredError{}, Shape{5}, []Layer{
			Linear{Out: 6}, SiLU{}, Linear{Out: 6}, GELU{}, Linear{Out: 5}, GELU{Exact: true}, Linear{Out: 5}, Tanh{},
			Linear{Out: 4}, Square{}, Linear{Out: 3}, Polynomial{Coefficients: []float32{0.5, -1, 0.25, 0.125}}, Linear{Out: 2},
		}},
		{"binary", BinaryCrossEntropy{}, Shape{5}, []Layer{Linear{Out: 6}, ReLU{}, Linear{Out: 3}}},
		{"image", SoftmaxCrossEntropy{}, Shape{2, 3, 3}, []Layer{Flatten{}, Linear{Out: 4}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrial(t, 3, 11, c.loss, c.input, c.layers...)
			for _, level := range kernel.Levels() {
				restore := kernel.Use(level)
				defer restore()
				checkDerivatives(t, tr, 0x1p-10, 2e-3)
				checkPrivate(t, tr)
				checkInvariance(t, tr)
				checkNaN(t, tr)
			}
		})
	}
}
