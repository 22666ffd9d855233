package aggregate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBulyanVerdict: of the rows that are chosen those count that are nearest to the median.
func TestBulyanVerdict(t *testing.T) {
	rows := make([][]float32, 11)
	for i := range rows {
		rows[i] = []float32{float32(i * i)}
	}
	var v Verdict
	out, err := Bulyan{1}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	counted, sum := 0, 0.0
	for i, c := range v.Clients {
		require.Equal(t, c.Weight == 0, c.Rejected == Outvoted)
		if c.Weight > 0 {
			counted++
			require.InDelta(t, 1.0/7, c.Weight, 1e-9)
			sum += c.Weight * float64(rows[i][0])
		}
	}
	require.Equal(t, 7, counted)
	require.InDelta(t, out[0], sum, 1e-5)
	_, err = Bulyan{}.Aggregate(nil, rows, &v)
	require.NoError(t, err)
	require.InDelta(t, 1.0/11, v.Clients[10].Weight, 1e-12)
}
