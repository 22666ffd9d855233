package nn

import (
	"fmt"
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// ReLU is y = max(x, 0), with slope 0 at 0.
type ReLU struct{}

// Tanh is the hyperbolic tangent.
type Tanh struct{}

// SiLU is y = x·sigmoid(x), also called swish.
type SiLU struct{}

// GELU is y = x·Φ(x), Φ the normal distribution function, by its usual
// approximation Φ(x) ≈ (1 + tanh(√(2/π)(x + 0.044715·x³)))/2 (Hendrycks and
// Gimpel 2016; PyTorch's approximate='tanh'), which is within 5e-4 of it and
// fast. Exact asks for Φ itself, PyTorch's default.
type GELU struct {
	Exact bool `json:",omitempty"`
}

// Square is y = x²: the activation that encrypted inference can evaluate.
type Square struct{}

// Polynomial is y = Σ Coefficients[k]·x^k.
type Polynomial struct {
	Coefficients []float32 // constant first; at least one, all finite
}

func (ReLU) build(in Shape) (node, error)   { return newActivation(in, reluRule{}), nil }
func (Tanh) build(in Shape) (node, error)   { return newActivation(in, tanhRule{}), nil }
func (SiLU) build(in Shape) (node, error)   { return newActivation(in, siluRule{}), nil }
func (Square) build(in Shape) (node, error) { return newActivation(in, squareRule{}), nil }

func (g GELU) build(in Shape) (node, error) {
	if g.Exact {
		return newActivation(in, erfRule{}), nil
	}
	return newActivation(in, geluRule{}), nil
}

func (p Polynomial) build(in Shape) (node, error) {
	if len(p.Coefficients) == 0 {
		return nil, fmt.Errorf("has no Coefficients, want at least one")
	}
	for k, c := range p.Coefficients {
		if c-c != 0 {
			return nil, fmt.Errorf("has Coefficients[%d] %v, want a finite number", k, c)
		}
	}
	return newActivation(in, polynomialRule{slices.Clone(p.Coefficients)}), nil
}

// pointwise is a function of each element by itself. scratch has the length of
// the other slices, at most pointwiseBlock.
type pointwise interface {
	// value sets y = f(x); y may be x if usesOutput.
	value(y, x, scratch []float32)
	// slope sets dy = dy·f'(x), given x or, if usesOutput, y = f(x).
	slope(dy, xy, scratch []float32)
	usesOutput() bool
}

// pointwiseBlock is how many elements go through a rule at once, so that what
// it does in several sweeps stays in the L1 cache.
const pointwiseBlock = 2048

type reluRule struct{}

func (reluRule) value(y, x, _ []float32)  { kernel.ReLU(y, x) }
func (reluRule) slope(dy, y, _ []float32) { kernel.ReLUGrad(dy, dy, y) }
func (reluRule) usesOutput() bool         { return true }

type tanhRule struct{}

func (tanhRule) value(y, x, _ []float32) { kernel.Tanh(y, x) }
func (tanhRule) usesOutput() bool        { return true }

// slope is dy - dy·y².
func (tanhRule) slope(dy, y, t []float32) {
	kernel.Mul(t, y, y)
	kernel.Mul(t, t, dy)
	kernel.Axpy(dy, -1, t)
}

type siluRule struct{}

func (siluRule) usesOutput() bool { return false }

func (siluRule) value(y, x, _ []float32) {
	kernel.Sigmoid(y, x)
	kernel.Mul(y, y, x)
}

// slope is s·(1 + x·(1-s)) with s the sigmoid.
func (siluRule) slope(dy, x, t []float32) {
	kernel.Sigmoid(t, x)
	for i, s := range t {
		dy[i] *= s * (1 + x[i]*(1-s))
	}
}

const (
	geluScale = 0.7978845608028654 // √(2/π)
	geluCubic = 0.044715
)

type geluRule struct{}

func (geluRule) usesOutput() bool { return false }

func (geluRule) value(y, x, _ []float32) {
	for i, v := range x {
		y[i] = geluScale * (v + geluCubic*v*v*v)
	}
	kernel.Tanh(y, y)
	for i, v := range x {
		y[i] = 0.5 * v * (1 + y[i])
	}
}

// slope is (1 + t)/2 + x·(1 - t²)/2·g', with t = tanh(g).
func (geluRule) slope(dy, x, t []float32) {
	for i, v := range x {
		t[i] = geluScale * (v + geluCubic*v*v*v)
	}
	kernel.Tanh(t, t)
	for i, v := range x {
		h := t[i]
		inner := geluScale * (1 + 3*geluCubic*v*v)
		slope := 0.5 * (1 + h)
		if flat := 1 - h*h; flat != 0 { // else inner may be infinite
			slope += 0.5 * v * flat * inner
		}
		dy[i] *= slope
	}
}

type erfRule struct{}

func (erfRule) usesOutput() bool { return false }

func (erfRule) value(y, x, _ []float32) {
	for i, v := range x {
		v := float64(v)
		y[i] = float32(0.5 * v * math.Erfc(-v/math.Sqrt2))
	}
}

// slope is Φ(x) + x·φ(x).
func (erfRule) slope(dy, x, _ []float32) {
	const density = 0.3989422804014327 // 1/√(2π)
	for i, v := range x {
		v := float64(v)
		dy[i] *= float32(0.5*math.Erfc(-v/math.Sqrt2) + v*density*math.Exp(-0.5*v*v))
	}
}

type squareRule struct{}

func (squareRule) usesOutput() bool        { return false }
func (squareRule) value(y, x, _ []float32) { kernel.Mul(y, x, x) }
func (squareRule) slope(dy, x, t []float32) {
	kernel.Scale(t, 2, x)
	kernel.Mul(dy, dy, t)
}

type polynomialRule struct{ c []float32 }

func (polynomialRule) usesOutput() bool { return false }

func (p polynomialRule) value(y, x, _ []float32) {
	top := len(p.c) - 1
	for i, v := range x {
		s := p.c[top]
		for k := top - 1; k >= 0; k-- {
			s = s*v + p.c[k]
		}
		y[i] = s
	}
}

func (p polynomialRule) slope(dy, x, _ []float32) {
	top := len(p.c) - 1
	for i, v := range x {
		var s float32
		for k := top; k >= 1; k-- {
			s = s*v + float32(k)*p.c[k]
		}
		dy[i] *= s
	}
}

type activation struct {
	in   Shape
	rule pointwise
}

func newActivation(in Shape, rule pointwise) *activation { return &activation{in: in, rule: rule} }

func (a *activation) shape() Shape       { return a.in }
func (a *activation) tensors() []*tensor { return nil }
func (a *activation) stage() stage       { return &activationStage{rule: a.rule} }

type activationStage struct {
	rule    pointwise
	owned   bool // x may be overwritten
	saved   []float32
	y       []float32
	scratch [pointwiseBlock]float32
}

func (s *activationStage) own() { s.owned = s.rule.usesOutput() }

func (s *activationStage) forward(b *batch, x []float32) []float32 {
	y := x
	if !s.owned {
		s.y = grow(s.y, len(x))
		y = s.y
	}
	for at := 0; at < len(x); at += pointwiseBlock {
		end := min(len(x), at+pointwiseBlock)
		s.rule.value(y[at:end], x[at:end], s.scratch[:end-at])
	}
	s.saved = x
	if s.rule.usesOutput() {
		s.saved = y
	}
	return y
}

func (s *activationStage) backward(b *batch, dy []float32, need bool) []float32 {
	for at := 0; at < len(dy); at += pointwiseBlock {
		end := min(len(dy), at+pointwiseBlock)
		s.rule.slope(dy[at:end], s.saved[at:end], s.scratch[:end-at])
	}
	return dy
}
