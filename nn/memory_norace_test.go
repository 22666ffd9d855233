//go:build !race

package nn

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMemoryOfAPrivateStep: at most 1.5 times the scratch and vectors of a plain
// step, parameters included. A plain step holds a gradient, a private one the
// sum in integers.
func TestMemoryOfAPrivateStep(t *testing.T) {
	const n = 256
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it empties the kernels' pools
	for _, c := range benchModels {
		tr := newTrial(t, 1, n, SoftmaxCrossEntropy{}, Shape{1, 28, 28}, c.layers...)
		d := len(tr.model.Params())
		ends := []int{n / 2, n}
		plain := func() {
			p := NewPass(tr.model, tr.loss)
			p.Backward(tr.x, tr.y, nil).Mean(make([]float32, d))
		}
		private := func() {
			p := NewPass(tr.model, tr.loss)
			g := p.Backward(tr.x, tr.y, nil)
			g.WeightedSum(make([]int64, d), g.Norms(nil), ends)
		}
		allocated := func(step func()) float64 {
			step() // fills the kernels' pools
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			step()
			runtime.ReadMemStats(&after)
			return float64(after.TotalAlloc-before.TotalAlloc) + float64(4*d)
		}
		ratio := allocated(private) / allocated(plain)
		t.Logf("%s: %.2f", c.name, ratio)
		require.LessOrEqual(t, ratio, 1.5, c.name)
		runtime.GC()
	}
}
