package nn

import (
	"fmt"
	"strconv"
)

// Layer is the configuration of one layer: a plain struct of this package such
// as Linear or Conv2D, which New checks and builds. Configurations hold no
// parameters and may be used in any number of models.
//
// # How a layer is built (for those who add one to this package)
//
// A layer has three forms. The configuration is what users write. build turns
// it, for one input shape, into a node: immutable, shared by every Pass over
// the model, knowing its output shape and its parameter tensors (whose offsets
// New fills in). A node makes stages, one for every Pass, which hold the
// scratch and do the work on batches:
//
//	configuration --build(in)--> node --stage()--> stage
//
// A stage without parameters implements stage. One with parameters implements
// parametric too. One that holds other layers (Residual) implements container
// and keeps a chain, made by buildChain, inside; its node returns the chain's
// tensors. A kind of layer is entered in the table of spec.go.
//
// The rules every stage keeps:
//
//   - Rows: an activation buffer holds batch.n rows of the shape's Size, images
//     in the order (h, w, c).
//   - Batch invariance: a row of any output depends, to the last bit, on the
//     same row of the input, the parameters, batch.train, and (Dropout alone)
//     batch.seed, batch.step and batch.ids[i]; never on n, on the row's place or
//     on other rows. kernel.GEMM and the elementwise kernels are built for that.
//   - Memory: x stays unchanged until the batch is over, unless it is the
//     stage's own to overwrite, see overwriter. The slice that forward returns
//     belongs to the stage and lasts until its next forward. dy may be
//     overwritten, and returned as dx; a parametric stage keeps dy and leaves it
//     as it is. Scratch only grows (grow): a steady state allocates nothing.
//   - NaN and Inf in one row stay in that row.
type Layer interface {
	// build returns the layer for examples of shape in, which is valid, or
	// an error that says what is wrong with which field or with in. It need
	// not name the layer: the caller does.
	build(in Shape) (node, error)
}

// node is a built layer.
type node interface {
	shape() Shape       // of the output
	tensors() []*tensor // in the order of the parameter vector; nil for none
	stage() stage
}

// tensor is a named part of the parameter vector.
type tensor struct {
	name   string
	shape  []int // in memory order; a product of at most sizeLimit
	kernel bool  // weights of a convolution: [out][kh][kw][in/groups]
	// fanIn and fanOut are handed to the Initializer. With fanIn 0 the tensor
	// starts at value everywhere: 0 for biases, 1 for gains.
	fanIn, fanOut int
	value         float32
	offset        int // set by New
}

func (t *tensor) size() int { return mulLimit(t.shape...) }

// of returns the tensor's elements in the parameter vector.
func (t *tensor) of(params []float32) []float32 {
	return params[t.offset : t.offset+t.size()]
}

// batch is what the stages of a Pass are told of the examples in hand.
type batch struct {
	n      int
	params []float32 // the model's whole vector, unchanged during a batch
	train  bool      // Backward follows; false when evaluating
	seed   uint64    // public randomness of the run
	step   uint64    // and of the step
	ids    []int     // of each example, for randomness of its own; len n
}

// stage is a layer's work on batches, inside one Pass.
type stage interface {
	// forward returns the outputs of the n rows x.
	forward(b *batch, x []float32) []float32
	// backward takes the loss' derivatives dy by the outputs of the latest
	// forward and returns those by its inputs, or, unless need, anything. It
	// is called after a forward with b.train, at most once.
	backward(b *batch, dy []float32, need bool) []float32
}

// parametric is a stage with parameters of its own. Its tensors are neighbours
// in the parameter vector; sum and dst below are the part that they fill. The
// methods are called after backward; squares first, once.
type parametric interface {
	stage
	parameters() []*tensor
	// squares sets dst[i] to an upper bound of the squared l2 norm of what
	// weightedSum adds for example i over w[i]: never below the true one by
	// more than a relative 2^-14, and as close to it. It is NaN or +Inf if an
	// element is.
	squares(b *batch, dst []float64)
	// weightedSum adds Σ_i w[i]·g_i to sum, a run of examples at a time, as
	// dp.Gradients asks: sum[j] += roundToEven(Σ_{i in run} w[i]·g_i[j]). The
	// exclusive ends of the runs do not decrease and the last is n. An example
	// with w[i] == 0 adds exactly nothing, NaN or not; its saved rows may be
	// cleared to that end.
	weightedSum(b *batch, sum []int64, w []float32, ends []int)
	// mean sets dst to the plain mean over the batch, n >= 1.
	mean(b *batch, dst []float32)
}

// divisible is a parametric stage that can make its weighted sum in parts, if
// divides says so.
type divisible interface {
	parametric
	divides() bool
	// weigh prepares addPart for weights and runs, as weightedSum takes them.
	weigh(b *batch, w []float32, ends []int)
	// cut returns the next place at or below (up: above) at where parts may
	// begin and end, counted from the stage's first parameter.
	cut(at int, up bool) int
	// addPart adds to sum what weightedSum adds to its elements from first to
	// first+len(sum), places that cut returned. Several goroutines may call it
	// at once; it writes to nothing but sum, and does not read the parameters.
	addPart(b *batch, sum []int64, first int)
}

// divide returns s as a divisible, if it is one.
func divide(s parametric) (divisible, bool) {
	d, ok := s.(divisible)
	return d, ok && d.divides()
}

// container is a stage made of other stages, in the order of their parameters.
type container interface {
	stage
	children() []stage
}

// overwriter is a stage that can write its output over its input. own is called
// once, when the stage is made, if no one else needs the input after.
type overwriter interface{ own() }

// forgetful is a stage whose backward does not look at the output of forward,
// so that a following overwriter may destroy it. A stage that returns its
// input as its output is not forgetful.
type forgetful interface{ forgetsOutput() }

// absorber is a stage that, if absorbs is true, returns memory of its own from
// forward and backward and looks at what it was given no more after backward.
type absorber interface{ absorbs() bool }

// reuser is a stage that, after backward, has use for memory that no one looks
// at any more: its own outputs (y) or the derivatives that it returned (dx).
type reuser interface{ reuse(y, dx bool) }

// absorbed reports whether, from stage i on in steps of step, an absorber comes
// after nothing but activations that hand the memory on.
func (s *chainStage) absorbed(i, step int) bool {
	for ; i >= 0 && i < len(s.stages); i += step {
		switch child := s.stages[i].(type) {
		case *activationStage: // backward always stays in place
			if step > 0 && !child.owned {
				return true
			}
		case absorber:
			return child.absorbs()
		default:
			return false
		}
	}
	return false
}

// collect appends the parametric stages of s in the order of their parameters.
func collect(to []parametric, s stage) []parametric {
	switch s := s.(type) {
	case container:
		for _, child := range s.children() {
			to = collect(to, child)
		}
	case parametric:
		to = append(to, s)
	}
	return to
}

// chain is a node of layers one after another.
type chain struct {
	in    Shape
	nodes []node
}

// buildChain builds layers for examples of shape in and names their tensors
// "index.name". Its errors name the layer.
func buildChain(in Shape, layers []Layer) (*chain, error) {
	c := &chain{in: in}
	at := in
	for i, layer := range layers {
		kind, err := kindOf(layer)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		n, err := layer.build(at)
		if err != nil {
			return nil, fmt.Errorf("layer %d (%s) on %v: %w", i, kind, at, err)
		}
		if err := n.shape().check(); err != nil {
			return nil, fmt.Errorf("layer %d (%s) on %v: output %w", i, kind, at, err)
		}
		if p, ok := n.(placed); ok {
			p.place(i)
		}
		for _, t := range n.tensors() {
			if t.size() > sizeLimit {
				return nil, fmt.Errorf("layer %d (%s) on %v: %s of shape %v has more than 2^31 parameters", i, kind, at, t.name, t.shape)
			}
			t.name = strconv.Itoa(i) + "." + t.name
		}
		c.nodes = append(c.nodes, n)
		at = n.shape()
	}
	return c, nil
}

func (c *chain) shape() Shape {
	if len(c.nodes) == 0 {
		return c.in
	}
	return c.nodes[len(c.nodes)-1].shape()
}

func (c *chain) tensors() []*tensor {
	var all []*tensor
	for _, n := range c.nodes {
		all = append(all, n.tensors()...)
	}
	return all
}

func (c *chain) stage() stage {
	s := &chainStage{lowest: len(c.nodes)}
	for i, n := range c.nodes {
		next := n.stage()
		if o, ok := next.(overwriter); ok && i > 0 {
			if _, ok := s.stages[i-1].(forgetful); ok {
				o.own()
			}
		}
		if s.lowest > i && len(n.tensors()) > 0 {
			s.lowest = i
		}
		s.stages = append(s.stages, next)
	}
	for i, child := range s.stages {
		if r, ok := child.(reuser); ok {
			r.reuse(s.absorbed(i+1, 1), s.absorbed(i-1, -1))
		}
	}
	return s
}

type chainStage struct {
	stages []stage
	lowest int // the first stage with parameters: no signal goes further down
}

func (s *chainStage) children() []stage { return s.stages }

func (s *chainStage) forward(b *batch, x []float32) []float32 {
	for _, child := range s.stages {
		x = child.forward(b, x)
	}
	return x
}

func (s *chainStage) backward(b *batch, dy []float32, need bool) []float32 {
	last := 0
	if !need {
		last = s.lowest
	}
	for i := len(s.stages) - 1; i >= last; i-- {
		dy = s.stages[i].backward(b, dy, need || i > last)
	}
	return dy
}

// grow returns a slice of length n, buf's memory where it is large enough.
// Its elements are unspecified.
func grow[T any](buf []T, n int) []T {
	if cap(buf) < n {
		return make([]T, n)
	}
	return buf[:n]
}
