package accounting

import (
	"math"
)

// Interval holds the truth: Upper is a guarantee, Lower shows its slack.
type Interval struct {
	Lower, Upper float64
}

// Epsilon is the ε of an event at delta, in (0, 1), under a relation. Both are
// infinite where the event has no finite ε. The lower bound is of the worst
// mechanism that the event describes.
func Epsilon(e Event, r Relation, delta float64) (Interval, error) {
	if err := checkDelta(delta); err != nil {
		return Interval{}, err
	}
	return best(e, r, delta, func(b *bill) (Interval, bool) { return b.epsilon(delta), true })
}

// EpsilonPLD is [Epsilon] by composition on a grid alone, as other accountants
// of privacy loss distributions have it: wider, slower, and never tighter.
// It fails where the grid would be too large.
func EpsilonPLD(e Event, r Relation, delta float64) (Interval, error) {
	if err := checkDelta(delta); err != nil {
		return Interval{}, err
	}
	return best(e, r, delta, func(b *bill) (Interval, bool) {
		return b.bracket(math.Log(delta), math.Log(delta-b.fail), math.Inf(1), sum.gridEpsilon)
	})
}

// LogDelta is the natural logarithm of the δ of an event at epsilon, in [0, 10^6],
// under a relation: at most 0, and minus infinity where δ is 0.
func LogDelta(e Event, r Relation, epsilon float64) (Interval, error) {
	if err := checkEpsilon(epsilon); err != nil {
		return Interval{}, err
	}
	a, err := newAccount(e, r)
	if err != nil {
		return Interval{}, err
	}
	return a.logDelta(epsilon), nil
}

// account is an event's bills by all ways there are, to be asked more than once.
type account []*bill

func newAccount(e Event, r Relation) (account, error) {
	var a account
	for _, hint := range []float64{1e-5, 1e-9} {
		for way := range ways {
			b, err := billFor(e, r, way, hint)
			if err != nil {
				return nil, err
			}
			a = append(a, b)
			if !b.tried {
				return a, nil
			}
		}
	}
	return a, nil
}

func (a account) logDelta(epsilon float64) Interval {
	out := Interval{math.Inf(-1), 0}
	for _, b := range a {
		i := b.logDelta(epsilon)
		if b.fail > 0 {
			i.Upper = min(logAdd(i.Upper, math.Log(b.fail)), 0)
		}
		out.Lower, out.Upper = max(out.Lower, i.Lower), min(out.Upper, i.Upper)
	}
	out.Lower = min(out.Lower, out.Upper)
	return out
}

// Delta is exp of [LogDelta]: the δ of an event at epsilon.
func Delta(e Event, r Relation, epsilon float64) (Interval, error) {
	i, err := LogDelta(e, r, epsilon)
	return Interval{math.Exp(i.Lower), math.Exp(i.Upper)}, err
}

// PureEpsilon is the ε of an event at δ = 0: infinite for most.
func PureEpsilon(e Event, r Relation) (float64, error) {
	b, err := billFor(e, r, 0, 0)
	if err != nil || b.infinite {
		return math.Inf(1), err
	}
	total := 0.0
	for _, it := range b.items {
		most := 0.0
		if it.pairs == nil {
			most = math.Inf(1)
		}
		for _, p := range it.pairs {
			switch p := p.(type) {
			case *discrete:
				most = max(most, p.loss[len(p.loss)-1])
			case *laplace:
				_, hi := p.ends()
				most = max(most, hi)
			default:
				most = math.Inf(1)
			}
		}
		total += it.count * most
	}
	return total, nil
}

// best asks by all ways that there are to bound an event.
func best(e Event, r Relation, hint float64, ask func(*bill) (Interval, bool)) (Interval, error) {
	out := Interval{math.Inf(-1), math.Inf(1)}
	for way := range ways {
		b, err := billFor(e, r, way, hint)
		if err != nil {
			return Interval{}, err
		}
		if i, ok := ask(b); ok {
			out.Lower, out.Upper = max(out.Lower, i.Lower), min(out.Upper, i.Upper)
		}
		if !b.tried {
			break
		}
	}
	out.Lower = min(out.Lower, out.Upper)
	return out, nil
}

// bracket asks all directions' sums, from above and, where the pairs differ,
// from below. An answer of the one may be for another target than of the other.
func (b *bill) bracket(low, high, worst float64, ask func(m sum, target float64) (Interval, bool)) (Interval, bool) {
	if b.infinite {
		return Interval{worst, worst}, true
	}
	out := Interval{math.Inf(-1), math.Inf(-1)}
	exact, found := b.exact(), !math.IsNaN(high)
	for d := range b.directions() {
		m, ok := b.sum(d, false)
		if ok && found {
			i, ok := ask(m, high)
			found = ok
			out.Upper = max(out.Upper, i.Upper)
			if exact && ok {
				out.Lower = max(out.Lower, i.Lower)
			}
		} else {
			found = false
		}
		if !exact {
			m, _ := b.sum(d, true)
			if i, ok := ask(m, low); ok {
				out.Lower = max(out.Lower, i.Lower)
			}
		}
	}
	if !found {
		out.Upper = worst
	}
	return out, found
}

// epsilon bounds ε at delta by the contour, else by grids, and by Rényi orders
// where those help.
func (b *bill) epsilon(delta float64) Interval {
	left := delta - b.fail
	sharp := true // the contour was enough
	i, _ := b.bracket(math.Log(delta), math.Log(left), math.Inf(1), func(m sum, target float64) (Interval, bool) {
		if m.isEmpty() {
			return Interval{}, true
		}
		if g, ok := m.single(); ok {
			return g.singleEpsilon(target), true
		}
		if i, ok := m.epsilon(target); ok {
			return i, true
		}
		sharp = false
		return m.gridEpsilon(target)
	})
	if (!sharp || !b.exact() || math.IsInf(i.Upper, 1)) && left > 0 {
		i.Upper = min(i.Upper, b.epsilonRDP(left, nil))
	}
	i.Lower = max(i.Lower, 0)
	return i
}

// logDelta bounds log δ at epsilon, but for what fails.
func (b *bill) logDelta(epsilon float64) Interval {
	sharp := true
	i, _ := b.bracket(epsilon, epsilon, 0, func(m sum, epsilon float64) (Interval, bool) {
		if m.isEmpty() {
			return Interval{math.Inf(-1), math.Inf(-1)}, true
		}
		if g, ok := m.single(); ok {
			d := g.singleDelta(epsilon)
			return Interval{math.Log(d.Lower), math.Log(d.Upper)}, true
		}
		if !m.known.hard {
			if l, u, ok := m.logDelta(epsilon); ok {
				return Interval{l, u}, true
			}
			m.known.hard = true
		}
		sharp = false
		return m.gridLogDelta(epsilon)
	})
	if !sharp || !b.exact() {
		i.Upper = min(i.Upper, b.logDeltaRDP(epsilon))
	}
	return i
}

func (b *bill) logDeltaRDP(epsilon float64) float64 {
	best := 0.0
	if b.infinite {
		return best
	}
	for _, order := range defaultOrders {
		best = min(best, renyiLogDelta(order, b.renyi(order, defaultOrders), epsilon))
	}
	return best
}

func (m sum) isEmpty() bool { return m.mu2 == 0 && len(m.terms) == 0 }

// all is the terms with the normal loss among them.
func (m sum) all() []term {
	if m.mu2 == 0 {
		return m.terms
	}
	return append([]term{{newMixture([]float64{math.Sqrt(m.mu2)}, []float64{1}, remove), 1}}, m.terms...)
}

// single is the mixture that the sum is one draw of.
func (m sum) single() (*mixture, bool) {
	if m.mu2 == 0 && len(m.terms) == 1 && m.terms[0].count == 1 {
		g, ok := m.terms[0].pair.(*mixture)
		return g, ok
	}
	return nil, false
}

// singleDelta is δ(eps) of one draw, P(L > eps) - e^eps Q(L > eps), with a bound
// of its rounding.
func (m *mixture) singleDelta(eps float64) Interval {
	y := m.where(eps, 0, -1e3*(1+m.top)-eps, 1e3*(1+m.top)+eps*(1+1/m.top))
	p, q := m.masses(y, math.Inf(1))
	d := p - q*math.Exp(eps)
	err := 64 * ulp * p * (1 + y*y)
	return Interval{max(d-err, 0), min(max(d+err, 0), 1)}
}

// singleEpsilon is its inverse.
func (m *mixture) singleEpsilon(target float64) Interval {
	delta := math.Exp(target)
	solve := func(ok func(d Interval) bool) float64 {
		lo, hi := 0.0, 1.0
		if ok(m.singleDelta(0)) {
			return 0
		}
		for !ok(m.singleDelta(hi)) {
			if lo, hi = hi, 2*hi; hi > 1e9 {
				return math.Inf(1)
			}
		}
		for hi-lo > 1e-14*hi {
			mid := (lo + hi) / 2
			if mid <= lo || mid >= hi {
				break
			}
			if ok(m.singleDelta(mid)) {
				hi = mid
			} else {
				lo = mid
			}
		}
		return hi
	}
	upper := solve(func(d Interval) bool { return d.Upper <= delta })
	lower := solve(func(d Interval) bool { return d.Lower <= delta })
	return Interval{min(lower*(1-1e-13), upper), upper}
}

// gridTolerance is the relative width that grids aim at.
const gridTolerance = 1e-4

// onGrids composes on finer grids until use says that the width is small enough,
// or the work too large. eps is about the loss of interest; tail bounds the
// P-mass that may be lost.
func (m sum) onGrids(p saddle, tail float64, use func(upper, lower *profile) (done bool)) {
	terms := m.all()
	steps := 0.0
	for _, t := range terms {
		steps += t.count
	}
	s, eps, spread := 0.0, 0.0, 1.0
	if p.ok && p.s > 0 {
		s, eps, spread = p.s, max(p.eps, 0), p.spread
	}
	// Connecting dots adds a variance of about h²/6 for each step, and so about
	// (s+1) h²/12 to ε.
	h := math.Sqrt(6 * gridTolerance * max(eps, 1e-3*spread) / ((s + 1) * steps))
	last := 0.0
	for range 60 {
		if step, _ := fit(terms, h); step == last {
			return // all atoms lie on the grid already
		} else {
			last = step
		}
		u, l, ok := compose(terms, s, h, tail)
		if !ok {
			if use(nil, nil) {
				return
			}
			h *= 2
			continue
		}
		if use(u.profile(), l.profile()) {
			return
		}
		h /= 3
	}
}

// finest is the number of points at which a grid is fine enough whatever its width.
var finest = 1 << 20

// enough says that a finer grid is not worth its time.
func enough(width float64, p *profile) bool {
	n := len(p.mass)
	return width <= gridTolerance || width <= 10*gridTolerance && n >= 1<<15 || n >= finest
}

// truncated is the sum of coarse laws with atoms only, without the far tails whose
// moments may hide where the saddle is.
func (m sum) truncated(tail float64) sum {
	var out sum
	terms := m.all()
	for _, t := range terms {
		tail := tail / float64(len(terms)) / t.count
		h := 1.0
		c, ok := t.pair.cells(grid{0, h}, tail)
		// Halve the step until there are points enough, on the scale of the law.
		for try := 0; try < 80 && ok && len(c.p) < 2048; try++ {
			h /= 2
			c, ok = t.pair.cells(grid{0, h}, tail)
		}
		for try := 0; try < 80 && !ok; try++ {
			h *= 2
			c, ok = t.pair.cells(grid{0, h}, tail)
		}
		if !ok {
			return sum{}
		}
		d := &discrete{}
		for i, x := range c.below(grid{0, h}) {
			if x > 0 {
				d.loss, d.mass = append(d.loss, h*float64(c.first+i)), append(d.mass, x)
			}
		}
		out.terms = append(out.terms, term{d, t.count})
	}
	return out
}

func (m sum) gridEpsilon(target float64) (Interval, bool) {
	if m.isEmpty() {
		return Interval{}, true
	}
	reached := func(p saddle) bool { return p.logDelta <= target }
	p := m.saddleFor(reached)
	if !p.ok || p.logDelta > target+0.1 {
		p = m.truncated(math.Exp(target) * 1e-7).saddleFor(reached)
	}
	out, found := Interval{0, math.Inf(1)}, false
	m.onGrids(p, math.Exp(target)*1e-7, func(u, l *profile) bool {
		if u == nil {
			return found // finer is too much work
		}
		out.Upper = min(out.Upper, u.epsilon(target, true))
		out.Lower = max(out.Lower, l.epsilon(target, false))
		found = true
		return enough((out.Upper-out.Lower)/out.Upper, u)
	})
	return out, found
}

func (m sum) gridLogDelta(epsilon float64) (Interval, bool) {
	if m.isEmpty() {
		return Interval{math.Inf(-1), math.Inf(-1)}, true
	}
	out := Interval{math.Inf(-1), 0}
	ask := func(u, l *profile) {
		out.Upper = min(out.Upper, logAdd(u.logDelta(epsilon, true), math.Log(u.infinite)))
		out.Lower = max(out.Lower, l.logDelta(epsilon, false))
	}
	const profiles = 6 // kept for one sum
	for _, g := range m.known.grids {
		ask(g[0], g[1])
	}
	if n := len(m.known.grids); n == profiles || n > 0 && out.Upper-out.Lower <= 10*gridTolerance*max(1, -out.Upper/10) {
		return out, true
	}
	reached := func(p saddle) bool { return p.eps >= epsilon }
	p := m.saddleFor(reached)
	tail := 1e-20
	if !p.ok || p.eps < epsilon*0.9 {
		p = m.truncated(tail).saddleFor(reached)
	}
	if p.ok {
		tail = max(math.Exp(p.logDelta)*1e-7, 1e-300)
	}
	found := false
	m.onGrids(p, tail, func(u, l *profile) bool {
		if u == nil {
			return found
		}
		ask(u, l)
		found = true
		if !enough((out.Upper-out.Lower)/max(1, -out.Upper/10), u) {
			return false
		}
		m.known.grids = append(m.known.grids, [2]*profile{u, l})
		return true
	})
	return out, found || len(m.known.grids) > 0
}
