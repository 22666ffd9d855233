package kernel

// PeakFMA runs n rounds of independent multiply-adds on registers alone, at
// the level in use, and returns the floating-point operations done. It is the
// denominator of the benchmarks: no product can be faster.
func PeakFMA(n int) (flops int) {
	if n <= 0 {
		return 0
	}
	return peakFMA(n)
}

// peakGeneric runs twelve scalar chains of a multiplication and an addition.
func peakGeneric(n int) (flops int) {
	var t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11 float32
	const x, y = 0.5, 0.25
	for range n {
		t0 = float32(t0*x) + y
		t1 = float32(t1*x) + y
		t2 = float32(t2*x) + y
		t3 = float32(t3*x) + y
		t4 = float32(t4*x) + y
		t5 = float32(t5*x) + y
		t6 = float32(t6*x) + y
		t7 = float32(t7*x) + y
		t8 = float32(t8*x) + y
		t9 = float32(t9*x) + y
		t10 = float32(t10*x) + y
		t11 = float32(t11*x) + y
	}
	if t0+t1+t2+t3+t4+t5+t6+t7+t8+t9+t10+t11 > 6 {
		panic("kernel: chains left their range") // never: each tends to 1/3 from below
	}
	return 24 * n
}
