package nn

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDropoutMasks(t *testing.T) {
	const size, n = 1000, 50
	tr := newTrial(t, 3, n, SoftmaxCrossEntropy{}, Shape{size}, Dropout{Rate: 0.25})
	for _, row := range tr.x {
		for j := range row {
			row[j] = 3
		}
	}
	p := NewPass(tr.model, nil)
	for _, row := range p.Forward(tr.x) { // evaluation
		require.Equal(t, tr.x[0], row)
	}
	masks := func(layers []Layer, seed, step uint64, ids ...int) [][]float32 {
		m, err := New(Shape{size}, layers...)
		require.NoError(t, err)
		p := NewPass(m, nil)
		p.SetStep(seed, step)
		y := p.run(tr.x[:len(ids)], ids, true)
		var rows [][]float32
		for i := range ids {
			rows = append(rows, y[i*size:(i+1)*size])
		}
		return rows
	}
	one := []Layer{Dropout{Rate: 0.25}}
	ids := make([]int, n)
	for i := range ids {
		ids[i] = 1000 + i
	}
	rows := masks(one, 1, 2, ids...)
	kept, both := 0, 0
	for i, row := range rows {
		for j, v := range row {
			if v != 0 {
				require.Equal(t, float32(4), v)
				kept++
				if j > 0 && row[j-1] != 0 {
					both++
				}
			}
		}
		require.Equal(t, row, masks(one, 1, 2, 1000+i)[0])
	}
	// 50000 bits: 6 sigma of the count is 6·√(50000·3/16) = 581, false alarm
	// 2e-9; a rate of 0.25·2/3 or ·3/2 misses by 4166 at least. Neighbours:
	// √(49950·0.5625·0.4375·(1+2·0.43)) < 152, six of them 911.
	require.InDelta(t, 0.75*size*n, float64(kept), 581)
	require.InDelta(t, 0.5625*(size-1)*n, float64(both), 911)
	for name, other := range map[string][][]float32{
		"seed":  masks(one, 2, 2, ids...),
		"step":  masks(one, 1, 3, ids...),
		"id":    masks(one, 1, 2, append(ids[1:], 7)...),
		"place": masks([]Layer{ReLU{}, Dropout{Rate: 0.25}}, 1, 2, ids...),
		"depth": masks([]Layer{Residual{Layers: one}}, 1, 2, ids...), // 3 + mask
	} {
		same := 0
		for i, row := range other {
			for j, v := range row {
				if name == "depth" {
					v -= 3
				}
				if v == rows[i][j] {
					same++
				}
			}
		}
		// Agreement has chance 9/16 + 1/16 = 5/8 for independent masks.
		require.InDelta(t, 0.625*size*n, float64(same), 6*math.Sqrt(size*n*0.625*0.375), name)
	}
}
