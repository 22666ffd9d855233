package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// weightedCase draws columns of one length, with values over all 64 bits.
func weightedCase(r *rand.Rand, columns, length, terms int) (x [][]uint64, col []int32, w []int64) {
	for range columns {
		c := make([]uint64, length)
		for i := range c {
			c[i] = r.Uint64() >> r.IntN(64)
		}
		x = append(x, c)
	}
	for range terms {
		col = append(col, int32(r.IntN(columns)))
		w = append(w, int64(r.Uint64())>>r.IntN(64))
	}
	return x, col, w
}

func checkWeighted(t *testing.T, r *rand.Rand, columns, offset, terms int) {
	x, col, w := weightedCase(r, columns, offset+WeightedTile+r.IntN(9), terms)
	var sum, want [WeightedTile]int64
	for i := range sum {
		sum[i] = int64(r.Uint64())
		want[i] = sum[i]
		for j, c := range col {
			want[i] += w[j] * int64(x[c][offset+i])
		}
	}
	WeightedSum(&sum, x, offset, col, w)
	require.Equal(t, want, sum, "%d columns, %d terms from %d", columns, terms, offset)
}

func TestWeightedSum(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for terms := range 40 {
			for _, offset := range []int{0, 1, 128, 1001} {
				checkWeighted(t, r, 1+r.IntN(20), offset, terms)
			}
		}
	})
}

func TestWeightedSumPanics(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		var sum [WeightedTile]int64
		x := [][]uint64{make([]uint64, 200), make([]uint64, 150)}
		one := []int64{1}
		require.NotPanics(t, func() { WeightedSum(&sum, x, 22, []int32{1}, one) })
		require.Panics(t, func() { WeightedSum(&sum, x, 23, []int32{1}, one) })
		require.Panics(t, func() { WeightedSum(&sum, x, 0, []int32{2}, one) })
		require.Panics(t, func() { WeightedSum(&sum, x, 0, []int32{-1}, one) })
		require.Panics(t, func() { WeightedSum(&sum, x, -1, []int32{0}, one) })
		require.PanicsWithValue(t, "kernel: lengths differ", func() { WeightedSum(&sum, x, 0, []int32{0, 1}, one) })
		require.Zero(t, allocs(func() { WeightedSum(&sum, x, 0, []int32{0}, one) }))
	})
}

func FuzzWeightedSum(f *testing.F) {
	f.Add(uint64(1), uint8(3), uint8(7), uint16(64))
	f.Fuzz(func(t *testing.T, seed uint64, columns, terms uint8, offset uint16) {
		everyLevel(t, func(t *testing.T) {
			checkWeighted(t, rand.New(rand.NewPCG(seed, 1)), int(columns)+1, int(offset)%2000, int(terms))
		})
	})
}

func BenchmarkWeightedSum(b *testing.B) {
	x, col, w := weightedCase(rand.New(rand.NewPCG(1, 2)), 784, WeightedTile, 784)
	for i := range col {
		col[i] = int32(i)
	}
	var sum [WeightedTile]int64
	b.Run("level="+Current().String(), func(b *testing.B) {
		for b.Loop() {
			WeightedSum(&sum, x, 0, col, w)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/784/WeightedTile, "ns/term")
	})
}
