package scattering

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/stretchr/testify/require"
)

func must(t testing.TB, height, width int, o Options) *Transform {
	t.Helper()
	tr, err := New(height, width, o)
	require.NoError(t, err)
	return tr
}

func noise(n int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func eachLevel(t *testing.T, f func(t *testing.T)) {
	for _, level := range kernel.Levels() {
		t.Run(level.String(), func(t *testing.T) {
			defer kernel.Use(level)()
			f(t)
		})
	}
}

// Every feature of every shape agrees with convolution in space.
func TestAgainstDirectConvolution(t *testing.T) {
	for _, c := range []struct{ h, w, j, l, order int }{
		{28, 28, 2, 8, 2}, {32, 32, 2, 8, 1}, {16, 24, 2, 6, 2}, {12, 12, 2, 4, 2}, {9, 10, 1, 8, 2},
		{13, 15, 2, 5, 2}, {11, 8, 3, 3, 2}, {2, 3, 1, 4, 2}, {8, 8, 3, 2, 2}, {7, 4, 2, 1, 2}, {4, 4, 2, 9, 2},
	} {
		r := newReference(c.h, c.w, c.j, c.l, c.order)
		image := noise(c.h*c.w, 1)
		largest := 0.0
		for _, x := range image {
			largest = max(largest, math.Abs(float64(x)))
		}
		want := r.apply(image)
		t.Run(fmt.Sprintf("%dx%d,J=%d,L=%d,Order=%d", c.h, c.w, c.j, c.l, c.order), func(t *testing.T) {
			eachLevel(t, func(t *testing.T) {
				tr := must(t, c.h, c.w, Options{J: c.j, L: c.l, Order: c.order})
				require.Equal(t, len(want), tr.Len())
				got := tr.Apply(nil, image)
				worst := 0.0
				for i := range want {
					worst = max(worst, math.Abs(float64(got[i])-want[i]))
				}
				t.Logf("error %.2g of the largest pixel", worst/largest)
				require.Less(t, worst, 5e-7*largest)
			})
		})
	}
}
