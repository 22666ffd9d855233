package nn

import (
	"errors"
	"fmt"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Residual is y = x + f(x), where f is Layers one after another (He, Zhang, Ren
// and Sun 2016). f must give the shape that it takes. Its parameters are named
// by both indices: "3.0.weight" is in layer 0 of the Residual at 3.
type Residual struct {
	Layers Layers
}

func (l Residual) build(in Shape) (node, error) {
	if len(l.Layers) == 0 {
		return nil, errors.New("has no Layers, want at least one layer")
	}
	c, err := buildChain(in, l.Layers)
	if err != nil {
		return nil, err
	}
	if out := c.shape(); !out.Equal(in) {
		return nil, fmt.Errorf("has Layers that make %v of %v, want the same shape to add to", out, in)
	}
	return &residual{chain: c}, nil
}

type residual struct{ *chain }

func (r *residual) place(index int) {
	for _, n := range r.nodes {
		if p, ok := n.(placed); ok {
			p.place(index)
		}
	}
}

func (r *residual) stage() stage { return &residualStage{inside: r.chain.stage()} }

type residualStage struct {
	inside stage
	y, dx  []float32
}

func (s *residualStage) forgetsOutput() {}

func (s *residualStage) children() []stage { return []stage{s.inside} }

func (s *residualStage) forward(b *batch, x []float32) []float32 {
	s.y = grow(s.y, len(x))
	copy(s.y, x)
	kernel.Add(s.y, s.inside.forward(b, x))
	return s.y
}

func (s *residualStage) backward(b *batch, dy []float32, need bool) []float32 {
	if need { // before the layers inside overwrite dy
		s.dx = grow(s.dx, len(dy))
		copy(s.dx, dy)
	}
	down := s.inside.backward(b, dy, need)
	if !need {
		return nil
	}
	kernel.Add(s.dx, down)
	return s.dx
}
