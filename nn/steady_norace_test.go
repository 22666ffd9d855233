//go:build !race

package nn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for _, tr := range steadyTrials(t) {
		for _, m := range []method{kept, direct, ghost} {
			forced = m
			p := NewPass(tr.model, tr.loss)
			forced = 0
			d := len(tr.model.Params())
			n, layers := len(tr.x), len(p.parametric)
			mean, sum, norms, w, lw, losses := make([]float32, d), make([]int64, d), make([]float32, n), make([]float32, n), make([]float32, n*layers), make([]float32, n)
			ends := []int{3, n}
			step := func() {
				g := p.Backward(tr.x, tr.y, nil)
				g.Norms(norms)
				g.LayerNorms(lw)
				g.WeightedSum(sum, w, ends)
				g.LayerWeightedSum(sum, lw, ends)
				g.Mean(mean)
				g.Losses(losses)
				p.Forward(tr.x)
			}
			for i := range w {
				w[i] = 1
			}
			require.Zero(t, testing.AllocsPerRun(5, step))
			smaller := tr.only(1, 2)
			require.Zero(t, testing.AllocsPerRun(5, func() { p.Backward(smaller.x, smaller.y, nil).Mean(mean) }))
		}
	}
}

func TestBlocksDoNotAllocate(t *testing.T) {
	for _, tr := range steadyTrials(t) {
		p := NewPass(tr.model, tr.loss)
		w, sum := make([]float32, len(tr.x)), make([]int64, len(tr.model.Params()))
		ends := []int{3, len(w)}
		g := p.Backward(tr.x, tr.y, nil)
		g.Weigh(w, ends)
		g.AddBlock(sum, 0)
		require.Zero(t, testing.AllocsPerRun(5, func() {
			g.Weigh(w, ends)
			g.Span(1, 7)
			g.AddBlock(sum, 0)
		}))
	}
}
