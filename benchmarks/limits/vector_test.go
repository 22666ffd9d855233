package limits_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// A pass is one run of a kernel over vectors of n elements.
type pass struct {
	name  string
	bytes int // that must be moved for an element: inputs once, the output once
	run   func(v *vectors)
	peer  func(v *vectors) // what a user would call instead, if anything
}

type vectors struct {
	x, y, z []float32
	sum     []int64
}

func newVectors(n int) *vectors {
	r := rand.New(rand.NewPCG(1, 2))
	v := &vectors{randomMatrix(r, n), randomMatrix(r, n), ones(n), make([]int64, n)}
	for i := range v.sum {
		v.sum[i] = 1
	}
	return v
}

// benchmark reports passes as a share of a streaming read of x (of-read), and as
// a multiple of pure Go (x-generic) and of gonum's or package math's (x-peer).
func benchmark(b *testing.B, passes []pass) {
	for _, p := range passes {
		for _, n := range sizes {
			for _, level := range kernel.Levels() {
				name := fmt.Sprintf("n=%s/isa=%s", nameSize(n), level)
				if p.name != "" {
					name = "op=" + p.name + "/" + name
				}
				b.Run(name, func(b *testing.B) {
					forLevel(b, level)
					v := newVectors(n)
					for b.Loop() {
						p.run(v)
					}
					// Each comes after a read of x, so that all find the same in
					// the last cache.
					reading := reads(v.x)
					warm := reading[0]
					seconds := secondsEach(append([]func(){
						warm, func() { p.run(v) },
						warm, func() {
							restore := kernel.Use(kernel.Generic)
							p.run(v)
							restore()
						},
						warm, func() {
							if p.peer != nil {
								p.peer(v)
							}
						},
						warm,
					}, reading...)...)
					ours, generic, peer := seconds[1], seconds[3], seconds[5]
					b.ReportMetric(ofFastest(ours, seconds[7:])*float64(p.bytes)/4, "of-read")
					b.ReportMetric(medianRatio(generic, ours), "x-generic")
					if p.peer != nil {
						b.ReportMetric(medianRatio(peer, ours), "x-peer")
					}
					b.ReportMetric(float64(n*p.bytes)/median(ours)/1e9, "GB/s")
					b.ReportMetric(median(ours)/float64(n)*1e9, "ns/elem")
				})
			}
		}
	}
}

// sink keeps results alive.
var sink float64

func gonum(x []float32) blas32.Vector { return blas32.Vector{N: len(x), Inc: 1, Data: x} }

func each(v *vectors, f func(float64) float64) {
	for i, x := range v.x {
		v.z[i] = float32(f(float64(x)))
	}
}

// BenchmarkNorm is Σx². Bar: at least 0.9 of a streaming read.
func BenchmarkNorm(b *testing.B) {
	benchmark(b, []pass{{"", 4, func(v *vectors) { sink = kernel.SumSquares(v.x) },
		func(v *vectors) { sink = float64(blas32.Nrm2(gonum(v.x))) }}})
}

// BenchmarkClipAdd counts the bytes of x and y, though x is read twice, once for
// its norm, and y is written too. Bar: at least 0.45 of a streaming read.
func BenchmarkClipAdd(b *testing.B) {
	benchmark(b, []pass{{"", 8, func(v *vectors) { sink = kernel.ClipAdd(v.z, v.x, 1) },
		func(v *vectors) {
			blas32.Axpy(min(1, 1/blas32.Nrm2(gonum(v.x))), gonum(v.x), gonum(v.z))
		}}})
}

// BenchmarkVector is the linear kernels and the activations.
func BenchmarkVector(b *testing.B) {
	benchmark(b, []pass{
		{"Dot", 8, func(v *vectors) { sink = kernel.Dot(v.x, v.y) }, func(v *vectors) { sink = float64(blas32.Dot(gonum(v.x), gonum(v.y))) }},
		{"Axpy", 12, func(v *vectors) { kernel.Axpy(v.z, 1e-6, v.x) }, func(v *vectors) { blas32.Axpy(1e-6, gonum(v.x), gonum(v.z)) }},
		{"Scale", 8, func(v *vectors) { kernel.Scale(v.z, 0.5, v.x) }, nil},
		{"Add", 12, func(v *vectors) { kernel.Add(v.z, v.x) }, func(v *vectors) { blas32.Axpy(1, gonum(v.x), gonum(v.z)) }},
		{"RoundAdd", 20, func(v *vectors) { kernel.RoundAdd(v.sum, v.x) }, nil},
		{"AllFinite", 4, func(v *vectors) { kernel.AllFinite(v.x) }, nil},
		{"ReLU", 8, func(v *vectors) { kernel.ReLU(v.z, v.x) }, nil},
		{"ReLUGrad", 12, func(v *vectors) { kernel.ReLUGrad(v.z, v.y, v.x) }, nil},
		{"Mul", 12, func(v *vectors) { kernel.Mul(v.z, v.x, v.y) }, nil},
		{"Max", 12, func(v *vectors) { kernel.Max(v.z, v.x, v.y) }, nil},
		{"Exp", 8, func(v *vectors) { kernel.Exp(v.z, v.x) }, func(v *vectors) { each(v, math.Exp) }},
		{"Tanh", 8, func(v *vectors) { kernel.Tanh(v.z, v.x) }, func(v *vectors) { each(v, math.Tanh) }},
		{"Sigmoid", 8, func(v *vectors) { kernel.Sigmoid(v.z, v.x) }, func(v *vectors) { each(v, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }) }},
	})
}
