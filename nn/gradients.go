package nn

import "math"

// Gradients are the gradients of the examples of one Backward, never
// necessarily materialised. They satisfy the interfaces of package dp that
// private training needs. They last until the next call on their Pass, after
// which every method panics.
type Gradients struct {
	pass    *Pass
	valid   bool
	normed  bool
	squares []float64 // L rows of n
	column  []float32 // one layer's weights
}

// Len returns the number of examples.
func (g *Gradients) Len() int { return g.use().batch.n }

func (g *Gradients) use() *Pass {
	if !g.valid {
		panic("nn: gradients outlived by their pass")
	}
	return g.pass
}

// norms fills g.squares.
func (g *Gradients) norms() *Pass {
	p := g.use()
	if n := p.batch.n; !g.normed {
		g.squares = grow(g.squares, len(p.parametric)*n)
		for l, s := range p.parametric {
			s.squares(&p.batch, g.squares[l*n:(l+1)*n])
		}
		g.normed = true
	}
	return p
}

// Norms sets dst[i] to the l2 norm of example i's gradient, never below the
// norm of what WeightedSum adds for it (over w[i]) by more than a relative
// 2^-14. It is NaN or +Inf if the gradient holds a NaN or an infinity, and +Inf
// also where a signal or an input of a layer is beyond 2^80. dst has one element
// per example; nil allocates. Norms are not private.
func (g *Gradients) Norms(dst []float32) []float32 {
	p := g.norms()
	n := p.batch.n
	dst = sized(dst, n)
	for i := range n {
		var s float64
		for l := range p.parametric {
			s += g.squares[l*n+i]
		}
		dst[i] = float32(math.Sqrt(s))
	}
	return dst
}

// Layers returns, for each layer with parameters, the exclusive end of its
// part of the parameter vector; the last is the number of parameters.
func (g *Gradients) Layers() []int {
	ends := make([]int, len(g.pass.parametric))
	for l, s := range g.pass.parametric {
		_, ends[l] = span(s)
	}
	return ends
}

// LayerNorms sets dst, n×L row-major, to the norms of each example's gradient
// by the parameters of each layer, as Norms does; nil allocates.
func (g *Gradients) LayerNorms(dst []float32) []float32 {
	p := g.norms()
	n, layers := p.batch.n, len(p.parametric)
	dst = sized(dst, n*layers)
	for l := range layers {
		for i := range n {
			dst[i*layers+l] = float32(math.Sqrt(g.squares[l*n+i]))
		}
	}
	return dst
}

// WeightedSum adds the weighted gradients to sum, one element per parameter, a
// run of examples at a time, each run's sum rounded to integers:
//
//	sum[j] += Σ_runs roundToEven(Σ_{i in run} w[i]·g_i[j])
//
// ends[r] is the exclusive end of run r, the last is the number of examples.
// Inside a run the terms are added in float32; layers whose examples have
// several positions (convolutions, sequences) may cut runs into single
// examples, by the model alone. An example with w[i] == 0 adds exactly nothing,
// even if its gradient is NaN. Weights must stay below 2^47 and run sums within
// ±2^51; an example whose norm is not finite must have weight 0.
//
// It panics if lengths differ.
func (g *Gradients) WeightedSum(sum []int64, w []float32, ends []int) {
	p := g.norms()
	checkRuns(p, sum, len(w) == p.batch.n, ends)
	for _, s := range p.parametric {
		from, to := span(s)
		s.weightedSum(&p.batch, sum[from:to], w, ends)
	}
}

// LayerWeightedSum is WeightedSum with a weight for every layer of every
// example: w is n×L row-major.
func (g *Gradients) LayerWeightedSum(sum []int64, w []float32, ends []int) {
	p := g.norms()
	n, layers := p.batch.n, len(p.parametric)
	checkRuns(p, sum, len(w) == n*layers, ends)
	g.column = grow(g.column, n)
	for l, s := range p.parametric {
		for i := range n {
			g.column[i] = w[i*layers+l]
		}
		from, to := span(s)
		s.weightedSum(&p.batch, sum[from:to], g.column, ends)
	}
}

func checkRuns(p *Pass, sum []int64, weights bool, ends []int) {
	if !weights {
		panic("nn: weights and examples differ in number")
	}
	if len(sum) != len(p.model.params) {
		panic("nn: sum and parameters differ in length")
	}
	last := 0
	for _, end := range ends {
		if end < last {
			panic("nn: ends of runs decrease")
		}
		last = end
	}
	if last != p.batch.n {
		panic("nn: runs do not end with the examples")
	}
}

// Mean sets dst to the mean of the examples' gradients in plain float32: what
// training without privacy uses. dst has one element per parameter; nil
// allocates. Of no examples it is zero.
func (g *Gradients) Mean(dst []float32) []float32 {
	p := g.use()
	dst = sized(dst, len(p.model.params))
	if p.batch.n == 0 {
		clear(dst)
		return dst
	}
	for _, s := range p.parametric {
		from, to := span(s)
		s.mean(&p.batch, dst[from:to])
	}
	return dst
}

// Losses sets dst to each example's loss; nil allocates. Losses are not
// private.
func (g *Gradients) Losses(dst []float32) []float32 {
	p := g.use()
	dst = sized(dst, p.batch.n)
	copy(dst, p.losses)
	return dst
}

// span returns where the parameters of s begin and end.
func span(s parametric) (from, to int) {
	list := s.parameters()
	last := list[len(list)-1]
	return list[0].offset, last.offset + last.size()
}

// sized returns dst, or a new slice if dst is nil. It panics if dst has not n
// elements.
func sized(dst []float32, n int) []float32 {
	if dst == nil {
		return make([]float32, n)
	}
	if len(dst) != n {
		panic("nn: destination has the wrong length")
	}
	return dst
}
