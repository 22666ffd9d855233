package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// chunkSum is the documented order: 64 lanes, then halves onto halves.
func chunkSum(n int, term func(i int) float32) float32 {
	lane := make([]float32, 64)
	for i := range n {
		lane[i%64] += term(i)
	}
	for len(lane) > 1 {
		half := len(lane) / 2
		for i := range half {
			lane[i] += lane[half+i]
		}
		lane = lane[:half]
	}
	return lane[0]
}

// exactDot sums in float64 with Neumaier's compensation: far more exact than
// any bound here.
func exactDot(x, y []float32) (dot, magnitude float64) {
	var s, c float64
	for i, v := range x {
		p := float64(v) * float64(y[i])
		t := s + p
		if math.Abs(s) >= math.Abs(p) {
			c += (s - t) + p
		} else {
			c += (p - t) + s
		}
		s = t
		magnitude += math.Abs(p)
	}
	return s + c, magnitude
}

// wide returns n draws whose magnitudes span 2^lo to 2^hi.
func wide(r *rand.Rand, n, lo, hi int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Ldexp(r.NormFloat64(), lo+r.IntN(hi-lo+1)))
	}
	return x
}

var sumLengths = append(vectorLengths(), 2*chunkLen-1, 2*chunkLen+63, 3*chunkLen+1)

func TestSumsKeepTheirOrder(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 1))
		for _, n := range sumLengths {
			x, _ := guardedVector(n, r.IntN(16)) // guards are NaN: reading one shows
			y, _ := guardedVector(n, r.IntN(16))
			copy(x, normals(r, n))
			copy(y, normals(r, n))
			var squares, products float64
			for i := 0; i < n; i += chunkLen {
				m := min(chunkLen, n-i)
				squares += float64(chunkSum(m, func(j int) float32 { return x[i+j] * x[i+j] }))
				products += float64(chunkSum(m, func(j int) float32 { return x[i+j] * y[i+j] }))
			}
			require.Equal(t, squares, SumSquares(x), "n=%d", n)
			require.Equal(t, products, Dot(x, y), "n=%d", n)
		}
	})
}

// The bound holds for elements of every size, those whose squares leave float32
// included.
func TestSumSquaresError(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(12, 1))
		worst := 0.0
		for trial := range 4000 {
			n := 1 + r.IntN(200)
			if trial%50 == 0 {
				n = 3*chunkLen + r.IntN(200)
			}
			lo := -149 + r.IntN(260)
			x := wide(r, n, lo, min(lo+r.IntN(60), 124))
			want, _ := exactDot(x, x)
			got := SumSquares(x)
			if want == 0 {
				require.Zero(t, got)
				continue
			}
			e := math.Abs(got-want) / want
			require.LessOrEqual(t, e, 70*0x1p-24+float64(n)*0x1p-64, "n=%d, from 2^%d", n, lo)
			worst = max(worst, e)
		}
		t.Logf("worst relative error %.2g·2^-24", worst*0x1p24)
	})
}

// Rounding all in one direction: the error comes near the bound, and past a
// third of it, so the bound is not idle.
func TestSumSquaresErrorIsReal(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		x := make([]float32, chunkLen)
		for i := range x {
			x[i] = 0x1p-12 // each square is lost in a lane that starts at 2^0
			if i < lanes {
				x[i] = 1
			}
		}
		want, _ := exactDot(x, x)
		e := (want - SumSquares(x)) / want
		require.Greater(t, e, 60*0x1p-24)
		require.LessOrEqual(t, e, 70*0x1p-24)
	})
}

func TestSumSquaresExtremes(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		fill := func(n int, v float32) []float32 { return slices.Repeat([]float32{v}, n) }
		tiny, huge := float32(math.SmallestNonzeroFloat32), float32(math.MaxFloat32)
		inf, nan := float32(math.Inf(1)), float32(math.NaN())
		require.Zero(t, SumSquares(nil))
		require.Zero(t, SumSquares(make([]float32, 5000)))
		require.Equal(t, 64*0x1p-298, SumSquares(fill(64, tiny)))
		require.Equal(t, 5000*0x1p-298, SumSquares(fill(5000, -tiny)))
		require.InEpsilon(t, 5000*float64(huge)*float64(huge), SumSquares(fill(5000, huge)), 70*0x1p-24)
		require.Equal(t, 0x1p254, SumSquares(append(make([]float32, 4097), -0x1p127)))
		for _, n := range []int{1, 17, 64, 100, 4096, 5000} {
			for _, at := range []int{0, n / 2, n - 1} {
				x := fill(n, 1)
				x[at] = -inf
				require.Equal(t, math.Inf(1), SumSquares(x))
				x[at] = nan
				require.True(t, math.IsNaN(SumSquares(x)))
				x = fill(n, huge)
				x[at] = nan
				require.True(t, math.IsNaN(SumSquares(x)))
				x = fill(n, tiny)
				x[at] = inf
				require.Equal(t, math.Inf(1), SumSquares(x))
			}
		}
	})
}

func TestDotError(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(13, 1))
		for trial := range 2000 {
			n := 1 + r.IntN(200)
			if trial%50 == 0 {
				n = 3*chunkLen + r.IntN(200)
			}
			lo := -140 + r.IntN(240)
			x, y := wide(r, n, lo, min(lo+r.IntN(60), 124)), wide(r, n, -20, 60)
			want, magnitude := exactDot(x, y)
			bound := (70*0x1p-24+float64(n)*0x1p-53)*magnitude + float64(n)*0x1p-150
			require.InDelta(t, want, Dot(x, y), bound, "n=%d, from 2^%d", n, lo)
		}
		// The sum cancels what overflowed.
		require.Equal(t, 0x1p120, Dot([]float32{0x1p100, 0x1p70, 0x1p100}, []float32{0x1p60, 0x1p50, -0x1p60}))
		inf := float32(math.Inf(1))
		require.Equal(t, math.Inf(-1), Dot([]float32{1, inf}, []float32{1, -1}))
		require.True(t, math.IsNaN(Dot([]float32{0, 1}, []float32{inf, 1})))
		require.Zero(t, Dot(nil, nil))
		require.PanicsWithValue(t, "kernel: lengths differ", func() { Dot(make([]float32, 2), make([]float32, 3)) })
		x := make([]float32, 5000)
		require.Zero(t, allocs(func() { Dot(x, x); SumSquares(x) }))
	})
}

// FuzzSums checks the bounds and that all levels give the same bits.
func FuzzSums(f *testing.F) {
	f.Add(uint64(1), uint16(0), int8(0), uint8(1))
	f.Add(uint64(2), uint16(4097), int8(-120), uint8(90))
	f.Add(uint64(3), uint16(130), int8(100), uint8(24))
	f.Add(uint64(4), uint16(65), int8(-50), uint8(4))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, lo int8, span uint8) {
		r := rand.New(rand.NewPCG(seed, 9))
		size, low := int(n)%9000, int(lo)
		x := wide(r, size, low, min(low+int(span), 124)+max(0, low-124))
		y := edges(r, size)
		for i, v := range x {
			if v-v != 0 {
				x[i] = 1
			}
		}
		want, _ := exactDot(x, x)
		squares, dot := SumSquares(x), Dot(x, y)
		require.LessOrEqual(t, math.Abs(squares-want), (70*0x1p-24+float64(size)*0x1p-64)*want)
		for _, level := range Levels() {
			restore := Use(level)
			s, d := SumSquares(x), Dot(x, y)
			restore()
			require.Equal(t, squares, s, level)
			require.True(t, d == dot || d != d && dot != dot, "%s: %g, want %g", level, d, dot)
		}
	})
}
