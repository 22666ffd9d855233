package nn

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// architecture reads layers from bytes, sensible or not.
type architecture []byte

func (a *architecture) next(n int) int {
	if len(*a) == 0 {
		return 0
	}
	v := int((*a)[0])
	*a = (*a)[1:]
	return v % n
}

func (a *architecture) layers(depth int) []Layer {
	var out []Layer
	for len(*a) > 0 && len(out) < 7 {
		switch a.next(14) {
		case 0, 1:
			out = append(out, Linear{Out: a.next(8), NoBias: a.next(2) == 1})
		case 2, 3:
			out = append(out, Conv2D{
				Out: a.next(7), Kernel: a.next(5), Stride: a.next(4), Padding: a.next(4), Dilation: a.next(4),
				Groups: a.next(4), NoBias: a.next(2) == 1,
			})
		case 4:
			out = append(out, MaxPool{Kernel: a.next(4), Stride: a.next(4), Padding: a.next(3)})
		case 5:
			out = append(out, AvgPool{Kernel: a.next(4), Stride: a.next(4), Padding: a.next(3)})
		case 6:
			out = append(out, GlobalAvgPool{})
		case 7:
			out = append(out, Flatten{})
		case 8:
			out = append(out, []Layer{ReLU{}, Tanh{}, SiLU{}, GELU{}, Square{}}[a.next(5)])
		case 9:
			out = append(out, GroupNorm{Groups: a.next(4), NoAffine: a.next(2) == 1})
		case 10:
			out = append(out, LayerNorm{NoAffine: a.next(2) == 1})
		case 11:
			if depth < 2 {
				out = append(out, Residual{Layers: a.layers(depth + 1)})
			}
		case 12:
			out = append(out, Dropout{Rate: float64(a.next(10)) / 10})
		default:
			return out
		}
	}
	return out
}

// FuzzModel builds random models. Construction never panics; what it lets
// through trains, and every quantity that clipping relies on is right, on
// every level, by every method.
func FuzzModel(f *testing.F) {
	f.Add([]byte{2, 1, 5, 5, 2, 3, 2, 2, 1, 1, 1, 1, 0, 8, 1, 4, 2, 0, 1, 7, 0, 3, 0})
	f.Add([]byte{1, 5, 3, 0, 7, 0, 8, 2, 11, 1, 3, 0, 13, 7, 0, 4, 1})
	f.Add([]byte{2, 3, 6, 6, 3, 6, 2, 1, 1, 2, 3, 0, 9, 3, 0, 5, 3, 2, 1, 6, 0, 2, 0})
	f.Add([]byte{0, 7, 10, 0, 0, 5, 1, 8, 4, 11, 0, 5, 0, 8, 0, 13, 12, 3, 0, 3, 0})
	f.Add([]byte{2, 3, 7, 7, 2, 5, 3, 2, 2, 0, 0, 1, 8, 3, 2, 4, 2, 1, 1, 2, 1, 0, 6, 0, 3, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		a := architecture(data)
		input := make(Shape, 1+a.next(3))
		for i := range input {
			input[i] = a.next(9)
		}
		if len(input) == 0 || len(a) == 0 {
			return
		}
		layers := append(a.layers(0), Flatten{})
		m, err := New(input, layers...)
		if err != nil {
			require.Regexp(t, "^nn: (input|layer) ", err.Error())
			return
		}
		if len(m.Params()) == 0 || len(m.Params()) > 20000 {
			return
		}
		tr := newTrial(t, uint64(len(data)), 5, MeanSquaredError{}, input, layers...)
		tr.loose = true // a convolution before GroupNorm may have no gradient at all
		g := NewPass(tr.model, tr.loss).Backward(tr.x, tr.y, nil)
		for _, v := range g.Norms(nil) {
			if !(v > 1e-6 && v < 1e6) { // dead or exploded: nothing to compare
				return
			}
		}
		for _, level := range kernel.Levels() {
			restore := kernel.Use(level)
			for _, m := range []method{kept, direct, ghost} {
				forced = m
				checkPrivate(t, tr)
				checkInvariance(t, tr)
				forced = 0
			}
			restore()
		}
	})
}
