package nn

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkGroupNorm reports the time for each value of a forward and backward
// pass, from which batch and shape can be priced.
func BenchmarkGroupNorm(b *testing.B) {
	for _, n := range []normalizer{
		{1, 49, 81, 27, 1e-5}, // scattering features of 28×28
		{1, 1024, 64, 8, 1e-5},
		{32, 1, 64, 1, 1e-5}, // a sequence's LayerNorm
	} {
		b.Run(fmt.Sprintf("instances=%d/positions=%d/channels=%d/groups=%d", n.instances, n.positions, n.channels, n.groups), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			x, dy, y := randomVector(r, n.size()), randomVector(r, n.size()), make([]float32, n.size())
			gamma, grad := randomVector(r, n.channels), make([]float32, 2*n.channels)
			stats, s := make([]float32, n.stats()), n.scratch()
			for b.Loop() {
				n.forward(y, x, gamma, gamma, stats, s)
				n.backward(y, grad[:n.channels], grad[n.channels:], dy, x, gamma, stats, s)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n.size()), "ns/value")
		})
	}
}
