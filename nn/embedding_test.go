package nn

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// tokens replaces a trial's inputs by tokens below vocabulary, many of them
// repeated within an example.
func (tr *trial) tokens(vocabulary int) *trial {
	for i, row := range tr.x {
		for j := range row {
			row[j] = float32((i*7 + j*j*3 + i*j) % vocabulary)
		}
	}
	return tr
}

// TestEmbeddingIsOneHotLinear compares an embedding with the linear layer of
// the one-hot inputs: the same outputs, and the same gradients per example.
func TestEmbeddingIsOneHotLinear(t *testing.T) {
	const vocabulary, dim, length, n = 6, 4, 7, 9
	a := newTrial(t, 1, n, SoftmaxCrossEntropy{}, Shape{length}, Embedding{vocabulary, dim}, ReLU{}, Flatten{}, Linear{Out: 3}).tokens(vocabulary)
	b := newTrial(t, 1, n, SoftmaxCrossEntropy{}, Shape{length, vocabulary}, Linear{Out: dim, NoBias: true}, ReLU{}, Flatten{}, Linear{Out: 3})
	copy(b.model.Params(), a.model.Params())
	transpose(b.model.Params()[:vocabulary*dim], a.model.Params()[:vocabulary*dim], vocabulary, dim)
	for i, row := range a.x {
		clear(b.x[i])
		for j, token := range row {
			b.x[i][j*vocabulary+int(token)] = 1
		}
	}
	b.y = a.y
	ga, gb := NewPass(a.model, a.loss).Backward(a.x, a.y, nil), NewPass(b.model, b.loss).Backward(b.x, b.y, nil)
	require.Equal(t, ga.Losses(nil), gb.Losses(nil))
	require.InDeltaSlice(t, gb.Norms(nil), ga.Norms(nil), 1e-5)
	wa, wb := a.perExample(), b.perExample()
	for i := range wa {
		for token := range vocabulary {
			for j := range dim {
				require.InDelta(t, wb[i][j*vocabulary+token], wa[i][token*dim+j], 1e-5)
			}
		}
	}
}

func TestEmbeddingLeavesBadTokensOut(t *testing.T) {
	tr := newTrial(t, 2, 8, SoftmaxCrossEntropy{}, Shape{4}, Embedding{5, 3}, ReLU{}, Flatten{}, Linear{Out: 3}).tokens(5)
	for i, token := range []float64{5, -1, 0.5, math.NaN(), math.Inf(1), 1e30, math.Copysign(0, -1)} {
		tr.x[i][2] = float32(token)
	}
	g := NewPass(tr.model, tr.loss).Backward(tr.x, tr.y, nil)
	norms, layers := g.Norms(nil), g.LayerNorms(nil)
	for i, v := range norms {
		require.Equal(t, i < 6, v != v, "example %d norm %v", i, v)
		v = layers[2*i] // though ReLU lets no signal through for a NaN
		require.Equal(t, i < 6, v != v, "example %d layer norm %v", i, v)
	}
}

func TestEmbeddingEndsSignals(t *testing.T) {
	tr := newTrial(t, 6, 5, SoftmaxCrossEntropy{}, Shape{2}, Linear{Out: 3}, Embedding{4, 2}, Flatten{}, Linear{Out: 3})
	params := tr.model.Params()
	clear(params[:6])
	copy(params[6:9], []float32{2, 0, 3}) // the tokens, whatever the input
	g := NewPass(tr.model, tr.loss).Backward(tr.x, tr.y, nil)
	mean := g.Mean(nil)
	require.Equal(t, make([]float32, 9), mean[:9])
	require.Equal(t, make([]float32, 2), mean[9+2:9+4]) // token 1 never stands
	require.NotZero(t, mean[9])

	// Weighed all the same, a bad token reaches no row of the weights.
	params[7] = 4
	g = NewPass(tr.model, tr.loss).Backward(tr.x, tr.y, nil)
	sum := make([]int64, len(params))
	g.LayerWeightedSum(sum, []float32{0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0}, []int{5})
	require.Equal(t, make([]int64, 9), sum[:9])
	require.Equal(t, make([]int64, 4), sum[9:13])
	require.Equal(t, make([]int64, len(sum)-17), sum[17:])
}
