package accounting

import "math"

// latticeGaussian is the pair of discrete Gaussians a whole shift apart, the
// record being there with probability q.
type latticeGaussian struct {
	sigma float64
	shift float64
	q     float64
	swap  bool // the record is in Q
}

// normal is the continuous pair of the same shift.
func (d latticeGaussian) normal() *mixture {
	mu := d.shift / d.sigma
	dir := remove
	if d.swap {
		dir = add
	}
	if d.q == 1 {
		return newMixture([]float64{mu}, []float64{1}, remove)
	}
	return newMixture([]float64{0, mu}, []float64{1 - d.q, d.q}, dir)
}

func (d latticeGaussian) cumulants(s float64) (k, k1, k2 float64) { return d.normal().cumulants(s) }

// bound: with θ(a) the sum of the Gaussian over the integers shifted by a, which
// is greatest at whole a, E exp(sL) is the continuous Gaussian's times θ(s·shift)/θ(0)
// at most 1 (Canonne, Kamath and Steinke 2020, Theorem 4). With a sampled record the
// binomial sum of a whole order is over such moments, log E exp(sL) is convex in s
// between, and the swapped pair costs no more (Mironov, Talwar and Zhang 2019, Theorem 5,
// by the reflection that swaps the two laws).
func (d latticeGaussian) bound(s float64) float64 {
	m := d.normal()
	if d.q == 1 {
		return m.bound(s)
	}
	m.dir = remove
	low := math.Floor(s)
	if low == s {
		return m.bound(s)
	}
	share := s - low
	return (1-share)*m.bound(low) + share*m.bound(low+1)
}

func (d latticeGaussian) line(_, _ float64) (*line, bool) { return nil, false }

func (d latticeGaussian) lattice() (float64, float64, bool) {
	if d.q < 1 {
		return 0, 0, false
	}
	mu := d.shift / d.sigma
	return -mu * mu / 2, mu / d.sigma, true // loss (2 x shift - shift²)/(2 σ²), as is the swapped pair's
}

func (d latticeGaussian) cells(g grid, tail float64) (*cells, bool) {
	s2 := 2 * d.sigma * d.sigma
	// P(X > m) <= exp(-m²/(2σ²)) for a discrete Gaussian X (Canonne, Kamath and
	// Steinke 2020, Corollary 17).
	reach := math.Ceil(d.sigma*math.Sqrt(2*math.Log(1/tail))) + 1
	if reach > 1<<26 {
		return nil, false
	}
	total := d.sigma * math.Sqrt(2*math.Pi) // to a part in 1e150 from sigma = 6 on
	if d.sigma < 6 {
		total = 1
		for x := 1.0; x <= 300; x++ {
			total += 2 * math.Exp(-x*x/s2)
		}
	}
	loss := func(x float64) float64 {
		l := logMix(d.q, (2*x-d.shift)*d.shift/s2)
		if d.swap {
			return -l
		}
		return l
	}
	from, to := -reach, d.shift+reach
	a, b := loss(from), loss(to)
	first, _ := g.index(min(a, b))
	last, _ := g.index(max(a, b))
	last++
	if last-first > maxCells {
		return nil, false
	}
	c := newCells(first, last)
	c.under, c.over = tail, tail
	for x := from; x <= to; x++ {
		base, far := math.Exp(-x*x/s2)/total, math.Exp(-(x-d.shift)*(x-d.shift)/s2)/total
		p, q := (1-d.q)*base+d.q*far, base
		if d.swap {
			p, q = q, p
		}
		k, on := g.index(loss(x))
		if on {
			c.on[k+1-first] += p
			continue
		}
		c.p[k-first] += p
		c.q[k-first] += q
	}
	return c, true
}

// binary is randomised response whose losses are eps and -eps.
func binary(eps float64) *discrete {
	low := math.Exp(-eps) / (1 + math.Exp(-eps))
	return &discrete{loss: []float64{-eps, eps}, mass: []float64{low, 1 - low}, at: -eps, step: 2 * eps}
}

// latticeLaplace is the pair of discrete Laplace laws of rate 1/scale a whole
// shift apart: losses rate·(2j - shift) for j from 0 to shift.
func latticeLaplace(rate float64, shift int) *discrete {
	d := &discrete{at: -rate * float64(shift), step: 2 * rate}
	e := math.Exp(-rate)
	tail := 1 / (1 + e) // mass of x >= 0
	for j := 0; j <= shift; j++ {
		d.loss = append(d.loss, rate*float64(2*j-shift))
		switch j {
		case 0: // x <= 0, the law being around shift
			d.mass = append(d.mass, tail*math.Exp(-rate*float64(shift)))
		case shift:
			d.mass = append(d.mass, tail)
		default:
			d.mass = append(d.mass, (1-e)/(1+e)*math.Exp(-rate*float64(shift-j)))
		}
	}
	return d
}

// response is randomised response over k values, against another true value or,
// with null, against a uniform one.
func response(noise float64, k int, null bool) *discrete {
	other := noise / float64(k)
	same := 1 - noise + other
	var d *discrete
	if null {
		u := 1 / float64(k)
		d = &discrete{loss: []float64{math.Log(other / u), math.Log(same / u)}, mass: []float64{1 - same, same}}
		d.at, d.step = d.loss[0], d.loss[1]-d.loss[0]
	} else {
		eps := math.Log(same / other)
		d = &discrete{loss: []float64{-eps, 0, eps}, mass: []float64{other, float64(k-2) * other, same}, at: -eps, step: eps}
	}
	if d.step == 0 { // all noise: the two laws are one
		return &discrete{loss: []float64{0}, mass: []float64{1}}
	}
	return d
}
