package accounting

import (
	"math"

	"gonum.org/v1/gonum/dsp/fourier"
)

// line is E_P exp((c+it)·loss) of one pair along a vertical line, over its
// value at t = 0: the characteristic function φ(t) of the tilted loss.
type line struct {
	k       float64   // log of the value at t = 0
	err     float64   // bounds the error of k and of φ, but for
	lossErr float64   // this much for each unit of t
	loss    []float64 // φ(t) = Σ weight[i] exp(i t loss[i])
	weight  []float64
	splits  []split   // of the tilted loss's density; none if it has none
	parts   []*line   // of a blend, with their
	shares  []float64 // shares
	closed  func(t float64) complex128
}

// errAt bounds the error of φ(t) as fill gives it, but for what fill says.
func (l *line) errAt(t float64) float64 { return l.err + t*l.lossErr + 1.5e-14 }

// fill writes φ(k·dt) to re[k] + i im[k]. It returns a bound of the l2 norm, over
// all k, of an error that comes on top of errAt's.
func (l *line) fill(dt float64, re, im []float64) float64 {
	if l.closed == nil && float64(len(l.loss))*float64(len(re)) > direct {
		return l.fillFast(dt, re, im)
	}
	clear(re)
	clear(im)
	if l.closed != nil {
		for k := range re {
			z := l.closed(float64(k) * dt)
			re[k], im[k] = real(z), imag(z)
		}
		return 0
	}
	// Four chains of rotations side by side, started afresh every 64 steps: 16
	// complex products leave an error below 1e-14.
	const block = 64
	for j, loss := range l.loss {
		w := l.weight[j]
		s1, c1 := math.Sincos(dt * loss)
		if len(re) < 16 {
			for k := range re {
				s, c := math.Sincos(float64(k) * dt * loss)
				re[k] += w * c
				im[k] += w * s
			}
			continue
		}
		s4, c4 := math.Sincos(4 * dt * loss)
		for k := 0; k < len(re); k += block {
			s, c := math.Sincos(float64(k) * dt * loss)
			x0, y0 := w*c, w*s
			x1, y1 := x0*c1-y0*s1, x0*s1+y0*c1
			x2, y2 := x1*c1-y1*s1, x1*s1+y1*c1
			x3, y3 := x2*c1-y2*s1, x2*s1+y2*c1
			end := min(k+block, len(re))
			i := k
			for ; i+4 <= end; i += 4 {
				r, m := re[i:i+4:i+4], im[i:i+4:i+4]
				r[0] += x0
				m[0] += y0
				r[1] += x1
				m[1] += y1
				r[2] += x2
				m[2] += y2
				r[3] += x3
				m[3] += y3
				x0, y0 = x0*c4-y0*s4, x0*s4+y0*c4
				x1, y1 = x1*c4-y1*s4, x1*s4+y1*c4
				x2, y2 = x2*c4-y2*s4, x2*s4+y2*c4
				x3, y3 = x3*c4-y3*s4, x3*s4+y3*c4
			}
			for xs, ys := [3]float64{x0, x1, x2}, [3]float64{y0, y1, y2}; i < end; i++ {
				re[i] += xs[i%4]
				im[i] += ys[i%4]
			}
		}
	}
	return 0
}

// direct is how many products of losses and points are summed one by one; most,
// how many points the fast way may transform.
const (
	direct = 4e6
	most   = 1 << 20
)

// fastSize is the size of fillFast's transforms for n points.
func fastSize(n int) int {
	size := 1024
	for size < 8*n {
		size *= 2
	}
	return size
}

// fillFast is fill by transforms of losses put on a grid, each loss off its
// point by a share x of the spacing, |x| <= 1/2, which Taylor's series of
// exp(iux) takes up: |u| <= 2π/8 for the k asked, so that 13 terms leave less than
// (π/8)^13/13! < 1e-15.
func (l *line) fillFast(dt float64, re, im []float64) float64 {
	const terms = 13
	size := fastSize(len(re))
	step := 2 * math.Pi / (float64(size) * dt)
	at, off := make([]int, len(l.loss)), make([]float64, len(l.loss))
	for j, loss := range l.loss {
		g := math.Round(loss / step)
		off[j] = math.FMA(-g, step, loss) / step
		i := int(math.Mod(g, float64(size)))
		if i < 0 {
			i += size
		}
		at[j] = i
	}
	clear(re)
	clear(im)
	fft := fourier.NewFFT(size)
	seq := make([]float64, size)
	power := append([]float64(nil), l.weight...)
	var coef []complex128
	scale, norm := 1.0, 0.0 // 1/m! and the l2 norm of the sequences
	for m := range terms {
		if m > 0 {
			scale /= float64(m)
			for j, x := range off {
				power[j] *= x
			}
		}
		clear(seq)
		for j, x := range power {
			seq[at[j]] += x
		}
		square := 0.0
		for _, x := range seq {
			square += x * x
		}
		norm += scale * math.Sqrt(square)
		coef = fft.Coefficients(coef, seq) // of exp(-i …): conjugate
		for k := range re {
			u := scale
			for range m {
				u *= float64(k) * dt * step
			}
			x, y := u*real(coef[k]), -u*imag(coef[k])
			switch m % 4 { // times i^m
			case 0:
				re[k] += x
				im[k] += y
			case 1:
				re[k] -= y
				im[k] += x
			case 2:
				re[k] -= x
				im[k] -= y
			case 3:
				re[k] += y
				im[k] -= x
			}
		}
	}
	return fftStep * (math.Log2(float64(size)) + 1) * math.Sqrt(float64(size)) * norm
}

// split cuts a tilted loss's law in two: the mass on one side, and the total
// variation of the density on the other.
type split struct{ mass, variation float64 }

// size bounds |φ(t')| for all t' >= t: a density of total variation V has |φ(t)|
// <= V/t, and what is cut off has at most its mass.
func (l *line) size(t float64) float64 {
	if l.parts != nil {
		sum := 0.0
		for i, p := range l.parts {
			sum += l.shares[i] * p.size(t)
		}
		return min(sum, 1)
	}
	best := 1.0
	for _, s := range l.splits {
		best = min(best, s.mass+s.variation/t)
	}
	return best
}

// decay is a bound of log|φ| at all t' >= t: by size, and by 1 - |φ(2t)|² <=
// 4 (1 - |φ(t)|²), which holds for every characteristic function (Feller).
func (l *line) decay(t float64) float64 {
	if t == 0 {
		return 0
	}
	best, scale := 0.0, 1.0
	for n := range 60 {
		u := l.size(math.Ldexp(t, n))
		if u < 1 {
			best = min(best, math.Log1p(-(1-u*u)/scale)/2)
			if n > 0 && u < 0.1 {
				break
			}
		}
		scale *= 4
	}
	return best
}
