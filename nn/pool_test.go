package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPoolsAreTheirDefinition compares outputs and derivatives with loops over
// the windows. Values differ, so that a maximum is one.
func TestPoolsAreTheirDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	for range 120 {
		k := 1 + random.IntN(4)
		stride, padding := random.IntN(4), random.IntN(k/2+1)
		in := Shape{1 + random.IntN(3), 4 + random.IntN(6), 4 + random.IntN(6)}
		for _, layer := range []Layer{
			MaxPool{Kernel: k, Stride: stride, Padding: padding},
			AvgPool{Kernel: k, Stride: stride, Padding: padding},
			GlobalAvgPool{},
		} {
			t.Run(fmt.Sprintf("%T%+v on %v", layer, layer, in), func(t *testing.T) {
				const n = 3
				m, err := New(in, layer)
				require.NoError(t, err)
				out := m.Output()
				var rows [][]float32
				for range n {
					rows = append(rows, normal(random, in.Size()))
				}
				y := NewPass(m, nil).Forward(rows)

				node, err := layer.build(in)
				require.NoError(t, err)
				s, b := node.stage(), &batch{n: n, train: true}
				x, dy, dys := []float32{}, []float32{}, [][]float32{}
				for i := range n {
					x, dy = append(x, make([]float32, in.Size())...), append(dy, make([]float32, out.Size())...)
					dys = append(dys, normal(random, out.Size()))
					in.inner(x[i*in.Size():], rows[i])
					out.inner(dy[i*out.Size():], dys[i])
				}
				var dx []float32
				for range 2 { // a used stage is as good as a new one
					s.forward(b, x)
					dx = s.backward(b, append([]float32(nil), dy...), true)
				}

				g := geometry(layer, in)
				for i := range n {
					wantY, wantDX := make([]float64, out.Size()), make([]float64, in.Size())
					poolOnce(layer, in, out, g, rows[i], dys[i], wantY, wantDX)
					got := make([]float32, in.Size())
					in.outer(got, dx[i*in.Size():(i+1)*in.Size()])
					for j, v := range wantY {
						require.InDelta(t, v, float64(y[i][j]), 1e-5)
					}
					for j, v := range wantDX {
						require.InDelta(t, v, float64(got[j]), 1e-5)
					}
				}
			})
		}
	}
}

// geometry returns kernel height and width, stride and padding.
func geometry(layer Layer, in Shape) [4]int {
	switch l := layer.(type) {
	case MaxPool:
		stride := l.Stride
		if stride == 0 {
			stride = l.Kernel
		}
		return [4]int{l.Kernel, l.Kernel, stride, l.Padding}
	case AvgPool:
		return geometry(MaxPool(l), in)
	}
	return [4]int{in[1], in[2], 1, 0}
}

func poolOnce(layer Layer, in, out Shape, g [4]int, x, dy []float32, y, dx []float64) {
	h, w := 1, 1
	if out.isImage() {
		h, w = out[1], out[2]
	}
	_, maximum := layer.(MaxPool)
	for c := range in[0] {
		for oy := range h {
			for ox := range w {
				at := (c*h+oy)*w + ox
				best, bestAt := math.Inf(-1), -1
				for ky := range g[0] {
					for kx := range g[1] {
						iy, ix := oy*g[2]+ky-g[3], ox*g[2]+kx-g[3]
						if iy < 0 || ix < 0 || iy >= in[1] || ix >= in[2] {
							continue
						}
						from := (c*in[1]+iy)*in[2] + ix
						if v := float64(x[from]); v > best {
							best, bestAt = v, from
						}
						if !maximum {
							y[at] += float64(x[from]) / float64(g[0]*g[1])
							dx[from] += float64(dy[at]) / float64(g[0]*g[1])
						}
					}
				}
				if maximum {
					y[at] = best
					dx[bestAt] += float64(dy[at])
				}
			}
		}
	}
}

// TestMaxPoolTies: the whole signal goes to one of equal maxima.
func TestMaxPoolTies(t *testing.T) {
	node, err := MaxPool{Kernel: 2}.build(Shape{1, 2, 2})
	require.NoError(t, err)
	s, b := node.stage(), &batch{n: 1, train: true}
	require.Equal(t, []float32{1}, s.forward(b, []float32{1, 1, 1, 1}))
	require.Equal(t, []float32{3, 0, 0, 0}, s.backward(b, []float32{3}, true))
	s.forward(b, []float32{0, 1, 1, 1})
	require.Equal(t, []float32{0, 0, 3, 0}, s.backward(b, []float32{3}, true))
}
