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
	_, err := Guard{Rule: func(int) Rule { return MoNNA{1, 0} }}.Aggregate(nil, rows, nil)
	require.ErrorContains(t, err, "MoNNA.Trusted is 0, a row that Guard refuses")
	_, err = Guard{Rule: func(int) Rule { return MoNNA{1, 5} }}.Aggregate(nil, rows, nil)
	require.ErrorContains(t, err, "MoNNA.Trusted is 5")
}
