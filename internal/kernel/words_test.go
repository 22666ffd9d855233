package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWords(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for n := range 1030 {
			if n > 65 && n < 1020 {
				continue
			}
			for offset := range 3 {
				all := make([]uint32, 32+offset+n+32)
				for i := range all {
					all[i] = r.Uint32()
				}
				was := append([]uint32(nil), all...)
				words := make([]uint64, (n+1)/2+1)[1:]
				for i := range words {
					words[i] = r.Uint64()
				}
				y := all[32+offset : 32+offset+n]
				AddWords(y, words)
				for i := range all {
					want := was[i]
					if k := i - 32 - offset; k >= 0 && k < n {
						want += uint32(words[k/2] >> (32 * (k % 2)))
					}
					if all[i] != want {
						t.Fatalf("n %d: element %d", n, i-32-offset)
					}
				}
				SubWords(y, words)
				require.Equal(t, was, all)
			}
		}
		y, words := make([]uint32, 100001), make([]uint64, 50001)
		words[50000] = 1<<32 | 7
		AddWords(y, words)
		require.EqualValues(t, 7, y[100000])
		require.Zero(t, allocs(func() { AddWords(y, words) }))
		require.PanicsWithValue(t, "kernel: lengths differ", func() { SubWords(y, words[:50000]) })
	})
}

func FuzzWords(f *testing.F) {
	f.Add(uint64(1), uint16(67))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16) {
		r := rand.New(rand.NewPCG(seed, 1))
		y, want := make([]uint32, n), make([]uint32, n)
		words := make([]uint64, (int(n)+1)/2)
		for i := range words {
			words[i] = r.Uint64()
		}
		for i := range y {
			y[i] = r.Uint32()
		}
		copy(want, y)
		SubWords(y, words)
		subWordsGeneric(want, words)
		require.Equal(t, want, y)
	})
}
