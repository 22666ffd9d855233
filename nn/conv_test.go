package nn

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// convolve is the definition, in float64: image (c, h, w) in, (out, h, w) out.
func convolve(c Conv2D, in, out Shape, weight, bias, x []float32) []float64 {
	stride, dilation, groups := max(c.Stride, 1), max(c.Dilation, 1), max(c.Groups, 1)
	each, outEach := in[0]/groups, c.Out/groups
	y := make([]float64, 0, out.Size())
	for o := range c.Out {
		for oy := range out[1] {
			for ox := range out[2] {
				var s float64
				if bias != nil {
					s = float64(bias[o])
				}
				for i := range each {
					for ky := range c.Kernel {
						for kx := range c.Kernel {
							iy, ix := oy*stride+ky*dilation-c.Padding, ox*stride+kx*dilation-c.Padding
							if iy < 0 || ix < 0 || iy >= in[1] || ix >= in[2] {
								continue
							}
							channel := o/outEach*each + i
							s += float64(weight[((o*c.Kernel+ky)*c.Kernel+kx)*each+i]) *
								float64(x[(channel*in[1]+iy)*in[2]+ix])
						}
					}
				}
				y = append(y, s)
			}
		}
	}
	return y
}

func TestConv2DIsConvolution(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		groups := 1 + random.IntN(3)
		c := Conv2D{
			Out: groups * (1 + random.IntN(4)), Kernel: 1 + random.IntN(4), Stride: random.IntN(4),
			Padding: random.IntN(3), Dilation: random.IntN(3), Groups: groups, NoBias: random.IntN(2) == 0,
		}
		in := Shape{groups * (1 + random.IntN(3)), 7 + random.IntN(4), 7 + random.IntN(4)}
		if c.Kernel == 2 {
			in[0], c.Groups, c.Out = 4, 1, 3 // short rows of copyWindow
		}
		t.Run(fmt.Sprintf("%+v on %v", c, in), func(t *testing.T) {
			tr := newTrial(t, random.Uint64(), 3, nil, in, c)
			list := tr.model.Parameters()
			weight := tr.model.Params()[:list[0].Size()]
			var bias []float32
			if !c.NoBias {
				bias = tr.model.Params()[list[1].Offset:]
			}
			y := NewPass(tr.model, nil).Forward(tr.x)
			for i, x := range tr.x {
				want := convolve(c, in, tr.model.Output(), weight, bias, x)
				require.Len(t, y[i], len(want))
				for j := range want {
					require.InDelta(t, want[j], float64(y[i][j]), 1e-4)
				}
			}
		})
	}
}

// TestMethodsAgree holds the three ways to the norm to each other and to the
// naive loop.
func TestMethodsAgree(t *testing.T) {
	for _, c := range []struct {
		name   string
		loss   Loss
		input  Shape
		layers []Layer
	}{
		{"conv", SoftmaxCrossEntropy{}, Shape{3, 9, 9}, []Layer{Conv2D{Out: 4, Kernel: 3, Stride: 2, Padding: 1}, ReLU{}, Flatten{}, Linear{Out: 3}}},
		{"groups", SoftmaxCrossEntropy{}, Shape{4, 8, 8}, []Layer{Conv2D{Out: 6, Kernel: 2, Groups: 2, Dilation: 2}, Flatten{}, Linear{Out: 3}}},
		{"depthwise", SoftmaxCrossEntropy{}, Shape{3, 6, 6}, []Layer{Conv2D{Out: 3, Kernel: 3, Groups: 3, NoBias: true}, Flatten{}, Linear{Out: 3}}},
		{"deep", SoftmaxCrossEntropy{}, Shape{1, 12, 12}, []Layer{
			Conv2D{Out: 3, Kernel: 4, Stride: 2, Padding: 2}, ReLU{}, Conv2D{Out: 5, Kernel: 3, Padding: 1}, ReLU{}, Flatten{}, Linear{Out: 3},
		}},
		{"deeper", SoftmaxCrossEntropy{}, Shape{1, 10, 10}, []Layer{ // no memory of the middle one is spare
			Conv2D{Out: 3, Kernel: 2, Stride: 2}, Tanh{}, Conv2D{Out: 4, Kernel: 2}, Tanh{}, Conv2D{Out: 2, Kernel: 2}, GlobalAvgPool{}, Linear{Out: 3},
		}},
		{"groups above", SoftmaxCrossEntropy{}, Shape{1, 7, 7}, []Layer{
			Conv2D{Out: 4, Kernel: 2}, Tanh{}, Conv2D{Out: 6, Kernel: 2, Groups: 2, Padding: 1, Stride: 2}, Tanh{},
			Conv2D{Out: 4, Kernel: 2, Groups: 2, Dilation: 2}, Tanh{}, Conv2D{Out: 2, Kernel: 2, Padding: 1, Dilation: 2}, Flatten{}, Linear{Out: 3},
		}},
		{"sequence", MeanSquaredError{}, Shape{5, 4}, []Layer{Linear{Out: 6}, ReLU{}, Linear{Out: 2, NoBias: true}}},
	} {
		for _, m := range []method{kept, direct, ghost} {
			t.Run(fmt.Sprintf("%s/%d", c.name, m), func(t *testing.T) {
				tr := newTrial(t, 9, 7, c.loss, c.input, c.layers...)
				forced = m
				defer func() { forced = 0 }()
				checkDerivatives(t, tr, 0x1p-10, 2e-3)
				checkPrivate(t, tr)
				checkInvariance(t, tr)
				checkNaN(t, tr)
			})
		}
	}
}
