package scattering

import (
	"fmt"
	"math"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

const guard = 64

// guarded returns a slice of n elements inside a larger one full of a marker,
// and a check that the marker still stands on both sides.
func guarded(t *testing.T, n int) (x []float32, check func()) {
	const marker = -12345
	all := make([]float32, n+2*guard)
	for i := range all {
		all[i] = marker
	}
	return all[guard : guard+n : guard+n], func() {
		t.Helper()
		for i := range guard {
			require.EqualValues(t, marker, all[i])
			require.EqualValues(t, marker, all[guard+n+i])
		}
	}
}

// Every level's fold is the reference's up to rounding, and writes its output
// only, all of it.
func TestFoldKernel(t *testing.T) {
	for _, c := range []struct{ groups, terms, l int }{
		{1, 1, 1}, {1, 1, 2}, {3, 1, 8}, {5, 4, 8}, {4, 16, 5}, {7, 3, 3}, {2, 64, 7},
	} {
		t.Run(fmt.Sprintf("groups=%d,terms=%d,l=%d", c.groups, c.terms, c.l), func(t *testing.T) {
			f := &fold{groups: c.groups, terms: c.terms, l: c.l}
			n := c.groups * c.terms * 4
			f.coefs = noise(n*c.l, 1)
			for i := range n {
				f.offsets = append(f.offsets, int32(i*37%50*lanes))
			}
			src := noise(50*lanes, 2)
			plane := c.groups * c.l * lanes
			want := make([]float32, 4*plane)
			foldGeneric(f, want, src, plane)
			eachLevel(t, func(t *testing.T) {
				got, check := guarded(t, 4*plane)
				f.run(got, src)
				check()
				for i := range want {
					require.InDelta(t, want[i], got[i], 1e-6*4*float64(4+c.terms))
				}
			})
		})
	}
}

func TestModulusKernel(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, n := range []int{8, 16, 64, 1024} {
		re, im := noise(n, 1), noise(n, 2)
		special := [][2]float32{{0, 0}, {float32(math.Copysign(0, -1)), 0}, {3, -4}, {inf, 1}, {1, -inf}, {nan, 1}, {1, nan}, {1e-12, 0}}
		for i, s := range special {
			re[i], im[i] = s[0], s[1]
		}
		eachLevel(t, func(t *testing.T) {
			got, check := guarded(t, n)
			modulus(got, re, im)
			check()
			for i := range got {
				want := math.Hypot(float64(re[i]), float64(im[i]))
				switch {
				case math.IsNaN(want):
					require.True(t, math.IsNaN(float64(got[i])))
				case math.IsInf(want, 0):
					require.Equal(t, inf, got[i])
				default:
					require.InDelta(t, want, got[i], 2e-7*want)
					require.False(t, math.Signbit(float64(got[i])))
				}
			}
		})
	}
}

// The assembly is what the generator writes.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the generator")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command")
	}
	out, err := exec.Command(goTool, "run", "-C", "_gen", ".", "-check").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
