package accounting

import (
	"math"
	"math/cmplx"

	"gonum.org/v1/gonum/dsp/fourier"
)

// term is a pair, count times over.
type term struct {
	pair  pair
	count float64
}

// tilted is the law of a sum of losses on a grid, with masses times exp(s·loss)
// and scaled to a sum of 1: what matters near the loss where s is the saddle
// keeps all its digits, however small its probability.
type tilted struct {
	grid
	s, k     float64   // the tilt, and log of what the masses were divided by
	kErr     float64   // bounds the rounding of k
	first    int       // of the points
	mass     []float64 // tilted
	infinite float64   // P-mass of infinite loss
	stray    float64   // tilted mass that may be outside of the window, or came from there
	rounding float64   // bounds the l2 norm of the error of mass
}

// ceilings of the work of one composition.
const (
	maxWindow = 1 << 21
	fftStep   = 60 * 0x1p-53 // the relative error that one level of a transform may add, in l2 norm
)

// compose composes the terms on a grid of step h or less, tilted by s, from
// above and from below. tail bounds the P-mass lost for all steps.
func compose(terms []term, s, h, tail float64) (upper, lower *tilted, ok bool) {
	steps := 0.0
	for _, t := range terms {
		steps += t.count
	}
	h, exact := fit(terms, h)
	s = min(s, 10/h) // a lattice may be coarser than what the saddle sees
	upper, lower = &tilted{grid: grid{0, h}, s: s}, &tilted{grid: grid{0, h}, s: s}
	above, below := make([]law, len(terms)), make([]law, len(terms))
	for i, t := range terms {
		at, step, _ := t.pair.lattice()
		if math.IsInf(step, 0) {
			at = 0
		}
		g := grid{at, h}
		c, ok := t.pair.cells(g, tail/steps)
		if !ok || (exact && !c.onGrid()) {
			return nil, nil, false
		}
		mass, infinite := c.above(g)
		upper.infinite += t.count * infinite
		if above[i], ok = upper.tilt(g, c.first, mass, t.count); !ok {
			return nil, nil, false
		}
		if below[i], ok = lower.tilt(g, c.first, c.below(g), t.count); !ok {
			return nil, nil, false
		}
	}
	return upper, lower, upper.convolve(above) && lower.convolve(below)
}

// law is one mechanism's tilted law, count times over: mass[i] at the grid's point
// first+i, and the l2 norm of the masses.
type law struct {
	mass  []float64
	first int
	count float64
	norm  float64
}

// tilt makes a law of masses and takes its scale into t.
func (t *tilted) tilt(g grid, first int, mass []float64, count float64) (law, bool) {
	most := math.Inf(-1)
	for j, m := range mass {
		if m > 0 {
			most = max(most, math.Log(m)+t.s*g.point(first+j))
		}
	}
	if math.IsInf(most, 0) || math.IsNaN(most) {
		return law{}, false
	}
	sum, low := 0.0, 0.0 // Neumaier's sum: k counts it many times over
	for j, m := range mass {
		mass[j] = m * math.Exp(t.s*g.point(first+j)-most)
		next := sum + mass[j]
		if sum >= mass[j] {
			low += (sum - next) + mass[j]
		} else {
			low += (mass[j] - next) + sum
		}
		sum = next
	}
	sum += low
	square := 0.0
	for j := range mass {
		mass[j] /= sum
		square += mass[j] * mass[j]
	}
	t.k += count * (most + math.Log(sum))
	t.kErr += count * ulp * (4 + 4*math.Abs(most))
	t.at += count * g.at
	return law{mass, first, count, math.Sqrt(square)}, true
}

// fit makes the step divide the lattice of the terms' atoms, if they have one in
// common. exact says that all atoms then lie on points, and there is nothing else.
func fit(terms []term, h float64) (float64, bool) {
	step, exact := 0.0, true
	for _, t := range terms {
		_, d, only := t.pair.lattice()
		if math.IsInf(d, 0) {
			d, only = 0, false
		}
		exact = exact && only
		if d == 0 || (step != 0 && math.Abs(d-step) > 1e-12*step) {
			exact = exact && d != 0 && step != 0
			if d != 0 {
				return h, false // two lattices: atoms are rounded
			}
			continue
		}
		step = d
	}
	if step == 0 {
		return h, false
	}
	if exact && step >= h/64 {
		return step, true
	}
	if step < h {
		return h, false
	}
	return step / math.Ceil(step/h), false
}

func (c *cells) onGrid() bool {
	for _, p := range c.p {
		if p != 0 {
			return false
		}
	}
	return true
}

// cumulant is log of the tilted law's E exp(u·loss), loss counted from its first
// point in steps.
func cumulant(mass []float64, u float64) float64 {
	// Horner's rule is quick, and exact enough where it neither over- nor underflows.
	if math.Abs(u)*float64(len(mass)) < 600 {
		e, sum := math.Exp(u), 0.0
		for i := len(mass) - 1; i >= 0; i-- {
			sum = sum*e + mass[i]
		}
		return math.Log(sum) + 1e-10
	}
	top := math.Inf(-1)
	for i, m := range mass {
		if m > 0 {
			top = max(top, math.Log(m)+u*float64(i))
		}
	}
	sum := 0.0
	for i, m := range mass {
		if m > 0 {
			sum += math.Exp(math.Log(m) + u*float64(i) - top)
		}
	}
	return math.Log(sum) + top + 1e-10
}

func (t *tilted) convolve(laws []law) bool {
	var mean, variance, first, whole float64 // whole is the sum's greatest value
	widest := 0
	for _, l := range laws {
		var m, v float64
		for j, x := range l.mass {
			m += x * float64(j)
		}
		for j, x := range l.mass {
			v += x * (float64(j) - m) * (float64(j) - m)
		}
		mean += l.count * m
		variance += l.count * v
		first += l.count * float64(l.first)
		whole += l.count * float64(len(l.mass)-1)
		widest = max(widest, len(l.mass))
	}
	if math.Abs(first) > 1e15 {
		return false
	}
	// The window, in steps from first, by Chernoff's bounds: P(S >= x) <= exp(K(u) - u x).
	const tail = -32.0 // log of the mass that may be outside
	spread := math.Sqrt(variance) + 1e-3
	up, down := math.Inf(1), math.Inf(-1)
	for _, f := range []float64{0.3, 1, 2, 4, 6, 8, 12} {
		u := f / spread
		var ku, kd float64
		for _, l := range laws {
			ku += l.count * cumulant(l.mass, u)
			kd += l.count * cumulant(l.mass, -u)
		}
		up, down = min(up, (ku-tail)/u), max(down, (tail-kd)/u)
	}
	outside := 2 * math.Exp(tail)
	if whole < 4096 || up >= whole && down <= 0 {
		up, down, outside = whole, 0, 0
	}
	up, down = min(math.Ceil(up), whole), max(math.Floor(down), 0)
	if math.IsNaN(up) || math.IsNaN(down) {
		return false
	}
	n := 1
	for float64(n) < max(up-down+1, float64(widest)) {
		if n *= 2; n > maxWindow {
			return false
		}
	}
	t.stray = outside
	fft := fourier.NewFFT(max(n, 2))
	n = max(n, 2)
	product := make([]complex128, n/2+1)
	for i := range product {
		product[i] = 1
	}
	seq := make([]float64, n)
	levels := math.Log2(float64(n)) + 1
	var coef []complex128
	errors := 0.0 // l2 norm of the coefficients' error over sqrt(n)
	for _, l := range laws {
		clear(seq)
		copy(seq, l.mass)
		coef = fft.Coefficients(coef, seq)
		count := l.count
		errors += count * fftStep * levels * l.norm
		turned := 0.0
		for k, z := range coef {
			if count == 1 {
				product[k] *= z
				continue
			}
			abs, arg := cmplx.Polar(z)
			size := math.Exp(count * math.Log(min(abs, 1)))
			if abs == 0 {
				size = 0
			}
			product[k] *= cmplx.Rect(size, math.Remainder(count*arg, 2*math.Pi))
			turned += size * size
		}
		// The power's own rounding: of count·arg above all.
		errors += 16 * 0x1p-53 * (1 + count*math.Pi) * math.Sqrt(2*turned/float64(n))
	}
	seq = fft.Sequence(seq, product)
	norm := 0.0
	t.mass = seq
	for i := range seq {
		seq[i] /= float64(n)
		norm += seq[i] * seq[i]
	}
	// The law's points run from first+down; index (first+i) mod n of the product
	// is point i for i in [down, down+n).
	offset := int(math.Mod(down, float64(n)))
	t.mass = append(append(make([]float64, 0, n), seq[offset:]...), seq[:offset]...)
	t.first = int(first + down)
	t.rounding = errors*(1+1e-6) + fftStep*levels*math.Sqrt(norm)
	return errors < 1
}

// profile is δ of a tilted law at its points x[i]: with ε = x[i],
// δ = exp(k - s ε)·(c[i] ± err) + infinite.
type profile struct {
	*tilted
	c []float64 // Σ mass e^(-s(l-x)) (1-e^(-(l-x))) over the losses l >= x
	b []float64 // Σ mass e^(-(s+1)(l-x))
	w []float64 // Σ e^(-2s(l-x)): the squares of the weights that rounding has
}

func (t *tilted) profile() *profile {
	n := len(t.mass)
	p := &profile{t, make([]float64, n), make([]float64, n), make([]float64, n)}
	es, e1 := math.Exp(-t.s*t.h), -math.Expm1(-t.h)
	eb := es * math.Exp(-t.h)
	var c, b, w float64
	for i := n - 1; i >= 0; i-- {
		c = es * (c + e1*b)
		b = eb*b + max(t.mass[i], 0)
		w = es*es*w + 1
		p.c[i], p.b[i], p.w[i] = c, b, w
	}
	return p
}

// logDelta bounds log δ(eps), but for infinite losses.
func (p *profile) logDelta(eps float64, upper bool) float64 {
	i := max(int(math.Ceil((eps-p.at)/p.h))-p.first, 0)
	// All of it relative to exp(k - s x[i]), but for strays.
	stray := math.Log(p.stray) + p.k - p.s*eps
	if i >= len(p.c) {
		if upper {
			return stray + p.kErr
		}
		return math.Inf(-1)
	}
	x := p.point(p.first + i)
	d := max(x-eps, 0)
	c := p.c[i] - p.b[i]*math.Expm1(-d)
	err := math.Sqrt(p.w[i])*p.rounding + 1e-12*c
	log := p.k - p.s*x
	if upper {
		return logAdd(math.Log(c+err)+log, stray) + p.kErr
	}
	low := math.Log(max(c-err, 0)) + log
	if !(low > stray) {
		return math.Inf(-1)
	}
	return low + math.Log(-math.Expm1(stray-low)) - p.kErr
}

// epsilon is the least eps >= 0 whose bound of δ is at most exp(target).
func (p *profile) epsilon(target float64, upper bool) float64 {
	if upper {
		rest := -math.Expm1(math.Log(p.infinite) - target) // of the target, in parts of it
		if !(rest > 0) {
			return math.Inf(1)
		}
		target += math.Log(rest)
	}
	lo, hi := 0.0, max(p.point(p.first+len(p.c)-1), 1e-300)
	if upper {
		if p.logDelta(0, true) <= target {
			return 0
		}
		for p.logDelta(hi, true) > target { // what strays may lie above all points
			if lo, hi = hi, 2*hi+1; hi > 1e9 {
				return math.Inf(1)
			}
		}
	} else {
		// Far below the saddle's loss the errors are large and the bound says
		// nothing: the last point that surely exceeds the target counts.
		i := len(p.c) - 1
		for i >= 0 && p.point(p.first+i) > 0 && p.logDelta(p.point(p.first+i), false) <= target {
			i--
		}
		if i < 0 || p.point(p.first+i) <= 0 && p.logDelta(0, false) <= target {
			return 0
		}
		lo = max(p.point(p.first+i), 0)
		hi = lo + p.h
	}
	for range 200 {
		mid := (lo + hi) / 2
		if mid <= lo || mid >= hi || hi-lo <= 1e-13*hi {
			break
		}
		if p.logDelta(mid, upper) <= target {
			hi = mid
		} else {
			lo = mid
		}
	}
	if upper {
		return hi
	}
	return lo
}
