package kernel

// Exp sets dst[i] = e^x[i], with an error below 1 ulp (in the subnormal range
// too). It overflows to +Inf above 88.72 and underflows to +0 below -103.98;
// e^±0 is 1 and NaN stays NaN.
//
// Exp, Tanh and Sigmoid round every operation, so each has the same bits on
// every level and architecture, and an element's result depends on nothing but
// the element. dst may be x itself. They panic if the lengths differ or dst and
// x overlap in part.
func Exp(dst, x []float32) {
	checkPair(dst, x)
	for len(dst) > 0 {
		n := min(len(dst), callLen)
		exp(dst[:n], x[:n])
		dst, x = dst[n:], x[n:]
	}
}

// Tanh sets dst[i] = tanh(x[i]), with an error below 2.5 ulp. It is odd to the
// last bit, never beyond ±1, and exactly ±1 above 9.02; ±0 stays ±0 and NaN
// stays NaN. Aliasing and panics are Exp's.
func Tanh(dst, x []float32) {
	checkPair(dst, x)
	for len(dst) > 0 {
		n := min(len(dst), callLen)
		tanh(dst[:n], x[:n])
		dst, x = dst[n:], x[n:]
	}
}

// Sigmoid sets dst[i] = 1/(1+e^-x[i]), with an error below 2.5 ulp, for very
// negative x too, where it is about e^x. It never leaves [0, 1]; NaN stays NaN.
// Aliasing and panics are Exp's.
func Sigmoid(dst, x []float32) {
	checkPair(dst, x)
	for len(dst) > 0 {
		n := min(len(dst), callLen)
		sigmoid(dst[:n], x[:n])
		dst, x = dst[n:], x[n:]
	}
}
