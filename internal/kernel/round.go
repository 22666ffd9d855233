package kernel

// RoundAdd rounds x to the nearest integers, ties to even, and adds them:
// sum[i] += int64(roundToEven(x[i])). Elements must be within ±2^51; beyond, or
// if one is NaN, what is added in its place is unspecified, and nothing else is
// touched. It panics if the lengths differ.
func RoundAdd(sum []int64, x []float32) {
	checkLen(len(sum) == len(x))
	level := streamLevel(len(x))
	for len(x) > 0 {
		n := min(len(x), callLen)
		roundAdd(level, sum[:n], x[:n])
		sum, x = sum[n:], x[n:]
	}
}

// FromInt sets dst[i] = float32(float64(x[i])·float64(scale)), each of the three
// operations rounded to nearest even, with the same bits on every level. It
// panics if the lengths differ.
func FromInt(dst []float32, x []int64, scale float32) {
	checkLen(len(dst) == len(x))
	level := streamLevel(len(x))
	for len(x) > 0 {
		n := min(len(x), callLen)
		fromInt(level, dst[:n], x[:n], scale)
		dst, x = dst[n:], x[n:]
	}
}
