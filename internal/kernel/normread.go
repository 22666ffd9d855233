package kernel

// ReadStream reads x, but for at most 127 elements at its end, and does nothing
// with it, at the level in use. It is the denominator of benchmarks: no kernel
// can pass over memory faster.
func ReadStream(x []float32) {
	for len(x) > 0 {
		n := min(len(x), callLen)
		readStream(x[:n])
		x = x[n:]
	}
}

// readStreamGeneric adds in eight chains.
func readStreamGeneric(x []float32) {
	var s [8]float32
	for len(x) >= 8 {
		v := (*[8]float32)(x)
		s[0] += v[0]
		s[1] += v[1]
		s[2] += v[2]
		s[3] += v[3]
		s[4] += v[4]
		s[5] += v[5]
		s[6] += v[6]
		s[7] += v[7]
		x = x[8:]
	}
	sink(&s)
}

// sink keeps the compiler from seeing that sums are not used.
//
//go:noinline
func sink(*[8]float32) {}
