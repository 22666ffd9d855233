package accounting

import (
	"math"
	"math/cmplx"
)

// direction says which of a relation's dominating pairs is meant.
type direction int

const (
	remove  direction = iota // the record is in P
	add                      // the record is in Q
	replace                  // the record is in both, as far apart as can be
)

func directions(r Relation) []direction {
	if r == ReplaceOne {
		return []direction{replace}
	}
	return []direction{remove, add}
}

// pair is a dominating pair (P, Q) of one mechanism in one direction, with the
// loss L = log(P/Q) under P.
type pair interface {
	// cumulants are log E exp(sL) and its first two derivatives, roughly: they
	// choose where to work, nothing rests on them.
	cumulants(s float64) (k, k1, k2 float64)
	// bound is an upper bound of log E exp(sL) at s >= 0.
	bound(s float64) float64
	// line prepares the contour integral; it may refuse.
	line(c, reach float64) (*line, bool)
	// lattice is a value, where a grid should have a point, and a step such that
	// every atom of L is at the value plus whole steps; exact says that L has atoms
	// only. A step of 0: no atoms, or not on a lattice.
	lattice() (at, step float64, exact bool)
	// cells puts L on a grid. P-masses of at most tail may go to under and over.
	cells(g grid, tail float64) (*cells, bool)
}

// grid is the points at + k·h.
type grid struct{ at, h float64 }

func (g grid) point(k int) float64 { return g.at + float64(k)*g.h }

// index is the k with point(k) < loss <= point(k+1); on says that loss is a
// point itself, k+1.
func (g grid) index(loss float64) (k int, on bool) {
	x := (loss - g.at) / g.h
	near := math.Round(x)
	if math.Abs(x-near) <= 1e-9 {
		return int(near) - 1, true
	}
	return int(math.Ceil(x)) - 1, false
}

// cells are the masses of a loss between and on the points of a grid.
type cells struct {
	first       int
	p, q        []float64 // P and Q of the losses in (point(first+i), point(first+i+1))
	on          []float64 // P of the losses at point(first+i); one more of them
	under, over float64   // P below a point, or at minus infinity, and above the last
	lift        int       // that point, at first or later
}

func newCells(first, last int) *cells {
	n := last - first
	return &cells{first: first, lift: first, p: make([]float64, n), q: make([]float64, n), on: make([]float64, n+1)}
}

// maxCells bounds one step's grid and the composition's.
const maxCells = 1 << 21

// discrete is a pair with atoms only: mass[i] under P at loss[i], rising.
type discrete struct {
	loss, mass  []float64
	under, over float64 // P-mass of atoms left out at either end
	at, step    float64 // of a lattice that holds all losses; step 0: none is known
}

// swapped is the pair (Q, P). Masses left out are not known under Q: the caller
// gives them.
func (d *discrete) swapped(under, over float64) *discrete {
	n := len(d.loss)
	s := &discrete{under: under, over: over, at: -d.at, step: d.step}
	for i := n - 1; i >= 0; i-- {
		s.loss = append(s.loss, -d.loss[i])
		s.mass = append(s.mass, d.mass[i]*math.Exp(-d.loss[i]))
	}
	return s
}

// sampled is the pair ((1-q) Q + q P, Q). q0 is Q's mass left out at either end.
func (d *discrete) sampled(q float64, q0 [2]float64) *discrete {
	if q == 1 {
		return d
	}
	s := &discrete{under: (1-q)*q0[0] + q*d.under, over: (1-q)*q0[1] + q*d.over}
	for i, l := range d.loss {
		s.loss = append(s.loss, logMix(q, l))
		s.mass = append(s.mass, (1-q)*d.mass[i]*math.Exp(-l)+q*d.mass[i])
	}
	if len(s.loss) == 2 {
		s.at, s.step = s.loss[0], s.loss[1]-s.loss[0]
	}
	return s
}

func (d *discrete) cumulants(s float64) (k, k1, k2 float64) {
	most := math.Inf(-1)
	for i, l := range d.loss {
		if d.mass[i] > 0 {
			most = max(most, s*l+math.Log(d.mass[i]))
		}
	}
	var s0, s1, s2 float64
	for i, l := range d.loss {
		w := d.mass[i] * math.Exp(s*l-most)
		s0 += w
		s1 += w * l
	}
	k1 = s1 / s0
	for i, l := range d.loss {
		s2 += d.mass[i] * math.Exp(s*l-most) * (l - k1) * (l - k1)
	}
	return most + math.Log(s0), k1, s2 / s0
}

func (d *discrete) bound(s float64) float64 {
	if d.over > 0 {
		return math.Inf(1)
	}
	k, _, _ := d.cumulants(s)
	top := d.loss[len(d.loss)-1]
	return logAdd(k, math.Log(d.under)+s*d.loss[0]) + (16+float64(len(d.loss)))*ulp + 4*ulp*s*math.Abs(top)
}

func (d *discrete) line(c, _ float64) (*line, bool) {
	if d.over > 0 || d.under > 0 || len(d.loss) > 4096 {
		return nil, false
	}
	k, _, _ := d.cumulants(c)
	l := &line{k: k, err: (16 + float64(len(d.loss))) * ulp}
	for i, x := range d.loss {
		l.loss = append(l.loss, x)
		l.weight = append(l.weight, d.mass[i]*math.Exp(c*x-k))
		l.err += l.weight[i] * 4 * ulp * (c*math.Abs(x) + math.Abs(k))
		l.lossErr += l.weight[i] * 4 * ulp * math.Abs(x)
	}
	return l, true
}

func (d *discrete) lattice() (float64, float64, bool) { return d.at, d.step, d.step > 0 }

func (d *discrete) cells(g grid, _ float64) (*cells, bool) {
	first, _ := g.index(d.loss[0])
	last, _ := g.index(d.loss[len(d.loss)-1])
	last++
	if last-first > maxCells {
		return nil, false
	}
	c := newCells(first, last)
	c.under, c.over = d.under, d.over
	for i, l := range d.loss {
		k, on := g.index(l)
		if on {
			c.on[k+1-first] += d.mass[i]
			continue
		}
		c.p[k-first] += d.mass[i]
		c.q[k-first] += d.mass[i] * math.Exp(-l)
	}
	return c, true
}

// laplace is the pair of Laplace laws a shift of rate apart, in units of their
// scale, the record being there with probability q (Zhu, Dong and Wang 2022,
// Theorem 11, for the sampled one).
type laplace struct {
	rate, q float64
	swap    bool // the record is in Q
	near    map[int]*discrete
}

// With x in units of the shift, Q = Lap(0) and P = (1-q) Lap(0) + q Lap(1): the
// ratio of Lap(1) to Lap(0) is exp(-rate) below 0, exp(rate) above 1 and
// exp(rate (2x-1)) between.

func (l *laplace) ends() (lo, hi float64) {
	lo, hi = logMix(l.q, -l.rate), logMix(l.q, l.rate)
	if l.swap {
		return -hi, -lo
	}
	return lo, hi
}

// atoms are P's masses at the least and greatest loss.
func (l *laplace) atoms() (lo, hi float64) {
	e := math.Exp(-l.rate)
	if l.swap { // under Lap(0), mirrored
		return e / 2, 0.5
	}
	return (1-l.q)/2 + l.q*e/2, (1-l.q)*e/2 + l.q/2
}

// between are P's and Q's masses of the losses in (a, b), inside the ends.
func (l *laplace) between(a, b float64) (p, q float64) {
	if l.swap {
		p, q = (&laplace{rate: l.rate, q: l.q}).between(-b, -a)
		return q, p
	}
	x := func(loss float64) float64 { // where the loss is
		r := unmix(l.q, loss)
		return min(max((r/l.rate+1)/2, 0), 1)
	}
	x0, x1 := x(a), x(b)
	w := -math.Expm1(-l.rate*(x1-x0)) / 2
	base, far := math.Exp(-l.rate*x0)*w, math.Exp(-l.rate*(1-x1))*w
	return (1-l.q)*base + l.q*far, base
}

func (l *laplace) cumulants(s float64) (k, k1, k2 float64) { return l.coarse(512).cumulants(s) }

// coarse is a pair of n atoms near l, from above.
func (l *laplace) coarse(n int) *discrete {
	if d := l.near[n]; d != nil {
		return d
	}
	lo, hi := l.ends()
	g := grid{lo, (hi - lo) / float64(n)}
	c, _ := l.cells(g, 0)
	mass, _ := c.above(g)
	d := &discrete{mass: mass}
	for i := range mass {
		d.loss = append(d.loss, g.point(c.first+i))
	}
	if l.near == nil {
		l.near = map[int]*discrete{}
	}
	l.near[n] = d
	return d
}

func (l *laplace) bound(s float64) float64 {
	if l.q < 1 {
		return l.coarse(1 << 12).bound(s)
	}
	// Mironov 2017, Proposition 6: log((1+s)/(1+2s) e^(s rate) + s/(1+2s) e^(-(1+s) rate)).
	return logAdd(math.Log((1+s)/(1+2*s))+s*l.rate, math.Log(s/(1+2*s))-(1+s)*l.rate) + 8*ulp*(1+s*l.rate)
}

func (l *laplace) line(c, _ float64) (*line, bool) {
	if l.q < 1 {
		return nil, false
	}
	moment := func(s complex128) complex128 { // over exp(c rate)
		one := cmplx.Exp((s - complex(c, 0)) * complex(l.rate, 0))
		two := cmplx.Exp(-(s + complex(1+c, 0)) * complex(l.rate, 0))
		return ((1+s)*one + s*two) / (1 + 2*s)
	}
	top := moment(complex(c, 0))
	return &line{
		k:       math.Log(real(top)) + c*l.rate,
		err:     64 * ulp * (1 + (1+c)*l.rate),
		lossErr: 8 * ulp * l.rate,
		closed:  func(t float64) complex128 { return moment(complex(c, t)) / top },
	}, true
}

func (l *laplace) lattice() (float64, float64, bool) {
	lo, hi := l.ends()
	return lo, hi - lo, false
}

func (l *laplace) cells(g grid, _ float64) (*cells, bool) {
	lo, hi := l.ends()
	first, _ := g.index(lo)
	last, _ := g.index(hi)
	last++
	if last-first > maxCells {
		return nil, false
	}
	c := newCells(first, last)
	low, high := l.atoms()
	for i, m := range map[float64]float64{lo: low, hi: high} {
		if k, on := g.index(i); on {
			c.on[k+1-first] += m
		} else {
			c.p[k-first] += m
			c.q[k-first] += m * math.Exp(-i)
		}
	}
	for k := first; k < last; k++ {
		a, b := max(g.point(k), lo), min(g.point(k+1), hi)
		if a < b {
			p, q := l.between(a, b)
			c.p[k-first] += p
			c.q[k-first] += q
		}
	}
	return c, true
}

// blend is a pair chosen at random from several, the choice being public.
type blend struct {
	weight []float64
	pairs  []pair
}

func (b *blend) cumulants(s float64) (k, k1, k2 float64) {
	k = math.Inf(-1)
	ks := make([][3]float64, len(b.pairs))
	for i, p := range b.pairs {
		ks[i][0], ks[i][1], ks[i][2] = p.cumulants(s)
		k = logAdd(k, math.Log(b.weight[i])+ks[i][0])
	}
	var m2 float64
	for i := range b.pairs {
		w := b.weight[i] * math.Exp(ks[i][0]-k)
		k1 += w * ks[i][1]
		m2 += w * (ks[i][2] + ks[i][1]*ks[i][1])
	}
	return k, k1, max(m2-k1*k1, 0)
}

func (b *blend) bound(s float64) float64 {
	k := math.Inf(-1)
	for i, p := range b.pairs {
		k = logAdd(k, math.Log(b.weight[i])+p.bound(s))
	}
	return k + 8*ulp*(1+math.Abs(k))
}

func (b *blend) line(c, reach float64) (*line, bool) {
	out := &line{k: math.Inf(-1)}
	lines := make([]*line, len(b.pairs))
	for i, p := range b.pairs {
		l, ok := p.line(c, reach)
		if !ok || l.closed != nil {
			return nil, false
		}
		lines[i] = l
		out.k = logAdd(out.k, math.Log(b.weight[i])+l.k)
	}
	for i, l := range lines {
		w := b.weight[i] * math.Exp(l.k-out.k)
		for j, x := range l.loss {
			out.loss = append(out.loss, x)
			out.weight = append(out.weight, w*l.weight[j])
		}
		out.parts, out.shares = append(out.parts, l), append(out.shares, w)
		out.lossErr += w * l.lossErr
		out.err += 2*w*l.err + 8*ulp*(1+math.Abs(l.k))
	}
	return out, true
}

func (b *blend) lattice() (float64, float64, bool) { return 0, 0, false }

func (b *blend) cells(g grid, tail float64) (*cells, bool) {
	parts := make([]*cells, len(b.pairs))
	first, last := math.MaxInt, math.MinInt
	for i, p := range b.pairs {
		c, ok := p.cells(g, tail)
		if !ok {
			return nil, false
		}
		parts[i] = c
		first, last = min(first, c.first), max(last, c.first+len(c.p))
	}
	if last-first > maxCells {
		return nil, false
	}
	out := newCells(first, last)
	for i, c := range parts {
		w := b.weight[i]
		for j := range c.p {
			out.p[c.first-first+j] += w * c.p[j]
			out.q[c.first-first+j] += w * c.q[j]
		}
		for j := range c.on {
			out.on[c.first-first+j] += w * c.on[j]
		}
		out.under += w * c.under
		out.over += w * c.over
		if c.under > 0 {
			out.lift = max(out.lift, c.lift)
		}
	}
	return out, true
}

// logMix is log(1-q + q e^x).
func logMix(q, x float64) float64 {
	if q == 1 {
		return x
	}
	if x < 1 {
		return math.Log1p(q * math.Expm1(x))
	}
	return logAdd(math.Log1p(-q), math.Log(q)+x)
}

// unmix is the x with logMix(q, x) = l; -Inf below all values.
func unmix(q, l float64) float64 {
	if q == 1 {
		return l
	}
	if l <= math.Log1p(-q) {
		return math.Inf(-1)
	}
	if l > 1 {
		return l + math.Log1p(-(1-q)*math.Exp(-l)) - math.Log(q)
	}
	return math.Log1p(math.Expm1(l) / q)
}

func logAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(b, -1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}
