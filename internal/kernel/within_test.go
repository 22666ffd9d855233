package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// checkWithin compares with the comparison by hand, between guards.
func checkWithin(t *testing.T, r *rand.Rand, n, offset int) {
	const zone = 17
	special := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 1e-45, math.MaxFloat32}
	draw := func() []float32 {
		all := make([]float32, 2*zone+offset+n)
		for i := range all {
			switch all[i] = float32(r.IntN(5)); {
			case i < zone+offset || i >= zone+offset+n:
				all[i] = float32(math.NaN())
			case r.IntN(6) == 0:
				all[i] = special[r.IntN(len(special))]
			}
		}
		return all[zone+offset : zone+offset+n]
	}
	x, least, most := draw(), draw(), draw()
	votes, shares := make([]int32, 2*zone+offset+n), make([]int64, 2*zone+offset+n)
	for i := range votes {
		votes[i], shares[i] = r.Int32(), int64(r.Uint64())
	}
	want := append([]int32(nil), votes...)
	outside, sum := 0, int64(0)
	for j, v := range x {
		if v < least[j] || v > most[j] {
			outside++
			continue
		}
		want[zone+offset+j]++
		sum += shares[zone+offset+j]
	}
	require.Equal(t, outside, CountWithin(votes[zone+offset:zone+offset+n], x, least, most), "n=%d", n)
	require.Equal(t, want, votes, "n=%d", n)
	require.Equal(t, sum, SumWithin(shares[zone+offset:zone+offset+n], x, least, most), "n=%d", n)
}

func TestWithin(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		for _, n := range append(vectorLengths(), callLen+5) {
			for offset := range 3 {
				checkWithin(t, r, n, offset)
			}
		}
		x, votes, shares := make([]float32, 100), make([]int32, 100), make([]int64, 100)
		require.Zero(t, allocs(func() { CountWithin(votes, x, x, x); SumWithin(shares, x, x, x) }))
		for _, f := range []func(){
			func() { CountWithin(votes[1:], x, x, x) }, func() { CountWithin(votes, x, x[1:], x) }, func() { CountWithin(votes, x, x, x[1:]) },
			func() { SumWithin(shares[1:], x, x, x) }, func() { SumWithin(shares, x, x[1:], x) }, func() { SumWithin(shares, x, x, x[1:]) },
		} {
			require.PanicsWithValue(t, "kernel: lengths differ", f)
		}
	})
}

func FuzzWithin(f *testing.F) {
	f.Add(uint64(1), uint16(67), uint8(3))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, offset uint8) {
		everyLevel(t, func(t *testing.T) {
			checkWithin(t, rand.New(rand.NewPCG(seed, 1)), int(n)%3000, int(offset)%70)
		})
	})
}
