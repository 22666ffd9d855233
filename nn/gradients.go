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
	whole   []int64   // Weigh's: the sums of stages that cannot make them in parts
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
	checkRuns(p, len(w) == p.batch.n, ends)
	checkSum(p, sum)
	for _, s := range p.parametric {
		from, to := span(s)
		s.weightedSum(&p.batch, sum[from:to], w, ends)
	}
}

// Weigh sets the weights and runs of the following calls of AddBlock, as
// WeightedSum takes them. Neither may change, nor another method but Span be
// called, before the last of these. It panics if lengths differ.
func (g *Gradients) Weigh(w []float32, ends []int) {
	p := g.norms()
	checkRuns(p, len(w) == p.batch.n, ends)
	size := 0
	for _, s := range p.parametric {
		if _, ok := divide(s); !ok {
			from, to := span(s)
			size += to - from
		}
	}
	g.whole = grow(g.whole, size)
	clear(g.whole)
	rest := g.whole
	for _, s := range p.parametric {
		if d, ok := divide(s); ok {
			d.weigh(&p.batch, w, ends)
			continue
		}
		from, to := span(s)
		s.weightedSum(&p.batch, rest[:to-from], w, ends)
		rest = rest[to-from:]
	}
}

// Span returns the bounds, around from and to, between which AddBlock adds: rows
// of a Linear's weights are whole.
func (g *Gradients) Span(from, to int) (first, last int) {
	first, last = from, to
	for _, s := range g.pass.parametric {
		begin, end := span(s)
		d, ok := divide(s)
		if !ok {
			continue
		}
		if begin <= from && from < end {
			first = begin + d.cut(from-begin, false)
		}
		if begin < to && to <= end {
			last = begin + d.cut(to-begin, true)
		}
	}
	return first, last
}

// AddBlock adds to sum what WeightedSum, with the weights and runs of Weigh,
// adds to its elements first to first+len(sum), to the same bits. The bounds are
// ones that Span returned. It may be called from several goroutines at once and
// does not read the parameters. It panics if the bounds are others.
func (g *Gradients) AddBlock(sum []int64, first int) {
	p := g.use()
	last, done := first+len(sum), first
	rest := g.whole
	for _, s := range p.parametric {
		begin, end := span(s)
		from, to := max(begin, first), min(end, last)
		if d, ok := divide(s); ok {
			if from < to {
				d.addPart(&p.batch, sum[from-first:to-first], from-begin)
				done = to
			}
			continue
		}
		if from < to {
			part := sum[from-first : to-first]
			for j, v := range rest[from-begin : to-begin] {
				part[j] += v
			}
			done = to
		}
		rest = rest[end-begin:]
	}
	if done != last || first < 0 {
		panic("nn: block is not a part of the parameters")
	}
}

// LayerWeightedSum is WeightedSum with a weight for every layer of every
// example: w is n×L row-major.
func (g *Gradients) LayerWeightedSum(sum []int64, w []float32, ends []int) {
	p := g.norms()
	n, layers := p.batch.n, len(p.parametric)
	checkRuns(p, len(w) == n*layers, ends)
	checkSum(p, sum)
	g.column = grow(g.column, n)
	for l, s := range p.parametric {
		for i := range n {
			g.column[i] = w[i*layers+l]
		}
		from, to := span(s)
		s.weightedSum(&p.batch, sum[from:to], g.column, ends)
	}
}

func checkSum(p *Pass, sum []int64) {
	if len(sum) != len(p.model.params) {
		panic("nn: sum and parameters differ in length")
	}
}

func checkRuns(p *Pass, weights bool, ends []int) {
	if !weights {
		panic("nn: weights and examples differ in number")
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
