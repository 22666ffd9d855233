package noise

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream/streamtest"
)

// BenchmarkRoundedGaussian gives ns/sample and, as x-normfloat64, how many times
// faster that is than math/rand/v2's NormFloat64 over ChaCha8, timed in turns.
// Every block has its own stream, so slow pairs come as often as they should.
func BenchmarkRoundedGaussian(b *testing.B) {
	for _, sigma := range []float64{0.5, 1 << 20, 1 << 30, MaxSigma} {
		everyLevel(b, func(l kernel.Level) {
			b.Run(fmt.Sprintf("sigma=%v/isa=%v", sigma, l), func(b *testing.B) {
				g, key := newRounded(b, sigma), streamtest.Key(1)
				const blocks = 16
				dst, floats := make([]int64, blocks*BlockSize), make([]float64, blocks*BlockSize)
				id := uint64(0)
				ours := func() {
					g.AddBlocks(dst, &key, id)
					id += blocks
				}
				normal := rand.New(rand.NewChaCha8(streamtest.Key(2)))
				theirs := func() {
					for i := range floats {
						floats[i] = normal.NormFloat64()
					}
				}
				turn := func(f func()) float64 {
					start := time.Now()
					f()
					return float64(time.Since(start).Nanoseconds()) / float64(len(dst))
				}
				turn(ours)
				turn(theirs)
				var a, c []float64
				for range 25 {
					a, c = append(a, turn(ours)), append(c, turn(theirs))
				}
				for b.Loop() {
					ours()
				}
				slices.Sort(a)
				slices.Sort(c)
				b.ReportMetric(a[len(a)/2], "ns/sample")
				b.ReportMetric(c[len(c)/2]/a[len(a)/2], "x-normfloat64")
			})
		})
	}
}
