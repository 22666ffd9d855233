package kernel

import (
	"flag"
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

// stride 1 tests every float32 between 2^-14 and 2^7, in about a minute.
var stride = flag.Uint("stride", 41, "distance between the float32 values that the functions are tested on")

// TestTranscendentalErrors holds the documented bounds. With -stride 1 the worst
// errors are 0.977 ulp (Exp), 2.449 (Tanh) and 2.402 (Sigmoid).
func TestTranscendentalErrors(t *testing.T) {
	const block = 1 << 12
	small, large := uint64(math.Float32bits(0x1p-14)), uint64(math.Float32bits(0x1p7))
	x, got := make([]float32, block), make([]float32, block)
	for _, c := range transcendental {
		worst, at := 0.0, float32(0)
		for b := uint64(0); b < 1<<32; {
			n := 0
			for ; n < block && b < 1<<32; n++ {
				x[n] = math.Float32frombits(uint32(b))
				step := uint64(*stride)
				if testing.Short() {
					step *= 10
				}
				if m := b &^ signBit; m < small || m > large {
					step *= 200
				}
				b += step
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
		t.Logf("%s: %.4f ulp at %g", c.name, worst, at)
		require.LessOrEqual(t, worst, c.bound, "%s(%g)", c.name, at)
	}
}

func TestTranscendentalEdges(t *testing.T) {
	inf, negZero, tiny := float32(math.Inf(1)), float32(math.Copysign(0, -1)), float32(math.SmallestNonzeroFloat32)
	everyLevel(t, func(t *testing.T) {
		for _, c := range []struct {
			f       func(dst, x []float32)
			x, want float32
		}{
			{Exp, 0, 1}, {Exp, negZero, 1}, {Exp, inf, inf}, {Exp, -inf, 0}, {Exp, tiny, 1}, {Exp, -tiny, 1},
			{Exp, math.MaxFloat32, inf}, {Exp, -math.MaxFloat32, 0},
			{Exp, 88.72284, inf}, {Exp, 88.72283, 3.4027985e38}, {Exp, -103.97208, tiny}, {Exp, -103.97209, 0},
			{Tanh, 0, 0}, {Tanh, negZero, negZero}, {Tanh, inf, 1}, {Tanh, -inf, -1}, {Tanh, tiny, tiny}, {Tanh, -tiny, -tiny},
			{Tanh, math.MaxFloat32, 1}, {Tanh, -9.02, -1}, {Tanh, 0x1p-130, 0x1p-130}, {Tanh, -0x1p-20, -0x1p-20},
			{Sigmoid, 0, 0.5}, {Sigmoid, negZero, 0.5}, {Sigmoid, inf, 1}, {Sigmoid, -inf, 0}, {Sigmoid, tiny, 0.5},
			{Sigmoid, math.MaxFloat32, 1}, {Sigmoid, -math.MaxFloat32, 0}, {Sigmoid, 17.4, 1}, {Sigmoid, -103.97208, tiny},
		} {
			got := single(c.f, c.x)
			require.Equal(t, math.Float32bits(c.want), math.Float32bits(got), "f(%g) = %g, want %g", c.x, got, c.want)
		}
	})
}

// Tanh is odd to the last bit; Tanh and Sigmoid stay in their ranges.
func TestTranscendentalRanges(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		const n = 1 << 14
		x, minus, y, z := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = math.Float32frombits(uint32(i) * (posInf / n))
			minus[i] = -x[i]
		}
		Tanh(y, x)
		Tanh(z, minus)
		for i := range y {
			require.Equal(t, math.Float32bits(y[i]), math.Float32bits(-z[i]))
			require.True(t, y[i] >= 0 && y[i] <= 1 && y[i] <= x[i]*(1+0x1p-22), "tanh %g = %g", x[i], y[i])
		}
		Sigmoid(y, x)
		Sigmoid(z, minus)
		for i := range y {
			require.True(t, y[i] >= 0.5 && y[i] <= 1 && z[i] >= 0 && z[i] <= 0.5, "sigmoid ±%g = %g, %g", x[i], y[i], z[i])
		}
	})
}
