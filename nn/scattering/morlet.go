package scattering

import "math"

// A wavelet is a Morlet filter, or a Gaussian when beta and center are zero,
// seen as a function of frequency in radians per pixel. Filters are sampled at
// whole pixels and periodised, so by Poisson's summation formula their discrete
// Fourier transform is that of the continuous filter summed over shifts by 2π.
type wavelet struct {
	cos, sin      float64 // orientation; the cosine goes with rows
	along, across float64 // standard deviations in pixels
	center        float64 // frequency along the orientation
	beta          float64 // share of the plain Gaussian taken off
	shells        int     // shifts by 2π on either side
}

// negligible is the exponent beyond which a Gaussian counts as nothing:
// exp(-44) is 8e-20.
const negligible = 44

// newMorlet returns ψ of scale 2^j with orientation t of l.
func newMorlet(j, t, l int) *wavelet {
	angle := (math.Trunc(float64(l)/2-1) - float64(t)) * math.Pi / float64(l)
	sigma := math.Ldexp(0.8, j)
	w := &wavelet{
		cos: math.Cos(angle), sin: math.Sin(angle),
		along: sigma, across: sigma * float64(l) / 4,
		center: math.Ldexp(3*math.Pi/4, -j),
	}
	reach := math.Sqrt(2*negligible)/min(w.along, w.across) + w.center + math.Pi
	w.shells = int(math.Ceil(reach / (2 * math.Pi)))
	w.beta = w.gaussian(0, 0, w.center) / w.gaussian(0, 0, 0)
	return w
}

// at returns the filter's Fourier transform, which is real.
func (w *wavelet) at(u, v float64) float64 {
	return w.gaussian(u, v, w.center) - w.beta*w.gaussian(u, v, 0)
}

// gaussian returns the periodic sum of Gaussians whose first lies center away
// from zero, along the orientation.
func (w *wavelet) gaussian(u, v, center float64) float64 {
	sum := 0.0
	for i := -w.shells; i <= w.shells; i++ {
		for k := -w.shells; k <= w.shells; k++ {
			x, y := u+2*math.Pi*float64(i), v+2*math.Pi*float64(k)
			r := (w.cos*x + w.sin*y - center) * w.along
			s := (w.cos*y - w.sin*x) * w.across
			if e := (r*r + s*s) / 2; e < negligible {
				sum += math.Exp(-e)
			}
		}
	}
	return sum
}

// lowpass returns the Fourier transform of one dimension of φ for the scale
// 2^j: φ is the product of two such Gaussians.
func lowpass(j int, omega float64) float64 {
	sigma := math.Ldexp(0.8, j-1)
	sum := 0.0
	for i := -3; i <= 3; i++ {
		x := (omega + 2*math.Pi*float64(i)) * sigma
		sum += math.Exp(-x * x / 2)
	}
	return sum
}

// held reports whether a grid of n/2^res samples keeps frequency k of n: those
// from -n/2^(res+1) to just below n/2^(res+1).
func held(k, n, res int) bool {
	half := n >> (res + 1)
	return res == 0 || k < half || k >= n-half
}
