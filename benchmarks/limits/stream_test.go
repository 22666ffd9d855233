package limits_test

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"math"
	"testing"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
)

// sizes of vectors: one that lies in the second cache, one in memory.
var sizes = []int{1e5, 1e7}

func nameSize(n int) string {
	if n == 1e7 {
		return "1e7"
	}
	return "1e5"
}

// reads are a streaming read of x at each vector level, or in pure Go where
// there is none. The widest is not always the fastest: some cores fetch memory
// faster for 256-bit loads.
func reads(x []float32) (fs []func()) {
	levels := kernel.Levels()
	for _, level := range levels[min(1, len(levels)-1):] {
		fs = append(fs, func() {
			restore := kernel.Use(level)
			kernel.ReadStream(x)
			restore()
		})
	}
	return fs
}

// ofFastest returns the median over the rounds of den/num for the den that is
// fastest.
func ofFastest(num []float64, dens [][]float64) float64 {
	least := math.Inf(1)
	for _, den := range dens {
		least = min(least, medianRatio(den, num))
	}
	return least
}

// BenchmarkStream measures the denominator of of-read, and the standard
// library's copy, in bytes read plus bytes written.
func BenchmarkStream(b *testing.B) {
	for _, n := range sizes {
		for _, level := range kernel.Levels() {
			b.Run(fmt.Sprintf("op=read/n=%s/isa=%s", nameSize(n), level), func(b *testing.B) {
				forLevel(b, level)
				x := ones(n)
				for b.Loop() {
					kernel.ReadStream(x)
				}
				b.ReportMetric(4*float64(n)/median(secondsEach(func() { kernel.ReadStream(x) })[0])/1e9, "GB/s")
			})
		}
		b.Run(fmt.Sprintf("op=copy/n=%s", nameSize(n)), func(b *testing.B) {
			x, y := ones(n), ones(n)
			for b.Loop() {
				copy(y, x)
			}
			b.ReportMetric(8*float64(n)/median(secondsEach(func() { copy(y, x) })[0])/1e9, "GB/s")
		})
	}
}

// ones returns n ones, on pages that are really there.
func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

// BenchmarkKeystream measures AES-256-CTR, into a block that stays in the first
// cache: the standard library's, and ours as a multiple of its speed (x-peer).
func BenchmarkKeystream(b *testing.B) {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	peer := cipher.NewCTR(block, make([]byte, aes.BlockSize))
	p := make([]byte, 16<<10)
	b.Run("src=crypto/cipher", func(b *testing.B) {
		for b.Loop() {
			peer.XORKeyStream(p, p)
		}
		b.ReportMetric(float64(len(p))*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
	})
	for _, level := range kernel.Levels() {
		b.Run("src=stream/isa="+level.String(), func(b *testing.B) {
			forLevel(b, level)
			key := stream.NewKey()
			s := stream.New(&key, 1)
			words := make([]uint64, len(p)/8)
			for b.Loop() {
				s.Fill(words)
			}
			seconds := secondsEach(func() { s.Fill(words) }, func() { peer.XORKeyStream(p, p) })
			b.ReportMetric(medianRatio(seconds[1], seconds[0]), "x-peer")
			b.ReportMetric(float64(len(p))/median(seconds[0])/1e9, "GB/s")
		})
	}
}
