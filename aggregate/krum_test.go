package aggregate

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBulyanVerdict: rows that are not chosen weigh nothing, and what those that are weigh is
// not known unless all of each counts.
func TestBulyanVerdict(t *testing.T) {
	rows := make([][]float32, 11)
	for i := range rows {
		rows[i] = []float32{float32(i * i)}
	}
	var v Verdict
	_, err := Bulyan{1}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	outvoted := 0
	for _, c := range v.Clients {
		if c.Rejected == Outvoted {
			outvoted++
			require.Zero(t, c.Weight)
		} else {
			require.True(t, math.IsNaN(c.Weight))
		}
	}
	require.Equal(t, 2, outvoted)
	_, err = Bulyan{}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	require.InDelta(t, 1.0/11, v.Clients[10].Weight, 1e-12)
}
