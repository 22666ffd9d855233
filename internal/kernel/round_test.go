package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// guardedSum returns n integers, misaligned by offset, between guards that
// intact checks.
func guardedSum(r *rand.Rand, n, offset int) (sum []int64, intact func() bool) {
	const zone, guard = 20, -0x5a5a5a5a5a5a5a5a
	all := slices.Repeat([]int64{guard}, zone+offset+n+zone)
	sum = all[zone+offset : zone+offset+n : zone+offset+n]
	for i := range sum {
		sum[i] = r.Int64()
	}
	return sum, func() bool {
		for i, v := range all {
			if (i < zone+offset || i >= zone+offset+n) && v != guard {
				return false
			}
		}
		return true
	}
}

func TestRoundAddEqualsReference(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(31, 1))
		for _, n := range append(vectorLengths(), callLen+5) {
			x, _ := guardedVector(n, r.IntN(16))
			sum, intact := guardedSum(r, n, r.IntN(8))
			for i := range x {
				switch r.IntN(3) {
				case 0: // ties
					x[i] = float32(r.IntN(2001)-1000) + 0.5
				case 1:
					x[i] = float32(math.Ldexp(r.NormFloat64(), r.IntN(60)-12))
				default:
					x[i] = []float32{0, float32(math.Copysign(0, -1)), 1e-42, 0x1.fffffep-2, -0x1.000002p-1, 0x1.fffffep50, -0x1.fffffep50}[r.IntN(7)]
				}
				if math.Abs(float64(x[i])) >= 0x1p51 {
					x[i] = -0.5
				}
			}
			want := slices.Clone(sum)
			for i, v := range x {
				want[i] += int64(math.RoundToEven(float64(v)))
			}
			RoundAdd(sum, x)
			require.Equal(t, want, sum, "n=%d", n)
			require.True(t, intact(), "n=%d", n)
		}
	})
}

// Elements that are not promised anything must not harm their neighbours.
func TestRoundAddOutOfRange(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(32, 1))
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat32, 0x1p52} {
			for n := 1; n < 40; n++ {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(i)
				}
				at := r.IntN(n)
				x[at] = float32(bad)
				sum, intact := guardedSum(r, n, 1)
				want := slices.Clone(sum)
				RoundAdd(sum, x)
				for i := range sum {
					if i != at {
						require.Equal(t, want[i]+int64(i), sum[i])
					}
				}
				require.True(t, intact())
			}
		}
		sum, x := make([]int64, 100), make([]float32, 100)
		require.Zero(t, allocs(func() { RoundAdd(sum, x) }))
		require.PanicsWithValue(t, "kernel: lengths differ", func() { RoundAdd(sum, x[:99]) })
	})
}

func FuzzRoundAdd(f *testing.F) {
	f.Add(uint64(1), uint16(0), int16(0))
	f.Add(uint64(2), uint16(67), int16(40))
	f.Add(uint64(3), uint16(1025), int16(-3))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, exponent int16) {
		r := rand.New(rand.NewPCG(seed, 3))
		x := make([]float32, int(n)%3000)
		for i := range x {
			x[i] = float32(math.Ldexp(r.Float64()*2-1, min(int(exponent), 50)))
			if r.IntN(4) == 0 {
				x[i] = float32(math.Trunc(float64(x[i]))) + 0.5
			}
		}
		sum, _ := guardedSum(r, len(x), 0)
		want := slices.Clone(sum)
		for i, v := range x {
			want[i] += int64(math.RoundToEven(float64(v)))
		}
		for _, level := range Levels() {
			got := slices.Clone(sum)
			restore := Use(level)
			RoundAdd(got, x)
			restore()
			require.Equal(t, want, got, level)
		}
	})
}

func TestFromIntEqualsReference(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(33, 1))
		for _, n := range append(vectorLengths(), callLen+5) {
			dst, intact := guardedVector(n, r.IntN(16))
			x, intactX := guardedSum(r, n, r.IntN(8))
			for i := range x {
				x[i] >>= r.IntN(64)
				if r.IntN(8) == 0 {
					x[i] = []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1<<53 + 1, -1<<53 - 1, 1<<62 + 1<<8, 1<<32 - 1, -1 << 32}[r.IntN(10)]
				}
			}
			scale := float32(math.Ldexp(1+r.Float64(), r.IntN(80)-70))
			want := make([]float32, n)
			for i, v := range x {
				want[i] = float32(float64(v) * float64(scale))
			}
			FromInt(dst, x, scale)
			require.Equal(t, want, dst, "n=%d", n)
			require.True(t, intact() && intactX(), "n=%d", n)
		}
		dst, x := make([]float32, 100), make([]int64, 100)
		require.Zero(t, allocs(func() { FromInt(dst, x, 0.5) }))
		require.PanicsWithValue(t, "kernel: lengths differ", func() { FromInt(dst[:99], x, 1) })
	})
}

func FuzzFromInt(f *testing.F) {
	f.Add(uint64(1), uint16(0), float32(1))
	f.Add(uint64(2), uint16(67), float32(-0x1p-30))
	f.Add(uint64(3), uint16(1025), float32(0x1.234p100))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, scale float32) {
		if math.IsNaN(float64(scale)) {
			t.Skip()
		}
		r := rand.New(rand.NewPCG(seed, 3))
		x, _ := guardedSum(r, int(n)%3000, 0)
		want, got := make([]float32, len(x)), make([]float32, len(x))
		fromIntGeneric(want, x, scale)
		for _, level := range Levels() {
			restore := Use(level)
			FromInt(got, x, scale)
			restore()
			for i := range want {
				require.Equal(t, math.Float32bits(want[i]), math.Float32bits(got[i]), level)
			}
		}
	})
}
