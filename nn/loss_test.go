package nn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// evaluated returns the loss of one example and its derivatives.
func evaluated(t *testing.T, loss Loss, y []float32, target Targets) (float32, []float32) {
	t.Helper()
	require.NoError(t, loss.fits(Shape{len(y)}))
	require.True(t, loss.accepts(target, len(y)))
	l, d := []float32{float32(math.NaN())}, make([]float32, len(y))
	for i := range d {
		d[i] = float32(math.NaN())
	}
	loss.evaluate(l, d, y, target, len(y))
	return l[0], d
}

func TestSoftmaxCrossEntropy(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		k := 1 + random.IntN(12)
		y := normal(random, k)
		for i := range y {
			y[i] *= 5
		}
		label := random.IntN(k)
		target, err := Labels([]int{label}, k)
		require.NoError(t, err)
		l, d := evaluated(t, SoftmaxCrossEntropy{}, y, target)
		var z float64
		for _, v := range y {
			z += math.Exp(float64(v))
		}
		want := math.Log(z) - float64(y[label])
		require.InDelta(t, want, float64(l), 1e-5*(1+want))
		for j, v := range y {
			p := math.Exp(float64(v)) / z
			if j == label {
				p--
			}
			require.InDelta(t, p, float64(d[j]), 1e-6)
		}
	}
	// Far apart logits neither overflow nor give NaN.
	target, err := Labels([]int{1}, 3)
	require.NoError(t, err)
	l, d := evaluated(t, SoftmaxCrossEntropy{}, []float32{1e30, -1e30, 0}, target)
	require.InEpsilon(t, 2e30, float64(l), 1e-6)
	require.Equal(t, []float32{1, -1, 0}, d)
	// A NaN or infinite logit gives no finite derivative.
	for _, v := range []float64{math.NaN(), math.Inf(1)} {
		_, d = evaluated(t, SoftmaxCrossEntropy{}, []float32{0, float32(v), 1}, target)
		require.True(t, d[0] != d[0], "%v", d)
	}
}

func TestBinaryCrossEntropy(t *testing.T) {
	for _, c := range []struct{ y, target, want float64 }{ // -t·log σ(y) - (1-t)·log(1-σ(y))
		{0, 0, math.Ln2},
		{0, 1, math.Ln2},
		{2, 0.25, 0.25*math.Log1p(math.Exp(-2)) + 0.75*math.Log1p(math.Exp(2))},
		{-3, 1, math.Log1p(math.Exp(3))},
		{100, 0, 100},
		{100, 1, math.Exp(-100)},
		{-100, 1, 100},
		{1e30, 0, 1e30},
		{-1e30, 0, 0},
	} {
		target, err := Values([][]float32{{float32(c.target), 0.5}})
		require.NoError(t, err)
		l, d := evaluated(t, BinaryCrossEntropy{}, []float32{float32(c.y), 0}, target)
		require.InDelta(t, (c.want+math.Ln2)/2, float64(l), 1e-6*(1+c.want), "%+v", c)
		require.InDelta(t, (1/(1+math.Exp(-c.y))-c.target)/2, float64(d[0]), 1e-7, "%+v", c)
		require.Zero(t, d[1])
	}
}

func TestMeanSquaredError(t *testing.T) {
	target, err := Values([][]float32{{1, 2, 3}})
	require.NoError(t, err)
	l, d := evaluated(t, MeanSquaredError{}, []float32{2, 0, 3}, target)
	require.InEpsilon(t, 5.0/3, float64(l), 1e-6)
	require.InDeltaSlice(t, []float32{2.0 / 3, -4.0 / 3, 0}, d, 1e-6)
}

func TestTargetsAreChecked(t *testing.T) {
	nan := float32(math.NaN())
	for want, f := range map[string]func() (Targets, error){
		"nn: label 1 is 3, want 0 to 2":                                func() (Targets, error) { return Labels([]int{0, 3}, 3) },
		"nn: label 0 is -1, want 0 to 2":                               func() (Targets, error) { return Labels([]int{-1}, 3) },
		"nn: classes is 0, want at least 1":                            func() (Targets, error) { return Labels(nil, 0) },
		"nn: target 1 has NaN at 0, want a finite number":              func() (Targets, error) { return Values([][]float32{{1}, {nan}}) },
		"nn: target 1 has 2 numbers, want 1 (at least 1, as target 0)": func() (Targets, error) { return Values([][]float32{{1}, {1, 2}}) },
		"nn: target 0 has 0 numbers, want 0 (at least 1, as target 0)": func() (Targets, error) { return Values([][]float32{{}}) },
	} {
		_, err := f()
		require.EqualError(t, err, want)
	}
	labels, err := Labels([]int{2, 0, 1}, 3)
	require.NoError(t, err)
	values, err := Values([][]float32{{0.5}, {2}})
	require.NoError(t, err)
	require.Equal(t, 3, labels.Len())
	require.Equal(t, 2, values.Len())
	require.Equal(t, 0, Targets{}.Len())
	require.False(t, MeanSquaredError{}.accepts(labels, 3))
	require.False(t, SoftmaxCrossEntropy{}.accepts(values, 1))
	require.False(t, SoftmaxCrossEntropy{}.accepts(labels, 4))
	require.False(t, BinaryCrossEntropy{}.accepts(values, 1), "2 is no probability")
	require.Equal(t, []int32{1, 2}, labels.Pick(values, []int{2, 0}).labels)
	dst := labels.Pick(Targets{}, []int{0, 1})
	require.Zero(t, testing.AllocsPerRun(10, func() { dst = labels.Pick(dst, []int{1, 1}) }))
	require.Panics(t, func() { labels.Pick(dst, []int{3}) })
}
