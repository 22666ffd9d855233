package nn

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBlocksAreTheWeightedSum cuts the parameters at random, makes the parts at
// once while the parameters change, and compares bits with WeightedSum.
func TestBlocksAreTheWeightedSum(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	trials := append(steadyTrials(t),
		newTrial(t, 1, 9, SoftmaxCrossEntropy{}, Shape{37}, Linear{Out: 50}, ReLU{}, Linear{Out: 19, NoBias: true}, ReLU{}, Linear{Out: 3}))
	for _, tr := range trials {
		p, n, d := NewPass(tr.model, tr.loss), len(tr.x), len(tr.model.Params())
		g := p.Backward(tr.x, tr.y, nil)
		w, ends := make([]float32, n), []int{2, 2, 5, n}
		for i, norm := range g.Norms(nil) {
			w[i] = (1 << 20) / max(norm, 1e-3)
		}
		w[3] = 0
		want := make([]int64, d)
		g.WeightedSum(want, w, ends)
		g.Weigh(w, ends)
		for range 5 {
			cuts := []int{0, d}
			for range 6 {
				cuts = append(cuts, random.IntN(d+1))
			}
			slices.Sort(cuts)
			got := make([]int64, d)
			var group sync.WaitGroup
			for i, from := range cuts[:len(cuts)-1] {
				to := cuts[i+1]
				group.Go(func() {
					first, last := g.Span(from, to)
					if first > from || last < to || first < 0 || last > d {
						t.Errorf("span of [%d, %d) is [%d, %d)", from, to, first, last)
						return
					}
					part := make([]int64, last-first)
					for j := range part { // it adds
						part[j] = int64(j)
					}
					g.AddBlock(part, first)
					for j := from; j < to; j++ {
						got[j] = part[j-first] - int64(j-first)
						tr.model.Params()[j] *= 2
					}
				})
			}
			group.Wait()
			require.Equal(t, want, got, "cuts %v", cuts)
		}
		for _, size := range []int{d + 1, 2 * d} {
			require.PanicsWithValue(t, "nn: block is not a part of the parameters", func() { g.AddBlock(make([]int64, size), 0) })
		}
		require.PanicsWithValue(t, "nn: weights and examples differ in number", func() { g.Weigh(w[1:], ends) })
		require.PanicsWithValue(t, "nn: runs do not end with the examples", func() { g.Weigh(w, ends[:2]) })
		p.Forward(tr.x[:1])
		require.Panics(t, func() { g.AddBlock(make([]int64, d), 0) })
	}
}

func TestBlocksOfNoExamples(t *testing.T) {
	tr := newTrial(t, 1, 9, SoftmaxCrossEntropy{}, Shape{4}, Linear{Out: 6}, ReLU{}, Linear{Out: 3})
	g := NewPass(tr.model, tr.loss).Backward(nil, Targets{}, nil)
	g.Weigh(nil, []int{0, 0})
	sum := make([]int64, len(tr.model.Params()))
	g.AddBlock(sum, 0)
	first, last := g.Span(5, 9)
	g.AddBlock(sum[first:last], first)
	require.Equal(t, make([]int64, len(sum)), sum)
}
