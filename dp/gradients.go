package dp

// Gradients are the gradients of the examples of one chunk of a batch, never
// necessarily materialised. Package nn's Gradients and [Matrix] satisfy it.
//
// An example's part in both methods must depend on that example and the
// parameters alone, to the last bit: never on who else is in the chunk.
type Gradients interface {
	// Norms writes the l2 norm of each example's gradient to dst, one element
	// per example, and returns it; nil allocates. A norm may exceed the true
	// one, but may lie below the norm of what WeightedSum adds for the example,
	// over its weight, by at most a relative 2^-14. A gradient that holds a NaN
	// or an infinity has norm NaN or +Inf.
	Norms(dst []float32) []float32

	// WeightedSum adds the examples' weighted gradients to sum, one element
	// per parameter, a run at a time:
	//
	//	sum[j] += Σ_runs roundToEven(Σ_{i in run} w[i]·g_i[j])
	//
	// ends[r] is the exclusive end of run r, the last is the number of examples.
	// The inner sum is a float32 chain in the order of the examples in which
	// each term is rounded at most twice before it is added; for any stretch of
	// the parameters an implementation may round every example to integers by
	// itself instead, if which it does depends on the model alone. An example of
	// weight 0 adds exactly nothing, even if its gradient holds a NaN. Weights
	// are below 2^47 and inner sums within ±2^51.
	WeightedSum(sum []int64, w []float32, ends []int)
}

// LayerGradients are Gradients that also know the norm of each layer's part,
// which [PerLayer] clipping needs.
type LayerGradients interface {
	Gradients

	// Layers returns the exclusive end of each layer's part of the parameter
	// vector; the last is the number of parameters.
	Layers() []int

	// LayerNorms is Norms for each layer's part: n×L, row-major.
	LayerNorms(dst []float32) []float32

	// LayerWeightedSum is WeightedSum with a weight for each layer's part of
	// each example: w is n×L, row-major.
	LayerWeightedSum(sum []int64, w []float32, ends []int)
}

// BlockGradients are Gradients whose weighted sum can be made a part at a time,
// while it is noised and applied, so that it need not be written to memory and
// read back. Trainers use it if each goroutine has at most one chunk of a draw
// and the clip rule is not PerLayer.
type BlockGradients interface {
	Gradients

	// Weigh sets the weights and the runs for AddBlock, as WeightedSum takes
	// them. They stay unchanged until the Worker's next call.
	Weigh(w []float32, ends []int)

	// Span returns the bounds between which AddBlock is to be asked for what
	// lies between parameters from and to: first <= from and last >= to, the
	// same for all gradients of a task.
	Span(from, to int) (first, last int)

	// AddBlock adds to sum what WeightedSum would add to its elements first to
	// first+len(sum), bounds that Span returned. Several goroutines may call it
	// at once, and other parameters may be updated meanwhile: it must not read
	// parameters.
	AddBlock(sum []int64, first int)
}

// Worker computes gradients for one goroutine.
type Worker interface {
	// Gradients returns the gradients of the loss of each of the examples, by
	// their numbers in the data set, at the current parameters. They are valid
	// until the next call. step is the number of the step, from 0: what a model
	// draws at random (dropout) must be a function of public seeds, step and
	// the example's number. An error ends the step before anything is released.
	Gradients(step int, examples []int) (Gradients, error)
}

// WorkerFunc is a function that serves as a Worker.
type WorkerFunc func(step int, examples []int) (Gradients, error)

// Gradients calls f.
func (f WorkerFunc) Gradients(step int, examples []int) (Gradients, error) { return f(step, examples) }

// Optimizer turns private gradients into updates of the parameters. It works on
// blocks, so that no second vector as long as the parameters is needed. nn's
// Optimizer satisfies it.
type Optimizer interface {
	// Begin starts a new step over d parameters.
	Begin(d int)
	// Update moves params, the block of the parameters that starts at offset,
	// by the block's gradient. It is called once for each block of a step, from
	// several goroutines, and must treat each element by itself.
	Update(params, grad []float32, offset int)
	// MarshalBinary and UnmarshalBinary carry the exact state.
	MarshalBinary() ([]byte, error)
	UnmarshalBinary(data []byte) error
}
