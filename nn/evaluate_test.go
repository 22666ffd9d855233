package nn

import (
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPredictIsForward(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 257, 1500} {
		tr := newTrial(t, 4, n, SoftmaxCrossEntropy{}, Shape{2, 3, 3}, GroupNorm{Groups: 2}, Flatten{}, Dropout{Rate: 0.5}, Linear{Out: 5})
		p := NewPass(tr.model, nil)
		for _, cores := range []int{1, 2, 7} {
			restore := runtime.GOMAXPROCS(cores)
			got := Predict(tr.model, tr.x)
			runtime.GOMAXPROCS(restore)
			require.Len(t, got, n)
			for i, row := range got {
				require.Equal(t, p.Forward(tr.x[i : i+1])[0], row, "example %d of %d", i, n)
			}
		}
	}
}

func TestAccuracy(t *testing.T) {
	m, err := New(Shape{3}, Flatten{})
	require.NoError(t, err)
	nan := float32(math.NaN())
	x := [][]float32{{3, 1, 2}, {1, 3, 2}, {0, 0, 0}, {2, 5, 5}, {-3, -2, -1}, {nan, nan, nan}, {nan, 2, 1}, {1, nan, 0}}
	for _, c := range []struct {
		labels []int
		want   float64
	}{
		{[]int{0, 1, 0, 1, 2, 0, 1, 1}, 5},
		{[]int{1, 0, 1, 2, 0, 1, 0, 0}, 0},
		{[]int{0, 0, 2, 2, 2, 2, 2, 2}, 2},
	} {
		y, err := Labels(c.labels, 3)
		require.NoError(t, err)
		require.Equal(t, c.want/8, Accuracy(m, x, y))
		many, labels := slices.Repeat(x, 200), slices.Repeat(c.labels, 200)
		y, err = Labels(labels, 3)
		require.NoError(t, err)
		require.Equal(t, c.want/8, Accuracy(m, many, y))
	}
	none, err := Labels(nil, 3)
	require.NoError(t, err)
	require.Zero(t, Accuracy(m, nil, none))
	four, err := Labels(make([]int, 8), 4)
	require.NoError(t, err)
	for _, mistake := range []func(){
		func() { Accuracy(m, x, none) },
		func() { Accuracy(m, x, four) },
	} {
		require.PanicsWithValue(t, "nn: labels do not fit the examples and the model's output", mistake)
	}
	require.PanicsWithValue(t, "nn: example's length is not the input's size", func() { Predict(m, [][]float32{{1, 2, 3}, {1, 2}}) })
}
