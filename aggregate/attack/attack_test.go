package attack_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
)

func honestRows(seed uint64, n, d int) [][]float32 {
	rng := rand.New(rand.NewPCG(seed, 2))
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = make([]float32, d)
		for j := range rows[i] {
			rows[i][j] = 0.3 + float32(rng.NormFloat64())
		}
	}
	return rows
}

func empty(f, d int) [][]float32 {
	rows := make([][]float32, f)
	for i := range rows {
		rows[i] = slices.Repeat([]float32{float32(math.NaN())}, d)
	}
	return rows
}

func distance2(x, y []float32) (sum float64) {
	for j := range x {
		sum += (float64(x[j]) - float64(y[j])) * (float64(x[j]) - float64(y[j]))
	}
	return sum
}

// TestMoments: IPM and ALIE send the moments of each column, to the last bit, whatever
// the number of rows and of columns.
func TestMoments(t *testing.T) {
	for n := 1; n <= 9; n++ {
		for _, d := range []int{1, 1023, 1024, 2500} {
			honest := honestRows(uint64(n), n, d)
			honest[n-1][0], honest[0][d-1] = 3e38, -1e-42
			liars := empty(3, d)
			mean, sum := make([]float32, d), make([]float32, d)
			for j := range d {
				m, squares := 0.0, 0.0
				for _, row := range honest {
					m += float64(row[j])
				}
				m /= float64(n)
				for _, row := range honest {
					squares += float64((float64(row[j]) - m) * (float64(row[j]) - m))
				}
				mean[j] = float32(m)
				sum[j] = float32(float64(mean[j]) + float64(float32(math.Sqrt(squares/float64(max(n-1, 1))))))
			}
			require.NoError(t, attack.IPM{Tau: -1}.Forge(liars, honest))
			require.Equal(t, mean, liars[1], "mean of %d rows of %d", n, d)
			require.NoError(t, attack.ALIE{Tau: 1}.Forge(liars, honest))
			require.Equal(t, sum, liars[2], "mean and deviation of %d rows of %d", n, d)
		}
	}
}

// TestOptimal: the optimal forms send the fixed ones of their own strength.
func TestOptimal(t *testing.T) {
	honest, got, want := honestRows(1, 9, 50), empty(2, 50), empty(2, 50)
	for seed, rule := range []aggregate.Rule{aggregate.Mean{}, aggregate.Krum{F: 2}, aggregate.Median{}} {
		honest := append(honest, honestRows(uint64(seed+2), 1, 50)...)
		ipm, alie := attack.OptimalIPM{Search: attack.Search{Rule: rule}}, attack.OptimalALIE{Search: attack.Search{Rule: rule}}
		tau, err := ipm.Tau(honest, 2)
		require.NoError(t, err)
		require.NoError(t, ipm.Forge(got, honest))
		require.NoError(t, attack.IPM{Tau: tau}.Forge(want, honest))
		require.Equal(t, want, got)
		tau, err = alie.Tau(honest, 2)
		require.NoError(t, err)
		require.NoError(t, alie.Forge(got, honest))
		require.NoError(t, attack.ALIE{Tau: tau}.Forge(want, honest))
		require.Equal(t, want, got)
	}
}

// TestWithin: MinMax and MinSum go to their bound and not beyond.
func TestWithin(t *testing.T) {
	honest := honestRows(1, 9, 50)
	widest, most := 0.0, 0.0
	for _, x := range honest {
		sum := 0.0
		for _, y := range honest {
			widest = max(widest, distance2(x, y))
			sum += distance2(x, y)
		}
		most = max(most, sum)
	}
	for _, direction := range []attack.Direction{attack.AgainstDeviation, attack.AgainstMean, attack.AgainstSign} {
		liars := empty(3, 50)
		require.NoError(t, attack.MinMax{Direction: direction}.Forge(liars, honest))
		far := 0.0
		for _, x := range honest {
			far = max(far, distance2(x, liars[2]))
		}
		require.InEpsilon(t, widest, far, 1e-5)
		require.NoError(t, attack.MinSum{Direction: direction}.Forge(liars, honest))
		sum := 0.0
		for _, x := range honest {
			sum += distance2(x, liars[0])
		}
		require.InEpsilon(t, most, sum, 1e-5)
	}
	same := [][]float32{{1, 1}, {1, 1}}
	liars := empty(1, 2)
	require.NoError(t, attack.MinMax{}.Forge(liars, same))
	require.Equal(t, same[0], liars[0])
}

func TestKnownStrengths(t *testing.T) {
	// 50 clients of whom 12 lie: 14 supporters, and the normal quantile of 24/38.
	require.InDelta(t, 0.33604, attack.ALIETau(50, 12), 1e-4)
	require.Zero(t, attack.ALIETau(10, 9))
	require.Equal(t, 7, attack.FlipLabel(2, 10))

	honest := honestRows(2, 8, 5)
	target := []float32{1, 2, 3, 4, 5}
	liars := empty(2, 5)
	require.NoError(t, attack.ModelReplacement{Target: target, Boost: 3}.Forge(liars, honest))
	require.Equal(t, []float32{3, 6, 9, 12, 15}, liars[1])
	require.NoError(t, attack.ModelReplacement{Target: target}.Forge(liars, honest))
	require.Equal(t, float32(5), liars[0][0])

	big := empty(2, 40_000)
	require.NoError(t, attack.Gaussian{Mean: 2, Deviation: 3, Seed: 1}.Forge(big, big))
	require.NotEqual(t, big[0], big[1], "each its own")
	sum, squares := 0.0, 0.0
	for _, x := range big[0] {
		sum += float64(x) / 40_000
		squares += (float64(x) - 2) * (float64(x) - 2) / 40_000
	}
	require.InDelta(t, 2, sum, 5*3/200.0)
	require.InDelta(t, 9, squares, 5*9*math.Sqrt(2.0/40_000))
	require.NoError(t, attack.NaN().Forge(liars, honest))
	require.True(t, math.IsNaN(float64(liars[1][4])))
}

// TestGaussianDrawsAnew: unless it has a seed.
func TestGaussianDrawsAnew(t *testing.T) {
	honest := honestRows(1, 3, 50)
	forged := func(seed uint64) [][]float32 {
		liars := empty(2, 50)
		require.NoError(t, attack.Gaussian{Deviation: 1, Seed: seed}.Forge(liars, honest))
		require.NotEqual(t, liars[0], liars[1])
		return liars
	}
	require.Equal(t, forged(5), forged(5))
	require.NotEqual(t, forged(0), forged(0))
}

// TestLabelFlipIsTheMean: also of rows whose deviation is beyond float32, or none.
func TestLabelFlipIsTheMean(t *testing.T) {
	inf := float32(math.Inf(1))
	liars := empty(2, 3)
	honest := [][]float32{{3e38, 1, inf}, {-3e38, 2, 4}}
	for _, a := range []attack.Attack{attack.LabelFlip{}, attack.ALIE{}, attack.IPM{Tau: -1}} {
		require.NoError(t, a.Forge(liars, honest))
		require.Equal(t, [][]float32{{0, 1.5, inf}, {0, 1.5, inf}}, liars, "%T", a)
	}
}

func TestRefusals(t *testing.T) {
	honest := honestRows(4, 5, 3)
	for _, c := range []struct {
		want string
		a    attack.Attack
	}{
		{"IPM.Tau is NaN", attack.IPM{Tau: math.NaN()}},
		{"ALIE.Tau is +Inf", attack.ALIE{Tau: math.Inf(1)}},
		{"Mimic.Client is 5 of 5", attack.Mimic{Client: 5}},
		{"MinMax.Direction is 9", attack.MinMax{Direction: 9}},
		{"MinSum.Direction is -1", attack.MinSum{Direction: -1}},
		{"Gaussian.Deviation is -1", attack.Gaussian{Deviation: -1}},
		{"Gaussian.Mean is NaN", attack.Gaussian{Mean: math.NaN()}},
		{"Target has 1 values", attack.ModelReplacement{Target: []float32{1}}},
		{"Boost is -1", attack.ModelReplacement{Target: make([]float32, 3), Boost: -1}},
		{"Search.Rule is missing", attack.OptimalIPM{}},
		{"Adaptive.Rule is missing", attack.Adaptive{}},
		{"Adaptive.Evals is -1", attack.Adaptive{Rule: aggregate.Mean{}, Evals: -1}},
		{"Adaptive.Random is -1", attack.Adaptive{Rule: aggregate.Mean{}, Random: -1}},
		{"TrimmedMean.F is 4 of 7", attack.Adaptive{Rule: aggregate.TrimmedMean{F: 4}}},
		{"Search.Evals is -1", attack.OptimalALIE{Search: attack.Search{Rule: aggregate.Mean{}, Evals: -1}}},
		{"Search.Delta is +Inf", attack.OptimalALIE{Search: attack.Search{Rule: aggregate.Mean{}, Delta: math.Inf(1)}}},
		{"Search.Ratio is 1", attack.OptimalIPM{Search: attack.Search{Rule: aggregate.Mean{}, Ratio: 1}}},
		{"Search.Start is NaN", attack.OptimalIPM{Search: attack.Search{Rule: aggregate.Mean{}, Start: math.NaN()}}},
		{"TrimmedMean.F is 4 of 7", attack.OptimalALIE{Search: attack.Search{Rule: aggregate.TrimmedMean{F: 4}}}},
	} {
		require.ErrorContains(t, c.a.Forge(empty(2, 3), honest), c.want, fmt.Sprintf("%T", c.a))
		require.ErrorContains(t, c.a.Forge(empty(2, 3), nil), "no honest rows", fmt.Sprintf("%T", c.a))
		require.ErrorContains(t, c.a.Forge(empty(2, 2), honest), "liar's row 0 has 2 values", fmt.Sprintf("%T", c.a))
	}
	require.ErrorContains(t, attack.SignFlip{}.Forge(nil, [][]float32{{1}, {1, 2}}), "honest row 1 has 2 values")
}
