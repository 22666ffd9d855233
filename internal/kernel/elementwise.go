package kernel

import "unsafe"

// callLen bounds the elements of one assembly call, which the scheduler cannot
// interrupt: at 3 ns for the slowest element, 100 µs.
const callLen = 1 << 15

// streamLevel is the level for vectors of n elements of the kernels that do so
// little with an element that memory is their limit. Vectors beyond the caches
// need no more than 256-bit loads, and Zen 4 fetches them from memory a fifth
// faster by those than by 512-bit loads. The bits are the same.
func streamLevel(n int) Level {
	if n >= 1<<22 && current == AVX512 {
		return AVX2
	}
	return current
}

// ReLU sets dst[i] to x[i], or to +0 where x[i] < 0. NaN stays NaN, so that a
// bad example stays visible, and -0 stays -0. dst may be x itself. It panics if
// the lengths differ or dst and x overlap in part.
func ReLU(dst, x []float32) {
	checkPair(dst, x)
	level := streamLevel(len(dst))
	for len(dst) > 0 {
		n := min(len(dst), callLen)
		relu(level, dst[:n], x[:n])
		dst, x = dst[n:], x[n:]
	}
}

// ReLUGrad sets dst[i] to dy[i], or to +0 where x[i] <= 0. Where x[i] is NaN
// the result is dy[i]. dst may be dy or x itself. It panics if the lengths
// differ or dst overlaps dy or x in part.
func ReLUGrad(dst, dy, x []float32) {
	checkPair(dst, dy)
	checkPair(dst, x)
	level := streamLevel(len(dst))
	for len(dst) > 0 {
		n := min(len(dst), callLen)
		reluGrad(level, dst[:n], dy[:n], x[:n])
		dst, dy, x = dst[n:], dy[n:], x[n:]
	}
}

// Mul sets dst[i] = x[i]·y[i]. dst may be x or y itself. It panics if the
// lengths differ or dst overlaps x or y in part.
func Mul(dst, x, y []float32) {
	checkPair(dst, x)
	checkPair(dst, y)
	level := streamLevel(len(dst))
	for len(dst) > 0 {
		n := min(len(dst), callLen)
		mul(level, dst[:n], x[:n], y[:n])
		dst, x, y = dst[n:], x[n:], y[n:]
	}
}

// Max sets dst[i] = max(x[i], y[i]) as Go's max does: if either is NaN so is
// the result, and max(-0, +0) is +0. dst may be x or y itself. It panics if
// the lengths differ or dst overlaps x or y in part.
func Max(dst, x, y []float32) {
	checkPair(dst, x)
	checkPair(dst, y)
	level := streamLevel(len(dst))
	for len(dst) > 0 {
		n := min(len(dst), callLen)
		maximum(level, dst[:n], x[:n], y[:n])
		dst, x, y = dst[n:], x[n:], y[n:]
	}
}

// AllFinite reports whether x holds no NaN and no infinity. It is true of an
// empty x.
func AllFinite(x []float32) bool {
	level := streamLevel(len(x))
	for len(x) > 0 {
		n := min(len(x), chunkLen)
		if !allFinite(level, x[:n]) {
			return false
		}
		x = x[n:]
	}
	return true
}

func checkLen(equal bool) {
	if !equal {
		panic("kernel: lengths differ")
	}
}

// checkPair panics unless x and y have one length and are either the same
// memory or disjoint.
func checkPair(x, y []float32) {
	checkLen(len(x) == len(y))
	px, py := uintptr(unsafe.Pointer(unsafe.SliceData(x))), uintptr(unsafe.Pointer(unsafe.SliceData(y)))
	size := 4 * uintptr(len(x))
	if px != py && px < py+size && py < px+size {
		panic("kernel: partial overlap")
	}
}
