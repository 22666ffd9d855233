package noise

import "math"

// Bounds outside of which a pair takes the slow path; the assembly has the
// same. In terms of u they are 1-2^-37 and 2^-19.98.
const (
	leastLog = 0x1p-36 // least -2 ln u
	mostLog  = 27.7
)

// roundedGeneric is the reference of every instruction set: for each group of
// 16 samples it adds those of the good pairs to dst, and nothing for the rest,
// whose bits it sets in slow.
func roundedGeneric(dst []int64, words []uint64, slow []byte, sigma, limit float64) {
	for i := range slow[:len(dst)/groupSize] {
		z, w := dst[i*groupSize:][:groupSize], words[i*groupSize:][:groupSize]
		slow[i] = 0
		for j := range pairs {
			x, y, r := pair(w[j], w[j+pairs], sigma)
			n, m := math.RoundToEven(x), math.RoundToEven(y)
			if r >= leastLog && r <= mostLog && math.Abs(x-n) <= limit && math.Abs(y-m) <= limit {
				z[j] += int64(n)
				z[j+pairs] += int64(m)
			} else {
				slow[i] |= 1 << j
			}
		}
	}
}

// pair is the float64 Box-Muller pair of two words, unrounded, and the squared
// radius r = -2 ln u. The error bound in the package doc counts its operations
// one by one. Every product is inside math.FMA or a conversion, which the
// compiler must not fuse, so the result is the same on every machine.
func pair(u, v uint64, sigma float64) (z0, z1, r float64) {
	// s = u or u-1, whichever is within [-1/2, 1/2): the one that is precise.
	s := math.FMA(float64(int64(u)), 0x1p-64, 0x1p-65)
	x := s
	if u>>63 != 0 {
		x++
	}
	// x = m 2^e, t = m inverse - 1.
	b := math.Float64bits(x)
	i := b >> 48 & 15
	e := float64(int64(b>>52) - 1023)
	t := math.FMA(math.Float64frombits(b&(1<<52-1)|1023<<52), inverse[i], -1)
	if u>>63 != 0 && s >= -1./32 {
		t = s // inverse is 1/2 and e is -1
	}
	r = math.FMA(t, evenOdd(&logPoly, t), math.FMA(e, minus2Ln2, logInverse[i]))
	radius := float64(math.Sqrt(r) * sigma)

	a := float64(float64(int64(v<<2)) * quarterPi)
	y := float64(a * a)
	p := sinPoly[6]
	for k := 5; k >= 0; k-- {
		p = math.FMA(p, y, sinPoly[k])
	}
	sin, cos := float64(radius*float64(p*a)), float64(radius*horner8(&cosPoly, y))
	z0, z1 = cos, sin
	if v>>63 != 0 { // a quarter turn
		z0, z1 = -sin, cos
	}
	if v>>62&1 != 0 { // half a turn
		z0, z1 = -z0, -z1
	}
	return z0, z1, r
}

func horner8(c *[8]float64, x float64) float64 {
	p := c[7]
	p = math.FMA(p, x, c[6])
	p = math.FMA(p, x, c[5])
	p = math.FMA(p, x, c[4])
	p = math.FMA(p, x, c[3])
	p = math.FMA(p, x, c[2])
	p = math.FMA(p, x, c[1])
	return math.FMA(p, x, c[0])
}

// evenOdd is the polynomial c at x, the even and the odd part in x².
func evenOdd(c *[8]float64, x float64) float64 {
	y := float64(x * x)
	odd := math.FMA(math.FMA(math.FMA(c[7], y, c[5]), y, c[3]), y, c[1])
	even := math.FMA(math.FMA(math.FMA(c[6], y, c[4]), y, c[2]), y, c[0])
	return math.FMA(odd, x, even)
}
