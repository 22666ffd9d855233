package aggregate

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGuardedHistory: FoolsGold's history is each client's, whoever else is refused.
func TestGuardedHistory(t *testing.T) {
	nan := float32(math.NaN())
	rule := &FoolsGold{}
	guard := Guard{Rule: func(int) Rule { return rule }}
	var v Verdict
	for round, rows := range [][][]float32{
		{{nan, 0}, {1, 2}, {3, 1}, {5, 5}},
		{{7, 7}, {1, 2}, {3, 1}, {nan, 0}},
		{{7, 8}, {1, 2}, {3, 1}, {4, 1}},
		{{7, 8}, {1, 2, 3}, {3, 1}, {4, 1}},
	} {
		_, err := guard.Aggregate(nil, rows, &v)
		require.NoError(t, err, "round %d", round)
		for i, c := range v.Clients {
			require.Equal(t, round == 3 && i == 1, c.Rejected == WrongLength)
		}
	}
	require.Equal(t, [][]float32{{21, 23}, {3, 6}, {12, 4}, {13, 7}}, rule.History)

	before := [][]float32{{1, 1}, {2, 2}, {3, 3}}
	rule.History = before
	_, err := guard.Aggregate(nil, [][]float32{{7, 8}, {1, 2}, {3, 1}, {nan, 1}}, nil)
	require.ErrorContains(t, err, "FoolsGold.History has another shape than the 4 rows of 2: it has 3 rows")
	require.Equal(t, before, rule.History)
}

// TestGuardedIndices: what rules know clients by is of the rows before any is refused.
func TestGuardedIndices(t *testing.T) {
	nan := float32(math.NaN())
	rows := [][]float32{{nan}, {1}, {2}, {9}, {100}}
	kept := rows[1:]
	for _, c := range []struct{ guarded, bare Rule }{
		{MoNNA{1, 4}, MoNNA{1, 3}},
		{Mean{[]float64{9, 1, 2, 3, 4}}, Mean{[]float64{1, 2, 3, 4}}},
		{WeightedMedian{[]float64{9, 1, 2, 3, 4}}, WeightedMedian{[]float64{1, 2, 3, 4}}},
		{WeightedTrimmedMean{[]float64{9, 1, 2, 3, 4}, 0.2}, WeightedTrimmedMean{[]float64{1, 2, 3, 4}, 0.2}},
		{Bucketing{Size: 2, Permutation: []int{4, 0, 1, 3, 2}}, Bucketing{Size: 2, Permutation: []int{3, 0, 2, 1}}},
		{&MoNNA{1, 4}, MoNNA{1, 3}},
		{&Mean{[]float64{9, 1, 2, 3, 4}}, Mean{[]float64{1, 2, 3, 4}}},
		{&WeightedMedian{[]float64{9, 1, 2, 3, 4}}, WeightedMedian{[]float64{1, 2, 3, 4}}},
		{&WeightedTrimmedMean{[]float64{9, 1, 2, 3, 4}, 0.2}, WeightedTrimmedMean{[]float64{1, 2, 3, 4}, 0.2}},
		{&Bucketing{Size: 2, Permutation: []int{4, 0, 1, 3, 2}}, Bucketing{Size: 2, Permutation: []int{3, 0, 2, 1}}},
		{&Chain{&Clipping{20}, &MoNNA{1, 4}}, Chain{Clipping{20}, MoNNA{1, 3}}},
		{Chain{&Bucketing{Size: 2, Permutation: []int{4, 0, 1, 3, 2}}, MoNNA{0, 1}}, Chain{Bucketing{Size: 2, Permutation: []int{3, 0, 2, 1}}, MoNNA{0, 1}}},
		{Chain{Clipping{20}, MoNNA{1, 4}}, Chain{Clipping{20}, MoNNA{1, 3}}},
		{Chain{Bucketing{Size: 2, Permutation: []int{4, 0, 1, 3, 2}}, MoNNA{0, 1}}, Chain{Bucketing{Size: 2, Permutation: []int{3, 0, 2, 1}}, MoNNA{0, 1}}},
	} {
		want, err := c.bare.Aggregate(nil, kept, nil)
		require.NoError(t, err)
		guard := Guard{Rule: func(int) Rule { return c.guarded }}
		got, err := guard.Aggregate(nil, rows, nil)
		require.NoError(t, err)
		require.Equal(t, want, got, "%T %+v", c.guarded, c.guarded)
		require.Equal(t, want, streamed(t, guard, sourceOf(rows), nil))
	}
	for _, rule := range []Rule{MoNNA{1, 0}, &MoNNA{1, 0}} {
		_, err := Guard{Rule: func(int) Rule { return rule }}.Aggregate(nil, rows, nil)
		require.ErrorContains(t, err, "MoNNA.Trusted is 0, a row that Guard refuses")
	}
	_, err := Guard{Rule: func(int) Rule { return MoNNA{1, 5} }}.Aggregate(nil, rows, nil)
	require.ErrorContains(t, err, "MoNNA.Trusted is 5")
}

// TestNestedGuards: what rules know clients by is of the rows before the outermost guard
// refuses any, and so are the errors and verdicts.
func TestNestedGuards(t *testing.T) {
	nan := float32(math.NaN())
	rows := [][]float32{{nan}, {1}, {2}, {50}, {9}, {100}}
	left := [][]float32{{1}, {2}, {9}}
	weights := []float64{9, 1, 2, 8, 3, 4}
	for _, c := range []struct{ guarded, bare Rule }{
		{MoNNA{1, 4}, MoNNA{1, 2}},
		{&Mean{weights}, Mean{[]float64{1, 2, 3}}},
		{Bucketing{Size: 2, Permutation: []int{4, 0, 5, 1, 3, 2}}, Bucketing{Size: 2, Permutation: []int{2, 0, 1}}},
		{Chain{Clipping{20}, MoNNA{1, 4}}, Chain{Clipping{20}, MoNNA{1, 2}}},
	} {
		want, err := c.bare.Aggregate(nil, left, nil)
		require.NoError(t, err)
		guard := func(most float64, rule Rule) Guard { return Guard{MaxNorm: most, Rule: func(int) Rule { return rule }} }
		inner := guard(20, c.guarded)
		for _, nested := range []Guard{guard(0, inner), guard(0, &inner), guard(60, inner), guard(60, guard(200, inner)), guard(60, Chain{Clipping{55}, inner})} {
			var v Verdict
			got, err := nested.Aggregate(nil, rows, &v)
			require.NoError(t, err)
			require.Equal(t, want, got, "%T %+v", c.guarded, c.guarded)
			require.Len(t, v.Clients, 6)
			if _, chain := nested.Rule(0).(Chain); chain { // whose verdict is the first stage's, and which is not streamed
				continue
			}
			require.Equal(t, NotFinite, v.Clients[0].Rejected)
			require.Equal(t, NormTooLarge, v.Clients[3].Rejected)
			require.Equal(t, NormTooLarge, v.Clients[5].Rejected)
			require.Equal(t, want, streamed(t, nested, sourceOf(rows), nil))
		}
		_, err = guard(60, guard(20, MoNNA{1, 3})).Aggregate(nil, rows, nil)
		require.ErrorContains(t, err, "MoNNA.Trusted is 3, a row that Guard refuses")
		failing := guard(20, c.guarded)
		failing.Fail = true
		_, err = guard(60, failing).Aggregate(nil, rows, nil)
		require.ErrorContains(t, err, "rows [3] are refused, row 3 as norm too large")
	}

	gold := &FoolsGold{}
	nested := Guard{Rule: func(int) Rule {
		return Guard{MaxNorm: 20, Rule: func(int) Rule { return gold }}
	}}
	for _, rows := range [][][]float32{
		{{nan, 0}, {1, 2}, {30, 1}, {5, 5}},
		{{7, 7}, {1, 2}, {3, 1}, {nan, 0}},
	} {
		_, err := nested.Aggregate(nil, rows, nil)
		require.NoError(t, err)
	}
	require.Equal(t, [][]float32{{7, 7}, {2, 4}, {3, 1}, {5, 5}}, gold.History)
}

// TestGuardedLengths: what has one value for each row is checked against all rows, not those
// that are left.
func TestGuardedLengths(t *testing.T) {
	rows := [][]float32{{float32(math.NaN())}, {1}, {2}, {9}, {100}}
	for _, c := range []struct {
		rule Rule
		text string
	}{
		{Mean{[]float64{1, 2, 3, 4}}, "Mean.Weights has 4 values for 5 rows"},
		{Mean{[]float64{-1, 1, 2, 3, 4}}, "Mean.Weights[0] is -1, must be at least 0 and finite"},
		{&WeightedMedian{[]float64{1, 2, 3, 4}}, "WeightedMedian.Weights has 4 values for 5 rows"},
		{WeightedTrimmedMean{[]float64{1, 2, 3, 4}, 0.2}, "WeightedTrimmedMean.Weights has 4 values for 5 rows"},
		{WeightedMedian{}, "WeightedMedian.Weights is missing"},
		{Bucketing{Size: 2, Permutation: []int{3, 0, 2, 1}}, "Bucketing.Permutation [3 0 2 1] is not one of 5 rows"},
		{Bucketing{Size: 2, Permutation: []int{3, 0, 2, 1, 4, 5}}, "is not one of 5 rows"},
		{Bucketing{Size: 2, Permutation: []int{3, 5, 2, 1, 4}}, "is not one of 5 rows"},
		{Chain{Clipping{20}, Mean{[]float64{1, 2, 3, 4}}}, "Mean.Weights has 4 values for 5 rows"},
		{Guard{Rule: func(int) Rule { return Mean{[]float64{1, 2, 3, 4}} }}, "Mean.Weights has 4 values for 5 rows"},
	} {
		_, err := Guard{Rule: func(int) Rule { return c.rule }}.Aggregate(nil, rows, nil)
		require.ErrorContains(t, err, c.text, "%T", c.rule)
	}
}
