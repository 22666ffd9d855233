//go:build !purego

package kernel

import "unsafe"

//go:noescape
func relu512(dst, x *float32, n int)

//go:noescape
func relu256(dst, x *float32, n int)

//go:noescape
func reluGrad512(dst, dy, x *float32, n int)

//go:noescape
func reluGrad256(dst, dy, x *float32, n int)

//go:noescape
func mul512(dst, x, y *float32, n int)

//go:noescape
func mul256(dst, x, y *float32, n int)

//go:noescape
func maximum512(dst, x, y *float32, n int)

//go:noescape
func maximum256(dst, x, y *float32, n int)

//go:noescape
func allFinite512(x *float32, n int) bool

//go:noescape
func allFinite256(x *float32, n int) bool

func relu(level Level, dst, x []float32) {
	switch level {
	case AVX512:
		relu512(unsafe.SliceData(dst), unsafe.SliceData(x), len(dst))
	case AVX2:
		relu256(unsafe.SliceData(dst), unsafe.SliceData(x), len(dst))
	default:
		reluGeneric(dst, x)
	}
}

func reluGrad(level Level, dst, dy, x []float32) {
	switch level {
	case AVX512:
		reluGrad512(unsafe.SliceData(dst), unsafe.SliceData(dy), unsafe.SliceData(x), len(dst))
	case AVX2:
		reluGrad256(unsafe.SliceData(dst), unsafe.SliceData(dy), unsafe.SliceData(x), len(dst))
	default:
		reluGradGeneric(dst, dy, x)
	}
}

func mul(level Level, dst, x, y []float32) {
	switch level {
	case AVX512:
		mul512(unsafe.SliceData(dst), unsafe.SliceData(x), unsafe.SliceData(y), len(dst))
	case AVX2:
		mul256(unsafe.SliceData(dst), unsafe.SliceData(x), unsafe.SliceData(y), len(dst))
	default:
		mulGeneric(dst, x, y)
	}
}

func maximum(level Level, dst, x, y []float32) {
	switch level {
	case AVX512:
		maximum512(unsafe.SliceData(dst), unsafe.SliceData(x), unsafe.SliceData(y), len(dst))
	case AVX2:
		maximum256(unsafe.SliceData(dst), unsafe.SliceData(x), unsafe.SliceData(y), len(dst))
	default:
		maximumGeneric(dst, x, y)
	}
}

func allFinite(level Level, x []float32) bool {
	switch level {
	case AVX512:
		return allFinite512(unsafe.SliceData(x), len(x))
	case AVX2:
		return allFinite256(unsafe.SliceData(x), len(x))
	}
	return allFiniteGeneric(x)
}
