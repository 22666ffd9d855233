package noise

import (
	"math"
	"math/big"
	"sync"
)

// The slow path: the Box-Muller pair of two real uniforms that are read bit by
// bit, in ball arithmetic (Johansson 2017) whose precision doubles until both
// samples are rounded for certain (Ziv 1991).

// A ball is the set of reals within rad of mid, both in units of 2^-frac, frac
// being the precision of the field it belongs to. rad is rounded up.
type ball struct {
	mid *big.Int
	rad float64
}

// up makes good the rounding of a radius computed in a few float64 operations,
// each off by at most 2^-53 of its result.
const up = 1 + 0x1p-45

func (b ball) scaled(k int64) ball {
	return ball{new(big.Int).Mul(b.mid, big.NewInt(k)), b.rad * math.Abs(float64(k)) * up}
}

func (b ball) add(c ball) ball {
	return ball{new(big.Int).Add(b.mid, c.mid), (b.rad + c.rad) * up}
}

func (b ball) sub(c ball) ball {
	return ball{new(big.Int).Sub(b.mid, c.mid), (b.rad + c.rad) * up}
}

// field holds the constants of fixed-point numbers with frac fraction bits.
// It is immutable.
type field struct {
	frac   uint
	ln2    ball
	pi4    ball     // π/4
	lnStep [25]ball // lnStep[c] = ln(c/16), 11 <= c <= 24
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

// above is a power of 2 above |x|, below half of it at most |x|, in units of 1;
// x is not zero where below is asked.
func (f *field) above(x *big.Int) float64 { return math.Ldexp(1, x.BitLen()-int(f.frac)) }
func (f *field) below(x *big.Int) float64 { return f.above(x) / 2 }

// positive says whether a ball lies above half its middle, which is positive.
func (f *field) positive(b ball) bool {
	return b.mid.Sign() > 0 && f.below(b.mid) > math.Ldexp(b.rad, 1-int(f.frac))
}

// mul multiplies. The shift rounds down: less than one unit.
func (f *field) mul(b, c ball) ball {
	mid := new(big.Int).Mul(b.mid, c.mid)
	mid.Rsh(mid, f.frac)
	rad := f.above(b.mid)*c.rad + f.above(c.mid)*b.rad + math.Ldexp(b.rad*c.rad, -int(f.frac)) + 1
	return ball{mid, rad * up}
}

// atanhRatio is Σ_k (-sign)^k z^(2k+1)/(2k+1) for z = p/q, |z| <= 1/3: atanh z
// for sign -1, atan z for sign 1.
//
// A power is off by less than 2 units (it inherits a ninth and rounds once), a
// term by less than 3, and the series left out, which starts when the power has
// vanished, by less than 3.
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
	if !f.positive(u) {
		return ball{}, false
	}
	// u = m 2^-shift, 3/4 <= m < 3/2.
	shift := f.frac - uint(u.mid.BitLen())
	m := new(big.Int).Lsh(u.mid, shift)
	if m.Bit(int(f.frac)-2) == 0 {
		m.Lsh(m, 1)
		shift++
	}
	// c/16 nearest to m: z = (16m-c)/(16m+c), |z| <= 1/46.
	c := (new(big.Int).Rsh(m, f.frac-5).Int64() + 1) / 2
	step := new(big.Int).Lsh(big.NewInt(c), f.frac)
	m.Lsh(m, 4)
	power := new(big.Int).Sub(m, step)
	power.Lsh(power, f.frac)
	power.Quo(power, step.Add(m, step))
	// atanh z, counted as in atanhRatio: z itself is off by less than 1 unit,
	// its square by less than 2, a power by less than 2, a term by less than 3.
	square := new(big.Int).Mul(power, power)
	square.Rsh(square, f.frac)
	sum, term, n, terms := new(big.Int), new(big.Int), new(big.Int), int64(0)
	for power.BitLen() > 1 { // shifts round down, to -1 if negative
		sum.Add(sum, term.Quo(power, n.SetInt64(2*terms+1)))
		term.Mul(power, square)
		power.Rsh(term, f.frac)
		terms++
	}
	out := ball{sum, float64(3*terms + 6)}.scaled(2)
	out = out.add(f.lnStep[c]).sub(f.ln2.scaled(int64(shift)))
	// By the derivative, the radius of u over the least of the ball.
	out.rad = (out.rad + 2*u.rad/f.below(u.mid)) * up
	return out, true
}

// sqrt is the root of a ball. It reports false if the ball is not certainly
// positive. |√(x±r) - √x| <= r/√x.
func (f *field) sqrt(b ball) (ball, bool) {
	if !f.positive(b) {
		return ball{}, false
	}
	mid := new(big.Int).Lsh(b.mid, f.frac)
	return ball{mid.Sqrt(mid), (b.rad/math.Sqrt(f.below(b.mid)) + 1) * up}, true
}

// sincos is the sine and cosine of a ball within [-1, 1], by Taylor's series.
// The radius carries over: both functions have slope at most 1.
//
// If a term is off by e units, the next, which is multiplied by a square of at
// most 1 that is itself off by less than 1, rounded, divided by at least 2 and
// rounded, is off by less than (e+2)/2 + 1 and a trifle: less than 5 for ever.
// The series left out is smaller than its last term.
func (f *field) sincos(x ball) (sin, cos ball) {
	square, product, n := new(big.Int), new(big.Int), new(big.Int)
	square.Rsh(product.Mul(x.mid, x.mid), f.frac)
	sum := func(first *big.Int, k int64) ball {
		term, sum, terms := new(big.Int).Set(first), new(big.Int).Set(first), 1
		for ; term.BitLen() > 1; k += 2 {
			term.Rsh(product.Mul(term, square), f.frac)
			term.Neg(term.Quo(term, n.SetInt64(k*(k+1))))
			sum.Add(sum, term)
			terms++
		}
		return ball{sum, (float64(5*terms+7) + x.rad) * up}
	}
	return sum(x.mid, 2), sum(new(big.Int).Lsh(big.NewInt(1), f.frac), 1)
}

// round is the integer nearest to sigma times b, and whether that is certain.
func (f *field) round(b ball, sigma float64) (int64, bool) {
	if !(b.rad < 0x1p900) {
		return 0, false // hundreds of leading zeros in u: far from decided
	}
	frac, exp := math.Frexp(sigma)
	exp -= 53
	// sigma b in units of 2^(exp-f.frac), exact.
	x := new(big.Int).Mul(b.mid, big.NewInt(int64(frac*(1<<53))))
	rad, _ := big.NewFloat(b.rad * frac * (1 << 53) * up).Int(nil)
	rad.Add(rad, big.NewInt(1))
	point := uint(int(f.frac) - exp) // positive: sigma <= 2^36
	half := new(big.Int).Lsh(big.NewInt(1), point-1)
	lo := new(big.Int).Sub(x, rad)
	lo.Rsh(lo.Add(lo, half), point)
	hi := x.Add(x, rad)
	hi.Rsh(hi.Add(hi, half), point)
	return lo.Int64(), lo.Cmp(hi) == 0
}

const (
	// extensionBlocks is the room of a pair in its extension stream, in blocks
	// of two words, one for u and one for v.
	extensionBlocks = 1 << 6
	// extensionPurpose derives the key of extension streams.
	extensionPurpose = "dp/noise rounded gaussian extension"
)

// exactPair returns the rounded samples of the real pair that begins with the
// words u and v and goes on with the words that extend gives: extend(i) returns
// the i-th words after u and v.
//
// It panics if 4096 bits of each do not decide, which the package doc shows to
// be less likely than 2^-998.
func exactPair(u, v uint64, sigma float64, extend func(i uint64) (uint64, uint64)) (z0, z1 int64) {
	us, vs := new(big.Int).SetUint64(u), big.NewInt(int64(v<<2)>>2)
	word := new(big.Int)
	for have, want := 1, 1; want <= extensionBlocks; want *= 2 {
		for ; have < want; have++ {
			ue, ve := extend(uint64(have - 1))
			us.Add(us.Lsh(us, 64), word.SetUint64(ue))
			vs.Add(vs.Lsh(vs, 64), word.SetUint64(ve))
		}
		if z0, z1, ok := decide(us, vs, uint(64*want), v>>62, sigma); ok {
			return z0, z1
		}
	}
	panic("noise: 4096 bits did not decide a sample")
}

// decide rounds the samples of every real pair whose first bits are given, if
// they agree.
func decide(us, vs *big.Int, bits uint, quadrant uint64, sigma float64) (z0, z1 int64, ok bool) {
	f := fieldOf(bits + 64)
	x0, x1, ok := f.realPair(us, vs, bits, quadrant)
	if !ok {
		return 0, 0, false
	}
	z0, ok0 := f.round(x0, sigma)
	z1, ok1 := f.round(x1, sigma)
	return z0, z1, ok0 && ok1
}

// realPair is the balls of all standard pairs with u in (us, us+1) 2^-bits and
// the angle at π/4 times (vs, vs+1) 2^(3-bits) in the quadrant, that is turned
// by π/2 if its high bit is set and by π if its low bit is. It reports false if
// they are unbounded.
func (f *field) realPair(us, vs *big.Int, bits uint, quadrant uint64) (x0, x1 ball, ok bool) {
	one := big.NewInt(1)
	interval := func(x *big.Int, bits uint) ball {
		mid := new(big.Int).Lsh(x, 1)
		return ball{mid.Lsh(mid.Add(mid, one), f.frac-bits-1), math.Ldexp(1, int(f.frac-bits-1))}
	}
	r, ok := f.ln(interval(us, bits))
	if !ok {
		return ball{}, ball{}, false
	}
	if r, ok = f.sqrt(r.scaled(-2)); !ok {
		return ball{}, ball{}, false
	}
	sin, cos := f.sincos(f.mul(interval(vs, bits-3), f.pi4))
	if quadrant&2 != 0 {
		sin, cos = cos, sin.scaled(-1)
	}
	if quadrant&1 != 0 {
		sin, cos = sin.scaled(-1), cos.scaled(-1)
	}
	return f.mul(r, cos), f.mul(r, sin), true
}
