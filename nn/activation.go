package nn

import "github.com/sotto-ml/sotto/internal/kernel"

// ReLU is y = max(x, 0), with slope 0 at 0.
type ReLU struct{}

func (ReLU) build(in Shape) (node, error) {
	return &activation{in: in, rule: func() pointwise { return reluRule{} }}, nil
}

// pointwise is a function of each element by itself.
type pointwise interface {
	// value sets y = f(x); y may be x.
	value(y, x []float32)
	// slope sets dx = dy·f'(x) given x or, if usesOutput, y = f(x); dx may
	// be dy.
	slope(dx, dy, xy []float32)
	// usesOutput reports whether slope is given y. Only then can the output
	// take the input's place.
	usesOutput() bool
}

type reluRule struct{}

func (reluRule) value(y, x []float32)      { kernel.ReLU(y, x) }
func (reluRule) slope(dx, dy, y []float32) { kernel.ReLUGrad(dx, dy, y) }
func (reluRule) usesOutput() bool          { return true }

type activation struct {
	in   Shape
	rule func() pointwise // of a stage's own, with its scratch
}

func (a *activation) shape() Shape       { return a.in }
func (a *activation) tensors() []*tensor { return nil }

func (a *activation) stage() stage {
	return &activationStage{rule: a.rule()}
}

type activationStage struct {
	rule  pointwise
	owned bool // x may be overwritten
	saved []float32
	y     []float32
}

func (s *activationStage) own() { s.owned = s.rule.usesOutput() }

func (s *activationStage) forward(b *batch, x []float32) []float32 {
	y := x
	if !s.owned {
		s.y = grow(s.y, len(x))
		y = s.y
	}
	s.rule.value(y, x)
	s.saved = x
	if s.rule.usesOutput() {
		s.saved = y
	}
	return y
}

func (s *activationStage) backward(b *batch, dy []float32, need bool) []float32 {
	s.rule.slope(dy, dy, s.saved)
	return dy
}
