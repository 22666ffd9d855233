package he

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/sotto-ml/sotto/nn"
)

// function is an activation: exact as a polynomial, or to be fitted by one.
type function interface{ at(x float64) float64 }

// exactly is a polynomial activation, constant first.
type exactly []float64

func (p exactly) at(x float64) float64 {
	y := 0.
	for i := len(p) - 1; i >= 0; i-- {
		y = y*x + p[i]
	}
	return y
}

// mostDegree is that of an activation's polynomial.
const mostDegree = 31

// smooth is an activation that is no polynomial.
type smooth func(float64) float64

func (f smooth) at(x float64) float64 { return f(x) }

func functionOf(layer nn.Layer) (function, error) {
	switch l := layer.(type) {
	case nn.Square:
		return exactly{0, 0, 1}, nil
	case nn.Polynomial:
		p := make(exactly, len(l.Coefficients))
		for i, c := range l.Coefficients {
			p[i] = float64(c)
		}
		for len(p) > 1 && p[len(p)-1] == 0 {
			p = p[:len(p)-1]
		}
		if len(p) == 1 {
			return nil, errors.New("its polynomial is constant")
		}
		if degree := len(p) - 1; degree > mostDegree {
			return nil, fmt.Errorf("its polynomial has degree %d, at most %d is taken", degree, mostDegree)
		}
		return p, nil
	case nn.ReLU:
		return smooth(func(x float64) float64 { return max(x, 0) }), nil
	case nn.Tanh:
		return smooth(math.Tanh), nil
	case nn.SiLU:
		return smooth(func(x float64) float64 { return x / (1 + math.Exp(-x)) }), nil
	case nn.GELU:
		if l.Exact {
			return smooth(func(x float64) float64 { return x / 2 * math.Erfc(-x/math.Sqrt2) }), nil
		}
		return smooth(func(x float64) float64 {
			return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}), nil
	}
	return nil, errors.New("no rule for it")
}

// fit is the polynomial Σ c[k]·T_k((x-mid)/half) that stands for an activation, T_k
// being Chebyshev's.
type fit struct {
	mid, half float64
	c         []float64
	worst     float64 // largest error over [mid-half, mid+half]; 0 if exact
	typical   float64 // root mean square error over the calibration inputs
}

func (f fit) degree() int { return len(f.c) - 1 }

// at is Clenshaw's recurrence.
func (f fit) at(x float64) float64 {
	t := (x - f.mid) / f.half
	b1, b2 := 0., 0.
	for k := len(f.c) - 1; k > 0; k-- {
		b1, b2 = f.c[k]+2*t*b1-b2, b1
	}
	return f.c[0] + t*b1 - b2
}

// gridPoints over the range, Chebyshev-spaced, hold a fit near the function where the
// calibration inputs seldom go.
const gridPoints = 512

// fitPolynomial fits f in the least squares sense over [lo, hi]: half of the weight lies
// on the calibration values zs, half on a grid denser towards the ends, which bounds
// the error everywhere.
func fitPolynomial(f function, degree int, lo, hi float64, zs []float64) (fit, error) {
	out := fit{mid: (lo + hi) / 2, half: (hi - lo) / 2}
	if p, ok := f.(exactly); ok {
		out.c = chebyshev(p, out.mid, out.half)
		return out, nil
	}
	xs := make([]float64, 0, gridPoints+len(zs))
	ws := make([]float64, 0, gridPoints+len(zs))
	for i := range gridPoints {
		xs = append(xs, out.mid+out.half*math.Cos(math.Pi*(float64(i)+.5)/gridPoints))
		ws = append(ws, math.Sqrt(.5/gridPoints))
	}
	for _, z := range zs {
		xs = append(xs, z)
		ws = append(ws, math.Sqrt(.5/float64(len(zs))))
	}
	a, b := mat.NewDense(len(xs), degree+1, nil), mat.NewVecDense(len(xs), nil)
	for i, x := range xs {
		t := (x - out.mid) / out.half
		t0, t1 := 1., t
		for k := range degree + 1 {
			a.Set(i, k, ws[i]*t0)
			t0, t1 = t1, 2*t*t1-t0
		}
		b.SetVec(i, ws[i]*f.at(x))
	}
	var c mat.VecDense
	if err := c.SolveVec(a, b); err != nil {
		return out, fmt.Errorf("fit of degree %d over [%g, %g]: %w", degree, lo, hi, err)
	}
	out.c = slices.Clone(c.RawVector().Data)
	for i := range 4001 {
		x := lo + (hi-lo)*float64(i)/4000
		out.worst = max(out.worst, math.Abs(out.at(x)-f.at(x)))
	}
	for _, z := range zs {
		d := out.at(z) - f.at(z)
		out.typical += d * d / float64(len(zs))
	}
	out.typical = math.Sqrt(out.typical)
	return out, nil
}

// chebyshev writes the polynomial p(x), constant first, in Chebyshev's basis over
// mid ± half.
func chebyshev(p []float64, mid, half float64) []float64 {
	// Horner's rule in the basis: c ← c·(mid + half·t) + p[k], and t·T_0 = T_1,
	// t·T_k = (T_{k+1} + T_{k-1})/2.
	c := make([]float64, len(p))
	for k := len(p) - 1; k >= 0; k-- {
		next := make([]float64, len(p))
		for i, v := range c {
			if v == 0 {
				continue
			}
			next[i] += mid * v
			if i == 0 {
				next[1] += half * v
			} else {
				if i+1 < len(next) {
					next[i+1] += half * v / 2
				}
				next[i-1] += half * v / 2
			}
		}
		next[0] += p[k]
		c = next
	}
	return c
}

// quadratic gives a, b, c of the fit as a·x² + b·x + c. The degree must be at most 2.
func (f fit) quadratic() (a, b, c float64) {
	c0, c1, c2 := f.c[0], 0., 0.
	if len(f.c) > 1 {
		c1 = f.c[1]
	}
	if len(f.c) > 2 {
		c2 = f.c[2]
	}
	// c0 + c1·t + c2·(2t²-1), t = (x-mid)/half
	a = 2 * c2 / (f.half * f.half)
	b = c1/f.half - 2*a*f.mid
	c = c0 - c2 - c1*f.mid/f.half + a*f.mid*f.mid
	return a, b, c
}
