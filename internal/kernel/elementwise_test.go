package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A vectorKernel is a kernel whose result at i depends on index i alone.
type vectorKernel struct {
	name   string
	inputs int
	old    bool // the old value of dst is an input too
	run    func(dst []float32, in [][]float32)
	want   func(old float32, in []float32) float32
}

const testScale = -0x1.91eb86p+1

var vectorKernels = []vectorKernel{
	{"Axpy", 1, true,
		func(dst []float32, in [][]float32) { Axpy(dst, testScale, in[0]) },
		func(old float32, in []float32) float32 { p := testScale * in[0]; return old + p }},
	{"Scale", 1, false,
		func(dst []float32, in [][]float32) { Scale(dst, testScale, in[0]) },
		func(_ float32, in []float32) float32 { return testScale * in[0] }},
	{"Add", 1, true,
		func(dst []float32, in [][]float32) { Add(dst, in[0]) },
		func(old float32, in []float32) float32 { return old + in[0] }},
	{"ReLU", 1, false,
		func(dst []float32, in [][]float32) { ReLU(dst, in[0]) },
		func(_ float32, in []float32) float32 {
			if in[0] < 0 {
				return 0
			}
			return in[0]
		}},
	{"ReLUGrad", 2, false,
		func(dst []float32, in [][]float32) { ReLUGrad(dst, in[0], in[1]) },
		func(_ float32, in []float32) float32 {
			if in[1] <= 0 {
				return 0
			}
			return in[0]
		}},
	{"Mul", 2, false,
		func(dst []float32, in [][]float32) { Mul(dst, in[0], in[1]) },
		func(_ float32, in []float32) float32 { return in[0] * in[1] }},
	{"Max", 2, false,
		func(dst []float32, in [][]float32) { Max(dst, in[0], in[1]) },
		func(_ float32, in []float32) float32 {
			if in[0] != in[0] || in[1] != in[1] {
				return float32(math.NaN())
			}
			return float32(math.Max(float64(in[0]), float64(in[1])))
		}},
	{"Exp", 1, false,
		func(dst []float32, in [][]float32) { Exp(dst, in[0]) },
		func(_ float32, in []float32) float32 { return single(expGeneric, in[0]) }},
	{"Tanh", 1, false,
		func(dst []float32, in [][]float32) { Tanh(dst, in[0]) },
		func(_ float32, in []float32) float32 { return single(tanhGeneric, in[0]) }},
	{"Sigmoid", 1, false,
		func(dst []float32, in [][]float32) { Sigmoid(dst, in[0]) },
		func(_ float32, in []float32) float32 { return single(sigmoidGeneric, in[0]) }},
}

func single(f func(dst, x []float32), v float32) float32 {
	x := [1]float32{v}
	f(x[:], x[:])
	return x[0]
}

// everyKernel runs a test of each vector kernel at each level.
func everyKernel(t *testing.T, test func(t *testing.T, k vectorKernel)) {
	everyLevel(t, func(t *testing.T) {
		for _, k := range vectorKernels {
			t.Run(k.name, func(t *testing.T) { test(t, k) })
		}
	})
}

// vectorLengths cover every tail of every loop, and cuts between calls.
func vectorLengths() (n []int) {
	for i := range 66 {
		n = append(n, i)
	}
	return append(n, 79, 80, 81, 95, 96, 97, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097)
}

// guardedVector returns n elements, misaligned by offset, between guards that
// intact checks.
func guardedVector(n, offset int) (x []float32, intact func() bool) {
	const zone = 32
	all := make([]float32, zone+offset+n+zone)
	for i := range all {
		all[i] = math.Float32frombits(guardWord)
	}
	x = all[zone+offset : zone+offset+n : zone+offset+n]
	return x, func() bool {
		for i, v := range all {
			if (i < zone+offset || i >= zone+offset+n) && math.Float32bits(v) != guardWord {
				return false
			}
		}
		return true
	}
}

func checkVector(t *testing.T, r *rand.Rand, k vectorKernel, n int) {
	in := make([][]float32, k.inputs)
	for j := range in {
		in[j], _ = guardedVector(n, r.IntN(16))
		copy(in[j], edges(r, n))
	}
	dst, intact := guardedVector(n, r.IntN(16))
	copy(dst, edges(r, n)) // dirty
	old := slices.Clone(dst)
	kept := make([][]float32, k.inputs)
	for j := range in {
		kept[j] = slices.Clone(in[j])
	}
	k.run(dst, in)
	require.True(t, intact(), "n=%d: wrote outside dst", n)
	args := make([]float32, k.inputs)
	for i := range dst {
		for j := range in {
			args[j] = in[j][i]
			if math.Float32bits(args[j]) != math.Float32bits(kept[j][i]) {
				t.Fatalf("n=%d: input %d changed at %d", n, j, i)
			}
		}
		if want := k.want(old[i], args); !same(dst[i], want) {
			t.Fatalf("n=%d i=%d: f(%g, %g) = %g, want %g", n, i, old[i], args, dst[i], want)
		}
	}
}

func TestVectorKernelsEqualReference(t *testing.T) {
	everyKernel(t, func(t *testing.T, k vectorKernel) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, n := range vectorLengths() {
			checkVector(t, r, k, n)
		}
		for _, n := range []int{callLen - 1, callLen + 1, 2*callLen + 17} {
			checkVector(t, r, k, n)
		}
	})
}

// An element's result must not depend on its place or on the length.
func TestVectorKernelsPositionIndependent(t *testing.T) {
	everyKernel(t, func(t *testing.T, k vectorKernel) {
		r := rand.New(rand.NewPCG(3, 4))
		const n = 300
		in := make([][]float32, k.inputs)
		for j := range in {
			in[j] = edges(r, n)
		}
		old := edges(r, n)
		whole := slices.Clone(old)
		k.run(whole, in)
		for range 200 {
			from := r.IntN(n)
			to := from + 1 + r.IntN(n-from)
			part := slices.Clone(old[from:to])
			sub := make([][]float32, k.inputs)
			for j := range in {
				sub[j] = in[j][from:to]
			}
			k.run(part, sub)
			for i, v := range part {
				require.True(t, same(v, whole[from+i]), "element %d alone in [%d, %d): %g, whole %g", from+i, from, to, v, whole[from+i])
			}
		}
	})
}

func TestVectorKernelsInPlace(t *testing.T) {
	everyKernel(t, func(t *testing.T, k vectorKernel) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, n := range []int{1, 7, 31, 64, 200, 1025} {
			for alias := range k.inputs {
				in := make([][]float32, k.inputs)
				args := make([][]float32, n)
				for j := range in {
					in[j] = edges(r, n)
				}
				for i := range args {
					for j := range in {
						args[i] = append(args[i], in[j][i])
					}
				}
				dst := in[alias]
				k.run(dst, in)
				for i, v := range dst {
					want := k.want(args[i][alias], args[i])
					require.True(t, same(v, want), "n=%d alias=%d i=%d: %g, want %g", n, alias, i, v, want)
				}
			}
		}
	})
}

func TestVectorKernelsPanic(t *testing.T) {
	everyKernel(t, func(t *testing.T, k vectorKernel) {
		all := make([]float32, 64)
		for bad := range k.inputs {
			call := func(x []float32) func() {
				in := make([][]float32, k.inputs)
				for j := range in {
					in[j] = all[20:30]
				}
				in[bad] = x
				return func() { k.run(all[:10], in) }
			}
			require.NotPanics(t, call(all[10:20]))
			require.PanicsWithValue(t, "kernel: lengths differ", call(all[10:19]))
			require.PanicsWithValue(t, "kernel: lengths differ", call(all[10:21]))
			require.PanicsWithValue(t, "kernel: partial overlap", call(all[9:19]))
			require.PanicsWithValue(t, "kernel: partial overlap", call(all[1:11]))
		}
	})
}

func TestVectorKernelsAllocateNothing(t *testing.T) {
	everyKernel(t, func(t *testing.T, k vectorKernel) {
		dst, in := make([]float32, 1000), make([][]float32, k.inputs)
		for j := range in {
			in[j] = make([]float32, 1000)
		}
		require.Zero(t, allocs(func() { k.run(dst, in) }))
	})
}

// Vectors beyond the caches take another path and keep their bits.
func TestLongVectors(t *testing.T) {
	const n = 1<<22 + 1037
	r := rand.New(rand.NewPCG(8, 8))
	x := normals(r, n)
	y := slices.Clone(x)
	slices.Reverse(y)
	restore := Use(Generic)
	squares, product, want := SumSquares(x), Dot(x, y), slices.Clone(y)
	norm := ClipAdd(want, x, 7)
	restore()
	everyLevel(t, func(t *testing.T) {
		got := slices.Clone(y)
		require.Equal(t, squares, SumSquares(x))
		require.Equal(t, product, Dot(x, got))
		require.Equal(t, norm, ClipAdd(got, x, 7))
		require.True(t, slices.Equal(want, got))
		require.True(t, AllFinite(got))
		got[n-1] = float32(math.Inf(-1))
		require.False(t, AllFinite(got))
	})
}

func TestAllFinite(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		inf, nan := float32(math.Inf(1)), float32(math.NaN())
		bad := []float32{inf, -inf, nan, math.Float32frombits(0xffc00000), math.Float32frombits(0x7f800001), math.Float32frombits(0xffffffff)}
		for _, n := range vectorLengths() {
			x, _ := guardedVector(n, n%16)
			for i := range x {
				x[i] = math.MaxFloat32 * float32(1-i%3)
			}
			require.True(t, AllFinite(x), "n=%d", n) // guards are NaN
			for trial := range min(n, 40) {
				i := trial
				if trial%2 == 1 {
					i = n - 1 - trial/2
				}
				v := x[i]
				x[i] = bad[trial%len(bad)]
				require.False(t, AllFinite(x), "n=%d: %g at %d", n, x[i], i)
				x[i] = v
			}
		}
		x := make([]float32, 100)
		require.Zero(t, allocs(func() { AllFinite(x) }))
	})
}

// FuzzVectorKernels gives every kernel, at every level, arbitrary bits.
func FuzzVectorKernels(f *testing.F) {
	f.Add(uint64(1), uint16(0), uint32(0))
	f.Add(uint64(2), uint16(63), uint32(0x7f800001))
	f.Add(uint64(3), uint16(1025), uint32(0x80000000))
	f.Add(uint64(4), uint16(97), uint32(0x42b17218)) // about where e^x overflows
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, pattern uint32) {
		r := rand.New(rand.NewPCG(seed, 7))
		size := int(n) % 2048
		in := [][]float32{make([]float32, size), make([]float32, size)}
		for _, x := range in {
			for i := range x {
				x[i] = math.Float32frombits(pattern ^ r.Uint32()>>r.IntN(33))
			}
		}
		for _, level := range Levels() {
			restore := Use(level)
			for _, k := range vectorKernels {
				dst := slices.Clone(in[1])
				k.run(dst, in[:k.inputs])
				for i, v := range dst {
					if want := k.want(in[1][i], []float32{in[0][i], in[1][i]}); !same(v, want) {
						t.Errorf("%s %s: n=%d i=%d: %g, want %g", level, k.name, size, i, v, want)
					}
				}
			}
			restore()
		}
	})
}
