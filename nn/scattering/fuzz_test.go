package scattering

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Any small size and options are either refused or give what direct convolution
// gives.
func FuzzSizes(f *testing.F) {
	f.Add(12, 9, 2, 4, 2, uint64(1))
	f.Add(5, 4, 2, 0, 0, uint64(2))
	f.Add(3, 2, 1, 7, 1, uint64(3))
	f.Add(9, 8, 3, 2, 2, uint64(4))
	f.Add(8, 11, 3, 1, 2, uint64(5))
	f.Add(0, 1, 1, 8, 2, uint64(6))
	f.Add(4, 4, -2, 8, 2, uint64(7))
	f.Fuzz(func(t *testing.T, height, width, j, l, order int, seed uint64) {
		if height > 14 || width > 14 || l > 10 {
			t.Skip("slow")
		}
		tr, err := New(height, width, Options{J: j, L: l, Order: order})
		valid := j >= 1 && j <= 8 && l >= 0 && order >= 0 && order <= 2 && height >= 1<<max(0, j) && width >= 1<<max(0, j)
		require.Equal(t, valid, err == nil)
		if err != nil {
			return
		}
		if l == 0 {
			l = 8
		}
		if order == 0 {
			order = 2
		}
		image := noise(height*width, seed)
		want := newReference(height, width, j, l, order).apply(image)
		got := tr.Apply(nil, image)
		require.Len(t, got, len(want))
		for i := range want {
			require.LessOrEqual(t, math.Abs(float64(got[i])-want[i]), 5e-6)
		}
	})
}
