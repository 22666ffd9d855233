package accounting

import (
	"math"
	"math/cmplx"
)

// This file inverts moment-generating functions, with a proof of its error.
//
// Let S be the sum of the losses under P, M(s) = E exp(sS), and δ(x) =
// E (1 - exp(x - S))+ for every real x. For c > 0 the Fourier transform of
// exp(cx) δ(x) is M(c+it) / ((c+it)(c+1+it)), so by Poisson's summation formula
// the trapezoid rule of step Δ is exact but for the other periods:
//
//	Δ/2π Σ_k M(c+ikΔ) exp(-(c+ikΔ) ε) / ((c+ikΔ)(c+1+ikΔ)) = Σ_m exp(c m P) δ(ε+mP),  P = 2π/Δ.
//
// All terms on the right are positive: the rule can only be too large, by
//
//	Σ_{m≠0} exp(c m P) δ(ε+mP),  and  δ(x) <= M(s) exp(-s x) s^s/(1+s)^(1+s) for every s >= 0,
//
// (the best constant for (1-exp(-y))+ <= κ exp(s y)), which with some s > c
// for m > 0 and some s in [0, c) for m < 0 is a geometric series.
//
// Left out are the k > n. There |M(c+it)| <= M(c) B(t) with the decreasing
// B of line.decay, and the rest is at most M(c) exp(-cε) B(nΔ)/(π nΔ).
//
// M of a normal mixture is itself a trapezoid rule over z. On the strip |Im z|
// <= y with y·max d = θ <= 1, the phases of W's terms lie within θ of each
// other, which bounds |W| from below, arg W from above, and with them the
// integrand by N(y)/h in all; the rule's error is at most 2 N(y)/(exp(2πy/h) -
// 1) (Trefethen and Weideman 2014, Theorem 5.1). N is summed over cells, each
// with a bound of how far the integrand can grow inside. What lies beyond the
// nodes falls geometrically.
//
// Rounding is carried along: every loss has a bound of its error, hence every
// weight; |x^T - y^T| <= T |x-y| max(|x|,|y|)^(T-1) takes it through powers.

// sum is a sum of independent losses: of a normal one of variance mu2 and mean
// mu2/2, and of terms.
type sum struct {
	mu2   float64
	terms []term
	known *known // what was composed before, for sums asked more than once
}

func (m sum) cumulants(s float64) (k, k1, k2 float64) {
	k, k1, k2 = m.mu2*s*(s+1)/2, m.mu2*(s+0.5), m.mu2
	for _, t := range m.terms {
		a, b, c := t.pair.cumulants(s)
		k += t.count * a
		k1 += t.count * b
		k2 += t.count * c
	}
	return k, k1, k2
}

// bound is an upper bound of log M(s).
func (m sum) bound(s float64) float64 {
	if s == 0 {
		return 0
	}
	k := m.mu2 * s * (s + 1) / 2
	for _, t := range m.terms {
		k += t.count * t.pair.bound(s)
	}
	return k + math.Abs(k)*16*ulp
}

// saddle is where exp(K(s) - s·eps)/(s(s+1)) is least on s > 0, and the saddle
// point approximation there.
type saddle struct {
	s, eps, logDelta, spread float64
	ok                       bool
}

func (m sum) saddleAt(s float64) saddle {
	k, k1, k2 := m.cumulants(s)
	v := k2 + 1/(s*s) + 1/((1+s)*(1+s))
	e := k1 - 1/s - 1/(1+s)
	l := k - s*e - math.Log(s) - math.Log1p(s) - math.Log(2*math.Pi*v)/2
	return saddle{s, e, l, math.Sqrt(v), !math.IsNaN(l) && !math.IsInf(k, 0) && !math.IsInf(e, 0)}
}

// saddleFor finds the saddle where reached says true for all larger s.
func (m sum) saddleFor(reached func(saddle) bool) saddle {
	s := 1.0
	if m.mu2 > 0 && len(m.terms) == 0 {
		s = 1 / math.Sqrt(m.mu2)
	}
	lo, hi := 0.0, 0.0
	for range 200 {
		p := m.saddleAt(s)
		if !p.ok || reached(p) {
			hi = s
			if lo > 0 {
				break
			}
			s /= 4
		} else {
			lo = s
			if hi > 0 {
				break
			}
			s *= 2
		}
	}
	if lo == 0 || hi == 0 {
		return saddle{}
	}
	for hi/lo > 1.001 {
		s = math.Sqrt(lo * hi)
		if p := m.saddleAt(s); !p.ok || reached(p) {
			hi = s
		} else {
			lo = s
		}
	}
	return m.saddleAt(lo)
}

// kappa is the log of s^s/(1+s)^(1+s), the least κ with (1-exp(-y))+ <= κ exp(s y).
func kappa(s float64) float64 {
	if s == 0 {
		return 0
	}
	return -s*math.Log1p(1/s) - math.Log1p(s)
}

// contour is a vertical line on which M is known.
type contour struct {
	c, dt      float64
	k, kErr    float64      // log M(c)
	g          []complex128 // M(c+ikΔ)/M(c)/((c+ikΔ)(c+1+ikΔ))
	lost       float64      // bounds what is left out and rounded
	phaseLoss  float64      // and this much for each unit of eps
	left, rite float64      // s below and above c that bound the other periods
	kl, kr     float64      // log M there
}

// contourAt prepares the contour through a saddle: to about 1e-11 where that is
// cheap, else to less.
func (m sum) contourAt(p saddle) (*contour, bool) {
	if !p.ok {
		return nil, false
	}
	if q, ok := m.contourTo(p, 1e-11, false); ok {
		return q, true
	}
	return m.contourTo(p, 1e-8, true)
}

// contourTo aims at a relative error, with sums of losses only or by transforms.
func (m sum) contourTo(p saddle, tol float64, fast bool) (*contour, bool) {
	q := &contour{c: p.s}
	k, _, _ := m.cumulants(q.c)
	rel := math.Log(tol) + p.logDelta - (k - p.s*p.eps) // log of what may be lost, over exp(K - cε)
	period := func(s float64) float64 {
		ks, _, _ := m.cumulants(s)
		if s == 0 {
			ks = 0
		}
		return (kappa(s) + ks - s*p.eps - (k - p.s*p.eps) - rel) / math.Abs(s-p.s)
	}
	left, rite := math.Inf(1), math.Inf(1)
	for _, f := range []float64{1, 2, 4, 6, 9, 13} {
		step := f / p.spread
		if x := period(p.s + step); x > 0 && x < rite {
			rite, q.rite = x, p.s+step
		}
		s := max(p.s-step, 0)
		if x := period(s); x > 0 && x < left {
			left, q.left = x, s
		}
	}
	around := max(left, rite)
	if math.IsInf(around, 0) || math.IsNaN(around) {
		return nil, false
	}
	q.kl, q.kr = m.bound(q.left), m.bound(q.rite)
	if math.IsInf(q.kl, 0) || math.IsInf(q.kr, 0) {
		return nil, false
	}
	q.dt = 2 * math.Pi / around
	lines := make([]*line, len(m.terms))
	for i, t := range m.terms {
		var ok bool
		if lines[i], ok = t.pair.line(q.c, 0); !ok {
			return nil, false
		}
	}
	left0 := func(t float64) float64 {
		return m.decay(lines, t) - math.Log(math.Pi*t)
	}
	reach := q.dt
	for left0(reach) > rel {
		if reach *= 1.25; reach > q.dt*1e6 {
			return nil, false
		}
	}
	n := int(math.Ceil(reach/q.dt)) + 1
	reach = float64(n) * q.dt
	for i, t := range m.terms {
		l, ok := t.pair.line(q.c, reach)
		if !ok || fastSize(n) > most || !fast && float64(len(l.loss))*float64(n) > direct {
			return nil, false
		}
		lines[i] = l
	}
	q.sum(m, lines, n)
	q.lost += math.Exp(left0(reach)) * (1 + 1e-9)
	return q, true
}

// decay bounds log |M(c+it)/M(c)| for all t' >= t.
func (m sum) decay(lines []*line, t float64) float64 {
	d := -m.mu2 * t * t / 2
	for i, l := range lines {
		d += m.terms[i].count * l.decay(t)
	}
	return d
}

// sum multiplies the lines.
func (q *contour) sum(m sum, lines []*line, n int) {
	size := n + 1
	logs := make([]float64, size)   // log |φ|
	turns := make([]float64, size)  // arg φ
	bounds := make([]float64, size) // log of a bound of |φ|
	errs := make([]float64, size)   // error over that bound
	re, im := make([]float64, size), make([]float64, size)
	others, extras := make([][]float64, len(lines)), make([]float64, len(lines))
	for k := range size {
		t := float64(k) * q.dt
		logs[k] = -m.mu2 * t * t / 2
		turns[k] = t * m.mu2 * (q.c + 0.5)
		bounds[k] = logs[k]
		errs[k] = 4 * ulp * (math.Abs(logs[k]) + math.Abs(turns[k]))
	}
	q.k = m.mu2 * q.c * (q.c + 1) / 2
	q.kErr = 4 * ulp * q.k
	for i, l := range lines {
		count := m.terms[i].count
		q.k += count * l.k
		q.kErr += count * l.err
		extra := l.fill(q.dt, re, im)
		extras[i] = count * extra
		others[i] = make([]float64, size)
		for k := range size {
			size2 := re[k]*re[k] + im[k]*im[k]
			var size float64 // log |φ|, exact near 1
			if size2 > 0.5 {
				size = math.Log1p((re[k]-1)*(re[k]+1)+im[k]*im[k]) / 2
			} else {
				size = math.Log(size2) / 2
			}
			turn := math.Atan2(im[k], re[k])
			e := l.errAt(float64(k+64)*q.dt) + extra
			abs := math.Sqrt(size2)
			logs[k] += count * size
			turns[k] += count * turn
			bounds[k] += count * math.Log(abs+e)
			others[i][k] = math.Log(abs + e)
			errs[k] += count * ((e-extra)/(abs+e) + 4*ulp*(math.Abs(math.Max(size, -800))+math.Abs(turn)+1))
		}
	}
	q.kErr += 8 * ulp * math.Abs(q.k)
	q.g = make([]complex128, size)
	for k := range size {
		t := float64(k) * q.dt
		kernel := 1 / (complex(q.c, t) * complex(q.c+1, t))
		share := q.dt / math.Pi
		if k == 0 {
			share /= 2
		}
		q.g[k] = cmplx.Rect(math.Exp(logs[k])*share, turns[k]) * kernel
		b := math.Exp(bounds[k]) * share * cmplx.Abs(kernel)
		q.lost += b * min(errs[k]+(16+float64(n))*ulp, 2)
		q.phaseLoss += b * t * 2 * ulp
	}
	// An error known by its l2 norm over all k alone: Cauchy and Schwarz.
	for i, extra := range extras {
		if extra == 0 {
			continue
		}
		square := 0.0
		for k := range size {
			t := float64(k) * q.dt
			b := math.Exp(bounds[k]-others[i][k]) * q.dt / math.Pi / math.Hypot(q.c, t) / math.Hypot(q.c+1, t)
			square += b * b
		}
		q.lost += extra * math.Sqrt(square)
	}
}

// logDelta bounds log δ(eps).
func (q *contour) logDelta(eps float64) (lower, upper float64) {
	sum := 0.0
	for k, g := range q.g {
		s, c := math.Sincos(float64(k) * q.dt * eps)
		sum += real(g)*c + imag(g)*s
	}
	around := 2 * math.Pi / q.dt
	log := q.k - q.c*eps
	other := func(s, k float64) float64 {
		d := math.Abs(s-q.c) * around
		return math.Exp(kappa(s)+k-s*eps-log-d) / -math.Expm1(-d)
	}
	lost := q.lost + q.phaseLoss*math.Abs(eps)
	err := q.kErr + 8*ulp*(math.Abs(q.k)+q.c*math.Abs(eps)+1)
	lower = math.Log(max(sum-lost-(other(q.left, q.kl)+other(q.rite, q.kr))*(1+1e-9), 0)) + log - err
	upper = math.Log(sum+lost) + log + err
	return lower, min(upper, 0)
}

// logDelta bounds log δ(eps) of the sum.
func (m sum) logDelta(eps float64) (lower, upper float64, ok bool) {
	for _, q := range m.known.contours {
		if lower, upper = q.logDelta(eps); upper-lower <= 1e-5 {
			return lower, upper, true
		}
	}
	q, ok := m.contourAt(m.saddleFor(func(p saddle) bool { return p.eps >= eps }))
	if ok && len(m.known.contours) < 16 {
		m.known.contours = append(m.known.contours, q)
	}
	if !ok {
		return 0, 0, false
	}
	lower, upper = q.logDelta(eps)
	return lower, upper, !math.IsNaN(upper)
}

// epsilon bounds the least eps >= 0 with δ(eps) <= exp(logDelta).
func (m sum) epsilon(logDelta float64) (Interval, bool) {
	p := m.saddleFor(func(p saddle) bool { return p.logDelta <= logDelta })
	if p.ok && p.eps < 0 {
		// δ(0) is at hand; eps may still be positive.
		p = m.saddleFor(func(p saddle) bool { return p.eps >= 0 })
	}
	for range 3 {
		q, ok := m.contourAt(p)
		if !ok {
			return Interval{}, false
		}
		if i, ok := q.epsilon(logDelta, max(p.eps, 0)); ok && (i.Upper-i.Lower <= 1e-6*i.Upper || i.Upper == 0) {
			return i, true
		} else if !ok {
			return Interval{}, false
		} else if next := m.saddleFor(func(p saddle) bool { return p.eps >= i.Upper }); math.Abs(next.s-p.s) < 0.01*p.s || !next.ok {
			return i, true
		} else {
			p = next
		}
	}
	return Interval{}, false
}

// epsilon is the inverse of logDelta, from a first guess.
func (q *contour) epsilon(target, guess float64) (Interval, bool) {
	mid := func(e float64) float64 {
		_, u := q.logDelta(e)
		return u - target
	}
	if mid(0) <= 0 {
		return Interval{}, true
	}
	// Secant steps, kept positive.
	step := 1e-3 / q.c
	a, fa := guess, mid(guess)
	b := a + step
	fb := mid(b)
	slope := -q.c
	for range 60 {
		if fa != fb && !math.IsNaN(fa) && !math.IsNaN(fb) {
			slope = (fb - fa) / (b - a)
		}
		if !(slope < 0) {
			slope = -q.c
		}
		next := max(b-fb/slope, b/2)
		if next > 2*b+10/q.c {
			next = 2*b + 10/q.c
		}
		a, fa = b, fb
		b, fb = next, mid(next)
		if math.Abs(fb) < 1e-13 || math.Abs(b-a) <= 4*ulp*b {
			break
		}
	}
	var out Interval
	l, u := q.logDelta(b)
	width := max((u-l+math.Abs(fb))/-slope, 4*ulp*b)
	if math.IsNaN(width) || math.IsInf(width, 0) {
		return out, false
	}
	found := false
	for w, try := width, 0; try < 60; try++ {
		out.Upper = b + w
		if _, u := q.logDelta(out.Upper); u <= target {
			found = true
			break
		}
		w *= 2
	}
	if !found {
		return out, false
	}
	for w, try := width, 0; try < 60; try++ {
		out.Lower = max(b-w, 0)
		if out.Lower == 0 {
			break
		}
		if l, _ := q.logDelta(out.Lower); l > target {
			break
		}
		w *= 2
	}
	return out, true
}
