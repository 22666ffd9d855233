package kernel

import "math"

// chunkLen is how many elements a float32 partial sum covers before it is
// added to a float64.
const chunkLen = 4096

// Chunks whose sum of squares lies outside [tinySum, MaxFloat32] are summed
// again with x scaled by a power of two: below tinySum squares may have been
// lost to underflow.
const (
	tinySum   = 0x1p-100
	scaleUp   = 0x1p99
	scaleDown = 0x1p-100
)

// SumSquares returns Σ x[i]².
//
// A chunk of 4096 elements is summed in float32, element i in lane i mod 64,
// and the 64 lanes are added in a tree; the chunks' sums are added in order in
// float64. The result depends on the values and len(x) alone, and has the same
// bits on every level and architecture.
//
// For finite x the relative error is at most 70·2^-24 + len(x)·2^-64 (a square's
// rounding, 63 additions in its lane, 6 in the tree), whatever the size of the
// elements: chunks whose squares overflow or underflow float32 are scaled
// first. A result below the true sum by more than that is impossible. If x
// holds an infinity the result is +Inf or NaN, and NaN if it holds a NaN.
func SumSquares(x []float32) float64 {
	var total float64
	level := streamLevel(len(x))
	for len(x) > 0 {
		n := min(len(x), chunkLen)
		s := float64(sumSquares(level, x[:n]))
		switch {
		case s < tinySum:
			s = float64(sumSquaresScaled(x[:n], scaleUp)) * (1 / (scaleUp * scaleUp))
		case s > math.MaxFloat32:
			s = float64(sumSquaresScaled(x[:n], scaleDown)) * (1 / (scaleDown * scaleDown))
		}
		total += s
		x = x[n:]
	}
	return total
}

// Dot returns Σ x[i]·y[i], in the order of SumSquares and with the same bits
// on every level and architecture. For finite x and y the error is at most
// (70·2^-24 + len(x)·2^-53)·Σ|x[i]·y[i]| + len(x)·2^-150: a chunk whose products
// or partial sums overflow float32 is summed again in float64. NaN spreads. It
// panics if the lengths differ.
func Dot(x, y []float32) float64 {
	checkLen(len(x) == len(y))
	var total float64
	level := streamLevel(len(x))
	for len(x) > 0 {
		n := min(len(x), chunkLen)
		s := float64(dot(level, x[:n], y[:n]))
		if s-s != 0 {
			s = dotFloat64(x[:n], y[:n])
		}
		total += s
		x, y = x[n:], y[n:]
	}
	return total
}

// dotFloat64 adds the products, which are exact in float64, in order.
func dotFloat64(x, y []float32) (s float64) {
	for i, v := range x {
		s += float64(v) * float64(y[i])
	}
	return s
}
