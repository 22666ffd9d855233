package limits_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// secondsEach times the functions in turns and returns, of each, the time of a
// call in every round: at least nine rounds, and more where they are short. A
// timing is about a millisecond where calls allow it, below the slices of the
// scheduler, so that on a shared machine most rounds are undisturbed and a
// median is. In short runs, which see that it works, it is one round.
func secondsEach(fs ...func()) [][]float64 {
	const (
		slice      = time.Millisecond
		longEnough = 600 * time.Millisecond
	)
	fewest, most := 9, 61
	if testing.Short() {
		fewest, most = 1, 1
	}
	repeat := make([]int, len(fs))
	for i, f := range fs {
		f() // touches its memory
		start := time.Now()
		f()
		repeat[i] = max(1, int(slice/max(1, time.Since(start))))
	}
	seconds := make([][]float64, len(fs))
	began := time.Now()
	for round := 0; round < fewest || round < most && time.Since(began) < longEnough; round++ {
		for i, f := range fs {
			start := time.Now()
			for range repeat[i] {
				f()
			}
			seconds[i] = append(seconds[i], time.Since(start).Seconds()/float64(repeat[i]))
		}
	}
	return seconds
}

// medianRatio returns the median over the rounds of num/den.
func medianRatio(num, den []float64) float64 {
	r := make([]float64, len(num))
	for i := range r {
		r[i] = num[i] / den[i]
	}
	slices.Sort(r)
	return r[len(r)/2]
}

func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return s[len(s)/2]
}

// forLevel forces a level and one core for the rest of the benchmark: gonum
// would use every core, the kernels never do.
func forLevel(b *testing.B, level kernel.Level) {
	restore := kernel.Use(level)
	cores := runtime.GOMAXPROCS(1)
	b.Cleanup(func() {
		runtime.GOMAXPROCS(cores)
		restore()
	})
}

func randomMatrix(r *rand.Rand, size int) []float32 {
	x := make([]float32, size)
	for i := range x {
		x[i] = r.Float32() - 0.5
	}
	return x
}

// fewFMA is a peak measurement of some 20 µs.
const fewFMA = 1500

// BenchmarkPeakFMA measures the denominator of of-peak: multiply-adds on
// registers alone.
func BenchmarkPeakFMA(b *testing.B) {
	for _, level := range kernel.Levels() {
		b.Run("isa="+level.String(), func(b *testing.B) {
			forLevel(b, level)
			flops := 0
			for b.Loop() {
				flops += kernel.PeakFMA(fewFMA)
			}
			b.ReportMetric(float64(flops)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

// BenchmarkGEMM reports GEMM as a share of the peak (of-peak) and as a multiple
// of gonum's blas32 (x-gonum), each a median of ratios timed in turns. x-gonum
// has a ceiling, the peak over gonum: about 9 where a core does 32 operations a
// cycle (AVX2, and AVX-512 on Zen 4), 17 where it does 64.
func BenchmarkGEMM(b *testing.B) {
	for _, c := range []struct {
		op      kernel.Op
		m, n, k int
	}{
		{kernel.NN, 512, 512, 512},
		{kernel.NT, 512, 512, 512},
		{kernel.TN, 512, 512, 512},
		// A batch of 256 through 784-128-10, 784-2048-10 and 784-10, forward.
		{kernel.NN, 256, 128, 784},
		{kernel.NT, 256, 128, 784},
		{kernel.NT, 256, 2048, 784},
		{kernel.NT, 256, 10, 784},
		{kernel.NT, 256, 10, 2048},
		// Backward to the input, and to the weights.
		{kernel.NN, 256, 128, 10},
		{kernel.NN, 256, 2048, 10},
		{kernel.TN, 128, 784, 256},
		{kernel.TN, 2048, 784, 256},
		{kernel.TN, 10, 784, 256},
		// Convolutions of 16 8×8 and 32 4×4 filters, as patches times filters.
		{kernel.NT, 256 * 121, 16, 64},
		{kernel.NT, 256 * 25, 32, 256},
		{kernel.NN, 256 * 25, 256, 32},
	} {
		for _, level := range kernel.Levels() {
			if level == kernel.Generic && c.m*c.n*c.k > 512*512*512 {
				continue
			}
			b.Run(fmt.Sprintf("op=%v/m=%d/n=%d/k=%d/isa=%v", c.op, c.m, c.n, c.k, level), func(b *testing.B) {
				forLevel(b, level)
				r := rand.New(rand.NewPCG(1, 2))
				x, y, z := randomMatrix(r, c.m*c.k), randomMatrix(r, c.k*c.n), make([]float32, c.m*c.n)
				lda, ldb := c.k, c.n
				ta, tb := blas.NoTrans, blas.NoTrans
				gx := blas32.General{Rows: c.m, Cols: c.k, Stride: c.k, Data: x}
				gy := blas32.General{Rows: c.k, Cols: c.n, Stride: c.n, Data: y}
				gz := blas32.General{Rows: c.m, Cols: c.n, Stride: c.n, Data: make([]float32, c.m*c.n)}
				if c.op == kernel.TN {
					lda, ta = c.m, blas.Trans
					gx.Rows, gx.Cols, gx.Stride = c.k, c.m, c.m
				}
				if c.op == kernel.NT {
					ldb, tb = c.k, blas.Trans
					gy.Rows, gy.Cols, gy.Stride = c.n, c.k, c.k
				}
				ours := func() { kernel.GEMM(c.op, c.m, c.n, c.k, x, lda, y, ldb, z, c.n, false) }
				for b.Loop() {
					ours()
				}
				seconds := secondsEach(ours,
					func() { kernel.PeakFMA(fewFMA) },
					func() { blas32.Gemm(ta, tb, 1, gx, gy, 0, gz) })
				flops := 2 * float64(c.m) * float64(c.n) * float64(c.k)
				peak := float64(kernel.PeakFMA(fewFMA))
				b.ReportMetric(medianRatio(seconds[1], seconds[0])*flops/peak, "of-peak")
				b.ReportMetric(medianRatio(seconds[2], seconds[0]), "x-gonum")
				b.ReportMetric(flops/median(seconds[0])/1e9, "GFLOP/s")
			})
		}
	}
}

// BenchmarkGEMMRuns reports the weighted-gradient kernel as a multiple of the
// plain product of the same operands (x-plain), timed in turns.
func BenchmarkGEMMRuns(b *testing.B) {
	for _, c := range []struct{ m, n, k, run int }{
		{128, 784, 256, 32},
		{2048, 784, 256, 32},
		{10, 784, 256, 32},
		{10, 2048, 256, 32},
		// One run an example: 121 and 25 positions of a convolution.
		{16, 64, 16 * 121, 121},
		{32, 256, 16 * 25, 25},
	} {
		for _, level := range kernel.Levels() {
			b.Run(fmt.Sprintf("m=%d/n=%d/k=%d/run=%d/isa=%v", c.m, c.n, c.k, c.run, level), func(b *testing.B) {
				forLevel(b, level)
				r := rand.New(rand.NewPCG(1, 2))
				x, y := randomMatrix(r, c.k*c.m), randomMatrix(r, c.k*c.n)
				z, sum := make([]float32, c.m*c.n), make([]int64, c.m*c.n)
				for i := range x {
					x[i] *= 1 << 20 // gradients in units of the grid
				}
				// A draw puts each example in a random run: lengths vary.
				var ends []int
				for end := 0; end < c.k; {
					length := c.run
					if c.run == 32 {
						length += r.IntN(17) - 8
					}
					end = min(c.k, end+length)
					ends = append(ends, end)
				}
				ours := func() { kernel.GEMMRuns(c.m, c.n, x, c.m, y, c.n, ends, sum, c.n) }
				for b.Loop() {
					ours()
				}
				seconds := secondsEach(ours, func() {
					kernel.GEMM(kernel.TN, c.m, c.n, c.k, x, c.m, y, c.n, z, c.n, false)
				})
				b.ReportMetric(medianRatio(seconds[0], seconds[1]), "x-plain")
				b.ReportMetric(2*float64(c.m)*float64(c.n)*float64(c.k)/median(seconds[0])/1e9, "GFLOP/s")
			})
		}
	}
}
