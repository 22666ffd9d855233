package accounting

import "math"

// above is the law on the grid's points that dominates the cells: a cell's
// masses under P and Q are split between its ends so that both are kept
// (connect-the-dots, Doroshenko et al. 2022). mass[i] is at point(first+i); what
// lies above the last point becomes infinite loss.
func (c *cells) above(g grid) (mass []float64, infinite float64) {
	mass = append([]float64(nil), c.on...)
	mass[c.lift-c.first] += c.under
	for i, p := range c.p {
		if p == 0 && c.q[i] == 0 {
			continue
		}
		// a + b = p, a + b e^-h = q e^point. Rounding may move the split, by less
		// than the margin that goes up.
		b := (p - c.q[i]*math.Exp(g.point(c.first+i))) / -math.Expm1(-g.h)
		b = min(max(b+p*1e-15/min(g.h, 1), 0), p)
		mass[i] += p - b
		mass[i+1] += b
	}
	return mass, c.over
}

// below is a law on the grid's points that the cells dominate: outputs in
// neighbouring cells are merged, in such shares that the merged output's loss is
// the point between them, which is post-processing. What has no partner keeps
// its mass at its cell's lower end, and what lies beyond the ends is dropped. All
// but the ends is second order in h.
func (c *cells) below(g grid) (mass []float64) {
	n := len(c.p)
	mass = append([]float64(nil), c.on...)
	if n == 0 {
		return mass
	}
	carry := 0.0 // the share of the cell before that is still to be placed
	for i := range n {
		p, q := c.p[i], c.q[i]
		if p == 0 {
			if i > 0 {
				mass[i-1] += carry * c.p[i-1]
			}
			carry = 0
			continue
		}
		e := math.Exp(g.point(c.first + i))
		surplus := p - e*q // of this cell over the point below it
		used := 0.5        // of this cell at that point
		if i > 0 && c.p[i-1] > 0 {
			lack := carry * (e*c.q[i-1] - c.p[i-1])
			switch {
			case !(surplus > 1e-13*p) || !(lack >= 0):
				mass[i-1] += carry * c.p[i-1]
				used = 0
			case lack > surplus:
				share := surplus / lack
				mass[i] += carry*share*c.p[i-1] + p
				mass[i-1] += carry * (1 - share) * c.p[i-1]
				carry = 0
				continue
			default:
				used = lack / surplus
				mass[i] += carry*c.p[i-1] + used*p
			}
		} else {
			mass[i] += used * p
		}
		carry = 1 - used
	}
	mass[n-1] += carry * c.p[n-1]
	return mass
}

// Gauss and Legendre's rule of four points on (-1, 1).
var (
	legendreAt     = [4]float64{-0.8611363115940526, -0.3399810435848563, 0.3399810435848563, 0.8611363115940526}
	legendreWeight = [4]float64{0.34785484513745385, 0.6521451548625461, 0.6521451548625461, 0.34785484513745385}
)

// value is the loss at y, on an axis where it rises, its slope, and the log of
// P's density but for a constant.
func (m *mixture) value(y float64) (loss, slope, density float64) {
	switch m.dir {
	case remove:
		w := m.at(y)
		return w.l, w.l1, w.l - y*y/2
	case add:
		w := m.at(-y)
		return -w.l, w.l1, -y * y / 2
	}
	w, x := m.at(y), m.at(-y)
	return w.l - x.l, w.l1 + x.l1, w.l - y*y/2
}

// where is the y at which the loss is x, between lo and hi, from a guess.
func (m *mixture) where(x, guess, lo, hi float64) float64 {
	if d := m.top; m.dir != replace && (len(m.d) == 1 || len(m.d) == 2 && m.d[0] == 0) {
		sign := 1.0
		if m.dir == add {
			sign = -1
		}
		return min(max(sign*(unmix(m.rest, sign*x)/d+d/2), lo), hi)
	}
	y := guess
	for range 200 {
		loss, slope, _ := m.value(y)
		if loss > x {
			hi = min(hi, y)
		} else {
			lo = max(lo, y)
		}
		next := y + (x-loss)/slope
		if !(next > lo && next < hi) {
			next = (lo + hi) / 2
		}
		if math.Abs(next-y) <= 1e-13*(1+math.Abs(y)) {
			return next
		}
		y = next
	}
	return y
}

// masses are P's and Q's masses of y in (a, b), where the loss is about x.
func (m *mixture) masses(a, b float64) (p, q float64) {
	if b-a < 0.05/(1+m.top) && !math.IsInf(a, 0) {
		for i, t := range legendreAt {
			y := (a + b + t*(b-a)) / 2
			loss, _, density := m.value(y)
			w := legendreWeight[i] * (b - a) / 2 * math.Exp(density) / math.Sqrt(2*math.Pi)
			p += w
			q += w * math.Exp(-loss)
		}
		return p, q
	}
	mixed := func(sign float64) (sum float64) {
		for i, d := range m.d {
			sum += m.p[i] * normalMass(a-sign*d, b-sign*d)
		}
		return sum
	}
	switch m.dir {
	case remove:
		return mixed(1), normalMass(a, b)
	case add:
		return normalMass(a, b), mixed(-1)
	}
	return mixed(1), mixed(-1)
}

// lattice has no step, but of a sampled mechanism most mass lies close above the
// least loss, where a point of the grid should be.
func (m *mixture) lattice() (float64, float64, bool) {
	if m.dir == remove && m.d[0] == 0 {
		return math.Log1p(-m.rest), 0, false
	}
	return 0, 0, false
}

func (m *mixture) cells(g grid, tail float64) (*cells, bool) {
	z := math.Sqrt(2 * math.Log(1/tail)) // P(N > z) <= exp(-z²/2)
	lo, hi := -z, z
	if m.dir != add {
		hi += m.top
	}
	low, _, _ := m.value(lo)
	high, _, _ := m.value(hi)
	first, last := math.Floor((low-g.at)/g.h), math.Ceil((high-g.at)/g.h)+1
	if !(last-first < maxCells) || math.Abs(first) > 1e15 {
		return nil, false
	}
	c := newCells(int(first), int(last))
	far := hi + 1e3*(1+m.top) // where the loss is above every point
	y := m.where(g.point(int(first)), lo, lo-1, far)
	c.under, _ = m.masses(math.Inf(-1), y)
	for i := range c.p {
		_, slope, _ := m.value(y)
		next := m.where(g.point(int(first)+i+1), y+g.h/max(slope, 1e-3), y, far)
		c.p[i], c.q[i] = m.masses(y, next)
		y = next
	}
	c.over, _ = m.masses(y, math.Inf(1))
	return c, true
}

// normalMass is the standard normal mass of (a, b], relatively exact in tails.
func normalMass(a, b float64) float64 {
	if a >= 0 {
		return (math.Erfc(a/math.Sqrt2) - math.Erfc(b/math.Sqrt2)) / 2
	}
	if b <= 0 {
		return (math.Erfc(-b/math.Sqrt2) - math.Erfc(-a/math.Sqrt2)) / 2
	}
	return 1 - (math.Erfc(-a/math.Sqrt2)+math.Erfc(b/math.Sqrt2))/2
}

// fixedSize is the pair that dominates a Gaussian on a uniform subset of share
// q when one record is replaced, the Gaussian's own pair then being a shift of
// mu: above loss 0 it is the pair ((1-q) Q + q P, Q), below its swap, and the
// rest of the mass lies at 0 (Balle, Barthe and Gaboardi 2018, Theorem 9; Zhu,
// Dong and Wang 2022).
type fixedSize struct{ with, without *mixture }

func newFixedSize(q, mu float64) *fixedSize {
	d, p := []float64{0, mu}, []float64{1 - q, q}
	if q == 1 {
		d, p = d[1:], p[1:]
	}
	return &fixedSize{newMixture(d, p, remove), newMixture(d, p, add)}
}

func (f *fixedSize) cumulants(s float64) (k, k1, k2 float64) { return f.with.cumulants(s) }

// bound: losses of at most 0 add at most 1.
func (f *fixedSize) bound(s float64) float64 { return logAdd(f.with.bound(s), 0) }

func (f *fixedSize) line(_, _ float64) (*line, bool) { return nil, false }

func (f *fixedSize) lattice() (float64, float64, bool) { return 0, math.Inf(1), false } // an atom at 0

func (f *fixedSize) cells(g grid, tail float64) (*cells, bool) {
	up, ok := f.with.cells(g, tail)
	if !ok {
		return nil, false
	}
	down, ok := f.without.cells(g, tail)
	if !ok {
		return nil, false
	}
	zero, on := g.index(0)
	if !on { // a grid without 0 would cut a cell in two
		return nil, false
	}
	zero++
	first, last := min(down.first, zero), max(up.first+len(up.p), zero)
	if last-first > maxCells {
		return nil, false
	}
	c := newCells(first, last)
	rest := 1.0
	for i := range up.p {
		if k := up.first + i; k >= zero {
			c.p[k-first], c.q[k-first] = up.p[i], up.q[i]
			rest -= up.p[i]
		}
	}
	for i := range down.p {
		if k := down.first + i; k < zero {
			c.p[k-first], c.q[k-first] = down.p[i], down.q[i]
			rest -= down.p[i]
		}
	}
	c.over, c.under, c.lift = up.over, down.under, max(down.first, first)
	c.on[zero-first] += max(rest-c.over-c.under, 0)
	return c, true
}
