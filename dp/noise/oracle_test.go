package noise

import (
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

// The oracle: Box-Muller on big.Float, by other methods than the slow path.
// π by the arithmetic-geometric mean, logarithms by repeated roots, cosines by
// repeated halving.
type oracle struct{ prec uint }

func (o oracle) float(x float64) *big.Float { return new(big.Float).SetPrec(o.prec).SetFloat64(x) }

// tiny says whether x is below the precision.
func (o oracle) tiny(x *big.Float) bool { return x.Sign() == 0 || x.MantExp(nil) < 8-int(o.prec) }

func (o oracle) mul(x, y *big.Float) *big.Float { return o.float(0).Mul(x, y) }
func (o oracle) quo(x, y *big.Float) *big.Float { return o.float(0).Quo(x, y) }
func (o oracle) add(x, y *big.Float) *big.Float { return o.float(0).Add(x, y) }
func (o oracle) sub(x, y *big.Float) *big.Float { return o.float(0).Sub(x, y) }

// pi: Gauss-Legendre.
func (o oracle) pi() *big.Float {
	a, b, t, p := o.float(1), o.float(0).Sqrt(o.float(0.5)), o.float(0.25), o.float(1)
	for !o.tiny(o.sub(a, b)) {
		next := o.mul(o.add(a, b), o.float(0.5))
		b = o.float(0).Sqrt(o.mul(a, b))
		d := o.sub(a, next)
		t = o.sub(t, o.mul(p, o.mul(d, d)))
		p = o.mul(p, o.float(2))
		a = next
	}
	s := o.add(a, b)
	return o.quo(o.mul(s, s), o.mul(t, o.float(4)))
}

// ln: 32 square roots, then the logarithm's own series.
func (o oracle) ln(x *big.Float) *big.Float {
	const roots = 32
	wide := oracle{o.prec + 2*roots + uint(max(0, -x.MantExp(nil)))}
	y := wide.float(0).Set(x)
	for range roots {
		y = wide.float(0).Sqrt(y)
	}
	d := wide.sub(wide.float(1), y) // -ln(1-d) = Σ d^k/k
	sum, power := wide.float(0), wide.float(1)
	for k := 1.0; ; k++ {
		power = wide.mul(power, d)
		if wide.tiny(power) {
			return o.float(0).Neg(wide.mul(sum, wide.float(1<<roots)))
		}
		sum = wide.add(sum, wide.quo(power, wide.float(k)))
	}
}

// sincos halves x 32 times, and doubles back by sin 2x = 2 sin x cos x and
// 1 - cos 2x = 2 sin² x.
func (o oracle) sincos(x *big.Float) (sin, cos *big.Float) {
	const halvings = 32
	wide := oracle{o.prec + 4*halvings}
	y := wide.mul(x, wide.float(1./(1<<halvings)))
	sin, term := wide.float(0).Set(y), wide.float(0).Set(y)
	for k := 2.0; !wide.tiny(term); k += 2 {
		term = wide.quo(wide.mul(term, wide.mul(y, y)), wide.float(-k*(k+1)))
		sin = wide.add(sin, term)
	}
	cos = wide.float(0).Sqrt(wide.sub(wide.float(1), wide.mul(sin, sin)))
	for range halvings {
		versine := wide.mul(wide.float(2), wide.mul(sin, sin))
		sin = wide.mul(wide.float(2), wide.mul(sin, cos))
		cos = wide.sub(wide.float(1), versine)
	}
	return sin, cos
}

// pair is the standard pair of u and the angle π/4 w, turned by the quadrant.
func (o oracle) pair(u, w *big.Float, quadrant uint64) (z0, z1 *big.Float) {
	r := o.float(0).Sqrt(o.mul(o.float(-2), o.ln(u)))
	turn := o.add(w, o.float(float64(2*(quadrant>>1)+4*(quadrant&1))))
	sin, cos := o.sincos(o.mul(turn, o.mul(o.pi(), o.float(0.25))))
	return o.mul(r, cos), o.mul(r, sin)
}

// nearest is the integer nearest to x.
func nearest(x *big.Float) int64 {
	half := big.NewFloat(0.5)
	if x.Sign() < 0 {
		half.Neg(half)
	}
	n, _ := new(big.Float).SetPrec(x.Prec()+64).Add(x, half).Int64() // to zero
	return n
}

func TestOracle(t *testing.T) {
	o := oracle{200}
	require.Equal(t, "3.14159265358979323846264338327950288419716939937511", o.pi().Text('f', 50))
	require.Equal(t, "-0.69314718055994530941723212145817656807550013436026", o.ln(o.float(0.5)).Text('f', 50))
	require.Equal(t, "2.30258509299404568401799145468436420760110148862877", o.ln(o.float(10)).Text('f', 50))
	sin, cos := o.sincos(o.float(1))
	require.Equal(t, "0.84147098480789650665250232163029899962256306079837", sin.Text('f', 50))
	require.Equal(t, "0.54030230586813971740093660744297660373231042061792", cos.Text('f', 50))
	for x, want := range map[float64]int64{0.4: 0, 0.6: 1, -0.4: 0, -0.6: -1, 2.5000001: 3, -2.4999999: -2} {
		require.Equal(t, want, nearest(o.float(x)), x)
	}
}
