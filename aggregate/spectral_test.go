package aggregate

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFilterRange: a filter that would drop all rows is refused, however great.
func TestFilterRange(t *testing.T) {
	for _, filter := range []float64{10, 1e18, 1e300, math.Inf(1), math.NaN(), -1, -1e300} {
		_, err := DnC{F: 1, Filter: filter}.Aggregate(nil, someRows(1, 10, 3), nil)
		require.ErrorContains(t, err, "DnC.Filter is", "%v", filter)
	}
	_, err := DnC{F: 1, Filter: 9.9}.Aggregate(nil, someRows(1, 10, 3), nil)
	require.NoError(t, err)
	_, err = DnC{Filter: math.Inf(1)}.Aggregate(nil, someRows(1, 10, 3), nil)
	require.ErrorContains(t, err, "DnC.Filter is")
}
