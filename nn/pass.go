package nn

// Pass runs a model on batches. It owns the scratch, which grows to the largest
// batch and stays: a steady state allocates nothing. A Pass serves one
// goroutine; any number of them may share a Model, whose parameters each reads
// at call time.
type Pass struct {
	model      *Model
	loss       Loss
	root       stage
	parametric []parametric
	batch      batch
	x          []float32 // the examples, in the model's order
	y          []float32 // Forward's outputs
	rows       [][]float32
	losses, dy []float32
	ids        []int
	gradients  Gradients
}

// NewPass returns a Pass over m. loss may be nil if only Forward is called. It
// panics if the loss does not fit the model's output.
func NewPass(m *Model, loss Loss) *Pass {
	if loss != nil {
		if err := loss.fits(m.chain.shape()); err != nil {
			panic("nn: loss does not fit the model's output")
		}
	}
	p := &Pass{model: m, loss: loss, root: m.chain.stage()}
	p.parametric = collect(nil, p.root)
	p.gradients.pass = p
	return p
}

// SetStep names the step that the following Backward calls belong to: Dropout
// draws the mask of an example from (seed, step, the layer, the example's id)
// alone. seed is public. Models without Dropout do not need it.
func (p *Pass) SetStep(seed, step uint64) { p.batch.seed, p.batch.step = seed, step }

// forwardRows is how many examples Forward takes at once. Outputs do not
// depend on it.
const forwardRows = 256

// Forward returns the model's outputs, one row per example, in evaluation mode
// (Dropout is off). Rows of x hold an example each, images in the order (c, h,
// w), and so do the rows returned, which last until the next call on p. It
// panics if a row's length is not the input's size.
func (p *Pass) Forward(x [][]float32) [][]float32 {
	shape := p.model.chain.shape()
	size := shape.Size()
	p.y, p.rows = grow(p.y, len(x)*size), grow(p.rows, len(x))
	for at := 0; at < len(x); at += forwardRows {
		chunk := x[at:min(len(x), at+forwardRows)]
		y := p.run(chunk, nil, false)
		for i := range chunk {
			row := p.y[(at+i)*size : (at+i+1)*size : (at+i+1)*size]
			shape.outer(row, y[i*size:(i+1)*size])
			p.rows[at+i] = row
		}
	}
	return p.rows
}

// run takes examples through the layers.
func (p *Pass) run(x [][]float32, ids []int, train bool) []float32 {
	p.gradients.valid = false
	in := p.model.chain.in
	size := in.Size()
	p.x = grow(p.x, len(x)*size)
	for i, row := range x {
		if len(row) != size {
			panic("nn: example's length is not the input's size")
		}
		in.inner(p.x[i*size:(i+1)*size], row)
	}
	b := &p.batch
	b.n, b.params, b.train, b.ids = len(x), p.model.params, train, ids
	return p.root.forward(b, p.x)
}

// Backward takes the examples x with targets y through one forward and one
// backward pass of signals and returns their gradients, which last until the
// next call on p. Rows of x are as in Forward; ids[i] names example i for
// layers that draw randomness (nil: its place in x). It panics if lengths
// differ, the targets do not fit the loss, or p has no loss.
//
// The gradients are those of each example's own loss, not divided by anything.
func (p *Pass) Backward(x [][]float32, y Targets, ids []int) *Gradients {
	width := p.model.chain.shape().Size()
	if p.loss == nil {
		panic("nn: Backward on a Pass without a loss")
	}
	if y.Len() != len(x) || len(x) > 0 && !p.loss.accepts(y, width) {
		panic("nn: targets do not fit the examples and the loss")
	}
	if ids == nil {
		for len(p.ids) < len(x) {
			p.ids = append(p.ids, len(p.ids))
		}
		ids = p.ids[:len(x)]
	}
	if len(ids) != len(x) {
		panic("nn: ids and examples differ in number")
	}
	out := p.run(x, ids, true)
	p.losses, p.dy = grow(p.losses, len(x)), grow(p.dy, len(x)*width)
	p.loss.evaluate(p.losses, p.dy, out, y, width)
	p.root.backward(&p.batch, p.dy, false)
	p.gradients.valid, p.gradients.normed = true, false
	return &p.gradients
}
