package kernel

import "math"

// Axpy adds a·x to y: y[i] += a·x[i], the product rounded before the sum, with
// the same bits on every level and architecture. x may be y itself. It panics
// if the lengths differ or x and y overlap in part.
func Axpy(y []float32, a float32, x []float32) {
	checkPair(y, x)
	level := streamLevel(len(y))
	for len(y) > 0 {
		n := min(len(y), callLen)
		axpy(level, y[:n], a, x[:n])
		y, x = y[n:], x[n:]
	}
}

// Scale sets y[i] = a·x[i]. x may be y itself. It panics if the lengths differ
// or x and y overlap in part.
func Scale(y []float32, a float32, x []float32) {
	checkPair(y, x)
	level := streamLevel(len(y))
	for len(y) > 0 {
		n := min(len(y), callLen)
		scale(level, y[:n], a, x[:n])
		y, x = y[n:], x[n:]
	}
}

// Add adds x to y: y[i] += x[i]. x may be y itself. It panics if the lengths
// differ or x and y overlap in part.
func Add(y, x []float32) {
	checkPair(y, x)
	level := streamLevel(len(y))
	for len(y) > 0 {
		n := min(len(y), callLen)
		add(level, y[:n], x[:n])
		y, x = y[n:], x[n:]
	}
}

// ClipAdd adds to y the vector x clipped to l2 norm clip, y += min(1,
// clip/|x|)·x, and returns |x| with a relative error below 36·2^-24 (half of
// SumSquares'). The factor is rounded towards zero, so the vector added has a
// norm of at most clip·(1 + 37·2^-24) before it is rounded into y.
//
// If x holds a NaN or an infinity, y stays as it is and the norm returned is
// NaN or +Inf. The bits do not depend on the level. It panics if the lengths
// differ, x and y overlap at all, or clip is negative or NaN.
func ClipAdd(y, x []float32, clip float32) float64 {
	checkPair(y, x)
	if len(y) > 0 && &y[0] == &x[0] {
		panic("kernel: ClipAdd onto its own input")
	}
	if !(clip >= 0) {
		panic("kernel: clip must be at least 0")
	}
	norm := math.Sqrt(SumSquares(x))
	switch {
	case !(norm <= math.MaxFloat64):
	case norm <= float64(clip):
		Add(y, x)
	default:
		Axpy(y, towardsZero(float64(clip)/norm), x)
	}
	return norm
}

// towardsZero is the greatest float32 not above x, for x >= 0.
func towardsZero(x float64) float32 {
	a := float32(x)
	if float64(a) > x {
		a = math.Float32frombits(math.Float32bits(a) - 1)
	}
	return a
}
