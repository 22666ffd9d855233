package aggregate

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGreatValues: rows near float32's greatest whose mean it holds give it, in dst and
// streamed; a result that it does not hold is an error, and dst is as it was.
func TestGreatValues(t *testing.T) {
	const d = 40_000
	great := make([][]float32, 6)
	for i := range great {
		great[i] = slices.Repeat([]float32{1}, d)
		great[i][7], great[i][d-1] = 2e38, -3e38
	}
	for name, rule := range everyRule(1) {
		switch name {
		case "weiszfeld", "cclip", "clipping", "signs", "fltrust", "foolsgold", "foolsgoldnow": // which give less
			continue
		}
		dst := make([]float32, d)
		got, err := rule().Aggregate(dst, great, nil)
		require.NoError(t, err, name)
		require.InEpsilon(t, 2e38, got[7], 1e-5, name)
		require.InEpsilon(t, -3e38, got[d-1], 1e-5, name)
		if r := fit(rule(), 6, d); name != "guard" {
			require.Equal(t, got, streamed(t, r, sourceOf(great), nil), name)
		}
	}

	got, err := TrimmedMean{1}.Aggregate(nil, [][]float32{{3e38}, {2e38}, {1e38}, {-3e38}, {2.5e38}, {1.5e38}}, nil)
	require.NoError(t, err)
	require.InEpsilon(t, 1.75e38, got[0], 1e-6)
	got, err = Meamed{1}.Aggregate(nil, [][]float32{{3e38}, {2e38}, {1e38}, {3.1e38}}, nil)
	require.NoError(t, err)
	require.InEpsilon(t, 2.7e38, got[0], 1e-6)

	inf := float32(math.Inf(1))
	rows := make([][]float32, 5)
	for i := range rows {
		rows[i] = make([]float32, d)
		rows[i][d-1] = float32(i)
	}
	rows[1][d-1], rows[3][d-1], rows[4][d-1] = inf, -inf, inf
	for _, rule := range []Rule{Median{}, TrimmedMean{1}, MultiKrum{F: 1}} {
		dst := slices.Repeat([]float32{7}, d)
		if rows[0][d-1] = 0; rule == (Median{}) {
			rows[0][d-1] = inf
		}
		_, err := rule.Aggregate(dst, rows, nil)
		require.ErrorContains(t, err, "at column 39999: the rows that count hold infinities", "%T", rule)
		require.Equal(t, slices.Repeat([]float32{7}, d), dst)
	}
}

// TestShareNearHalf: a share that leaves next to nothing is the median.
func TestShareNearHalf(t *testing.T) {
	for _, less := range []float64{1e-17, 1e-13, 1e-12, 1e-10, 1e-8, 1e-3} {
		rows, weights := someRows(2, 1001, 3), slices.Repeat([]float64{1}, 1001)
		got, err := WeightedTrimmedMean{weights, min(0.5-less, math.Nextafter(0.5, 0))}.Aggregate(nil, rows, nil)
		require.NoError(t, err)
		want, err := Median{}.Aggregate(nil, rows, nil)
		require.NoError(t, err)
		require.InDeltaSlice(t, want, got, 0.01, "%v", less)
	}
}

// TestDstOverlap: dst may be a row of a rule that works by columns, and nothing else of
// one, a row that a guard refuses too.
func TestDstOverlap(t *testing.T) {
	coordinates := func(weights ...float64) []Rule {
		return []Rule{Mean{}, Mean{weights}, Median{}, TrimmedMean{1}, Meamed{1}, SignMajority{}, WeightedMedian{weights}, WeightedTrimmedMean{weights, 0.2}}
	}
	nan := float32(math.NaN())
	for _, rule := range coordinates(1, 2, 3) {
		rows := func() [][]float32 { return [][]float32{{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 7, 5, 2}} }
		want, err := rule.Aggregate(nil, rows(), nil)
		require.NoError(t, err)
		same := rows()
		got, err := rule.Aggregate(same[1], same, nil)
		require.NoError(t, err)
		require.Equal(t, want, got, "%T", rule)
		for _, shift := range []int{1, 3} {
			memory := make([]float32, 8)
			in := rows()
			in[2] = append(memory[:0:4], in[2]...)
			require.PanicsWithValue(t, "aggregate: dst overlaps a row in part", func() { rule.Aggregate(memory[shift:shift+4], in, nil) }, "%T", rule)
			require.Equal(t, []float32{9, 7, 5, 2}, in[2])
		}
	}
	for _, rule := range append(coordinates(1, 9, 2, 3), Krum{}, Chain{ARC{}, Median{}}) {
		guard := Guard{Rule: func(int) Rule { return rule }}
		memory := []float32{1, nan, 3, 4, 5}
		rows := [][]float32{{1, 2, 3, 4}, memory[:4], {5, 6, 7, 8}, {2, 2, 2, 2}}
		for name, dst := range map[string][]float32{"in part": memory[1:], "of another length": memory[:4:4]} {
			in := slices.Clone(rows)
			if name != "in part" {
				in[1] = memory[:3]
			}
			require.Panics(t, func() { guard.Aggregate(dst, in, nil) }, "%T %s", rule, name)
		}
		if _, ok := rule.(Krum); ok {
			require.Panics(t, func() { guard.Aggregate(memory[:4], rows, nil) })
		}
	}
	refused := []float32{1, nan, 3}
	for _, rule := range []Rule{Median{}, &Median{}} {
		copy(refused, []float32{1, nan, 3})
		got, err := Guard{Rule: func(int) Rule { return rule }}.Aggregate(refused, [][]float32{{1, 2, 3}, refused, {3, 4, 5}}, nil)
		require.NoError(t, err)
		require.Equal(t, []float32{2, 3, 4}, got)
		require.Equal(t, got, refused)
	}
}

// TestColumnShares: the weights of a verdict are the mean over columns of the rows' shares
// of each.
func TestColumnShares(t *testing.T) {
	const n, d = 9, 70_000
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = make([]float32, d)
		for j := d / 4; j < d; j++ {
			rows[i][j] = float32(i)
		}
	}
	var v, after Verdict
	_, err := Median{}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	require.InDelta(t, 0.25/9+0.75, v.Clients[4].Weight, 1e-9)
	require.InDelta(t, 0.25/9, v.Clients[0].Weight, 1e-9)
	streamed(t, Median{}, sourceOf(rows), &after)
	require.Equal(t, fmt.Sprint(v), fmt.Sprint(after))
	_, err = TrimmedMean{2}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	require.InDelta(t, 0.25/9+0.75/5, v.Clients[2].Weight, 1e-9)
	require.InDelta(t, 0.75, v.Clients[0].Trimmed, 1e-9)

	for i := range rows { // five of nine agree in one half, all in the other
		for j := range rows[i] {
			rows[i][j] = 1
			if j < d/2 && i < 4 {
				rows[i][j] = -1
			}
		}
	}
	_, err = SignMajority{}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	require.InDelta(t, 0.5/9, v.Clients[0].Weight, 1e-9)
	require.InDelta(t, 0.5/9+0.5/5, v.Clients[8].Weight, 1e-9)
	require.InDelta(t, 0.5, v.Clients[0].Trimmed, 1e-9)
}

// TestWeightsOfEqualRows: who of equal rows has which weight does not show in the bits.
func TestWeightsOfEqualRows(t *testing.T) {
	x, y := []float32{0.1, 0.3, 0.7, 1.1, 1.3, 1.7, 1.9, 2.3}, []float32{0.1, 0.2, 0.9, 1, 1.2, 1.8, 1.9, 2.1}
	rows := [][]float32{x, y, x, x, x}
	weights := []float64{1, 4.3, 2.1, 3.3, 5.7}
	rules := map[string]func(w []float64) Rule{
		"mean":     func(w []float64) Rule { return Mean{w} },
		"median":   func(w []float64) Rule { return WeightedMedian{w} },
		"trimmed":  func(w []float64) Rule { return WeightedTrimmedMean{w, 0.21} },
		"clipping": func(w []float64) Rule { return Chain{Clipping{1}, Mean{w}} },
	}
	for name, rule := range rules {
		want, err := rule(weights).Aggregate(nil, rows, nil)
		require.NoError(t, err)
		for _, w := range [][]float64{{5.7, 4.3, 3.3, 2.1, 1}, {3.3, 4.3, 5.7, 1, 2.1}, {2.1, 4.3, 5.7, 3.3, 1}} {
			got, err := rule(w).Aggregate(nil, rows, nil)
			require.NoError(t, err)
			require.Equal(t, want, got, name)
			require.Equal(t, want, streamed(t, rule(w), sourceOf(rows), nil), name)
		}
	}
}
