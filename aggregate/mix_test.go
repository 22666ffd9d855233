package aggregate

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMixHalfWritten: what is mixed is written when all rows were seen to be finite.
func TestMixHalfWritten(t *testing.T) {
	const d = 70_001
	for _, pre := range []PreAggregation{Bucketing{Size: 2}, NNM{1}, ARC{1}, Clipping{1}} {
		rows := someRows(1, 4, d)
		rows[1][d-1] = float32(math.NaN())
		dst := make([][]float32, 4)
		for i := range dst {
			dst[i] = slices.Repeat([]float32{7}, d)
		}
		_, err := pre.Mix(dst, rows, nil)
		require.ErrorContains(t, err, "row 1 holds NaN at column 70000", "%T", pre)
		for _, row := range dst {
			require.Equal(t, slices.Repeat([]float32{7}, d), row, "%T", pre)
		}
	}
}

// TestClippedSubnormal: rows are within the norm they are clipped to, where the share that
// is left of them is below what float32 holds well, too.
func TestClippedSubnormal(t *testing.T) {
	const d = 100_000
	huge := slices.Repeat([]float32{3e38}, d)
	for _, norm := range []float64{1e-5, 7e-5, 2.2e-4, 1e-3, 0.37, 1} {
		out, err := Clipping{norm}.Aggregate(nil, [][]float32{huge}, nil)
		require.NoError(t, err)
		require.LessOrEqual(t, math.Sqrt(squaredDistance(out, make([]float32, d))), norm*(1+1e-5), norm)
		mixed, err := Clipping{norm}.Mix(nil, [][]float32{huge}, nil)
		require.NoError(t, err)
		require.LessOrEqual(t, math.Sqrt(squaredDistance(mixed[0], make([]float32, d))), norm*(1+1e-5), norm)
	}
}

// TestMixGreatest: means of the greatest values are finite.
func TestMixGreatest(t *testing.T) {
	for n := 3; n < 40; n++ {
		rows := make([][]float32, n)
		for i := range rows {
			rows[i] = []float32{math.MaxFloat32, -math.MaxFloat32}
		}
		for _, pre := range []PreAggregation{Bucketing{Size: n}, NNM{1}, NNM{0}} {
			mixed, err := pre.Mix(nil, rows, nil)
			require.NoError(t, err)
			for _, row := range mixed {
				require.InEpsilonSlice(t, rows[0], row, 1e-5, "%T n=%d", pre, n)
			}
		}
	}
}

// TestKappaOfFewRows: a chain has no coefficient where a stage's is not proved.
func TestKappaOfFewRows(t *testing.T) {
	for _, chain := range []Chain{{ARC{6}, Median{}}, {ARC{5}, Median{}}, {NNM{6}, Median{}}, {NNM{5}, Median{}}, {ARC{1}, NNM{7}, Median{}}} {
		require.Equal(t, math.Inf(1), chain.Kappa(10, 1), "%+v", chain)
	}
	require.InDelta(t, 2*(1+1.0/8)+2*4.0/2, Chain{ARC{4}, Median{}}.Kappa(10, 1), 1e-12)
}
