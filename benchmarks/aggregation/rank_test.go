package aggregation_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// secondsEach times the functions in turns, so that what else the machine does
// falls on all alike, and returns the seconds of a call of each, by round: those of
// the clock. In short runs, which see that it works, it is one round.
func secondsEach(fs ...func()) [][]float64 {
	fewest, most, longEnough := 7, 41, time.Second
	if testing.Short() {
		fewest, most = 1, 1
	}
	for _, f := range fs {
		f() // touches its memory
	}
	seconds := make([][]float64, len(fs))
	began := time.Now()
	for round := 0; round < fewest || round < most && time.Since(began) < longEnough; round++ {
		for i, f := range fs {
			start := clock()
			f()
			seconds[i] = append(seconds[i], clock()-start)
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

// forLevel forces a level and one core for the rest of the benchmark.
func forLevel(b *testing.B, level kernel.Level) {
	restore := kernel.Use(level)
	cores := runtime.GOMAXPROCS(1)
	b.Cleanup(func() {
		runtime.GOMAXPROCS(cores)
		restore()
	})
}

// clients returns n rows of d draws of N(0,1). The rows' starts are staggered over a
// page; BenchmarkPaged compares with rows that all start with one.
func clients(n, d int) [][]float32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	normals := make([]float32, 1<<16)
	for i := range normals {
		normals[i] = float32(r.NormFloat64())
	}
	rows := make([][]float32, n)
	for i := range rows {
		row := make([]float32, d+1024)[r.IntN(64)*16:][:d]
		for first := 0; first < d; {
			first += copy(row[first:], normals[r.IntN(len(normals)):])
		}
		rows[i] = row
	}
	return rows
}

// readers read every row once, at each vector level: the widest is not always
// the fastest.
func readers(rows [][]float32) (fs []func()) {
	levels := kernel.Levels()
	for _, level := range levels[min(1, len(levels)-1):] {
		fs = append(fs, func() {
			restore := kernel.Use(level)
			for _, row := range rows {
				kernel.ReadStream(row)
			}
			restore()
		})
	}
	return fs
}

// ofRead returns the share of the fastest of reads that num reaches.
func ofRead(num []float64, reads [][]float64) float64 {
	least := medianRatio(reads[0], num)
	for _, read := range reads[1:] {
		least = min(least, medianRatio(read, num))
	}
	return least
}

// gatherAndSort is what one writes without thinking: each column is gathered,
// sorted, and the ranks from lo on added up. It takes the first columns alone.
func gatherAndSort(dst []float32, rows [][]float32, lo, hi int, column []float32) {
	for j := range dst {
		for i, row := range rows {
			column[i] = row[j]
		}
		slices.Sort(column)
		var sum float32
		for _, x := range column[lo:hi] {
			sum += x
		}
		dst[j] = sum / float32(hi-lo)
	}
}

// sortColumns is how many columns gatherAndSort takes: it is too slow for all.
const sortColumns = 4096

// benchmarkRanks reports a kernel as a share of a streaming read of the rows
// (of-read) and as a multiple of the speed of gathering and sorting (x-sort).
func benchmarkRanks(b *testing.B, n, d int, ranks func(n int) (lo, hi int), run func(dst []float32, rows [][]float32, lo, hi int)) {
	for _, level := range kernel.Levels() {
		b.Run(fmt.Sprintf("n=%d/d=%s/isa=%s", n, nameSize(d), level), func(b *testing.B) {
			forLevel(b, level)
			lo, hi := ranks(n)
			size := d
			if level == kernel.Generic {
				size = min(d, 1<<15) // enough: it is not near the speed of memory
			}
			rows, dst := clients(n, d), make([]float32, size)
			some := make([][]float32, n)
			for i, row := range rows {
				some[i] = row[:size]
			}
			for b.Loop() {
				run(dst, some, lo, hi)
			}
			column := make([]float32, n)
			seconds := secondsEach(append([]func(){
				func() { run(dst, some, lo, hi) },
				func() { gatherAndSort(dst[:min(size, sortColumns)], some, lo, hi, column) },
			}, readers(rows)...)...)
			b.ReportMetric(ofRead(seconds[0], seconds[2:])*float64(size)/float64(d), "of-read")
			b.ReportMetric(medianRatio(seconds[1], seconds[0])*float64(size)/float64(min(size, sortColumns)), "x-sort")
			b.ReportMetric(float64(n*size*4)/median(seconds[0])/1e9, "GB/s")
		})
	}
}

func nameSize(d int) string {
	switch d {
	case 1e5:
		return "1e5"
	case 1e6:
		return "1e6"
	}
	return fmt.Sprint(d)
}

var rankRows = []int{5, 10, 25, 50, 64, 75, 100, 128, 200, 500}

func sizeFor(n int) int {
	if n > 128 {
		return 1e5
	}
	return 1e6
}

// BenchmarkMedian is the coordinate-wise median. Bars of of-read: 0.60 for n to
// 50, 0.40 for 64 to 100 (AVX2: 0.40 at 25, 0.30 at 50); of x-sort: 100 from 25
// on, 3.5 in pure Go.
func BenchmarkMedian(b *testing.B) {
	for _, n := range rankRows {
		benchmarkRanks(b, n, sizeFor(n), func(n int) (lo, hi int) { return (n - 1) / 2, n/2 + 1 }, rankMean)
	}
}

// BenchmarkTrimmedMean drops a fifth at each end. Its bars are the median's.
func BenchmarkTrimmedMean(b *testing.B) {
	for _, n := range rankRows {
		benchmarkRanks(b, n, sizeFor(n), func(n int) (lo, hi int) { return n / 5, n - n/5 }, func(dst []float32, rows [][]float32, lo, hi int) {
			kernel.TrimmedSum(dst, rows, lo, 1/float32(hi-lo))
		})
	}
}

func rankMean(dst []float32, rows [][]float32, lo, hi int) {
	kernel.RankSum(dst, rows, lo, hi, 1/float32(hi-lo))
}

// BenchmarkMeanAround is the mean of the n-n/5 values around the median.
func BenchmarkMeanAround(b *testing.B) {
	for _, n := range []int{10, 25, 50, 100} {
		benchmarkRanks(b, n, sizeFor(n), func(n int) (lo, hi int) { return 0, n - n/5 }, func(dst []float32, rows [][]float32, _, m int) {
			kernel.MeanAround(dst, rows, m)
		})
	}
}
