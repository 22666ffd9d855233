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
