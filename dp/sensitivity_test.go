package dp

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// oneRun gives the integer sum of rows put in one run, by the real weights.
func oneRun(rows [][]float32, clip float64, g grid) []int64 {
	d := 1
	var data []float32
	for _, r := range rows {
		d = len(r)
		data = append(data, r...)
	}
	m := NewMatrix(data, d)
	c, err := newClipping(Flat{Norm: clip}, 0)
	if err != nil {
		panic(err)
	}
	w := make([]float32, len(rows))
	c.weigh(w, m.Norms(nil), g.unit)
	sum := make([]int64, d)
	m.WeightedSum(sum, w, []int{len(rows)})
	return sum
}

func distance(a, b []int64) float64 {
	var s float64
	for j := range a {
		s += float64(a[j]-b[j]) * float64(a[j]-b[j])
	}
	return math.Sqrt(s)
}

// boundary is a batch that float32 adds badly: a sum just above a power of two,
// where what follows is rounded away, and a record x that takes the sum below
// it, where each of what follows counts double (after Casacuberta et al. 2022).
func boundary(n int, clip float64, g grid) (batch [][]float32, x []float32, at int) {
	big := 1
	for 2*big < n/2+2 {
		big *= 2
	}
	one := float32(clip)
	for range big {
		batch = append(batch, []float32{one})
	}
	units := clip / g.unit * float64(big)          // their sum, in the grid
	spacing := math.Ldexp(1, math.Ilogb(units)-24) // below the power of two
	batch = append(batch, []float32{float32(4 * spacing * g.unit)})
	at = len(batch)
	for len(batch) < n-1 {
		batch = append(batch, []float32{float32(-0.51 * spacing * g.unit)})
	}
	return batch, []float32{-one}, at
}

func TestRule07FloatSumsMoveTheSensitivity(t *testing.T) {
	plan := somePlan()
	plan.Sampling, plan.BatchSize, plan.Steps = Poisson{Rate: 0.01}, 1<<14, 1000
	limit := plan.runs().limit
	require.Greater(t, limit, 120)
	require.Less(t, limit, 170)
	const clip = 1.0
	g := newGrid(clip, 1, 1, limit)
	forEachLevel(t, func(t *testing.T) {
		batch, x, at := boundary(limit, clip, g)
		require.Len(t, batch, limit-1)
		moved := distance(oneRun(batch, clip, g), oneRun(slices.Insert(slices.Clone(batch), at, x), clip, g))
		require.LessOrEqual(t, moved, g.sensitivity)
		// It has power: without the float32 term of eta the bound breaks.
		require.Greater(t, moved, clip/g.unit*(1+normSlack)+1)

		// And so it breaks for a batch that is one run.
		batch, x, at = boundary(4096, clip, g)
		moved = distance(oneRun(batch, clip, g), oneRun(slices.Insert(slices.Clone(batch), at, x), clip, g))
		require.Greater(t, moved, 1.1*g.sensitivity)
		// Whose own eta covers it.
		require.LessOrEqual(t, moved, newGrid(clip, 1, 1, 4096).sensitivity)
	})
}

func forEachLevel(t *testing.T, f func(t *testing.T)) {
	for _, l := range kernel.Levels() {
		t.Run(l.String(), func(t *testing.T) {
			defer kernel.Use(l)()
			f(t)
		})
	}
}

// Batches of many shapes, a record anywhere, in several dimensions.
func TestRule07SensitivityHolds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func(row []float32){
		"normal": func(row []float32) {
			for j := range row {
				row[j] = float32(random.NormFloat64())
			}
		},
		"same sign": func(row []float32) {
			for j := range row {
				row[j] = 1 + float32(random.Float64())
			}
		},
		"tiny and long": func(row []float32) {
			scale := float32(math.Exp2(-30 * random.Float64()))
			for j := range row {
				row[j] = scale * float32(random.NormFloat64())
			}
		},
		"one coordinate": func(row []float32) { row[random.IntN(len(row))] = float32(random.NormFloat64()) * 3 },
		"half a unit": func(row []float32) {
			for j := range row {
				row[j] = 0x1p-21 * float32(1-2*random.IntN(2))
			}
		},
	}
	const limit, clip = 96, 0.7
	for name, fill := range shapes {
		for _, d := range []int{1, 3, 64, 5000} {
			worst := 0.0
			g := newGrid(clip, 1, d, limit)
			for range 12 {
				n := 1 + random.IntN(limit)
				rows := make([][]float32, n)
				for i := range rows {
					rows[i] = make([]float32, d)
					fill(rows[i])
				}
				at := random.IntN(n)
				without := slices.Delete(slices.Clone(rows), at, at+1)
				a := make([]int64, d)
				if n > 1 {
					a = oneRun(without, clip, g)
				}
				worst = max(worst, distance(a, oneRun(rows, clip, g)))
			}
			require.LessOrEqual(t, worst, g.sensitivity, "%s d=%d", name, d)
			if name == "same sign" { // all are clipped: the bound is close
				require.Greater(t, worst, 0.99*clip/g.unit)
			}
		}
	}
}

// One record, all of whose coordinates round up: the grid's part of the bound.
func TestRule07RoundingMovesTheSensitivity(t *testing.T) {
	const d, clip = 4096, 1.0005
	g := newGrid(clip, 32, d, 1)
	row := make([]float32, d)
	for j := range row {
		row[j] = clip / 64 * (1 - 1e-6)
	}
	moved := distance(make([]int64, d), oneRun([][]float32{row}, clip, g))
	require.LessOrEqual(t, moved, g.sensitivity)
	require.Greater(t, moved, clip/g.unit*(1+eta(1)))
}

func TestWeightsAreRoundedDown(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	for range 10000 {
		x := math.Exp(40 * random.NormFloat64())
		f := roundDown(x)
		require.LessOrEqual(t, float64(f), x)
		if f < math.MaxFloat32 {
			require.Greater(t, float64(math.Nextafter32(f, math.MaxFloat32)), x)
		}
	}
	require.Equal(t, float32(3), roundDown(3))
	// An example that is clipped adds at most the clip norm.
	c, err := newClipping(Flat{Norm: 0.1}, 0)
	require.NoError(t, err)
	g := newGrid(0.1, 1, 1, 32)
	w := make([]float32, 1)
	for range 10000 {
		n := float32(math.Exp(3 * random.NormFloat64()))
		c.weigh(w, []float32{n}, g.unit)
		require.LessOrEqual(t, float64(w[0])*float64(n)*g.unit, 0.1*(1+weightSlack))
	}
}

func TestEtaIsWhatTheDocSays(t *testing.T) {
	for _, k := range []int{1, 32, 90, 96, 4096} {
		s := new(big.Rat).Mul(big.NewRat(1<<14+1, 1<<14), new(big.Rat).Add(big.NewRat(1, 1), big.NewRat(1, 1<<40)))
		chains := new(big.Rat)
		for m := 1; m <= k; m++ {
			// Upwards to 80 bits, or the denominators would grow without end.
			n := new(big.Int).Lsh(big.NewInt(int64(m+2)), 80)
			n.Add(n.Quo(n, big.NewInt(int64(1<<24-m-2))), big.NewInt(1))
			chains.Add(chains, new(big.Rat).SetFrac(n, new(big.Int).Lsh(big.NewInt(1), 80)))
		}
		chains.Mul(chains, big.NewRat(2, 1))
		want := new(big.Rat).Mul(s, chains.Add(chains, big.NewRat(1, 1)))
		want.Sub(want, big.NewRat(1, 1))
		got := new(big.Rat).SetFloat64(eta(k))
		require.GreaterOrEqual(t, got.Cmp(want), 0, "k=%d", k)
		f, _ := want.Float64()
		require.InEpsilon(t, f, eta(k), 1e-8)
	}
	require.Less(t, eta(150), 0.0015)
}

func TestRule07GridIsFine(t *testing.T) {
	for _, d := range []int{1, 7850, 1 << 20, 1 << 30} {
		for _, clip := range []float64{1e-3, 0.1, 1, 1000} {
			for _, z := range []float64{minNoise, 0.5, 1, 10, 1000} {
				g := newGrid(clip, z, d, 96)
				require.NoError(t, g.check(1))
				frac, _ := math.Frexp(g.unit)
				require.Equal(t, 0.5, frac)
				require.GreaterOrEqual(t, g.sigma, 0x1p20)
				require.GreaterOrEqual(t, g.sigma, z*g.sensitivity)
				require.Less(t, 96*clip/g.unit*1.01, maxRun)
				if z <= 10 {
					require.LessOrEqual(t, g.sensitivity*g.unit, clip*(1+eta(96)+1.001*dimensionShare))
				}
			}
		}
	}
	require.ErrorContains(t, newGrid(1e-12, 1, 10, 96).check(1), "weights")
}

// The bound of the tail is above the exact sum of the binomial's terms, and not
// by much.
func TestBinomialTail(t *testing.T) {
	exact := func(n int, p float64, k int) float64 {
		pr := new(big.Float).SetPrec(300).SetFloat64(p)
		q := new(big.Float).SetPrec(300).Sub(big.NewFloat(1).SetPrec(300), pr)
		term := big.NewFloat(1).SetPrec(300)
		for range n {
			term.Mul(term, q)
		}
		sum := new(big.Float).SetPrec(300)
		for i := 0; i <= n; i++ {
			if i >= k {
				sum.Add(sum, term)
			}
			term.Mul(term, new(big.Float).Mul(pr, big.NewFloat(float64(n-i))))
			term.Quo(term, new(big.Float).Mul(q, big.NewFloat(float64(i+1))))
		}
		f, _ := sum.Float64()
		return f
	}
	for _, c := range []struct {
		n, k int
		p    float64
	}{{100, 50, 0.32}, {100, 99, 0.32}, {6000, 96, 32. / 6000}, {60000, 90, 32. / 60000}, {40, 39, 0.8}, {1000, 40, 0.03}} {
		want, got := exact(c.n, c.p, c.k), binomialTail(c.n, c.p, c.k)
		require.GreaterOrEqual(t, got, want, c)
		require.LessOrEqual(t, got, 10*want, c)
	}
}

func TestRunsLimitHoldsItsChance(t *testing.T) {
	for _, plan := range everyPlanShape() {
		r := plan.runs()
		require.LessOrEqual(t, r.chance, plan.Delta*overflowShare)
		require.Positive(t, plan.MechanismDelta())
		require.GreaterOrEqual(t, plan.MechanismDelta(), plan.Delta*(1-2*overflowShare))
		require.Equal(t, (plan.BatchSize+63)/64, r.count)
		if r.limit < plan.Population() {
			require.Positive(t, r.chance)
			// The next smaller limit would not do.
			p := plan.rate() / float64(r.count)
			require.Greater(t, float64(plan.Steps*r.count)*binomialTail(plan.Population(), p, r.limit-1), plan.Delta*overflowShare)
		}
	}
}

func everyPlanShape() (out []Plan) {
	for _, population := range []int{1, 10, 400, 60000, 1 << 24} {
		for _, batch := range []int{1, 31, 32, 33, 256, 4096, 60000} {
			if batch > population {
				continue
			}
			p := somePlan()
			p.Sampling, p.BatchSize, p.Steps = Poisson{Rate: float64(batch) / float64(population)}, batch, 5000
			out = append(out, p)
		}
	}
	return out
}

// Overflow really drops, and cannot be seen in a sum that would be too long.
func TestOverflowingRunsDrop(t *testing.T) {
	tr := newTrial(400, somePlan())
	trainer := tr.start(t)
	trainer.draw.runs.limit = 10
	require.NoError(t, trainer.Step())
	s := trainer.NotPrivateStats().Step
	require.Equal(t, 40, s.Drawn)
	require.Greater(t, s.Dropped, 30)
}
