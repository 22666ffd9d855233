package he

import (
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/nn"
)

// canonical is a stage whose numbers are brought near one: z in [-1, 1] over the
// calibrated range, and what the activation makes of it too.
type canonical struct {
	name  string
	shape nn.Shape
	parts map[int]*affine
	bias  []float64
	// square: the value is z². Otherwise Σ series[k]·T_k(z); nil in the last stage.
	square bool
	series []float64
}

func (s *canonical) depth() int {
	switch {
	case s.square:
		return 1
	case s.series != nil:
		return depth(len(s.series) - 1)
	}
	return 0
}

// canonize rescales the graph's stages: value k of the graph is gain[k]·(value of the
// canonical form) + offset[k].
func canonize(g *graph, inputGain, outputGain float64) []canonical {
	gain, offset := []float64{inputGain}, []float64{0}
	var out []canonical
	for k := range g.stages {
		s := &g.stages[k]
		c := canonical{name: s.name, shape: s.size, parts: map[int]*affine{}, bias: make([]float64, len(s.z.bias))}
		copy(c.bias, s.z.bias)
		shift, scale := 0., 1/outputGain
		if s.act != nil {
			if s.fit.degree() == 2 {
				// a(z+h)² + c - a·h², with z+h brought into [-1, 1]
				a, b, c0 := s.fit.quadratic()
				h := b / (2 * a)
				m := math.Abs(s.fit.mid+h) + s.fit.half
				shift, scale, c.square = h, 1/m, true
				gain, offset = append(gain, a*m*m), append(offset, c0-a*h*h)
			} else {
				shift, scale = -s.fit.mid, 1/s.fit.half
				most := 0.
				for i := range 1001 {
					most = max(most, math.Abs(s.fit.at(s.fit.mid+s.fit.half*(float64(i)/500-1))))
				}
				c.series = make([]float64, len(s.fit.c))
				for i, v := range s.fit.c {
					c.series[i] = v / most
				}
				gain, offset = append(gain, most), append(offset, 0)
			}
		}
		for i, p := range s.z.parts {
			if offset[i] != 0 {
				constant := make([]float64, p.cols)
				for j := range constant {
					constant[j] = offset[i]
				}
				p.apply(c.bias, constant)
			}
			c.parts[i] = p.scaled(scale * gain[i])
		}
		for r := range c.bias {
			c.bias[r] = (c.bias[r] + shift) * scale
		}
		out = append(out, c)
	}
	return out
}

// levels gives each stage's z its level: the last is at 0, and each takes what the
// next one's products and its own activation need.
func levels(stages []canonical) []int {
	z := make([]int, len(stages))
	for k := len(stages) - 2; k >= 0; k-- {
		z[k] = z[k+1] + 1 + stages[k].depth()
	}
	return z
}

// operation is how one source enters a stage: by taps (the input) or by a transform.
type operation struct {
	from  int
	taps  *taps
	first int // of the taps among the query's ciphertexts
	trans *transform
	ratio int
	baby  []int
	giant []int
	ms    float64
}

// folds are the rotations after the operation.
func (o *operation) folds() []int {
	if o.taps != nil {
		return o.taps.folds
	}
	return o.trans.folds
}

func (o *operation) layout() layout {
	if o.taps != nil {
		return o.taps.to
	}
	return o.trans.to
}

// latencyPlan is how one input is evaluated.
type latencyPlan struct {
	z   []int // levels
	ops [][]operation
	// The outputs are the decoded means over the slots r modulo width, times multiple.
	width    int
	multiple float64
	ms       float64
}

// planner searches the plans for the cheapest by predicted time.
type planner struct {
	cost   cost
	slots  int
	stages []canonical
	z      []int
	best   *latencyPlan
}

func planLatency(stages []canonical, logN int) (*latencyPlan, error) {
	p := &planner{cost: costAt(logN), slots: 1 << (logN - 1), stages: stages, z: levels(stages)}
	p.search(nil, make([]layout, 1, len(stages)+1), 0)
	if p.best == nil {
		return nil, p.noRoom()
	}
	return p.best, nil
}

// noRoom says which stage does not fit into a ciphertext's slots: the first that is too
// large, or else the largest, for which no order was found.
func (p *planner) noRoom() error {
	largest := &p.stages[0]
	for k := range p.stages {
		if s := &p.stages[k]; s.shape.Size() > largest.shape.Size() && power(largest.shape.Size()) <= p.slots {
			largest = s
		}
	}
	if power(largest.shape.Size()) <= p.slots {
		return fmt.Errorf("stage %s: no order of its %d outputs was found in the %d slots of a ciphertext", largest.name, largest.shape.Size(), p.slots)
	}
	return fmt.Errorf("stage %s: its %d outputs do not fit into the %d slots of a ciphertext", largest.name, largest.shape.Size(), p.slots)
}

// search extends the plan by the next stage in every way that may be best.
func (p *planner) search(ops [][]operation, at []layout, ms float64) {
	k := len(ops)
	if p.best != nil && ms >= p.best.ms {
		return
	}
	if k == len(p.stages) {
		last := ops[k-1]
		plan := &latencyPlan{z: p.z, ms: ms, width: power(p.stages[k-1].shape.Size())}
		taps := 0
		for _, o := range ops {
			own := append([]operation(nil), o...)
			for i := range own {
				if own[i].taps != nil {
					own[i].first = taps
					taps += len(own[i].taps.index)
				}
			}
			plan.ops = append(plan.ops, own)
		}
		// Every slot r modulo width holds a term; a sum over the input's period is
		// the output.
		plan.multiple = float64(last[0].sumPeriod()) / float64(plan.width)
		p.best = plan
		return
	}
	for _, choice := range p.choices(k, at) {
		t := ms
		for i := range choice {
			t += choice[i].ms
		}
		t += p.stages[k].activationCost(p.cost, p.z[k])
		p.search(append(ops[:k:k], choice), append(at[:k+1:k+1], choice[0].layout()), t)
	}
}

// sumPeriod is the period over which a last operation's terms must be added.
func (o *operation) sumPeriod() int {
	if len(o.folds()) > 0 {
		return o.layout().period
	}
	if o.taps != nil {
		return len(o.taps.index[0])
	}
	return o.trans.repeat
}

// choices lists the ways to make stage k's z from values in the given layouts.
func (p *planner) choices(k int, at []layout) (out [][]operation) {
	s := &p.stages[k]
	last := k == len(p.stages)-1
	n := s.shape.Size()
	width := power(n)
	if width > p.slots {
		return nil
	}
	// The common layout that every kind of source can reach.
	sources := expression{parts: s.parts}.sources()
	common := p.common(k, at, sources, last)
	if last && !samePeriod(common) {
		common = p.common(k, at, sources, false)
	}
	if len(common) > 0 && (!last || samePeriod(common)) {
		out = append(out, common)
	}
	if len(sources) != 1 || last {
		return out
	}
	i := sources[0]
	m := s.parts[i]
	var more []operation
	if i == 0 {
		if len(s.shape) == 3 {
			if to, ok := plain(s.shape, p.slots); ok {
				more = append(more, p.tapped(m, to, p.z[k]+1)...)
			}
		}
	} else {
		if t, ok := split(m, at[i], p.slots); ok {
			more = append(more, p.transformed(i, t, p.z[k]+1))
		}
		if g := at[i].grid; g != nil && len(s.shape) == 3 {
			for _, stride := range []int{1, 2, 4} {
				if to, ok := g.strided(s.shape, stride, p.slots); ok {
					if t, ok := direct(m, at[i], to); ok {
						more = append(more, p.transformed(i, t, p.z[k]+1))
					}
				}
			}
		}
	}
	for _, o := range more {
		out = append(out, []operation{o})
	}
	return out
}

// common brings all sources of stage k into order, each in the cheapest way; nil if one
// cannot be.
func (p *planner) common(k int, at []layout, sources []int, last bool) (out []operation) {
	s := &p.stages[k]
	for _, i := range sources {
		var best *operation
		for _, o := range p.toOrder(s.parts[i], i, at[i], power(s.shape.Size()), p.z[k]+1, last) {
			if best == nil || o.ms < best.ms {
				best = &o
			}
		}
		if best == nil {
			return nil
		}
		out = append(out, *best)
	}
	return out
}

// samePeriod says whether unfolded operations can be added up.
func samePeriod(ops []operation) bool {
	for i := range ops {
		if ops[i].sumPeriod() != ops[0].sumPeriod() {
			return false
		}
	}
	return true
}

// toOrder lists the ways to bring one source into order with the given period.
func (p *planner) toOrder(m *affine, i int, from layout, width, level int, last bool) (out []operation) {
	if i == 0 {
		out = p.tapped(m, inOrder(m.rows, width), level)
		if last { // the decoder folds
			for j := range out {
				out[j].taps.folds = nil
				out[j].ms = p.tapsCost(out[j].taps, level)
			}
		}
		return out
	}
	if t, ok := tiled(m, from, last); ok {
		out = append(out, p.transformed(i, t, level))
	} else if t, ok := direct(m, from, inOrder(m.rows, width)); ok {
		out = append(out, p.transformed(i, t, level))
	}
	return out
}

func (p *planner) tapsCost(t *taps, level int) float64 {
	l := float64(level + 1)
	return float64(len(t.index))*2*l*p.cost.product + p.cost.rescale(level) + float64(len(t.folds))*p.cost.rotation(level-1)
}

// upload is what a tap more costs in the plan's milliseconds: the server unpacks it and
// makes its random half, and the client sends it.
const upload = 4

// tapped lists the taps by the number of places that a row's entries stand on.
func (p *planner) tapped(m *affine, to layout, level int) (out []operation) {
	for places := 1; places*to.period <= p.slots; places *= 2 {
		if t, ok := gather(m, to, places, p.slots); ok {
			ms := p.tapsCost(&t, level) + upload*float64(len(t.index)*(level+1))*p.cost.product
			out = append(out, operation{taps: &t, ms: ms})
		}
	}
	return out
}

func (p *planner) transformed(i int, t transform, level int) operation {
	o := operation{from: i, trans: &t}
	o.ratio, o.baby, o.giant, o.ms = p.cost.bestRatio(t.diagonals, p.slots, level)
	o.ms += p.cost.rescale(level) + float64(len(t.folds))*p.cost.rotation(level-1)
	return o
}
