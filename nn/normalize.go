package nn

import (
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// normalizer is what GroupNorm and LayerNorm share. An example is instances ×
// positions × channels; each instance's channels are cut in groups, and every
// group is normalised by its own mean and variance over positions and the
// group's channels:
//
//	h = (x - mean)·r,  r = 1/√(variance + eps),  y = gamma·h + beta
//
// with the biased variance, as in PyTorch. Nothing is shared between examples,
// and sums run in an order that depends on the sizes alone.
//
// One position and one group (LayerNorm) go row by row. Otherwise factors that
// repeat with the channels are laid out as tiles of many positions, so that
// each kernel call has work enough; sums of at most tileRun float32 terms are
// flushed to float64.
type normalizer struct {
	instances, positions, channels, groups int
	eps                                    float64
}

const (
	tileLen = 256 // elements, at least; a tile is a whole number of positions
	tileRun = 32
)

func (n normalizer) size() int { return n.instances * n.positions * n.channels }

// stats is the length of an example's saved statistics: mean and r of every
// group of every instance.
func (n normalizer) stats() int { return 2 * n.instances * n.groups }

func (n normalizer) byRow() bool { return n.positions == 1 && n.groups == 1 }

// normScratch is room for one normalizer's work; one per goroutine.
type normScratch struct {
	h          []float32    // one instance
	tiles      [5][]float32 // by row, one row each
	ones       []float32    // by row
	sums, also []float64    // per channel
}

func (n normalizer) scratch() *normScratch {
	s := &normScratch{h: make([]float32, n.positions*n.channels)}
	tile := n.channels
	if !n.byRow() {
		tile = n.channels * min((tileLen+n.channels-1)/n.channels, n.positions)
	}
	for i := range s.tiles {
		s.tiles[i] = make([]float32, tile)
	}
	s.ones = growOnes(nil, n.channels)
	s.sums, s.also = make([]float64, n.channels), make([]float64, n.channels)
	return s
}

// forward writes the normalised example x to y (which may be x) and its
// statistics to stats. A nil gamma stands for ones, a nil beta for zeros.
func (n normalizer) forward(y, x, gamma, beta, stats []float32, s *normScratch) {
	one, groups := n.positions*n.channels, 2*n.groups
	for i := range n.instances {
		x, y, stats := x[i*one:(i+1)*one], y[i*one:(i+1)*one], stats[i*groups:(i+1)*groups]
		if n.byRow() {
			n.forwardRow(y, x, gamma, beta, stats, s)
		} else {
			n.forwardTiled(y, x, gamma, beta, stats, s)
		}
	}
}

// backward writes the gradient with respect to the example x to dx (which may
// be dy; nil: not wanted), and adds those with respect to gamma and beta to
// dgamma and dbeta (both nil: not wanted).
func (n normalizer) backward(dx, dgamma, dbeta, dy, x, gamma, stats []float32, s *normScratch) {
	one, groups := n.positions*n.channels, 2*n.groups
	for i := range n.instances {
		x, dy, stats := x[i*one:(i+1)*one], dy[i*one:(i+1)*one], stats[i*groups:(i+1)*groups]
		var down []float32
		if dx != nil {
			down = dx[i*one : (i+1)*one]
		}
		if n.byRow() {
			n.backwardRow(down, dgamma, dbeta, dy, x, gamma, stats, s)
		} else {
			n.backwardTiled(down, dgamma, dbeta, dy, x, gamma, stats, s)
		}
	}
}

func (n normalizer) forwardRow(y, x, gamma, beta, stats []float32, s *normScratch) {
	count := float64(n.channels)
	mean := float32(kernel.Dot(x, s.ones) / count)
	copy(y, x)
	kernel.Axpy(y, -mean, s.ones)
	r := float32(1 / math.Sqrt(kernel.SumSquares(y)/count+n.eps))
	stats[0], stats[1] = mean, r
	kernel.Scale(y, r, y)
	if gamma != nil {
		kernel.Mul(y, y, gamma)
	}
	if beta != nil {
		kernel.Add(y, beta)
	}
}

func (n normalizer) backwardRow(dx, dgamma, dbeta, dy, x, gamma, stats []float32, s *normScratch) {
	count := float64(n.channels)
	h, u := s.h, s.tiles[0]
	copy(h, x)
	kernel.Axpy(h, -stats[0], s.ones)
	kernel.Scale(h, stats[1], h)
	if dgamma != nil {
		kernel.Mul(u, dy, h)
		kernel.Add(dgamma, u)
		kernel.Add(dbeta, dy)
	}
	if dx == nil {
		return
	}
	if gamma != nil {
		kernel.Mul(u, dy, gamma)
	} else {
		copy(u, dy)
	}
	plain, along := kernel.Dot(u, s.ones)/count, kernel.Dot(u, h)/count
	kernel.Axpy(u, -float32(along), h)
	kernel.Axpy(u, -float32(plain), s.ones)
	kernel.Scale(dx, stats[1], u)
}

func (n normalizer) forwardTiled(y, x, gamma, beta, stats []float32, s *normScratch) {
	count := float64(n.positions * n.channels / n.groups)
	tile := len(s.tiles[0])
	acc, square := s.tiles[0], s.tiles[1]
	sum := tileSum{acc: acc, sums: s.sums}
	sum.reset()
	for at := 0; at < len(x); at += tile {
		sum.add(x[at:min(at+tile, len(x))])
	}
	sum.flush()
	minus := s.tiles[2]
	n.eachGroup(func(g, from, to int) {
		mean := float32(total(s.sums[from:to]) / count)
		stats[2*g] = mean
		fill(minus[from:to], -mean)
	})
	repeat(minus, n.channels)
	sum.reset()
	for at := 0; at < len(x); at += tile {
		end := min(at+tile, len(x))
		out := y[at:end]
		copy(out, x[at:end])
		kernel.Add(out, minus[:end-at])
		kernel.Mul(square[:end-at], out, out)
		sum.add(square[:end-at])
	}
	sum.flush()
	scale, shift := s.tiles[3], s.tiles[4]
	n.eachGroup(func(g, from, to int) {
		r := float32(1 / math.Sqrt(total(s.sums[from:to])/count+n.eps))
		stats[2*g+1] = r
		fill(scale[from:to], r)
	})
	if gamma != nil {
		kernel.Mul(scale[:n.channels], scale[:n.channels], gamma)
	}
	repeat(scale, n.channels)
	if beta != nil {
		copy(shift, beta)
		repeat(shift, n.channels)
	}
	for at := 0; at < len(y); at += tile {
		out := y[at:min(at+tile, len(y))]
		kernel.Mul(out, out, scale[:len(out)])
		if beta != nil {
			kernel.Add(out, shift[:len(out)])
		}
	}
}

func (n normalizer) backwardTiled(dx, dgamma, dbeta, dy, x, gamma, stats []float32, s *normScratch) {
	c, count := n.channels, float64(n.positions*n.channels/n.groups)
	tile := len(s.tiles[0])
	minus, r, product := s.tiles[2], s.tiles[3], s.tiles[4]
	n.eachGroup(func(g, from, to int) {
		fill(minus[from:to], -stats[2*g])
		fill(r[from:to], stats[2*g+1])
	})
	repeat(minus, c)
	repeat(r, c)
	// Per channel, Σ dy and Σ dy·h: the gradients of beta and gamma, and,
	// weighted by gamma, what the group's statistics receive.
	plain, along := tileSum{acc: s.tiles[0], sums: s.sums}, tileSum{acc: s.tiles[1], sums: s.also}
	plain.reset()
	along.reset()
	for at := 0; at < len(x); at += tile {
		end := min(at+tile, len(x))
		h, up, p := s.h[at:end], dy[at:end], product[:end-at]
		copy(h, x[at:end])
		kernel.Add(h, minus[:end-at])
		kernel.Mul(h, h, r[:end-at])
		plain.add(up)
		kernel.Mul(p, up, h)
		along.add(p)
	}
	plain.flush()
	along.flush()
	if dgamma != nil {
		for j := range c {
			dgamma[j] += float32(s.also[j])
			dbeta[j] += float32(s.sums[j])
		}
	}
	if dx == nil {
		return
	}
	// dx = r·(gamma·dy - Σgamma·dy/count - h·Σgamma·dy·h/count)
	scale, slope, shift := s.tiles[0], s.tiles[1], s.tiles[2]
	n.eachGroup(func(g, from, to int) {
		var t, u float64
		for j := from; j < to; j++ {
			w := 1.0
			if gamma != nil {
				w = float64(gamma[j])
			}
			t += w * s.sums[j]
			u += w * s.also[j]
		}
		r := float64(stats[2*g+1])
		fill(scale[from:to], stats[2*g+1])
		fill(slope[from:to], float32(-r*u/count))
		fill(shift[from:to], float32(-r*t/count))
	})
	if gamma != nil {
		kernel.Mul(scale[:c], scale[:c], gamma)
	}
	repeat(scale, c)
	repeat(slope, c)
	repeat(shift, c)
	for at := 0; at < len(x); at += tile {
		end := min(at+tile, len(x))
		h, down := s.h[at:end], dx[at:end]
		kernel.Mul(down, dy[at:end], scale[:end-at])
		kernel.Mul(h, h, slope[:end-at])
		kernel.Add(down, h)
		kernel.Add(down, shift[:end-at])
	}
}

// eachGroup calls f with every group's channels.
func (n normalizer) eachGroup(f func(g, from, to int)) {
	per := n.channels / n.groups
	for g := range n.groups {
		f(g, g*per, (g+1)*per)
	}
}

// tileSum adds tiles up by channel.
type tileSum struct {
	acc  []float32 // a tile
	sums []float64 // a value per channel
	run  int
}

func (t *tileSum) reset() {
	clear(t.acc)
	clear(t.sums)
	t.run = 0
}

func (t *tileSum) add(x []float32) {
	kernel.Add(t.acc[:len(x)], x)
	if t.run++; t.run == tileRun {
		t.flush()
		clear(t.acc)
		t.run = 0
	}
}

func (t *tileSum) flush() {
	c := len(t.sums)
	for at := 0; at < len(t.acc); at += c {
		row := t.acc[at : at+c : at+c]
		for j, v := range row {
			t.sums[j] += float64(v)
		}
	}
}

func total(x []float64) (sum float64) {
	for _, v := range x {
		sum += v
	}
	return sum
}

func fill(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}

// repeat copies the first n elements of tile over the rest.
func repeat(tile []float32, n int) {
	for n < len(tile) {
		n += copy(tile[n:], tile[:n])
	}
}
