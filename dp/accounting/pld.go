package accounting

import (
	"math"
	"math/cmplx"

	"gonum.org/v1/gonum/dsp/fourier"
)

// law is a gridded privacy loss distribution: mass[i] at (first+i)·h, and
// infinite loss.
type law struct {
	first    int
	mass     []float64
	infinite float64
}

// maxCells bounds one step's grid and the composition's.
const maxCells = 1 << 21

// grid puts the pair's loss on multiples of h, from above (connect-the-dots) or
// from below. tail is the mass that may be left out on either side.
func (p pair) grid(h, tail float64, above bool) (law, bool) {
	lo, hi := p.support(tail)
	first, last := int(math.Floor(p.loss(lo)/h)), int(math.Ceil(p.loss(hi)/h))
	if last-first+2 > maxCells {
		return law{}, false
	}
	l := law{first: first, mass: make([]float64, last-first+1)}
	x0 := p.inverse(float64(first) * h)
	below, _ := p.masses(math.Inf(-1), x0)
	if above { // to the lowest point
		l.mass[0] += below
	}
	for k := first; k < last; k++ {
		x1 := p.inverse(float64(k+1) * h)
		m, n := p.masses(x0, x1)
		x0 = x1
		if !above {
			l.mass[k-first] += m
			continue
		}
		// Keep the cell's mass under P and Q: a + b = m, a + b e^-h = n e^(kh).
		b := (m - n*math.Exp(float64(k)*h)) / -math.Expm1(-h)
		b = min(max(b, 0), m)
		l.mass[k-first] += m - b
		l.mass[k-first+1] += b
	}
	over, _ := p.masses(x0, math.Inf(1))
	if above {
		l.infinite = over
	} else {
		l.mass[last-first] += over
	}
	return l, true
}

// support is an interval outside of which P has at most tail on either side.
func (p pair) support(tail float64) (lo, hi float64) {
	z := math.Sqrt(2 * math.Log(1/tail)) // P(N > z) <= exp(-z²/2)
	lo, hi = -z*p.sigma, z*p.sigma
	if p.d != add {
		hi++
	}
	return lo, hi
}

// cumulant is log E[exp(s L)] of the finite part.
func (l law) cumulant(s, h float64) float64 {
	top := max(s*float64(l.first), s*float64(l.first+len(l.mass)-1)) * h
	sum := 0.0
	for i, m := range l.mass {
		sum += m * math.Exp(s*float64(l.first+i)*h-top)
	}
	return math.Log(sum) + top
}

// composed is the law of the sum of all parts' losses, with what its
// computation may have got wrong.
type composed struct {
	law
	h                float64
	lostUp, lostDown float64 // mass that may have left the window at either end
	roundoff         float64 // in total mass
	ok               bool
}

// slopes are the arguments that Chernoff bounds try, over the standard
// deviation of the sum.
var slopes = []float64{0.5, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30}

func compose(list []part, d direction, tail float64, above bool) composed {
	// A coarse grid tells the sum's mean, spread and window.
	steps := 0
	for _, p := range list {
		steps += p.count
	}
	each := tail / float64(2*steps)
	variance, least := 0.0, math.Inf(1)
	mean := 0.0
	for _, p := range list {
		m, v := (pair{p.rate, p.sigma, d}).moments()
		mean += float64(p.count) * m
		variance += float64(p.count) * v
		least = min(least, math.Sqrt(v))
	}
	spread := math.Sqrt(variance)
	z := math.Sqrt(2*math.Log(1/tail)) + 1
	h := min(spread*z/(1<<12), least/6)
	for try := 0; ; try++ {
		if c, again := composeAt(list, d, h, each, mean, spread, tail, above); !again {
			return c
		} else if try == 40 {
			return composed{}
		}
		h *= 1.5
	}
}

// composeAt composes on the grid h; again says that it is too fine.
func composeAt(list []part, d direction, h, each, mean, spread, tail float64, above bool) (c composed, again bool) {
	laws := make([]law, len(list))
	cells, steps := 0, 0
	for i, p := range list {
		l, ok := pair{p.rate, p.sigma, d}.grid(h, each, above)
		if !ok {
			return c, true
		}
		laws[i] = l
		cells = max(cells, len(l.mass))
		c.infinite += float64(p.count) * l.infinite
		steps += p.count
	}
	// Window by Chernoff's bounds: P(S >= x) <= exp(K(s) - s x).
	up, down := math.Inf(1), math.Inf(-1)
	var ks, kd, ss []float64
	for _, f := range slopes {
		s := f / spread
		u, v := 0.0, 0.0
		for i, p := range list {
			u += float64(p.count) * laws[i].cumulant(s, h)
			v += float64(p.count) * laws[i].cumulant(-s, h)
		}
		ks, kd, ss = append(ks, u), append(kd, v), append(ss, s)
		up, down = min(up, (u-math.Log(tail))/s), max(down, (math.Log(tail)-v)/s)
	}
	lo, hi := int(math.Floor(down/h)), int(math.Ceil(up/h))
	n := 1
	for n < max(hi-lo+1, cells) {
		n *= 2
	}
	if n > maxCells {
		return c, true
	}
	hi = lo + n - 1
	c.lostUp, c.lostDown = 1, 1
	for i, s := range ss {
		c.lostUp = min(c.lostUp, math.Exp(ks[i]-s*float64(hi+1)*h))
		c.lostDown = min(c.lostDown, math.Exp(kd[i]+s*float64(lo-1)*h))
	}

	fft := fourier.NewFFT(n)
	product := make([]complex128, n/2+1)
	for i := range product {
		product[i] = 1
	}
	seq := make([]float64, n)
	first, total := 0, 0.0
	var coef []complex128
	for i, p := range list {
		clear(seq)
		copy(seq, laws[i].mass)
		coef = fft.Coefficients(coef, seq)
		for k, z := range coef {
			product[k] *= cmplx.Pow(z, complex(float64(p.count), 0))
		}
		first += p.count * laws[i].first
	}
	for _, z := range product {
		total += 2 * cmplx.Abs(z)
	}
	seq = fft.Sequence(seq, product)
	// First order: each factor carries a relative error of a few roundings for
	// each level of the transform, and powers carry it count times over.
	const ulp = 0x1p-53
	c.roundoff = total * float64(steps+16) * ulp * (4 + 2*math.Log2(float64(n)))
	c.mass = make([]float64, n)
	for i := range seq {
		j := ((first+i-lo)%n + n) % n
		c.mass[j] = max(seq[i]/float64(n), 0)
	}
	c.first, c.h, c.ok = lo, h, true
	return c, false
}

// moments of the loss under P, roughly, to choose a grid by.
func (p pair) moments() (mean, variance float64) {
	const n = 400
	lo, hi := p.support(1e-12)
	sum, sum2 := 0.0, 0.0
	dx := (hi - lo) / n
	for i := range n {
		x := lo + float64(i)*dx
		m, _ := p.masses(x, x+dx)
		l := p.loss(x + dx/2)
		sum += m * l
		sum2 += m * l * l
	}
	return sum, max(sum2-sum*sum, 1e-300)
}

// delta is δ(eps) of the gridded law alone.
func (c composed) delta(eps float64) float64 {
	sum := 0.0
	for i := len(c.mass) - 1; i >= 0; i-- {
		l := float64(c.first+i) * c.h
		if l <= eps {
			break
		}
		sum += -math.Expm1(eps-l) * c.mass[i]
	}
	return sum
}

// epsilon is the least eps >= 0 with delta(eps) <= target.
func (c composed) epsilon(target float64) float64 {
	if target <= 0 {
		return math.Inf(1)
	}
	above, scaled := 0.0, 0.0 // sums of p and of p e^(-l) over larger losses
	for i := len(c.mass) - 1; i >= 0; i-- {
		l := float64(c.first+i) * c.h
		// For eps in [l, next): delta = above - e^eps scaled.
		if l < 0 || above-math.Exp(l)*scaled > target {
			if above <= target {
				return 0
			}
			return max(math.Log((above-target)/scaled), 0)
		}
		above += c.mass[i]
		scaled += c.mass[i] * math.Exp(-l)
	}
	if above <= target {
		return 0
	}
	return max(math.Log((above-target)/scaled), 0)
}
