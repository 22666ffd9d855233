package scattering

import (
	"math"
	"math/cmplx"
)

// The reference follows the definitions in the package doc, in space and in
// complex128: filters sampled at pixels and wrapped around the padded image,
// convolutions as sums over pixels. It shares nothing with the package.
type reference struct {
	height, width, j, l, order int
	p, q                       int
	phi                        [][]complex128   // [res]
	psi                        [][][]complex128 // [res][j·l+t], nil where unused
}

func newReference(height, width, j, l, order int) *reference {
	r := &reference{height: height, width: width, j: j, l: l, order: order}
	step := 1 << j
	r.p, r.q = (height/step+2)*step, (width/step+2)*step
	phi := r.gabor(0.8*float64(step)/2, 0, 0, 1)
	var psi [][]complex128
	for scale := range j {
		sigma, xi := 0.8*float64(int(1)<<scale), 0.75*math.Pi/float64(int(1)<<scale)
		for t := range l {
			angle := float64(int(float64(l)-float64(l)/2-1)-t) * math.Pi / float64(l)
			wave, bump := r.gabor(sigma, angle, xi, 4/float64(l)), r.gabor(sigma, angle, 0, 4/float64(l))
			k := sum(wave) / sum(bump)
			for i := range wave {
				wave[i] -= k * bump[i]
			}
			psi = append(psi, wave)
		}
	}
	for res := range j {
		r.phi = append(r.phi, r.limit(phi, res))
		var bank [][]complex128
		for i, f := range psi {
			if res == 0 || i/l > res {
				bank = append(bank, r.limit(f, res))
			} else {
				bank = append(bank, nil)
			}
		}
		r.psi = append(r.psi, bank)
	}
	return r
}

// gabor samples a Gaussian times a wave, wrapped around the padded image.
func (r *reference) gabor(sigma, angle, xi, slant float64) []complex128 {
	out := make([]complex128, r.p*r.q)
	cos, sin := math.Cos(angle), math.Sin(angle)
	reach := 9 * sigma * max(1, 1/slant)
	wu, wv := int(reach)/r.p+1, int(reach)/r.q+1
	for u := -wu * r.p; u < (wu+1)*r.p; u++ {
		for v := -wv * r.q; v < (wv+1)*r.q; v++ {
			x, y := float64(u), float64(v)
			along, across := cos*x+sin*y, slant*(cos*y-sin*x)
			g := math.Exp(-(along*along + across*across) / (2 * sigma * sigma))
			at := (u+wu*r.p)%r.p*r.q + (v+wv*r.q)%r.q
			out[at] += cmplx.Rect(g/(2*math.Pi*sigma*sigma/slant), xi*along)
		}
	}
	return out
}

// limit returns the filter on the grid of resolution res, made of the
// frequencies that this grid can hold.
func (r *reference) limit(f []complex128, res int) []complex128 {
	if res == 0 {
		return f
	}
	p, q := r.p>>res, r.q>>res
	out := make([]complex128, p*q)
	for ku := -p / 2; ku < p/2; ku++ {
		for kv := -q / 2; kv < q/2; kv++ {
			var hat complex128
			for u := range r.p {
				for v := range r.q {
					hat += f[u*r.q+v] * cmplx.Rect(1, -2*math.Pi*(float64(ku*u)/float64(r.p)+float64(kv*v)/float64(r.q)))
				}
			}
			for u := range p {
				for v := range q {
					out[u*q+v] += hat * cmplx.Rect(1/float64(p*q), 2*math.Pi*(float64(ku*u)/float64(p)+float64(kv*v)/float64(q)))
				}
			}
		}
	}
	return out
}

// convolve returns every step-th sample of the circular convolution.
func convolve(x, f []complex128, p, q, step int) []complex128 {
	out := make([]complex128, (p/step)*(q/step))
	for u := 0; u < p; u += step {
		for v := 0; v < q; v += step {
			var s complex128
			for a := range p {
				row, filter := x[a*q:(a+1)*q], f[(u-a+p)%p*q:]
				for b, xb := range row {
					k := v - b
					if k < 0 {
						k += q
					}
					s += xb * filter[k]
				}
			}
			out[u/step*(q/step)+v/step] = s
		}
	}
	return out
}

func modulusOf(x []complex128) []complex128 {
	out := make([]complex128, len(x))
	for i, z := range x {
		out[i] = complex(cmplx.Abs(z), 0)
	}
	return out
}

// smooth convolves with φ at resolution res and crops the padding's samples.
func (r *reference) smooth(x []complex128, res int) []float64 {
	p, q, step := r.p>>res, r.q>>res, 1<<(r.j-res)
	s := convolve(x, r.phi[res], p, q, step)
	var out []float64
	for u := 1; u < p/step-1; u++ {
		for v := 1; v < q/step-1; v++ {
			out = append(out, real(s[u*(q/step)+v]))
		}
	}
	return out
}

func (r *reference) apply(image []float32) []float64 {
	x := make([]complex128, r.p*r.q)
	mirror := func(i, n int) int {
		for i < 0 || i >= n {
			if i < 0 {
				i = -i
			} else {
				i = 2*(n-1) - i
			}
		}
		return i
	}
	top, left := (r.p-r.height)/2, (r.q-r.width)/2
	for u := range r.p {
		for v := range r.q {
			x[u*r.q+v] = complex(float64(image[mirror(u-top, r.height)*r.width+mirror(v-left, r.width)]), 0)
		}
	}
	out := r.smooth(x, 0)
	var deep []float64
	for n1 := range r.j * r.l {
		j1 := n1 / r.l
		u1 := modulusOf(convolve(x, r.psi[0][n1], r.p, r.q, 1<<j1))
		out = append(out, r.smooth(u1, j1)...)
		for n2 := (j1 + 1) * r.l; n2 < r.j*r.l && r.order == 2; n2++ {
			j2 := n2 / r.l
			u2 := modulusOf(convolve(u1, r.psi[j1][n2], r.p>>j1, r.q>>j1, 1<<(j2-j1)))
			deep = append(deep, r.smooth(u2, j2)...)
		}
	}
	return append(out, deep...)
}

func sum(x []complex128) (s complex128) {
	for _, v := range x {
		s += v
	}
	return s
}
