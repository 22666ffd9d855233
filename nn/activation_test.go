package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestActivationsAreTheirFunctions(t *testing.T) {
	gelu := func(x float64) float64 {
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	}
	for _, c := range []struct {
		layer Layer
		f     func(float64) float64
	}{
		{ReLU{}, func(x float64) float64 { return max(x, 0) }},
		{Tanh{}, math.Tanh},
		{SiLU{}, func(x float64) float64 { return x / (1 + math.Exp(-x)) }},
		{GELU{}, gelu},
		{GELU{Exact: true}, func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }},
		{Square{}, func(x float64) float64 { return x * x }},
		{Polynomial{Coefficients: []float32{3}}, func(float64) float64 { return 3 }},
		{Polynomial{Coefficients: []float32{1, -2, 0, 0.5}}, func(x float64) float64 { return 1 - 2*x + 0.5*x*x*x }},
	} {
		t.Run(fmt.Sprintf("%T", c.layer), func(t *testing.T) {
			const n = pointwiseBlock + 77
			random := rand.New(rand.NewPCG(1, 1))
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(4 * random.NormFloat64())
			}
			copy(x, []float32{0, 1e-20, -1e-20, 30, -30, 9, -9})
			m, err := New(Shape{n}, c.layer)
			require.NoError(t, err)
			y := NewPass(m, nil).Forward([][]float32{x})[0]
			node, err := c.layer.build(Shape{n})
			require.NoError(t, err)
			s, b := node.stage(), &batch{n: 1, train: true}
			s.forward(b, x)
			dy := make([]float32, n)
			for i := range dy {
				dy[i] = 2
			}
			dx := s.backward(b, dy, true)
			for i, v := range x {
				want := c.f(float64(v))
				require.InDelta(t, want, float64(y[i]), 1e-6*max(1, math.Abs(want)), "f(%v)", v)
				const h = 1e-5
				slope := (c.f(float64(v)+h) - c.f(float64(v)-h)) / (2 * h)
				if v == 0 && (c.layer == Layer(ReLU{})) || math.Abs(float64(v)) < h && v != 0 {
					continue // the kink; too near it
				}
				require.InDelta(t, 2*slope, float64(dx[i]), 1e-5*max(1, math.Abs(slope)), "f'(%v)", v)
			}
		})
	}
}

// TestActivationsSaturate: large inputs give limits, not NaN.
func TestActivationsSaturate(t *testing.T) {
	for _, layer := range []Layer{ReLU{}, Tanh{}, SiLU{}, GELU{}, GELU{Exact: true}} {
		for _, v := range []float32{1e4, -1e4, 1e10, -1e10} {
			node, err := layer.build(Shape{1})
			require.NoError(t, err)
			s, b := node.stage(), &batch{n: 1, train: true}
			y := s.forward(b, []float32{v})[0]
			dx := s.backward(b, []float32{1}, true)[0]
			require.False(t, y-y != 0 || dx-dx != 0, "%T of %v: %v, slope %v", layer, v, y, dx)
			if _, ok := layer.(Tanh); ok {
				require.Zero(t, dx)
				continue
			}
			want := max(v, 0)
			require.InDelta(t, float64(want), float64(y), 1e-6*math.Abs(float64(v)))
			require.InDelta(t, map[bool]float64{true: 1, false: 0}[v > 0], float64(dx), 1e-6)
		}
	}
}
