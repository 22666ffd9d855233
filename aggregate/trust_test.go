package aggregate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFLTrustTiny: a client whose row is as small as float32 has them, or as great, cannot
// make the result other than finite, nor more than Root's norm.
func TestFLTrustTiny(t *testing.T) {
	root := []float32{1, 1}
	want, err := FLTrust{Root: root}.Aggregate(nil, [][]float32{{1, 1}, {1, 1.1}}, nil)
	require.NoError(t, err)
	for _, tiny := range []float32{1e-44, 1e-39} {
		var v Verdict
		got, err := FLTrust{Root: root}.Aggregate(nil, [][]float32{{1, 1}, {1, 1.1}, {tiny, 0}}, &v)
		require.NoError(t, err)
		require.Equal(t, want, got, "it counts as a row of zeros")
		require.Equal(t, Outvoted, v.Clients[2].Rejected)
	}
	for _, size := range []float32{1e-37, 1e-30, 1e30, 3e38} {
		for _, scale := range []float32{1, 1e-20, 1e18} {
			got, err := FLTrust{Root: []float32{scale, scale}}.Aggregate(nil, [][]float32{{size, size}, {size, size / 2}}, nil)
			require.NoError(t, err)
			norm := math.Hypot(float64(got[0]), float64(got[1]))
			require.LessOrEqual(t, norm, 1.0001*math.Sqrt2*float64(scale), "row %v root %v", size, scale)
		}
	}
}

// TestFLTrustScale: cosines do not depend on the size of Root and rows.
func TestFLTrustScale(t *testing.T) {
	const n, d = 7, 5000
	var want, got Verdict
	for _, size := range []float32{1, 0x1p-110, 0x1p-40, 0x1p40, 0x1p110} {
		for _, rootSize := range []float32{1, 0x1p-110, 0x1p-40, 0x1p40, 0x1p110} {
			rows, root := someRows(4, n, d), someRows(5, 1, d)[0]
			for j := range root {
				for _, row := range rows {
					row[j] = size * (row[j] + root[j])
				}
				root[j] *= rootSize
			}
			v := &got
			if size == 1 && rootSize == 1 {
				v = &want
			}
			_, err := FLTrust{Root: root}.Aggregate(nil, rows, v)
			if size < 1 && rootSize > 1 && float64(size)/float64(rootSize) < 0x1p-126 {
				continue // which count as zeros
			}
			require.NoError(t, err)
			for i := range rows {
				require.InDelta(t, want.Clients[i].Distance, v.Clients[i].Distance, 1e-5, "rows %v root %v", size, rootSize)
				require.InDelta(t, want.Clients[i].Weight, v.Clients[i].Weight, 1e-5)
			}
		}
	}
}

// TestCosines: directions are told apart whatever the norms.
func TestCosines(t *testing.T) {
	const n, d = 11, 5000
	for _, size := range []float32{1e-30, 1e-9, 1, 10, 1e9, 1e30} {
		for _, stage := range []PreAggregation{nil, Clipping{50}} {
			rows := someRows(50, n, d)
			for i, row := range rows {
				for j := range row {
					row[j]++
					if i < 5 {
						row[j] *= size * (1 + float32(i)/10)
					}
				}
			}
			s, err := open("test", nil, rows)
			require.NoError(t, err)
			if stage != nil {
				weights, err := stage.(mixing).mixture(s, nil)
				require.NoError(t, err)
				s.apply(weights)
			}
			got, _, err := s.cosines()
			require.NoError(t, err)
			for i, x := range s.order {
				for j, y := range s.order {
					dot, xx, yy := 0.0, 0.0, 0.0
					for c, a := range rows[x] {
						b := rows[y][c]
						dot += float64(a) * float64(b)
						xx += float64(a) * float64(a)
						yy += float64(b) * float64(b)
					}
					require.InDelta(t, dot/math.Sqrt(xx)/math.Sqrt(yy), got[i*n+j], 3e-5, "size=%v", size)
				}
			}
			s.close()
		}
	}
}

// TestFLAMENorms: liars against the honest direction are outvoted whatever their norm.
func TestFLAMENorms(t *testing.T) {
	const n, f, d = 11, 5, 5000
	for _, size := range []float32{1e-3, 1, 10, 1e9, 1e30} {
		for trial := range 3 {
			rows := someRows(uint64(trial)+50, n, d)
			for _, row := range rows {
				for j := range row {
					row[j]++
				}
			}
			mean, err := Mean{}.Aggregate(nil, rows[f:], nil)
			require.NoError(t, err)
			for i, row := range rows[:f] {
				for j := range row {
					row[j] = -size * mean[j] * (1 + float32(i)*0.01)
				}
			}
			var v Verdict
			_, err = FLAME{}.Aggregate(nil, rows, &v)
			require.NoError(t, err)
			for i, c := range v.Clients[:f] {
				require.Equal(t, Outvoted, c.Rejected, "size=%v liar %d", size, i)
			}
		}
	}
}

// TestFLAMEBound: the median norm is of the rows that FLAME saw.
func TestFLAMEBound(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	var v Verdict
	guard := Guard{F: 2, Rule: func(int) Rule { return FLAME{} }}
	_, err := guard.Aggregate(nil, [][]float32{{1}, {2}, {3}, {4}, {5}, {nan}, {inf}}, &v)
	require.NoError(t, err)
	require.Equal(t, 3.0, FLAME{}.Bound(&v))
}

// foolsGoldByAuthors is the weights that the authors' code gives (github.com/DistributedML/FoolsGold,
// deep-fg/fg/foolsgold.py), in float64.
func foolsGoldByAuthors(rows [][]float32) []float64 {
	n := len(rows)
	cs, maxcs, wv := make([][]float64, n), make([]float64, n), make([]float64, n)
	for i, x := range rows {
		cs[i] = make([]float64, n) // less the identity
		for j, y := range rows {
			if i == j {
				continue
			}
			xx, yy, xy := 0.0, 0.0, 0.0
			for k := range x {
				a, b := float64(x[k]), float64(y[k])
				xx, yy, xy = xx+a*a, yy+b*b, xy+a*b
			}
			if xx > 0 && yy > 0 {
				cs[i][j] = xy / math.Sqrt(xx) / math.Sqrt(yy)
			}
		}
		maxcs[i] = slices.Max(cs[i])
	}
	for i := range n {
		for j := range n {
			if i != j && maxcs[i] < maxcs[j] {
				cs[i][j] = cs[i][j] * maxcs[i] / maxcs[j]
			}
		}
	}
	for i := range n {
		wv[i] = min(max(1-slices.Max(cs[i]), 0), 1)
	}
	top := slices.Max(wv)
	for i, w := range wv {
		w /= top
		if w == 1 {
			w = 0.99
		}
		w = math.Log(w/(1-w)) + 0.5
		wv[i] = min(max(w, 0), 1)
	}
	return wv
}

// TestFoolsGoldByAuthors: the weights are those of the authors' code, divided by their sum, also
// of rows that are at an obtuse angle to all others.
func TestFoolsGoldByAuthors(t *testing.T) {
	check := func(rows [][]float32) (negative int) {
		var v Verdict
		_, err := (&FoolsGold{Forget: true}).Aggregate(nil, rows, &v)
		require.NoError(t, err)
		want, total := foolsGoldByAuthors(rows), 0.0
		for _, w := range want {
			total += w
		}
		for i, c := range v.Clients {
			require.InDelta(t, want[i]/total, c.Weight, 1e-4, "client %d of %v", i, rows)
			require.GreaterOrEqual(t, c.Distance, 0.0)
			require.LessOrEqual(t, c.Distance, 1.0)
			if c.Distance == 0 {
				negative++
			}
		}
		return negative
	}
	require.Equal(t, 1, check([][]float32{{-1, -.1, 0}, {1, 0, 0}, {.001, 1, 0}}))
	rng := rand.New(rand.NewPCG(7, 1))
	negative := 0
	for trial := range 500 {
		rows := make([][]float32, 2+trial%7)
		for i := range rows {
			rows[i] = make([]float32, 2+trial%5)
			for j := range rows[i] {
				rows[i][j] = float32(rng.NormFloat64())
			}
		}
		negative += check(rows)
	}
	require.Greater(t, negative, 50)
}

// TestFoolsGoldLoud: one client of great norm is not like all others.
func TestFoolsGoldLoud(t *testing.T) {
	rows := someRows(3, 8, 1000)
	var v Verdict
	for _, size := range []float32{1e5, 1e10, 1e30} {
		loud := slices.Clone(rows)
		loud[0] = make([]float32, 1000)
		for j, x := range rows[0] {
			loud[0][j] = size * x
		}
		_, err := (&FoolsGold{Forget: true}).Aggregate(nil, loud, &v)
		require.NoError(t, err)
		for i, c := range v.Clients {
			require.Greater(t, c.Weight, 0.05, "size=%v client %d", size, i)
		}
	}
}

// TestFoolsGoldHistory: a client's sums stop at float32's greatest, and a history of
// another shape, or not finite, is refused.
func TestFoolsGoldHistory(t *testing.T) {
	rule := &FoolsGold{}
	for round := range 3 {
		_, err := rule.Aggregate(nil, [][]float32{{3e38, 1}, {1, 2}, {3, -3e38}}, nil)
		require.NoError(t, err, "round %d", round)
	}
	require.Equal(t, [][]float32{{math.MaxFloat32, 3}, {3, 6}, {9, -math.MaxFloat32}}, rule.History)
	for _, c := range []struct {
		history [][]float32
		want    string
	}{
		{[][]float32{{1, 2}, {1}, {1, 2}}, "FoolsGold.History has another shape than the 3 rows of 2: row 1 has 1 values"},
		{[][]float32{{1, 2}, {1, 2}, {1, 2, 3}}, "row 2 has 3 values"},
		{[][]float32{{1, 2}, {1, 2}}, "it has 2 rows"},
		{[][]float32{}, "it has 0 rows"},
		{[][]float32{{1, 2}, {1, float32(math.Inf(1))}, {1, 2}}, "FoolsGold.History holds +Inf in row 1 at column 1, must be finite"},
	} {
		rule := &FoolsGold{History: c.history}
		dst := []float32{7, 7}
		_, err := rule.Aggregate(dst, [][]float32{{1, 2}, {3, 4}, {5, 1}}, nil)
		require.ErrorContains(t, err, c.want)
		require.Equal(t, []float32{7, 7}, dst)
	}
}

// TestFoolsGoldMemory: the history takes turns in two allocations, and is only written where no
// one can have meant to keep it: not by the next call, nor by one that fails, nor in memory that
// is the caller's or of the call.
func TestFoolsGoldMemory(t *testing.T) {
	const n, d = 5, 70_000
	clone := func(rows [][]float32) (out [][]float32) {
		for _, row := range rows {
			out = append(out, slices.Clone(row))
		}
		return out
	}
	want := someRows(1, n, d)
	given := clone(want)
	rule := &FoolsGold{History: given}
	round := func(dst []float32, rows [][]float32) {
		t.Helper()
		before := clone(rows)
		plain := &FoolsGold{History: clone(rule.History)}
		expect, err := plain.Aggregate(nil, before, nil)
		require.NoError(t, err)
		held, holds := rule.History, clone(rule.History)
		got, err := rule.Aggregate(dst, rows, nil)
		require.NoError(t, err)
		require.True(t, slices.Equal(expect, got))
		for i, row := range rows {
			require.True(t, slices.Equal(before[i], row), "row %d is written", i)
			require.True(t, slices.Equal(holds[i], held[i]), "history %d is written", i)
			for j, x := range row {
				want[i][j] = holds[i][j] + x
			}
			require.True(t, slices.Equal(want[i], rule.History[i]), "history of client %d", i)
		}
	}
	checkpoint := clone(given)
	var places []*float32
	for seed := range uint64(5) {
		round(nil, someRows(seed, n, d))
		places = append(places, &rule.History[0][0])
	}
	require.Equal(t, checkpoint, given)
	require.NotSame(t, places[0], places[1])
	for k := 2; k < len(places); k++ {
		require.Same(t, places[k-2], places[k])
	}

	older := rule.own[0][:d:d] // which the next call would write
	if &rule.History[0][0] == &older[0] {
		older = rule.own[1][:d:d]
	}
	rows := someRows(9, n, d)
	rows[2] = older
	round(nil, rows)
	older = rule.own[0][:d:d]
	if &rule.History[0][0] == &older[0] {
		older = rule.own[1][:d:d]
	}
	round(older, someRows(10, n, d))
	rule.History[0], rule.History[3] = rule.History[3], rule.History[0]
	round(nil, someRows(11, n, d))
	for i := range rule.History { // in place
		rule.History[i] = slices.Clone(rule.History[i])
	}
	round(nil, someRows(12, n, d))
	rule.History[1] = rule.own[0][d : 2*d : 2*d] // one of each
	rule.History[2] = rule.own[1][2*d : 3*d : 3*d]
	round(nil, someRows(13, n, d))

	held, holds := rule.History, clone(rule.History)
	for j, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		rows := someRows(14, n, d)
		rows[3][d-1-j] = bad
		_, err := rule.Aggregate(nil, rows, nil)
		require.ErrorContains(t, err, "row 3 holds")
	}
	rule.Confidence = -1
	_, err := rule.Aggregate(nil, rows, nil)
	require.Error(t, err)
	rule.Confidence = 0
	require.Equal(t, holds, rule.History)
	require.Same(t, &held[0], &rule.History[0])
	round(nil, someRows(15, n, d))
}

// TestMixedCosines: cosines of mixtures are those of the rows that are mixed, however much of
// what they are mixed of cancels.
func TestMixedCosines(t *testing.T) {
	const n, d = 8, 5000
	for _, noise := range []float32{1, 12.3, 20.4} {
		rows := cancelling(4, n, d, noise)
		pairs := Bucketing{Size: 2, Permutation: []int{0, 1, 2, 3, 4, 5, 6, 7}}
		mixed, err := pairs.Mix(nil, rows, nil)
		require.NoError(t, err)
		s, err := open("test", nil, rows)
		require.NoError(t, err)
		weights, err := pairs.mixture(s, nil)
		require.NoError(t, err)
		s.apply(weights)
		alike, _, err := s.cosines()
		require.NoError(t, err)
		for i, x := range mixed {
			for j, y := range mixed {
				xx, yy, xy := 0.0, 0.0, 0.0
				for k, v := range x {
					xx, yy, xy = xx+float64(v)*float64(v), yy+float64(y[k])*float64(y[k]), xy+float64(v)*float64(y[k])
				}
				require.InDelta(t, xy/math.Sqrt(xx*yy), alike[i*s.n+j], 1e-6, "noise=%v", noise)
			}
		}
		s.close()
	}
}

// TestFoolsGoldCopies: a copy's rounds leave the history of the value that was copied alone, and
// so do a history that is taken away or put back.
func TestFoolsGoldCopies(t *testing.T) {
	r := &FoolsGold{}
	call := func(r *FoolsGold, x float32) [][]float32 {
		_, err := r.Aggregate(nil, [][]float32{{x, 0}, {0, x}}, nil)
		require.NoError(t, err)
		return r.History
	}
	call(r, 1)
	trial := *r
	for range 4 {
		call(&trial, 100)
		require.Equal(t, [][]float32{{1, 0}, {0, 1}}, r.History)
	}
	held := call(r, 1)
	require.Equal(t, [][]float32{{2, 0}, {0, 2}}, held)
	r.History = nil
	call(r, 7)
	require.Equal(t, [][]float32{{2, 0}, {0, 2}}, held)
	own := r.History
	r.History = [][]float32{{5, 0}, {0, 5}}
	call(r, 1)
	require.Equal(t, [][]float32{{7, 0}, {0, 7}}, own)
	require.Equal(t, [][]float32{{6, 0}, {0, 6}}, r.History)
}
