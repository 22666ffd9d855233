package kernel

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// ulps is |got - want| in units of the last place of float32 at want.
func ulps(got float32, want float64) float64 {
	if math.IsInf(want, 0) || math.Abs(want) >= 0x1.ffffffp127 { // rounds to an infinity
		if math.IsInf(float64(got), int(math.Copysign(1, want))) {
			return 0
		}
		want = math.Copysign(0x1p128, want)
	}
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e-24, -149))
}

var transcendental = []struct {
	name  string
	f     func(dst, x []float32)
	want  func(x float64) float64
	bound float64 // ulp, the documented one
}{
	{"exp", Exp, math.Exp, 1},
	{"tanh", Tanh, tanh64, 2.5},
	{"sigmoid", Sigmoid, sigmoid64, 2.5},
}

// tanh64 is accurate to a few 2^-53 for small x too, as math.Tanh is not.
func tanh64(x float64) float64 {
	if math.Abs(x) > 20 {
		return math.Copysign(1, x)
	}
	m := math.Expm1(2 * x)
	return m / (m + 2)
}

func sigmoid64(x float64) float64 {
	if x < 0 {
		e := math.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-x))
}

func TestTranscendentalErrors(t *testing.T) {
	const block = 1 << 12
	stride := uint32(1009)
	x, got := make([]float32, block), make([]float32, block)
	for _, c := range transcendental {
		worst, at := 0.0, float32(0)
		for b := uint64(0); b < 1<<32; {
			n := 0
			for ; n < block && b < 1<<32; n++ {
				x[n] = math.Float32frombits(uint32(b))
				b += uint64(stride)
			}
			c.f(got[:n], x[:n])
			for i, v := range x[:n] {
				if v != v {
					require.True(t, got[i] != got[i], "%s(NaN) = %g", c.name, got[i])
					continue
				}
				if u := ulps(got[i], c.want(float64(v))); u > worst || u != u {
					worst, at = u, v
				}
			}
		}
		t.Logf("%s: %.3f ulp at %g", c.name, worst, at)
		require.LessOrEqual(t, worst, c.bound, "%s(%g)", c.name, at)
	}
}
