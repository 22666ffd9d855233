package aggregate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// everyRule is one of each, for at least 2f+1 rows.
func everyRule(f int) map[string]func() Rule {
	value := func(r Rule) func() Rule { return func() Rule { return r } }
	return map[string]func() Rule{
		"mean": value(Mean{}), "median": value(Median{}), "trimmed": value(TrimmedMean{f}), "meamed": value(Meamed{f}),
		"krum": value(Krum{F: f}), "multikrum": value(MultiKrum{F: f}), "monna": value(MoNNA{f, 0}), "mda": value(MinimumDiameter{f}),
		"geomed": value(GeometricMedian{}), "weiszfeld": value(Weiszfeld{0.1, 3}),
		"cclip": func() Rule { return &CenteredClipping{Tau: 1, Steps: 2} },
		"nnm":   value(NNM{f}), "bucketing": value(Bucketing{Size: 2, Seed: 1}), "clipping": value(Clipping{2}), "arc": value(ARC{f}),
		"chain": value(Chain{ARC{f}, NNM{f}, TrimmedMean{f}}),
		"guard": value(Guard{F: f, Rule: func(f int) Rule { return TrimmedMean{f} }}),
	}
}

func someRows(seed uint64, n, d int) [][]float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = make([]float32, d)
		for j := range rows[i] {
			rows[i][j] = float32(rng.NormFloat64())
		}
	}
	return rows
}

// TestEveryRule: the same bits on any number of cores and in a dirty dst, the mean
// of equal rows, inputs left alone, and verdicts that add up.
func TestEveryRule(t *testing.T) {
	const n, f, d = 9, 2, 70_001
	rows := someRows(3, n, d)
	before := slices.Clone(rows[4])
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for name, rule := range everyRule(f) {
		var v Verdict
		runtime.GOMAXPROCS(1)
		want, err := rule().Aggregate(nil, rows, &v)
		require.NoError(t, err, name)
		require.Len(t, want, d)
		require.Len(t, v.Clients, n, name)
		sum := 0.0
		for _, c := range v.Clients {
			sum += c.Weight
		}
		if !math.IsNaN(sum) && name != "cclip" && name != "clipping" && name != "arc" && name != "chain" { // which keep a share for 0 or the momentum
			require.InDelta(t, 1, sum, 1e-5, name)
		}
		runtime.GOMAXPROCS(4)
		dirty := slices.Repeat([]float32{float32(math.NaN())}, d)
		got, err := rule().Aggregate(dirty, rows, nil)
		require.NoError(t, err, name)
		require.Same(t, &dirty[0], &got[0], name)
		require.Equal(t, want, got, name)
		require.Equal(t, before, rows[4], name)

		same := [][]float32{{1, -2, 0.5}, {1, -2, 0.5}, {1, -2, 0.5}, {1, -2, 0.5}, {1, -2, 0.5}}
		got, err = rule().Aggregate(nil, same, nil)
		require.NoError(t, err, name)
		for j, x := range got {
			if name != "weiszfeld" && name != "cclip" && name != "clipping" { // which pull to 0
				require.InDelta(t, same[0][j], x, 1e-6, name)
			}
		}
	}
}

// TestAnyClientOrder: rules that treat clients alike do not see their order.
func TestAnyClientOrder(t *testing.T) {
	const n, f, d = 11, 3, 3000
	rows := someRows(5, n, d)
	for _, name := range []string{"median", "trimmed", "meamed", "krum", "mda"} {
		rule := everyRule(f)[name]()
		want, err := rule.Aggregate(nil, rows, nil)
		require.NoError(t, err)
		shuffled := slices.Clone(rows)
		for range 5 {
			rand.Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			got, err := rule.Aggregate(nil, shuffled, nil)
			require.NoError(t, err)
			if name == "mda" { // its mean is taken in the rows' order
				require.InDeltaSlice(t, want, got, 1e-6, name)
			} else {
				require.Equal(t, want, got, name)
			}
		}
	}
}

// TestKappa: with f rows far out in any of several ways the error stays within κ
// times the spread of the honest rows.
func TestKappa(t *testing.T) {
	type bounded interface {
		Rule
		Kappa(n, f int) float64
	}
	const d = 40
	for _, n := range []int{5, 11, 20} {
		for f := 1; 2*f < n; f += 2 {
			honest := someRows(uint64(n*100+f), n-f, d)
			mean, err := Mean{}.Aggregate(nil, honest, nil)
			require.NoError(t, err)
			spread := 0.0
			for _, row := range honest {
				for j, x := range row {
					spread += float64(x-mean[j]) * float64(x-mean[j]) / float64(n-f)
				}
			}
			for attack := range 4 {
				rows := slices.Clone(honest)
				for range f {
					liar := make([]float32, d)
					for j := range liar {
						switch attack {
						case 0:
							liar[j] = 1e6
						case 1:
							liar[j] = mean[j] + 1.5
						case 2:
							liar[j] = -10 * mean[j]
						case 3:
							liar[j] = honest[0][j]
						}
					}
					rows = append(rows, liar)
				}
				for _, rule := range []bounded{Median{}, TrimmedMean{f}, Krum{F: f}, GeometricMedian{}} {
					out, err := rule.Aggregate(nil, rows, nil)
					require.NoError(t, err)
					off := 0.0
					for j, x := range out {
						off += float64(x-mean[j]) * float64(x-mean[j])
					}
					require.LessOrEqual(t, off, rule.Kappa(n, f)*spread, "%T n=%d f=%d attack %d", rule, n, f, attack)
				}
			}
			require.True(t, math.IsInf(Median{}.Kappa(2*f, f), 1))
		}
	}
}

func TestVerdicts(t *testing.T) {
	rows := [][]float32{{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, -9}, {90, 90, 90}}
	var v Verdict
	_, err := TrimmedMean{1}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	require.Equal(t, 1.0, v.Clients[4].Trimmed)
	require.Equal(t, 0.0, v.Clients[4].Weight)
	require.InDelta(t, 2.0/3, v.Clients[0].Trimmed, 1e-12)
	require.InDelta(t, 1.0/3, v.Clients[3].Trimmed, 1e-12)
	_, err = MultiKrum{F: 1}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	require.Equal(t, Outvoted, v.Clients[4].Rejected)
	require.Equal(t, Kept, v.Clients[1].Rejected)
	require.Greater(t, v.Clients[4].Distance, v.Clients[3].Distance)
	require.Equal(t, "outvoted", v.Clients[4].Rejected.String())
	require.Equal(t, "Reason(9)", Reason(9).String())

	// Three refused of F = 4 leave one liar to expect.
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	rows = [][]float32{{1, 1}, {2, 2}, {nan, 1}, {3, 3}, {1, inf}, {4, 4}, {5}, {500, 0}, {6, 6}}
	told := -1
	g := Guard{F: 4, MaxNorm: 100, Rule: func(f int) Rule { told = f; return TrimmedMean{1} }}
	out, err := g.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	require.Equal(t, 0, told)
	require.Equal(t, []float32{3, 3}, out)
	require.Equal(t, []Reason{Kept, Kept, NotFinite, Kept, NotFinite, Kept, WrongLength, NormTooLarge, Kept},
		[]Reason{v.Clients[0].Rejected, v.Clients[1].Rejected, v.Clients[2].Rejected, v.Clients[3].Rejected, v.Clients[4].Rejected,
			v.Clients[5].Rejected, v.Clients[6].Rejected, v.Clients[7].Rejected, v.Clients[8].Rejected})
	g.Fail = true
	_, err = g.Aggregate(nil, rows, nil)
	require.ErrorContains(t, err, "rows [2 4 6 7] are refused, row 2 as not finite")
	g.Fail = false
	_, err = g.Aggregate(make([]float32, 3), rows, nil)
	require.ErrorContains(t, err, "wrong length", "all rows are refused")
}

func TestRefusals(t *testing.T) {
	good := someRows(1, 5, 3)
	nan := float32(math.NaN())
	for _, c := range []struct {
		want string
		rule Rule
		rows [][]float32
	}{
		{"Median of no rows", Median{}, nil},
		{"of 1025 rows, must be at most 1024", Median{}, make([][]float32, 1025)},
		{"TrimmedMean.F is 3 of 5 rows", TrimmedMean{3}, good},
		{"TrimmedMean.F is -1", TrimmedMean{-1}, good},
		{"Krum.F is 3", Krum{F: 3}, good},
		{"Krum.Neighbors is 5", Krum{F: 1, Neighbors: 5}, good},
		{"MultiKrum.Chosen is 6", MultiKrum{F: 1, Chosen: 6}, good},
		{"MoNNA.Trusted is 5", MoNNA{1, 5}, good},
		{"Meamed.F is 5", Meamed{5}, good},
		{"MinimumDiameter.F is 3", MinimumDiameter{3}, good},
		{"NNM.F is 5", NNM{5}, good},
		{"ARC.F is 6", ARC{6}, good},
		{"Bucketing.Size is 0", Bucketing{}, good},
		{"Bucketing.Permutation [0 1]", Bucketing{Size: 2, Permutation: []int{0, 1}}, good},
		{"Bucketing.Permutation [0 1 2 3 3]", Bucketing{Size: 2, Permutation: []int{0, 1, 2, 3, 3}}, good},
		{"Clipping.Norm is -1", Clipping{-1}, good},
		{"Tau is NaN", &CenteredClipping{Tau: math.NaN(), Steps: 1}, good},
		{"Steps is 0", &CenteredClipping{Tau: 1}, good},
		{"Momentum has 2 values", &CenteredClipping{Tau: 1, Steps: 1, Momentum: make([]float32, 2)}, good},
		{"GeometricMedian.Smoothing is -1", GeometricMedian{-1}, good},
		{"Weiszfeld.Steps is -1", Weiszfeld{1, -1}, good},
		{"Mean.Weights has 2 values for 5", Mean{Weights: []float64{1, 2}}, good},
		{"Mean.Weights[1] is -2", Mean{Weights: []float64{1, -2, 1, 1, 1}}, good},
		{"must be positive", Mean{Weights: make([]float64, 5)}, good},
		{"Chain is empty", Chain{}, good},
		{"Chain[0] is aggregate.Krum, which gives one row", Chain{Krum{F: 1}, Median{}}, good},
		{"Guard.Rule is missing", Guard{}, good},
		{"Guard.F is 3", Guard{F: 3, Rule: func(int) Rule { return Median{} }}, good},
		{"row 1 has 2 values", Median{}, [][]float32{{1}, {1, 2}}},
		{"row 1 holds NaN at column 0", Median{}, [][]float32{{1}, {nan}}},
		{"row 0 holds +Inf at column 0", Mean{}, [][]float32{{float32(math.Inf(1))}, {1}}},
	} {
		dst := []float32{7, 7, 7}
		if len(c.rows) == 0 || len(c.rows[0]) != 3 {
			dst = nil
		}
		_, err := c.rule.Aggregate(dst, c.rows, nil)
		require.ErrorContains(t, err, c.want)
		if dst != nil {
			require.Equal(t, []float32{7, 7, 7}, dst, "nothing half-written")
		}
	}
	for name, rule := range everyRule(1) {
		if name != "guard" { // which takes the rows to be wrong
			require.Panics(t, func() { rule().Aggregate(make([]float32, 2), good, nil) }, name)
		}
	}
	require.Panics(t, func() { Krum{F: 1}.Aggregate(good[1], good, nil) })
}

// TestAllocations: coordinate-wise rules allocate nothing once warm.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's pools drop what they hold")
	}
	rows := someRows(2, 9, 50_000)
	dst := make([]float32, 50_000)
	for _, rule := range []Rule{Mean{}, Median{}, TrimmedMean{2}, Meamed{2}} {
		require.Zero(t, testing.AllocsPerRun(20, func() { rule.Aggregate(dst, rows, nil) }), fmt.Sprintf("%T", rule))
	}
}

func FuzzRules(f *testing.F) {
	f.Add(uint64(1), byte(5), byte(3), byte(1))
	f.Add(uint64(2), byte(1), byte(0), byte(0))
	f.Add(uint64(3), byte(20), byte(70), byte(9))
	f.Fuzz(func(t *testing.T, seed uint64, n, d, faulty byte) {
		rows := someRows(seed, int(n%24), int(d))
		for name, rule := range everyRule(int(faulty % 8)) {
			out, err := rule().Aggregate(nil, rows, nil)
			if err != nil {
				continue
			}
			require.Len(t, out, int(d), name)
			for j, x := range out { // within the rows' range: all are averages, or clipped
				lo, hi := float32(0), float32(0)
				for _, row := range rows {
					lo, hi = min(lo, row[j]), max(hi, row[j])
				}
				require.GreaterOrEqual(t, x, lo-1e-4, name)
				require.LessOrEqual(t, x, hi+1e-4, name)
			}
		}
	})
}
