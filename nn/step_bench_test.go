package nn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var benchModels = []struct {
	name   string
	layers []Layer
}{
	{"linear-784-10", []Layer{Flatten{}, Linear{Out: 10}}},
	{"mlp-784-128-10", []Layer{Flatten{}, Linear{Out: 128}, ReLU{}, Linear{Out: 10}}},
	{"mlp-784-2048-10", []Layer{Flatten{}, Linear{Out: 2048}, ReLU{}, Linear{Out: 10}}},
	{"cnn-26k", cnn26k},
}

// cnn26k is the network of about 26,000 parameters that the papers on private
// MNIST use (Papernot et al. 2021, "Tempered sigmoid activations").
var cnn26k = []Layer{
	Conv2D{Out: 16, Kernel: 8, Stride: 2, Padding: 3}, Tanh{}, MaxPool{Kernel: 2, Stride: 1},
	Conv2D{Out: 32, Kernel: 4, Stride: 2}, Tanh{}, MaxPool{Kernel: 2, Stride: 1},
	Flatten{}, Linear{Out: 32}, Tanh{}, Linear{Out: 10},
}

// BenchmarkStep times the gradients of a batch, private (norms, weights, sum in
// integers by runs of 32) and plain, in turns. x-plain is the ratio of the
// medians; noise and optimiser are not in it.
func BenchmarkStep(b *testing.B) {
	const n = 256
	for _, c := range benchModels {
		b.Run(fmt.Sprintf("model=%s/n=%d", c.name, n), func(b *testing.B) {
			tr := newTrial(b, 1, n, SoftmaxCrossEntropy{}, Shape{1, 28, 28}, c.layers...)
			tr.model.Init(XavierUniform, 1)
			random := rand.New(rand.NewPCG(1, 1))
			for _, row := range tr.x { // as many blank pixels as MNIST
				for j := range row {
					row[j] = max(0, random.Float32()*5-4)
				}
			}
			p := NewPass(tr.model, tr.loss)
			d := len(tr.model.Params())
			mean, sum, norms := make([]float32, d), make([]int64, d), make([]float32, n)
			var ends []int
			for end := 32; end <= n; end += 32 {
				ends = append(ends, end)
			}
			plain := func() { p.Backward(tr.x, tr.y, nil).Mean(mean) }
			private := func() {
				g := p.Backward(tr.x, tr.y, nil)
				for i, v := range g.Norms(norms) {
					norms[i] = (1 << 20) / max(1, v)
				}
				clear(sum)
				g.WeightedSum(sum, norms, ends)
			}
			plain()
			private()
			var times [2][]float64
			for b.Loop() {
				for i, f := range []func(){plain, private} {
					start := time.Now()
					f()
					times[i] = append(times[i], time.Since(start).Seconds())
				}
			}
			for _, t := range times {
				slices.Sort(t)
			}
			middle := len(times[0]) / 2
			b.ReportMetric(times[1][middle]/times[0][middle], "x-plain")
			b.ReportMetric(n/times[0][middle], "plain-ex/s")
			b.ReportMetric(n/times[1][middle], "private-ex/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
