//go:build !race

package nn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The race detector empties the kernels' pools at random.
func TestLayersDoNotAllocate(t *testing.T) {
	for _, c := range layerTrials {
		tr := newTrial(t, 5, 6, SoftmaxCrossEntropy{}, c.input, c.layers...)
		if c.tokens > 0 {
			tr.tokens(c.tokens)
		}
		p := NewPass(tr.model, tr.loss)
		norms, sum, ends := make([]float32, 6), make([]int64, len(tr.model.Params())), []int{3, 6}
		step := func() {
			p.SetStep(1, 2)
			g := p.Backward(tr.x, tr.y, nil)
			g.WeightedSum(sum, g.Norms(norms), ends)
		}
		step()
		require.Zero(t, testing.AllocsPerRun(5, step), c.name)
	}
}
