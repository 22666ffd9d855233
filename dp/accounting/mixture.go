package accounting

import "math"

// mixture is a pair of normal laws of standard deviation 1 on the line, one of
// them (in replace both) mixed of laws with means d[i] >= 0 and weights p[i].
// With W(z) = Σ p[i] exp(d[i] z - d[i]²/2), φ the normal density and l = log W:
//
//	remove:   φ·W against φ,        loss  l(z)
//	add:      φ against φ·W,        loss -l(z)
//	replace:  φ·W against φ·W(-z),  loss  l(z) - l(-z)
//
// so that E_P exp(s·loss) = ∫ φ(z) exp(α l(z) + β l(-z)) dz with (α, β) =
// (1+s, 0), (-s, 0), (1+s, -s).
type mixture struct {
	d, p []float64
	dir  direction
	top  float64 // the largest d
	rest float64 // the weight of the laws with d > 0
}

func newMixture(d, p []float64, dir direction) *mixture {
	m := &mixture{dir: dir}
	total := 0.0
	for _, x := range p {
		total += x
	}
	for i, x := range d {
		m.d, m.p = append(m.d, x), append(m.p, p[i]/total)
		m.top = max(m.top, x)
		if x > 0 {
			m.rest += p[i] / total
		}
	}
	return m
}

// sampled is the mixture of a Gaussian drawn with rate q.
func sampled(q, sigma float64, dir direction) *mixture {
	return &mixture{d: []float64{0, 1 / sigma}, p: []float64{1 - q, q}, dir: dir, top: 1 / sigma, rest: q}
}

// wave is l at a point: its value, what rounding may have done to it, the share
// of the laws with d > 0 in W, and l' and l" there.
type wave struct {
	l, err, share, l1, l2 float64
}

const ulp = 0x1p-52

func (m *mixture) at(z float64) wave {
	if len(m.d) == 2 && m.d[0] == 0 {
		// l = log(1-q + q e^v) with relative accuracy for every q and v.
		d, q := m.d[1], m.p[1]
		v := d*z - d*d/2
		var l, share float64
		if v < 30 {
			e := math.Expm1(v)
			l = math.Log1p(q * e)
			share = q * math.Exp(v) / (1 + q*e)
		} else {
			odds := (1 - q) / q * math.Exp(-v)
			l = v + math.Log(q) + math.Log1p(odds)
			share = 1 / (1 + odds)
		}
		err := 2 * ulp * (2*math.Abs(l) + share*(math.Abs(d*z)+d*d+1) + q*math.Exp(-l))
		return wave{l, err, share, d * share, d * d * share * m.p[0] * math.Exp(-l)}
	}
	most := math.Inf(-1)
	for _, d := range m.d {
		most = max(most, d*z-d*d/2)
	}
	var w wave
	var sum, small, sum1, sum2, moved float64
	for i, d := range m.d {
		v := d*z - d*d/2
		e := m.p[i] * math.Exp(v-most)
		sum += e
		sum1 += e * d
		sum2 += e * d * d
		if d > 0 {
			moved += e
			if most < 30 {
				small += m.p[i] * math.Expm1(v)
			}
		}
	}
	if most < 30 {
		w.l = math.Log1p(small)
	} else {
		w.l = most + math.Log(sum)
	}
	w.share, w.l1 = moved/sum, sum1/sum
	w.l2 = max(sum2/sum-w.l1*w.l1, 0)
	n := float64(len(m.d))
	w.err = (n + 2) * ulp * (2*math.Abs(w.l) + w.share*(m.top*math.Abs(z)+m.top*m.top+1) + m.rest*math.Exp(-w.l))
	return w
}

// node is one term of the trapezoid rule for E_P exp(s·loss).
type node struct {
	loss, err float64 // the loss, and what rounding may have done to it
	log       float64 // log of the integrand, without φ's constant, at s = c
	logErr    float64
}

// exponents are α and β at real s, and the sign of l(z) and l(-z) in the loss.
func (m *mixture) exponents(c float64) (a, b, u, v float64) {
	switch m.dir {
	case remove:
		return 1 + c, 0, 1, 0
	case add:
		return -c, 0, -1, 0
	}
	return 1 + c, -c, 1, -1
}

// support is an interval outside of which the integrand at s = c is negligible;
// the caller proves it. It grows with more.
func (m *mixture) support(c, more float64) (lo, hi float64) {
	lo, hi = -more-m.top, more+m.top
	switch m.dir {
	case remove:
		if c > -1 {
			hi += (1 + c) * m.top
		} else {
			lo -= -(1 + c) * m.top
		}
	case add:
		if c > 0 { // Newton's steps towards the mode: -z = c l'(z)
			z := 0.0
			for range 50 {
				next := -c * m.at(z).l1
				if math.Abs(next-z) < 0.1 {
					break
				}
				z = (z + next) / 2
			}
			lo += z
		} else {
			hi -= c * m.top
		}
	case replace:
		hi += max(1+2*c, 1) * m.top
		lo -= max(0, -1-2*c) * m.top
	}
	return lo, hi
}

func (m *mixture) bound(s float64) float64 {
	if s == 0 {
		return 0
	}
	if len(m.d) == 1 && m.dir != replace {
		k := m.top * m.top * s * (s + 1) / 2
		return k + 8*ulp*k
	}
	// Divergences are quasi-convex: with no help from sampling.
	apart := m.top
	if m.dir == replace {
		apart *= 2
	}
	whole := apart * apart * s * (s + 1) / 2 * (1 + 8*ulp)
	if (20+(2+s)*m.top)*(8*m.top+1) > 1<<15 {
		return whole
	}
	l, ok := m.line(s, 0)
	if !ok {
		return whole
	}
	return min(l.k+l.err, whole)
}

// maxNodes bounds the work of one quadrature.
const maxNodes = 1 << 18

// cumulants are log E_P exp(s·loss) at real s and its first two derivatives, to
// about 1e-13. They choose where to integrate; nothing rests on them.
func (m *mixture) cumulants(s float64) (k, k1, k2 float64) {
	a, b, u, v := m.exponents(s)
	lo, hi := m.support(s, 9)
	h := min(0.25, 2.0/(3*m.top+1))
	if (hi-lo)/h > maxNodes {
		return math.Inf(1), math.Inf(1), math.Inf(1)
	}
	type term struct{ log, loss float64 }
	terms := make([]term, 0, int((hi-lo)/h)+2)
	most := math.Inf(-1)
	for i := range int((hi-lo)/h) + 1 {
		z := lo + float64(i)*h
		w := m.at(z)
		g, loss := -z*z/2+a*w.l, u*w.l
		if m.dir == replace {
			l := m.at(-z).l
			g += b * l
			loss += v * l
		}
		most = max(most, g)
		terms = append(terms, term{g, loss})
	}
	var s0, s1, s2, shift float64
	for _, t := range terms {
		if t.log == most {
			shift = t.loss
		}
	}
	for _, t := range terms {
		if t.log < most-45 {
			continue
		}
		w, l := math.Exp(t.log-most), t.loss-shift
		s0 += w
		s1 += w * l
		s2 += w * l * l
	}
	mean := s1 / s0
	return most + math.Log(s0*h/math.Sqrt(2*math.Pi)), mean + shift, max(s2/s0-mean*mean, 0)
}

// line prepares E_P exp((c+it)·loss) for |t| <= reach, with a proven bound of
// its error. See the file comment of contour.go for the proof.
func (m *mixture) line(c, reach float64) (*line, bool) {
	a, b, u, v := m.exponents(c)
	y := min(1/m.top, 6) // half of the strip: phases of W's terms stay within 1 of each other
	step := func() float64 { return 2 * math.Pi / (46/y + y/2 + 0.7*reach*m.top*m.weightOfShare(c)*m.top) }
	h := step()
	more := 10.0
	for try := range 24 {
		l, tail, alias, ok := m.nodes(c, reach, h, y, m.top*y, more, a, b, u, v)
		switch {
		case !ok:
			return nil, false
		case !(tail <= 1e-15):
			more += 3
		case !(alias <= 1e-15) && try < 6:
			h /= 1.5
		case !(alias <= 1e-15):
			// Far out exp(it·loss) grows faster on the strip than the normal density
			// falls: a narrower strip and nodes farther out.
			y /= 2
			h = min(h, step())
			more *= 1.5
		default:
			return l, true
		}
	}
	return nil, false
}

// weightOfShare is the share of the laws with d > 0 where the tilted law lies,
// roughly.
func (m *mixture) weightOfShare(c float64) float64 {
	_, hi := m.support(c, 3)
	if m.dir == replace {
		return min(m.at(hi).share+m.at(3).share, 2)
	}
	if m.dir == add {
		hi = 4
	}
	return m.at(hi).share
}

// nodes lays the trapezoid rule of step h. tail and alias bound, relative to
// the value at t = 0, what lies outside of it and between its nodes.
func (m *mixture) nodes(c, reach, h, y, theta, more, a, b, u, v float64) (out *line, tail, alias float64, ok bool) {
	lo, hi := m.support(c, more)
	n := int((hi-lo)/h) + 2
	if n > maxNodes {
		return nil, 0, 0, false
	}
	type point struct {
		node
		slope, spread float64 // of the integrand's log; of its bound on the strip
		r, rho        float64 // log and slope of the loss's density
	}
	pts := make([]point, n)
	most := math.Inf(-1)
	bend := 1 + (math.Abs(a)+math.Abs(b))*m.top*m.top/4 // of log integrand
	sin, cos := math.Sincos(theta)
	for i := range pts {
		z := lo + float64(i)*h
		w := m.at(z)
		g, gerr := -z*z/2+a*w.l, 2*ulp*z*z+math.Abs(a)*w.err
		loss, err := u*w.l, w.err
		slope := -z + a*w.l1
		away, awayRatio, density := w.share, max(-a, 0)*w.share, w.l1
		bent := w.l2
		if m.dir == replace {
			x := m.at(-z)
			g += b * x.l
			gerr += math.Abs(b) * x.err
			loss += v * x.l
			err += x.err
			slope -= b * x.l1
			awayRatio += max(-b, 0) * x.share
			away += x.share
			density += x.l1
			bent -= x.l2
		}
		p := point{node: node{loss, err, g, gerr + 2*ulp*(math.Abs(g)+2)}, slope: slope}
		// On the strip |W| falls at most to 1-share(1-cos θ), and its argument
		// grows at most to atan(share sin θ/(1-share(1-cos θ))).
		phase := func(share float64) (float64, float64) {
			real := 1 - share*(1-cos)
			return math.Atan2(share*sin, real), -math.Log(real)
		}
		turn, fall := phase(w.share)
		p.spread = reach*turn + max(-a, 0)*fall
		if m.dir == replace {
			turn, fall = phase(m.at(-z).share)
			p.spread += reach*turn + max(-b, 0)*fall
		}
		// Inside a cell the bound grows by at most these slopes.
		p.spread += h / 2 * math.Exp(m.top*h/2) * m.top * (1.1*reach*away + (1-cos)/cos*awayRatio)
		p.r = g - math.Log(density)
		p.rho = slope - bent/density
		most = max(most, g)
		pts[i] = p
	}
	var sum, strip, dropped, rounding, lossErr float64
	variations := make([]float64, n)
	rbend := bend + 2*m.top*m.top
	l := &line{}
	gain := y*y/2 - 2*math.Pi*y/h // e to this is what the strip's width wins
	for i := range pts {
		p := &pts[i]
		cell := (math.Abs(p.slope) + bend*h/2) * h / 2
		weight := math.Exp(p.log - most)
		strip += math.Exp(p.log - most + p.spread + cell + gain)
		steep := math.Abs(p.rho) + rbend*h/2
		variations[i] = math.Exp(p.r-most+steep*h/2) * steep * h
		if weight < 1e-22 {
			dropped += weight
			continue
		}
		sum += weight
		rounding += weight * (p.logErr + 2*ulp)
		lossErr += weight * (p.err + 4*ulp*math.Abs(p.loss))
		l.loss = append(l.loss, p.loss)
		l.weight = append(l.weight, weight)
	}
	// Outside of the nodes the integrand falls geometrically, and so does the
	// density, whose slope differs by at most top.
	low, high := math.Exp(pts[0].log-most), math.Exp(pts[n-1].log-most)
	below, above := m.slopesOutside(c, lo, lo+float64(n-1)*h)
	if below < m.top+1 || above < m.top+1 {
		return nil, 1, 0, true
	}
	outside := low/below + high/above
	tail = outside / (h * sum)
	strip += outside / h * math.Exp(gain+2*reach*theta-(math.Abs(a)+math.Abs(b))*math.Log(cos))
	tail += dropped / sum
	alias = 2 * strip / sum * 1.01
	if !(tail <= 1e-15) || !(alias <= 1e-15) {
		return nil, tail, alias, true
	}
	for i := range l.weight {
		l.weight[i] /= sum
	}
	l.k = most + math.Log(sum*h/math.Sqrt(2*math.Pi))
	// Cuts at the nodes, each with the cell around it counted on both sides: the
	// density jumps there.
	beyond := make([]float64, n+1) // the variation from a node on
	beyond[n] = math.Exp(pts[n-1].r - most)
	for i := n - 1; i >= 0; i-- {
		beyond[i] = beyond[i+1] + variations[i]
	}
	mass := outside / h
	for i := range pts {
		p := &pts[i]
		jump := math.Exp(p.r - most + (math.Abs(p.rho)+rbend*h)*h)
		v := (beyond[i] + jump) / (h * sum) * 1.001
		if k := len(l.splits); k == 0 || v < 0.8*l.splits[k-1].variation {
			l.splits = append(l.splits, split{mass / sum * 1.001, v})
		}
		mass += math.Exp(p.log - most + (math.Abs(p.slope)+bend*h)*h)
	}
	l.err = tail + alias + rounding/sum + float64(len(l.weight))*ulp + 4*ulp*(math.Abs(l.k)+1)
	l.lossErr = lossErr / sum
	return l, tail, alias, true
}

// slopesOutside are bounds of the slope of the integrand's log, -z + a l'(z) -
// b l'(-z): at least below for z < lo, at most -above for z > hi. W is
// log-convex, so l' grows, from 0 or more to at most top.
func (m *mixture) slopesOutside(c, lo, hi float64) (below, above float64) {
	a, b, _, _ := m.exponents(c)
	below = -lo - max(-a, 0)*m.at(lo).l1 - max(b, 0)*m.top
	above = hi - max(a, 0)*m.top - max(-b, 0)*m.at(-hi).l1
	return below, above
}
