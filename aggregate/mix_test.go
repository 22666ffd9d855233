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

// cancelling are rows of which two and two have means of 1 and -1, but for a little, and
// opposite noise.
func cancelling(seed uint64, n, d int, noise float32) [][]float32 {
	rows := someRows(seed, n, d)
	for i := 0; i < n; i += 2 {
		for j, x := range rows[i] {
			if x = noise; rows[i][j] < 0 {
				x = -noise
			}
			mean := float32(1 - 2*(j%2)*(i/2%2))
			rows[i][j], rows[i+1][j] = mean+x, mean-x+0.01*rows[i+1][j]
		}
	}
	return rows
}

// TestClippedMixtures: mixtures are within the norm they are clipped to, however much of what
// they are mixed of cancels.
func TestClippedMixtures(t *testing.T) {
	const n, d = 8, 5000
	for _, noise := range []float32{1, 12.3, 20.4} {
		rows := cancelling(4, n, d, noise)
		pairs := Bucketing{Size: 2, Permutation: []int{0, 1, 2, 3, 4, 5, 6, 7}}
		for _, stages := range []Chain{{pairs}, {NNM{2}}, {pairs, NNM{1}}} {
			for _, bound := range []PreAggregation{Clipping{7}, ARC{2}} {
				s, err := open("test", nil, rows)
				require.NoError(t, err)
				for _, stage := range append(slices.Clone(stages), bound) {
					weights, err := stage.(mixing).mixture(s, nil)
					require.NoError(t, err)
					s.apply(weights)
				}
				norms := make([]float64, s.n)
				require.NoError(t, s.pass(func(s *survey, p *part) {
					s.look(p)
					for k, row := range p.view {
						norms[k] += squaredDistance(row, make([]float32, len(row)))
					}
				}, nil))
				roots(norms)
				slices.Sort(norms)
				if bound == (Clipping{7}) {
					require.InEpsilon(t, 7, norms[s.n-1], 1e-5, "%+v noise=%v", stages, noise)
				} else {
					require.InEpsilon(t, norms[s.n-1], norms[s.n-1-2*2*(s.n-2)/s.n], 1e-5, "%+v noise=%v", stages, noise)
				}
				s.close()
			}
		}
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
	require.Equal(t, Chain{ARC{4}, NNM{4}, Median{}}.Kappa(10, 1), Chain{&ARC{4}, &NNM{4}, &Median{}}.Kappa(10, 1))
}
