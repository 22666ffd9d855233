package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClipAdd(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 1))
		clipped := 0
		for trial := range 3000 {
			n := 1 + r.IntN(300)
			scale := r.IntN(200) - 100
			x := wide(r, n, scale-20, min(scale, 100))
			square, _ := exactDot(x, x)
			true2 := math.Sqrt(square)
			clip := float32(true2 * math.Exp2(2*r.NormFloat64()))
			y, intact := guardedVector(n, r.IntN(16))
			copy(y, normals(r, n))
			old := slices.Clone(y)
			norm := ClipAdd(y, x, clip)
			require.True(t, intact())
			require.InEpsilon(t, true2, norm, 36*0x1p-24)
			a := float32(1)
			if norm > float64(clip) {
				a = float32(float64(clip) / norm)
				if float64(a) > float64(clip)/norm {
					a = math.Nextafter32(a, 0)
				}
				clipped++
			}
			for i := range y {
				p := a * x[i]
				if y[i] != old[i]+p {
					t.Fatalf("trial %d: element %d is %g, want %g", trial, i, y[i], old[i]+p)
				}
			}
			// What is added to zeros is the clipped vector itself.
			z := make([]float32, n)
			ClipAdd(z, x, clip)
			added, _ := exactDot(z, z)
			require.LessOrEqual(t, math.Sqrt(added), float64(clip)*(1+37*0x1p-24)+float64(n)*0x1p-149)
			if a < 1 && clip > 0x1p-100 {
				require.InEpsilon(t, float64(clip), math.Sqrt(added), 40*0x1p-24)
			}
		}
		require.Greater(t, clipped, 500)
		require.Less(t, clipped, 2500)
	})
}

func TestClipAddEdges(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			for _, clip := range []float32{0, 1, float32(math.Inf(1))} {
				x, y := make([]float32, 100), make([]float32, 100)
				for i := range y {
					x[i], y[i] = 1, float32(i)
				}
				x[77] = float32(bad)
				norm := ClipAdd(y, x, clip)
				require.False(t, norm <= math.MaxFloat64, "norm of %g", bad)
				for i := range y {
					require.Equal(t, float32(i), y[i])
				}
			}
		}
		x := []float32{3e38, 3e38, 3e38} // its norm is above MaxFloat32
		y := make([]float32, 3)
		require.InEpsilon(t, 3e38*math.Sqrt(3), ClipAdd(y, x, 3), 1e-6)
		require.InEpsilon(t, math.Sqrt(3), y[1], 1e-6)
		require.Zero(t, ClipAdd(y, make([]float32, 3), 0))
		require.Equal(t, 1.0, ClipAdd(y, []float32{1, 0, 0}, float32(math.Inf(1))))
		require.Equal(t, 5.0, ClipAdd(make([]float32, 2), []float32{3, 4}, 0))
		require.Zero(t, ClipAdd(nil, nil, 1))
		before := slices.Clone(y)
		ClipAdd(y, []float32{1, 2, 3}, 0)
		require.Equal(t, before, y)

		require.PanicsWithValue(t, "kernel: clip must be at least 0", func() { ClipAdd(y, x, -1) })
		require.PanicsWithValue(t, "kernel: clip must be at least 0", func() { ClipAdd(y, x, float32(math.NaN())) })
		require.PanicsWithValue(t, "kernel: lengths differ", func() { ClipAdd(y, x[:2], 1) })
		require.PanicsWithValue(t, "kernel: partial overlap", func() { ClipAdd(y[1:], y[:2], 1) })
		require.PanicsWithValue(t, "kernel: ClipAdd onto its own input", func() { ClipAdd(y, y, 1) })
		require.Zero(t, allocs(func() { ClipAdd(y, x, 1) }))
	})
}
