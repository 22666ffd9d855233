package nn

import (
	"fmt"
	"slices"
)

// Model is a chain of layers over one contiguous vector of float32 parameters.
// Any number of goroutines may read it at once, each through its own Pass;
// whoever writes the parameters must be alone.
type Model struct {
	spec   Spec
	chain  *chain
	params []float32
	list   []*tensor
}

// New builds the model that takes examples of shape input through layers. Its
// parameters are zero (gains one) until Init or a file fills them.
//
// It returns an error that names the layer, its field and its input shape if a
// layer cannot stand where it does, and refuses layers that mix examples.
func New(input Shape, layers ...Layer) (*Model, error) {
	if err := input.check(); err != nil {
		return nil, fmt.Errorf("nn: input %w", err)
	}
	c, err := buildChain(slices.Clone(input), layers)
	if err != nil {
		return nil, fmt.Errorf("nn: %w", err)
	}
	m := &Model{
		spec:  Spec{Input: slices.Clone(input), Layers: slices.Clone(layers)},
		chain: c,
		list:  c.tensors(),
	}
	d := 0
	for _, t := range m.list {
		t.offset = d
		if d += t.size(); d > sizeLimit {
			return nil, fmt.Errorf("nn: model has more than 2^31 parameters")
		}
	}
	m.params = make([]float32, d)
	m.Init(Zero, 0)
	return m, nil
}

// Input returns the shape of an example.
func (m *Model) Input() Shape { return slices.Clone(m.chain.in) }

// Output returns the shape of what the model makes of an example.
func (m *Model) Output() Shape { return slices.Clone(m.chain.shape()) }

// Params returns the parameters themselves, not a copy: one vector, laid out
// as Parameters says. Writing to it changes the model.
func (m *Model) Params() []float32 { return m.params }

// Spec returns what New was given.
func (m *Model) Spec() Spec {
	return Spec{Input: slices.Clone(m.spec.Input), Layers: slices.Clone(m.spec.Layers)}
}

// Init draws all parameters anew: weights by law, the same ones for the same
// seed on every machine, biases 0 and gains 1. seed is public.
func (m *Model) Init(law Initializer, seed uint64) {
	for i, t := range m.list {
		part := t.of(m.params)
		if t.fanIn > 0 {
			law.fill(part, t.fanIn, t.fanOut, seed, uint64(i))
			continue
		}
		for j := range part {
			part[j] = t.value
		}
	}
}

// Parameter is a named part of a model's parameter vector.
type Parameter struct {
	Name   string // "0.weight": the layer's index, and the name, as in PyTorch's Sequential
	Shape  []int  // row-major, last index fastest
	Offset int    // of its first element in Params
	// ConvKernel marks the weights of a convolution, which lie as
	// [out][kh][kw][in/groups] where PyTorch has [out][in/groups][kh][kw].
	ConvKernel bool
}

// Size returns the number of elements.
func (p Parameter) Size() int { return Shape(p.Shape).Size() }

// Parameters returns the parts of the parameter vector in order, without gaps.
func (m *Model) Parameters() []Parameter {
	out := make([]Parameter, len(m.list))
	for i, t := range m.list {
		out[i] = Parameter{Name: t.name, Shape: slices.Clone(t.shape), Offset: t.offset, ConvKernel: t.kernel}
	}
	return out
}
