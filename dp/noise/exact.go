package noise

import (
	"math"
	"math/big"
	"sync"
)

// The slow path: the Box-Muller pair of two real uniforms that are read bit by
// bit, in ball arithmetic (Johansson, "Arb", 2017) whose precision doubles
// until both samples are rounded for certain (Ziv 1991).

// A ball is the set of reals within rad of mid, both in units of 2^-frac, frac
// being the precision of the field it belongs to. rad is rounded up.
type ball struct {
	mid *big.Int
	rad float64
}

// up makes good the rounding of a radius computed in a few float64 operations,
// each off by at most 2^-53 of its result.
const up = 1 + 0x1p-45

// field holds the constants of fixed-point numbers with frac fraction bits.
// It is immutable.
type field struct {
	frac   uint
	ln2    ball
	pi4    ball     // π/4
	lnStep [25]ball // lnStep[c] = ln(c/16), 11 <= c <= 23
}

// fields keeps the fields made so far, by precision: a handful.
var fields sync.Map

func fieldOf(frac uint) *field {
	if f, ok := fields.Load(frac); ok {
		return f.(*field)
	}
	f := &field{frac: frac}
	f.ln2 = f.atanhRatio(1, 3, -1).scaled(2) // ln 2 = 2 atanh(1/3)
	// Machin: π/4 = 4 atan(1/5) - atan(1/239).
	f.pi4 = f.atanhRatio(1, 5, 1).scaled(4).sub(f.atanhRatio(1, 239, 1))
	for c := int64(11); c < int64(len(f.lnStep)); c++ {
		f.lnStep[c] = f.atanhRatio(c-16, c+16, -1).scaled(2) // ln x = 2 atanh((x-1)/(x+1))
	}
	fields.Store(frac, f)
	return f
}

// value is x as a float64, within a relative 2^-52.
func (f *field) value(x *big.Int) float64 {
	var mant big.Float
	exp := mant.SetPrec(53).SetInt(x).MantExp(&mant)
	v, _ := mant.Float64()
	return math.Ldexp(v, exp-int(f.frac))
}

func (b ball) scaled(k int64) ball {
	return ball{new(big.Int).Mul(b.mid, big.NewInt(k)), b.rad * math.Abs(float64(k)) * up}
}

func (b ball) add(c ball) ball {
	return ball{new(big.Int).Add(b.mid, c.mid), (b.rad + c.rad) * up}
}

func (b ball) sub(c ball) ball {
	return ball{new(big.Int).Sub(b.mid, c.mid), (b.rad + c.rad) * up}
}

// mul multiplies. The shift rounds down: less than one unit.
func (f *field) mul(b, c ball) ball {
	mid := new(big.Int).Mul(b.mid, c.mid)
	mid.Rsh(mid, f.frac)
	x, y := math.Abs(f.value(b.mid)), math.Abs(f.value(c.mid))
	return ball{mid, (x*c.rad + y*b.rad + math.Ldexp(b.rad*c.rad, -int(f.frac)) + 1) * up}
}

// quo divides by a positive integer.
func (b ball) quo(k int64) ball {
	mid := new(big.Int)
	return ball{mid.Quo(b.mid, big.NewInt(k)), (b.rad/float64(k) + 1) * up}
}

// atanhRatio is Σ_k (-sign)^k z^(2k+1)/(2k+1) for z = p/q, |z| <= 1/3: atanh z
// for sign -1, atan z for sign 1.
//
// Every power is exact but for less than 2 units (each step shrinks what it
// inherits ninefold), every term for less than 3, and the series left out is
// below one unit, since it starts when the power has vanished.
func (f *field) atanhRatio(p, q, sign int64) ball {
	power := new(big.Int).Lsh(big.NewInt(p), f.frac)
	power.Quo(power, big.NewInt(q))
	num, den := big.NewInt(p*p), big.NewInt(q*q)
	sum, term, terms := new(big.Int), new(big.Int), int64(0)
	for power.Sign() != 0 {
		term.Quo(power, big.NewInt(2*terms+1))
		if sign > 0 && terms%2 == 1 {
			sum.Sub(sum, term)
		} else {
			sum.Add(sum, term)
		}
		power.Mul(power, num)
		power.Quo(power, den)
		terms++
	}
	return ball{sum, float64(3*terms + 3)}
}

// ln is the logarithm of a ball within (0, 1]. It reports false if the ball
// is not certainly positive.
func (f *field) ln(u ball) (ball, bool) {
	shift := int(f.frac) - u.mid.BitLen()
	if f.value(u.mid)*(1-0x1p-50) <= math.Ldexp(u.rad, 1-int(f.frac)) {
		return ball{}, false
	}
	// u = m 2^-shift, 1/2 <= m < 1, taken to 3/4 <= m < 3/2.
	m := new(big.Int).Lsh(u.mid, uint(max(shift, 0)))
	if m.Bit(int(f.frac)-2) == 0 {
		m.Lsh(m, 1)
		shift++
	}
	// c/16 nearest to m: z = (16m-c)/(16m+c), |z| <= 1/48.
	step := new(big.Int).Rsh(m, f.frac-5)
	c := (step.Int64() + 1) / 2
	one := new(big.Int).Lsh(big.NewInt(c), f.frac)
	m.Lsh(m, 4)
	z := new(big.Int).Sub(m, one)
	z.Lsh(z, f.frac)
	z.Quo(z, one.Add(m, one))
	// atanh z as in atanhRatio: powers off by less than 2, terms by less than 3.
	square := new(big.Int).Mul(z, z)
	square.Rsh(square, f.frac)
	power, term, sum, terms := z, new(big.Int), new(big.Int), int64(0)
	for power.BitLen() > 1 {
		sum.Add(sum, term.Quo(power, big.NewInt(2*terms+1)))
		power.Mul(power, square)
		power.Rsh(power, f.frac)
		terms++
	}
	out := ball{sum, float64(3*terms + 6)}.scaled(2)
	out = out.add(f.lnStep[c]).sub(f.ln2.scaled(int64(shift)))
	// The radius of u, through the derivative: 1/(u-rad) <= 2/u.
	out.rad = (out.rad + 2*u.rad/f.value(u.mid)) * up
	return out, true
}

// sqrt is the root of a ball. It reports false if the ball is not certainly
// positive.
func (f *field) sqrt(b ball) (ball, bool) {
	v := f.value(b.mid)
	if v <= math.Ldexp(b.rad, 1-int(f.frac)) {
		return ball{}, false
	}
	mid := new(big.Int).Lsh(b.mid, f.frac)
	return ball{mid.Sqrt(mid), (b.rad/math.Sqrt(v) + 1) * up}, true
}

// sincos is the sine and cosine of a ball within [-1, 1], by Taylor's series.
// The radii carry over: both functions have slope at most 1.
func (f *field) sincos(x ball) (sin, cos ball) {
	exact := ball{x.mid, 0}
	square := f.mul(exact, exact)
	sin, cos = exact, ball{new(big.Int).Lsh(big.NewInt(1), f.frac), 0}
	s, c := sin, cos
	for k := int64(1); s.mid.BitLen() > 1 || c.mid.BitLen() > 1; k++ {
		c = f.mul(c, square).quo((2*k - 1) * 2 * k).scaled(-1)
		s = f.mul(s, square).quo(2 * k * (2*k + 1)).scaled(-1)
		sin, cos = sin.add(s), cos.add(c)
	}
	// What is left out is below the last term, in size at most 1 and its radius.
	sin.rad = (sin.rad + 1 + s.rad + x.rad) * up
	cos.rad = (cos.rad + 1 + c.rad + x.rad) * up
	return sin, cos
}

// round is the integer nearest to sigma times b, and whether that is certain.
func (f *field) round(b ball, sigma float64) (int64, bool) {
	if !(b.rad < 0x1p900) {
		return 0, false // hundreds of leading zeros in u: far from decided
	}
	frac, exp := math.Frexp(sigma)
	exp -= 53
	x := new(big.Int).Mul(b.mid, big.NewInt(int64(frac*(1<<53))))
	// The bounds of sigma*b in units of 2^(exp-frac): the product is exact.
	rad, _ := big.NewFloat(b.rad * frac * (1 << 53) * up).Int(nil)
	rad.Add(rad, big.NewInt(1))
	point := uint(int(f.frac) - exp) // fraction bits of x, positive
	half := new(big.Int).Lsh(big.NewInt(1), point-1)
	lo := new(big.Int).Sub(x, rad)
	lo.Add(lo, half).Rsh(lo, point)
	hi := x.Add(x, rad)
	hi.Add(hi, half).Rsh(hi, point)
	return lo.Int64(), lo.Cmp(hi) == 0
}

const (
	// extensionBlocks is the room of a pair in its extension stream, in blocks
	// of two words, one for u and one for v.
	extensionBlocks = 1 << 10
	// extensionPurpose derives the key of extension streams.
	extensionPurpose = "dp/noise rounded gaussian extension"
)

// exactPair returns the rounded samples of the real pair that begins with the
// words u and v and goes on with the words that extend gives: extend(i) returns
// the i-th words after u and v.
//
// It panics if they are not decided after 2^16 bits, which is less likely than
// 2^-60000.
func exactPair(u, v uint64, sigma float64, extend func(i uint64) (uint64, uint64)) (z0, z1 int64) {
	us, vs := new(big.Int).SetUint64(u), big.NewInt(int64(v<<2)>>2)
	word := new(big.Int)
	for have, want := 1, 2; want <= extensionBlocks; want *= 2 {
		for ; have < want; have++ {
			ue, ve := extend(uint64(have - 1))
			us.Add(us.Lsh(us, 64), word.SetUint64(ue))
			vs.Add(vs.Lsh(vs, 64), word.SetUint64(ve))
		}
		if z0, z1, ok := decide(us, vs, uint(64*want), v>>62, sigma); ok {
			return z0, z1
		}
	}
	panic("noise: 2^16 bits did not decide a sample")
}

// decide rounds the samples of every real pair whose first bits are given, if
// they agree: u in (us, us+1) 2^-bits and the angle in the quadrant π/4 times
// (vs, vs+1) 2^(3-bits).
func decide(us, vs *big.Int, bits uint, quadrant uint64, sigma float64) (z0, z1 int64, ok bool) {
	f := fieldOf(bits + 64)
	one := big.NewInt(1)
	interval := func(x *big.Int, bits uint) ball {
		mid := new(big.Int).Lsh(x, 1)
		return ball{mid.Lsh(mid.Add(mid, one), f.frac-bits-1), math.Ldexp(1, int(f.frac-bits-1))}
	}
	r, ok := f.ln(interval(us, bits))
	if !ok {
		return 0, 0, false
	}
	if r, ok = f.sqrt(r.scaled(-2)); !ok {
		return 0, 0, false
	}
	sin, cos := f.sincos(f.mul(interval(vs, bits-3), f.pi4))
	if quadrant&2 != 0 {
		sin, cos = cos, sin.scaled(-1)
	}
	if quadrant&1 != 0 {
		sin, cos = sin.scaled(-1), cos.scaled(-1)
	}
	z0, ok0 := f.round(f.mul(r, cos), sigma)
	z1, ok1 := f.round(f.mul(r, sin), sigma)
	return z0, z1, ok0 && ok1
}
