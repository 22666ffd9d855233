package kernel

import "math"

// e^x = 2^n·e^r with n the integer nearest x/ln 2 and |r| <= 0.3466.
//
// e^r = 1 + r + r²·q(r), q of degree 5 with q(0) = 1/2: the minimax polynomial
// whose relative error on e^r is 2^-31.
const (
	expLog2E  = 1.44269504088896340736 // 1/ln 2
	expLn2Hi  = 0xb172p-16             // ln 2 to 16 bits: n·expLn2Hi is exact for |n| < 2^8
	expLn2Lo  = 1.42860682030941723212e-6
	expQ1     = 0.16666647965438622
	expQ2     = 0.04166648184454741
	expQ3     = 0.008337824209582765
	expQ4     = 0.0013933345978937558
	expQ5     = 0.0001736597609701873
	expMagic  = 3 << 22 // adding it rounds |x| < 2^22 to an integer, held in the low bits
	expLowest = -104    // e^expLowest rounds to 0
	expMost   = 89      // e^expMost overflows
	tanhMost  = 20      // tanh(tanhMost/2) rounds to 1
)

// reduce returns n and e^r-1 for |x| < 2^8. The conversions forbid the compiler
// to fuse products and sums.
func reduce(x float32) (n int32, p float32) {
	t := float32(x*expLog2E) + expMagic
	n = int32(math.Float32bits(t)) - magicBits
	f := t - expMagic
	r := x - float32(f*expLn2Hi)
	r -= float32(f * expLn2Lo)
	r2 := r * r
	q := float32(r*expQ5) + expQ4
	q = float32(q*r2) + (float32(r*expQ3) + expQ2)
	q = float32(q*r2) + (float32(r*expQ1) + 0.5)
	return n, r + float32(q*r2)
}

const magicBits = 0x4b400000 // of expMagic

// pow2 is 2^n for -126 <= n <= 127.
func pow2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

// exp1 is e^x for x in [expLowest, expMost] or NaN. The power of two is
// multiplied in halves: the first product is exact, the second rounds where
// the result is subnormal.
func exp1(x float32) float32 {
	n, p := reduce(x)
	half := n >> 1
	return (1 + p) * pow2(half) * pow2(n-half)
}

func expGeneric(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		if v > expMost {
			v = expMost
		} else if v < expLowest {
			v = expLowest
		}
		dst[i] = exp1(v)
	}
}

// tanh|x| = m/(m+2) with m = e^2|x| - 1 = 2^n·(e^r-1) + (2^n-1).
func tanhGeneric(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		b := math.Float32bits(v)
		a := math.Float32frombits(b &^ signBit)
		a += a
		if a > tanhMost {
			a = tanhMost
		}
		n, p := reduce(a)
		s := pow2(n)
		m := float32(s*p) + (s - 1)
		dst[i] = math.Float32frombits(math.Float32bits(m/(m+2)) | b&signBit)
	}
}

// The sigmoid of x is 1/(1+e) for x >= 0 and e/(1+e) for x < 0, e = e^-|x|.
func sigmoidGeneric(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		b := math.Float32bits(v)
		a := math.Float32frombits(b | signBit)
		if a < expLowest {
			a = expLowest
		}
		e := exp1(a)
		negative := uint32(int32(b) >> 31) // a mask, as the sign is unpredictable
		n := math.Float32bits(e)&negative | math.Float32bits(1)&^negative
		dst[i] = math.Float32frombits(n) / (1 + e)
	}
}
