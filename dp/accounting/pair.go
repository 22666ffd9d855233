package accounting

import "math"

// pair is a dominating pair over the real line whose loss grows with x; for add
// the axis is mirrored.
type pair struct {
	q, sigma float64
	d        direction
}

// inverse returns the x at which the loss is eps: -Inf below all losses, +Inf
// above.
func (p pair) inverse(eps float64) float64 {
	s2 := p.sigma * p.sigma
	switch p.d {
	case add: // loss at x is minus remove's at -x
		return -pair{p.q, p.sigma, remove}.inverse(-eps)
	case replace:
		// A y + B y² = e^eps (A y + B) with y = exp(x/σ²).
		a, b := 1-p.q, math.Log(p.q)-1/(2*s2)
		if a == 0 {
			return eps * s2 / 2
		}
		// y = (h + sqrt(h² + e^eps)), h = A (e^eps - 1) / (2B), by symmetry for eps >= 0.
		if eps < 0 {
			return -p.inverse(-eps)
		}
		h := math.Log(a/2) + logExpm1(eps) - b // log h
		return s2 * (logAdd(h, logAdd(2*h, eps)/2))
	}
	if eps <= math.Log1p(-p.q) {
		return math.Inf(-1)
	}
	// log(e^eps - (1-q)) without cancellation: e^eps - 1 + q.
	var l float64
	if eps > 1 {
		l = eps + math.Log1p(-(1-p.q)*math.Exp(-eps))
	} else {
		l = math.Log(math.Expm1(eps) + p.q)
	}
	return s2*(l-math.Log(p.q)) + 0.5
}

// masses returns the mass of (x0, x1] under P and under Q.
func (p pair) masses(x0, x1 float64) (float64, float64) {
	n := func(mu float64) float64 { return normalMass((x0-mu)/p.sigma, (x1-mu)/p.sigma) }
	switch p.d {
	case remove:
		base := n(0)
		return (1-p.q)*base + p.q*n(1), base
	case add: // mirrored: the mixture's far part lies at -1
		base := n(0)
		return base, (1-p.q)*base + p.q*n(-1)
	}
	base := (1 - p.q) * n(0)
	return base + p.q*n(1), base + p.q*n(-1)
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

// loss is the loss at x.
func (p pair) loss(x float64) float64 {
	s2 := 2 * p.sigma * p.sigma
	mix := func(t float64) float64 { // log(1-q + q exp(t))
		if t < 1 {
			return math.Log1p(p.q * math.Expm1(t))
		}
		return logAdd(math.Log1p(-p.q), math.Log(p.q)+t)
	}
	switch p.d {
	case remove:
		return mix((2*x - 1) / s2)
	case add:
		return -mix((-2*x - 1) / s2)
	}
	return mix((2*x-1)/s2) - mix((-2*x-1)/s2)
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

// logExpm1 is log(exp(x) - 1) for x >= 0.
func logExpm1(x float64) float64 {
	if x > 1 {
		return x + math.Log1p(-math.Exp(-x))
	}
	return math.Log(math.Expm1(x))
}
