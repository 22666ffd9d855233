package aggregate

import (
	"bytes"
	"cmp"
	"errors"
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
		"bulyan": value(Bulyan{f / 2}), "smea": value(SMEA{F: f}), "caf": value(CAF{F: f}), "dnc": value(DnC{F: f, Columns: 500, Iterations: 2, Seed: 1}),
		"signs": value(SignMajority{0.25}), "wmedian": value(anyNumber(func(w []float64) Rule { return WeightedMedian{w} })),
		"wtrimmed": value(anyNumber(func(w []float64) Rule { return WeightedTrimmedMean{w, 0.2} })),
		"flame":    value(FLAME{}), "foolsgold": func() Rule { return &FoolsGold{} }, "foolsgoldnow": func() Rule { return &FoolsGold{Forget: true} },
		"fltrust": value(shaped{func(_, d int) Rule {
			return FLTrust{Root: slices.Repeat([]float32{0.2 / float32(math.Sqrt(float64(max(d, 1))))}, d)}
		}}),
		"wmean": value(anyNumber(func(w []float64) Rule { return Mean{w} })),
		"chain": value(Chain{ARC{f}, NNM{f}, TrimmedMean{f}}),
		"guard": value(Guard{F: f, Rule: func(f int) Rule { return TrimmedMean{f} }}),
	}
}

// anyNumber is a rule with equal weights for as many rows as there are.
func anyNumber(rule func(weights []float64) Rule) Rule {
	return shaped{func(n, _ int) Rule { return rule(slices.Repeat([]float64{2}, n)) }}
}

// shaped is a rule for as many rows, and as long, as there are.
type shaped struct{ of func(n, d int) Rule }

func (r shaped) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	d := 0
	if len(rows) > 0 {
		d = len(rows[0])
	}
	return r.of(len(rows), d).Aggregate(dst, rows, v)
}

// fit is the rule for n rows of d.
func fit(rule Rule, n, d int) Rule {
	if r, ok := rule.(shaped); ok {
		return r.of(n, d)
	}
	return rule
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

		same := slices.Repeat([][]float32{{1, -2, 0.5}}, 7)
		got, err = rule().Aggregate(nil, same, nil)
		require.NoError(t, err, name)
		for j, x := range got {
			switch name {
			case "weiszfeld", "cclip", "clipping": // which pull to 0
			case "fltrust": // which scales to its root
			case "signs", "foolsgold", "foolsgoldnow": // which vote, and take equal rows for one attacker's
			default:
				require.InDelta(t, same[0][j], x, 1e-6, name)
			}
		}
	}
}

// TestAnyClientOrder: rules that treat clients alike do not see their order.
func TestAnyClientOrder(t *testing.T) {
	const n, f, d = 11, 3, 3000
	rows := someRows(5, n, d)
	rows[3], rows[7] = slices.Clone(rows[2]), slices.Clone(rows[2])
	rows[7][2999]++
	for name, rule := range everyRule(f) {
		switch name {
		case "monna", "bucketing", "foolsgold": // whose rows have names
			continue
		}
		var before, after Verdict
		want, err := rule().Aggregate(nil, rows, &before)
		require.NoError(t, err)
		shuffled, order := slices.Clone(rows), rand.Perm(n)
		for range 5 {
			rand.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
			for k, i := range order {
				shuffled[k] = rows[i]
			}
			got, err := rule().Aggregate(nil, shuffled, &after)
			require.NoError(t, err)
			require.Equal(t, want, got, name)
			for k, i := range order {
				if i != 2 && i != 3 { // which are equal, and either may be the one chosen
					require.Equal(t, fmt.Sprint(before.Clients[i]), fmt.Sprint(after.Clients[k]), name)
				}
			}
		}
	}
}

// TestStream: rows read from readers give the bits of rows in memory, and verdicts too.
func TestStream(t *testing.T) {
	const n, f, d = 9, 2, 70_001
	rows := someRows(9, n, d)
	source := ReaderSource{Columns: d}
	for _, row := range rows {
		source.Rows = append(source.Rows, bytes.NewReader(bytesOf(row)))
	}
	for name, rule := range everyRule(f) {
		if name == "foolsgold" {
			require.ErrorContains(t, Stream(rule(), source, nil, nil), "in memory")
			continue
		}
		weights := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}
		switch of := rule; name {
		case "wmedian":
			rule = func() Rule { return WeightedMedian{weights} }
		case "wtrimmed":
			rule = func() Rule { return WeightedTrimmedMean{weights, 0.2} }
		case "wmean":
			rule = func() Rule { return Mean{weights} }
		default:
			rule = func() Rule { return fit(of(), n, d) }
		}
		var before, after Verdict
		want, err := rule().Aggregate(nil, rows, &before)
		require.NoError(t, err, name)
		var got []float32
		streamed := rule()
		require.NoError(t, Stream(streamed, source, func(at int, values []float32) error {
			require.Equal(t, len(got), at)
			got = append(got, values...)
			return nil
		}, &after), name)
		require.Equal(t, want, got, name)
		require.Equal(t, fmt.Sprint(before), fmt.Sprint(after), name)
		if c, ok := streamed.(*CenteredClipping); ok {
			require.Equal(t, want, c.Momentum)
		}
	}

	emit := func(int, []float32) error { return nil }
	stop := errors.New("disk full")
	require.ErrorIs(t, Stream(Median{}, source, func(int, []float32) error { return stop }, nil), stop)
	require.ErrorContains(t, Stream(shaped{}, source, emit, nil), "not a rule of this package")
	require.ErrorContains(t, Stream(Chain{NNM{2}, Guard{}}, source, emit, nil), "which must stand around it")
	require.ErrorContains(t, Stream(Median{}, ReaderSource{}, emit, nil), "source of 0 rows")
	source.Rows[4] = bytes.NewReader(bytesOf(rows[4][:d-3]))
	require.ErrorContains(t, Stream(Krum{F: 1}, source, emit, nil), "row 4 has 279992 bytes, must have 280004, 4 for each of 70001 columns")
	bad := slices.Clone(rows[4])
	bad[d-1] = float32(math.Inf(-1))
	source.Rows[4] = bytes.NewReader(bytesOf(bad))
	require.ErrorContains(t, Stream(Mean{}, source, emit, nil), "row 4 holds -Inf at column 70000")
	var v Verdict
	guard := Guard{F: 2, Rule: func(f int) Rule { require.Equal(t, 1, f); return TrimmedMean{f} }}
	var got []float32
	require.NoError(t, Stream(guard, source, func(_ int, values []float32) error { got = append(got, values...); return nil }, &v))
	require.Equal(t, NotFinite, v.Clients[4].Rejected)
	want, err := TrimmedMean{1}.Aggregate(nil, slices.Delete(slices.Clone(rows), 4, 5), nil)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestMixtures: what a chain does to mixtures by algebra is what rules do to mixed
// rows.
func TestMixtures(t *testing.T) {
	const n, f, d = 13, 3, 5000
	rows := someRows(8, n, d)
	for _, liar := range rows[:f] {
		for j := range liar {
			liar[j] = 5*liar[j] + 3
		}
	}
	for _, pre := range []PreAggregation{NNM{f}, ARC{f}, Clipping{40}, Bucketing{Size: 2, Seed: 4}} {
		mixed, err := pre.Mix(nil, rows, nil)
		require.NoError(t, err)
		for name, rule := range everyRule(2) {
			if name == "foolsgold" || name == "guard" {
				continue
			}
			after := fit(rule(), len(mixed), d)
			want, err := after.Aggregate(nil, mixed, nil)
			require.NoError(t, err)
			after = fit(rule(), len(mixed), d)
			got, err := Chain{pre, after}.Aggregate(nil, rows, nil)
			require.NoError(t, err)
			require.InDeltaSlice(t, want, got, 2e-4, "%T before %s", pre, name)
		}
	}
}

// TestWeighted: a weight of k is k equal rows.
func TestWeighted(t *testing.T) {
	rows := someRows(4, 7, 300)
	weights := []float64{1, 2, 0, 3, 1, 1, 3}
	var copies [][]float32
	for i, w := range weights {
		copies = append(copies, slices.Repeat([][]float32{rows[i]}, int(w))...)
	}
	got, err := WeightedMedian{weights}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	want, err := Median{}.Aggregate(nil, copies, nil)
	require.NoError(t, err)
	require.InDeltaSlice(t, want, got, 1e-6)
	got, err = WeightedTrimmedMean{weights, 2.0 / 11}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	want, err = TrimmedMean{2}.Aggregate(nil, copies, nil)
	require.NoError(t, err)
	require.InDeltaSlice(t, want, got, 1e-6)
	got, err = Mean{weights}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	want, err = Mean{}.Aggregate(nil, copies, nil)
	require.NoError(t, err)
	require.InDeltaSlice(t, want, got, 1e-6)

	got, err = WeightedMedian{[]float64{1, 0, 1}}.Aggregate(nil, [][]float32{{0}, {4}, {10}}, nil)
	require.NoError(t, err)
	require.Equal(t, []float32{5}, got, "who weighs nothing has no say, at the half either")
	got, err = WeightedTrimmedMean{[]float64{1, 1, 2}, 0.125}.Aggregate(nil, [][]float32{{0}, {4}, {10}}, nil)
	require.NoError(t, err)
	require.InDelta(t, (0.5*0+1*4+1.5*10)/3, got[0], 1e-6, "half of the first value's weight is cut off")
}

// TestTrust: rules that weigh by direction, by hand.
func TestTrust(t *testing.T) {
	rows := [][]float32{{2, 0}, {0, 3}, {-5, 0}, {4, 4}, {0, 0}}
	var v Verdict
	out, err := FLTrust{Root: []float32{1, 0}}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	h := math.Sqrt(0.5) // the cosine of {4, 4}, which has weight h and counts as {h, h}
	require.InDelta(t, (1+h*h)/(1+h), out[0], 1e-6)
	require.InDelta(t, h*h/(1+h), out[1], 1e-6)
	require.Equal(t, Outvoted, v.Clients[2].Rejected)
	require.InDelta(t, -1, v.Clients[2].Distance, 1e-9)
	out, err = FLTrust{Root: []float32{0, -1}}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	require.Equal(t, []float32{0, 0}, out, "nobody is trusted")

	// Two sybils of equal direction against three who differ.
	rows = [][]float32{{9, 9, 9, 0}, {8, 8, 8, 0}, {1, 0, 0, 1}, {0, 1, 0, -1}, {0, 0, 1, 1}}
	gold := &FoolsGold{}
	for range 3 {
		out, err = gold.Aggregate(nil, rows, &v)
		require.NoError(t, err)
	}
	require.Equal(t, []float32{27, 27, 27, 0}, gold.History[0])
	require.Zero(t, v.Clients[0].Weight)
	require.Zero(t, v.Clients[1].Weight)
	require.Greater(t, v.Clients[3].Weight, 0.0)
	require.Less(t, out[0], float32(1.01))

	rows = [][]float32{{1, 0}, {2, 0.1}, {3, -0.1}, {-100, 1}, {-90, 5}}
	out, err = FLAME{}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	for i, reason := range []Reason{Kept, Kept, Kept, Outvoted, Outvoted} {
		require.Equal(t, reason, v.Clients[i].Rejected)
	}
	require.InDelta(t, math.Sqrt(9.01), FLAME{}.Bound(&v), 1e-6)
	require.InDelta(t, 2, out[0], 1e-6)

	out, err = SignMajority{0.5}.Aggregate(nil, [][]float32{{1, -3, 0, 1, 5}, {2, -0.1, 0, -1, 0}, {-90, 7, 4, 0, 0}}, &v)
	require.NoError(t, err)
	require.Equal(t, []float32{0.5, -0.5, 0.5, 0, 0.5}, out)
	require.InDelta(t, 2.0/5, v.Clients[2].Trimmed, 1e-12)
}

// TestFarLiar: a liar as far out as float32 goes does not hold the filter up.
func TestFarLiar(t *testing.T) {
	rows := someRows(13, 12, 50)
	honest, err := Mean{}.Aggregate(nil, rows[1:], nil)
	require.NoError(t, err)
	for _, far := range []float32{1e3, 1e8, 1e18} {
		for j := range rows[0] {
			rows[0][j] = far
		}
		out, err := CAF{F: 2}.Aggregate(nil, rows, nil)
		require.NoError(t, err)
		off := 0.0
		for j, x := range out {
			off += float64(x-honest[j]) * float64(x-honest[j]) / float64(len(out))
		}
		require.Less(t, off, 0.15, "%v", far) // the variance of honest rows is 1
	}
}

// TestBulyan: a liar who hides all its error in one coordinate, near enough for Krum, is
// held to the honest values there.
func TestBulyan(t *testing.T) {
	const n, f, d = 15, 3, 2000
	rows := someRows(12, n, d)
	for _, liar := range rows[:f] {
		clear(liar)
		liar[7] = 20
	}
	out, err := MultiKrum{F: f}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	require.Greater(t, out[7], float32(4), "Krum lets it pass")
	out, err = Bulyan{f}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	require.Less(t, out[7], float32(2.5))
}

// TestFilters: rules that look for a direction find the liars' one, which hides in each
// coordinate.
func TestFilters(t *testing.T) {
	const n, f, d = 15, 3, 20_000
	rows := someRows(6, n, d)
	for _, liar := range rows[4 : 4+f] {
		for j := range liar {
			liar[j] += 0.4
		}
	}
	for _, rule := range []Rule{DnC{F: f}, DnC{F: f, Columns: 3000, Iterations: 3, Seed: 1}, CAF{F: f}, SMEA{F: f}, MultiKrum{F: f}} {
		var v Verdict
		out, err := rule.Aggregate(nil, rows, &v)
		require.NoError(t, err)
		sum := 0.0
		for _, x := range out {
			sum += float64(x) / d
		}
		require.Less(t, math.Abs(sum), 0.01, "%T", rule)
		for i, c := range v.Clients {
			if liar := i >= 4 && i < 4+f; liar {
				require.Less(t, c.Weight, 0.02, "%T weighs liar %d", rule, i)
			}
		}
	}
}

// TestKappa: whatever f of the rows are, the error stays within κ times the spread of the
// others, of any n-f. Rows of one or two columns and few values are tried, for which
// errors come near what the proofs allow.
func TestKappa(t *testing.T) {
	type bounded interface {
		Rule
		Kappa(n, f int) float64
	}
	rng := rand.New(rand.NewPCG(11, 12))
	for _, n := range []int{3, 4, 5, 8, 11, 20} {
		for f := 0; 2*f < n; f++ {
			rules := []bounded{Median{}, TrimmedMean{f}, Meamed{f}, Krum{F: f}, MultiKrum{F: f}, GeometricMedian{}, MinimumDiameter{F: f},
				MultiKrum{F: f, Chosen: (n - f + 1) / 2},
				Chain{NNM{f}, TrimmedMean{f}}, Chain{NNM{f}, Median{}}, Chain{ARC{f}, NNM{f}, Median{}}, Chain{NNM{f}, Krum{F: f}}}
			if k := n - f - 2; k >= max(f, 1) {
				rules = append(rules, Krum{F: f, Neighbors: k}, MultiKrum{F: f, Neighbors: k})
			}
			if n < 20 {
				rules = append(rules, SMEA{F: f})
			}
			worst := make([]float64, len(rules))
			for range 120 {
				d := 1 + rng.IntN(2)
				rows := make([][]float32, n)
				values := []float32{0, 1, -1, float32(rng.NormFloat64()), float32(math.Exp(4 * rng.NormFloat64())), float32(rng.NormFloat64())}
				values = values[:2+rng.IntN(len(values)-1)]
				for i := range rows {
					rows[i] = make([]float32, d)
					for j := range rows[i] {
						rows[i][j] = values[rng.IntN(len(values))]
					}
				}
				largest := 0.0
				for _, row := range rows {
					for _, x := range row {
						largest = max(largest, math.Abs(float64(x)))
					}
				}
				outs := make([][]float32, len(rules))
				for r, rule := range rules {
					out, err := rule.Aggregate(nil, rows, nil)
					require.NoError(t, err)
					outs[r] = out
				}
				for range 10 { // sets of n-f rows
					mean, spread := make([]float64, d), 0.0
					set := rng.Perm(n)[:n-f]
					if rng.IntN(2) == 0 { // one that lies together
						center := rows[set[0]]
						set = rng.Perm(n)
						slices.SortStableFunc(set, func(a, b int) int {
							return cmp.Compare(math.Abs(float64(rows[a][0]-center[0])), math.Abs(float64(rows[b][0]-center[0])))
						})
						set = set[:n-f]
					}
					for _, i := range set {
						for j, x := range rows[i] {
							mean[j] += float64(x) / float64(n-f)
						}
					}
					size := 0.0
					for _, i := range set {
						for j, x := range rows[i] {
							spread += (float64(x) - mean[j]) * (float64(x) - mean[j]) / float64(n-f)
							size = max(size, math.Abs(float64(x)))
						}
					}
					for r, rule := range rules {
						off := 0.0
						for j, x := range outs[r] {
							off += (float64(x) - mean[j]) * (float64(x) - mean[j])
						}
						inexact := 1e-6 * size
						if _, ok := rule.(GeometricMedian); ok {
							inexact = 1e-6 + 1e-5*largest // its smoothing, and its iterations end
						}
						require.LessOrEqual(t, math.Sqrt(off), math.Sqrt(rule.Kappa(n, f)*spread)+inexact, "%T %+v n=%d f=%d %v of %v", rule, rule, n, f, set, rows)
						if spread > 1e-4*size*size {
							worst[r] = max(worst[r], off/spread)
						}
					}
				}
			}
			if f > 0 {
				for r, rule := range rules { // the errors come near the coefficients that are
					near := 12.0
					switch rule.(type) {
					case TrimmedMean:
						near = 40
					case Median, Krum:
					default:
						continue
					}
					require.Greater(t, worst[r], rule.Kappa(n, f)/near, "%T n=%d f=%d", rule, n, f)
				}
			}
			require.True(t, math.IsInf(Median{}.Kappa(2*f, f), 1))
			require.True(t, math.IsInf(Krum{F: f - 1}.Kappa(n, f), 1), "made for fewer liars")
			require.True(t, math.IsInf(MultiKrum{F: f, Chosen: n - f + 1}.Kappa(n, f), 1), "not what is proved")
			require.True(t, math.IsInf(MultiKrum{F: f, Neighbors: n - f}.Kappa(n, f), 1), "not what is proved")
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
	require.Equal(t, []Reason{Outvoted, Kept, NotFinite, Kept, NotFinite, Kept, WrongLength, NormTooLarge, Outvoted},
		[]Reason{v.Clients[0].Rejected, v.Clients[1].Rejected, v.Clients[2].Rejected, v.Clients[3].Rejected, v.Clients[4].Rejected,
			v.Clients[5].Rejected, v.Clients[6].Rejected, v.Clients[7].Rejected, v.Clients[8].Rejected})
	g.Fail = true
	_, err = g.Aggregate(nil, rows, nil)
	require.ErrorContains(t, err, "rows [2 4 6 7] are refused, row 2 as not finite")
	g.Fail = false
	_, err = g.Aggregate(make([]float32, 3), rows, nil)
	require.ErrorContains(t, err, "wrong length", "all rows are refused")
}

// TestVerdictsAddUp: the shares that a verdict tells are those that the result is made of, also
// through a chain.
func TestVerdictsAddUp(t *testing.T) {
	weights := []float64{1, 2, .5, 1, 3, 1, .1, 1, 1, 2, 1}
	for _, rule := range []Rule{
		Mean{}, Mean{Weights: weights}, Median{}, TrimmedMean{2}, Meamed{3}, WeightedMedian{weights}, WeightedTrimmedMean{weights, .2},
		Krum{F: 2}, MultiKrum{F: 2}, Bulyan{1}, NNM{2}, ARC{3}, Clipping{1}, Bucketing{Size: 3}, &CenteredClipping{Tau: .5, Steps: 2},
		MinimumDiameter{2}, SMEA{F: 2}, CAF{F: 2}, MoNNA{F: 3, Trusted: 4}, GeometricMedian{},
		Chain{ARC{2}, NNM{2}, TrimmedMean{2}}, Chain{NNM{3}, Median{}}, Chain{Bucketing{Size: 2}, TrimmedMean{1}},
		Chain{Bucketing{Size: 2}, Meamed{2}}, Chain{NNM{2}, Bulyan{1}}, Chain{NNM{2}, Krum{F: 2}}, Chain{ARC{2}, Mean{}},
		Chain{NNM{2}, Chain{ARC{2}, MultiKrum{F: 2}}}, Chain{NNM{1}, WeightedMedian{weights}}, Chain{TrimmedMean{2}},
	} {
		for seed := range uint64(30) {
			rows := someRows(seed, 11, 1)
			if seed%2 == 1 {
				for _, row := range rows { // many are equal, or equally far from the median
					row[0] = float32(math.Round(float64(2*row[0]))) + 3
				}
			}
			if r, ok := rule.(*CenteredClipping); ok {
				r.Momentum = nil
			}
			var v Verdict
			out, err := rule.Aggregate(nil, rows, &v)
			require.NoError(t, err)
			sum := 0.0
			for i, c := range v.Clients {
				sum += c.Weight * float64(rows[i][0])
				require.Equal(t, c.Weight == 0, c.Rejected == Outvoted, "%T %+v", rule, c)
			}
			require.InDelta(t, out[0], sum, 1e-5, "%T %+v of %v: %+v", rule, rule, rows, v)
		}
	}
}

// TestVerdictsOfWeights: what falls to equal values is divided by the clients' own weights, and
// nothing falls to a weight of 0.
func TestVerdictsOfWeights(t *testing.T) {
	var v Verdict
	shares := func(rule Rule, rows [][]float32) (w []float64) {
		_, err := rule.Aggregate(nil, rows, &v)
		require.NoError(t, err)
		for _, c := range v.Clients {
			w = append(w, c.Weight)
			require.Equal(t, c.Weight == 0, c.Rejected == Outvoted)
		}
		return w
	}
	require.InDeltaSlice(t, []float64{1, 0, 0}, shares(WeightedMedian{[]float64{1, 0, .5}}, [][]float32{{5}, {5}, {9}}), 1e-9)
	require.InDeltaSlice(t, []float64{.75, .25, 0}, shares(WeightedMedian{[]float64{3, 1, .5}}, [][]float32{{5}, {5}, {9}}), 1e-9)
	rows := [][]float32{{5, 1}, {5, 2}, {5, 3}}
	want := []float64{1. / 6, 2. / 3, 1. / 6}
	require.InDeltaSlice(t, want, shares(WeightedTrimmedMean{[]float64{1, 1, 1}, 1. / 3}, rows), 1e-9)
	require.InDeltaSlice(t, want, shares(TrimmedMean{1}, rows), 1e-9)
	require.InDeltaSlice(t, []float64{2. / 3, 1. / 3, 0}, shares(Chain{ARC{1}, Mean{Weights: []float64{2, 1, 0}}}, [][]float32{{5}, {5}, {5}}), 1e-6)
	// Of two equally far from the median the lesser is nearer.
	require.InDeltaSlice(t, []float64{.5, .5, 0}, shares(Meamed{1}, [][]float32{{0}, {1}, {2}}), 1e-9)
	require.InDeltaSlice(t, []float64{.2, .2, .2, .2, .2, 0, 0}, shares(Meamed{2}, [][]float32{{0}, {0}, {1}, {1}, {1}, {2}, {2}}), 1e-9)
}

// TestVerdictsByHand compares with each column's ranks that count; equal rows share theirs.
func TestVerdictsByHand(t *testing.T) {
	for seed := range uint64(20) {
		n, d := 3+int(seed), 100+int(seed)
		rows := someRows(seed, n, d)
		for _, row := range rows {
			for j := range row {
				row[j] = float32(math.Round(float64(2 * row[j]))) // many are equal
			}
		}
		copy(rows[1], rows[0])
		f := (n - 1) / 3
		for _, c := range []struct {
			rule   Rule
			lo, hi int
			median bool
		}{{Median{}, (n - 1) / 2, n/2 + 1, false}, {TrimmedMean{f}, f, n - f, false}, {Meamed{f}, 0, n - f, true}} {
			// Of Meamed, places in the order of distances, the lesser of two first.
			weight, trimmed := make([]float64, n), make([]float64, n)
			for j := range d {
				column, far := make([]float64, n), make([]float64, n)
				for i := range rows {
					column[i] = float64(rows[i][j])
				}
				if sorted := slices.Sorted(slices.Values(column)); c.median {
					median := (sorted[(n-1)/2] + sorted[n/2]) / 2
					for i, x := range column { // values are multiples of a half
						far[i] = math.Abs(x - median)
						if column[i] = far[i]; x > median {
							column[i] += 0.001
						}
					}
				}
				sorted := slices.Sorted(slices.Values(column))
				for i, x := range column {
					equal, counted := 0., 0.
					for r, y := range sorted {
						if x == y {
							equal++
							if r >= c.lo && r < c.hi {
								counted++
							}
						}
					}
					weight[i] += counted / equal / float64(c.hi-c.lo) / float64(d)
					if x < sorted[c.lo] || c.median && far[i] > slices.Sorted(slices.Values(far))[c.hi-1] || !c.median && x > sorted[c.hi-1] {
						trimmed[i] += 1 / float64(d)
					}
				}
			}
			var v Verdict
			_, err := c.rule.Aggregate(nil, rows, &v)
			require.NoError(t, err)
			for i, got := range v.Clients {
				require.InDelta(t, weight[i], got.Weight, 1e-9, "%T n=%d", c.rule, n)
				require.InDelta(t, trimmed[i], got.Trimmed, 1e-9, "%T n=%d", c.rule, n)
			}
		}
	}
}

// TestGreatestRows: a mean of equal rows is the row, however great.
func TestGreatestRows(t *testing.T) {
	for n := 7; n <= 40; n++ {
		rows := slices.Repeat([][]float32{{math.MaxFloat32, -math.MaxFloat32}}, n)
		for _, rule := range []Rule{
			Mean{}, Mean{Weights: slices.Repeat([]float64{.1}, n)}, Median{}, TrimmedMean{2}, Meamed{2}, MultiKrum{F: 2}, Bulyan{1}, CAF{F: 2},
			GeometricMedian{}, MoNNA{F: 2}, NNM{2}, Bucketing{Size: 2}, Chain{NNM{2}, Mean{}}, FLAME{},
		} {
			out, err := rule.Aggregate(nil, rows, nil)
			require.NoError(t, err, "%T n=%d", rule, n)
			require.InEpsilonSlice(t, rows[0], out, 1e-6, "%T n=%d", rule, n)
		}
	}
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
		{"Bulyan.F is 1 of 5", Bulyan{1}, good},
		{"SMEA.F is 3", SMEA{F: 3}, good},
		{"SMEA.PowerStarts has 1 directions", SMEA{F: 1, PowerStarts: [][]float32{{1, 0, 0}}}, good},
		{"SMEA.PowerStarts[0] has 2 values", SMEA{F: 1, PowerStarts: [][]float32{{1, 0}}}, good},
		{"CAF.PowerStarts[0] has norm 0", CAF{F: 1, PowerStarts: [][]float32{{0, 0, 0}}}, good},
		{"CAF.F is -1", CAF{F: -1}, good},
		{"DnC.F is 3", DnC{F: 3}, good},
		{"DnC.Columns is -1", DnC{F: 1, Columns: -1}, good},
		{"DnC.Filter is 5", DnC{F: 1, Filter: 5}, good},
		{"FLTrust.Root has 2 values", FLTrust{Root: []float32{1, 2}}, good},
		{"FLTrust.Root has norm 0", FLTrust{Root: make([]float32, 3)}, good},
		{"FoolsGold.History has another shape", &FoolsGold{History: good[:2]}, good},
		{"FoolsGold.Confidence is -1", &FoolsGold{Confidence: -1}, good},
		{"FoolsGold with a history stands alone", Chain{ARC{1}, &FoolsGold{}}, good},
		{"SignMajority.Scale is -1", SignMajority{-1}, good},
		{"WeightedMedian.Weights is missing", WeightedMedian{}, good},
		{"WeightedTrimmedMean.Share is 0.5", WeightedTrimmedMean{make([]float64, 5), 0.5}, good},
		{"WeightedTrimmedMean.Weights has 1 values", WeightedTrimmedMean{[]float64{1}, 0.1}, good},
		{"Chain is empty", Chain{}, good},
		{"SignMajority.Scale is 1e-60", SignMajority{Scale: 1e-60}, good},
		{"Chain[1] is missing", Chain{NNM{1}, nil}, good},
		{"Chain[0] is missing", Chain{nil, Median{}}, good},
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

// TestNothingHalfWritten: a bad value in the last column is met when most of the result
// is made, and dst is as it was.
func TestNothingHalfWritten(t *testing.T) {
	const n, d = 9, 70_001
	for name, rule := range everyRule(2) {
		if name == "guard" {
			continue
		}
		rows := someRows(14, n, d)
		rows[5][d-1] = float32(math.NaN())
		dst := slices.Repeat([]float32{7}, d)
		_, err := rule().Aggregate(dst, rows, nil)
		require.ErrorContains(t, err, "row 5 holds NaN at column 70000", name)
		require.Equal(t, slices.Repeat([]float32{7}, d), dst, name)
	}
}

// TestHugeLiars: rows near float32's largest value, whose squares overflow, and rows
// near its least do not turn a robust result into something that is not a number.
func TestHugeLiars(t *testing.T) {
	const n, f, d = 9, 2, 300
	for _, size := range []float32{1e19, 1e30, 3e38, 1e-40} {
		for name, rule := range everyRule(f) {
			if name == "mean" || name == "monna" && size > 1 || name == "bucketing" {
				continue
			}
			rows := someRows(15, n, d)
			for i := range f {
				for j := range rows[3+i] {
					rows[3+i][j] = size
				}
			}
			out, err := rule().Aggregate(nil, rows, nil)
			require.NoError(t, err, name)
			for _, x := range out {
				require.False(t, math.IsNaN(float64(x)) || math.IsInf(float64(x), 0), "%s at %v: %v", name, size, x)
			}
			if _, ok := map[string]bool{"median": true, "trimmed": true, "meamed": true, "krum": true, "multikrum": true, "mda": true,
				"geomed": true, "nnm": true, "chain": true, "caf": true, "smea": true, "dnc": true, "bulyan": true}[name]; ok && name != "nnm" {
				for _, x := range out {
					require.Less(t, math.Abs(float64(x)), 10.0, "%s at %v", name, size)
				}
			}
		}
	}
}

// TestAllocations: coordinate-wise rules allocate nothing once warm, others O(n²+d).
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's pools drop what they hold")
	}
	const n, d = 9, 50_000
	rows := someRows(2, n, d)
	dst, weights := make([]float32, d), []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}
	for _, rule := range []Rule{Mean{}, Median{}, TrimmedMean{2}, Meamed{2}, SignMajority{1}, WeightedMedian{weights}, WeightedTrimmedMean{weights, 0.1}} {
		require.Zero(t, testing.AllocsPerRun(20, func() { rule.Aggregate(dst, rows, nil) }), fmt.Sprintf("%T", rule))
	}
	wide := someRows(2, 25, d)
	require.Zero(t, testing.AllocsPerRun(20, func() { TrimmedMean{5}.Aggregate(dst, wide, nil) }), "of two halves")

	// All others: no copy of the rows is made, but two vectors at most and some
	// matrices of the clients. FoolsGold's first two calls make room for its history.
	for name, rule := range everyRule(2) {
		r := rule()
		r.Aggregate(dst, rows, nil)
		r.Aggregate(dst, rows, nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const calls = 5
		for range calls {
			_, err := r.Aggregate(dst, rows, nil)
			require.NoError(t, err)
		}
		runtime.ReadMemStats(&after)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)/calls, uint64(2*4*d+32*8*n*n), name)
	}
}

func FuzzRules(f *testing.F) {
	f.Add(uint64(1), byte(5), byte(3), byte(1))
	f.Add(uint64(2), byte(1), byte(0), byte(0))
	f.Add(uint64(3), byte(20), byte(70), byte(9))
	f.Fuzz(func(t *testing.T, seed uint64, n, d, faulty byte) {
		rows := someRows(seed, int(n%24), int(d))
		for name, rule := range everyRule(int(faulty % 8)) {
			if name == "smea" && len(rows) > 14 { // which tries all sets
				continue
			}
			out, err := rule().Aggregate(nil, rows, nil)
			if err != nil {
				continue
			}
			require.Len(t, out, int(d), name)
			for j, x := range out { // signs apart, within the rows' range: all are averages, or clipped
				lo, hi := float32(-0.25), float32(0.25)
				for _, row := range rows {
					lo, hi = min(lo, row[j]), max(hi, row[j])
				}
				require.GreaterOrEqual(t, x, lo-1e-4, name)
				require.LessOrEqual(t, x, hi+1e-4, name)
			}
		}
	})
}

// A row of weight zero is left out of the sum, whose being finite then says nothing of it: it
// is refused for what it holds all the same.
func TestRowOfNoWeightIsSeen(t *testing.T) {
	const d = 40_000 // more than a unit
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		rows := someRows(3, 4, d)
		rows[2][d-1] = float32(bad)
		dst := slices.Repeat([]float32{7}, d)
		rule := Mean{Weights: []float64{1, 2, 0, 1}}
		_, err := rule.Aggregate(dst, rows, nil)
		require.ErrorContains(t, err, fmt.Sprintf("row 2 holds %v at column %d", bad, d-1))
		require.Equal(t, slices.Repeat([]float32{7}, d), dst, "nothing half-written")
		source := ReaderSource{Columns: d}
		for _, row := range rows {
			source.Rows = append(source.Rows, bytes.NewReader(bytesOf(row)))
		}
		err = Stream(rule, source, func(int, []float32) error { return nil }, nil)
		require.ErrorContains(t, err, "row 2 holds")
	}
}
