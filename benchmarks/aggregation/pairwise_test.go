package aggregation_test

import (
	"fmt"
	"testing"

	"gonum.org/v1/gonum/floats"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// peakRounds makes a peak measurement of some 20 µs.
const peakRounds = 1500

// BenchmarkPairwise is the squared distances of every two rows. of-peak counts a
// multiply-add, two operations, for each element of each of the n(n-1)/2 pairs,
// the subtraction not: an honest count would be half as much again. x-gonum is
// against floats.Distance on float64 copies of the rows. Bars: 0.33 and 25.
func BenchmarkPairwise(b *testing.B) {
	for _, n := range []int{10, 25, 50, 100, 1000} {
		for _, level := range kernel.Levels() {
			d := int(1e6)
			switch {
			case n == 1000:
				d = 1e4
			case n == 100 || level == kernel.Generic:
				d = 1e5
			}
			b.Run(fmt.Sprintf("n=%d/d=%s/isa=%s", n, nameSize(d), level), func(b *testing.B) {
				forLevel(b, level)
				rows := clients(n, d)
				dst := make([]float64, n*n)
				for b.Loop() {
					kernel.SquaredDistances(dst, rows)
				}
				x, y := make([]float64, d), make([]float64, d)
				for i := range x {
					x[i], y[i] = float64(rows[0][i]), float64(rows[1][i])
				}
				var sink float64
				seconds := secondsEach(
					func() { kernel.SquaredDistances(dst, rows) },
					func() { kernel.PeakFMA(peakRounds) },
					func() { sink += floats.Distance(x, y, 2) })
				pairs := float64(n*(n-1)) / 2
				flops := 2 * pairs * float64(d)
				b.ReportMetric(medianRatio(seconds[1], seconds[0])*flops/float64(kernel.PeakFMA(peakRounds)), "of-peak")
				b.ReportMetric(medianRatio(seconds[2], seconds[0])*pairs, "x-gonum")
				b.ReportMetric(median(seconds[0])*1e3, "ms")
				if sink == 0 {
					b.Fatal("rows are equal")
				}
			})
		}
	}
}

// BenchmarkDistancesTo and BenchmarkWeightedRows pass over the rows once.
func BenchmarkDistancesTo(b *testing.B) {
	onePass(b, func(dst []float32, rows [][]float32, w []float32, sums []float64) {
		kernel.DistancesTo(sums, rows, dst)
	})
}

func BenchmarkWeightedRows(b *testing.B) {
	onePass(b, func(dst []float32, rows [][]float32, w []float32, sums []float64) {
		kernel.WeightedRows(dst, rows, w)
	})
}

func onePass(b *testing.B, run func(dst []float32, rows [][]float32, w []float32, sums []float64)) {
	for _, n := range []int{10, 50} {
		for _, level := range kernel.Levels() {
			b.Run(fmt.Sprintf("n=%d/d=1e6/isa=%s", n, level), func(b *testing.B) {
				forLevel(b, level)
				rows, dst := clients(n, 1e6), make([]float32, 1e6)
				w, sums := make([]float32, n), make([]float64, n)
				for i := range w {
					w[i] = 1 / float32(n)
				}
				for b.Loop() {
					run(dst, rows, w, sums)
				}
				seconds := secondsEach(append([]func(){func() { run(dst, rows, w, sums) }}, readers(rows)...)...)
				b.ReportMetric(ofRead(seconds[0], seconds[1:]), "of-read")
				b.ReportMetric(median(seconds[0])*1e3, "ms")
			})
		}
	}
}
