//go:build !purego

package kernel

import "unsafe"

//go:noescape
func axpy512(y, x *float32, n int, a float32)

//go:noescape
func axpy256(y, x *float32, n int, a float32)

//go:noescape
func scale512(y, x *float32, n int, a float32)

//go:noescape
func scale256(y, x *float32, n int, a float32)

//go:noescape
func add512(y, x *float32, n int)

//go:noescape
func add256(y, x *float32, n int)

func axpy(level Level, y []float32, a float32, x []float32) {
	switch level {
	case AVX512:
		axpy512(unsafe.SliceData(y), unsafe.SliceData(x), len(y), a)
	case AVX2:
		axpy256(unsafe.SliceData(y), unsafe.SliceData(x), len(y), a)
	default:
		axpyGeneric(y, a, x)
	}
}

func scale(level Level, y []float32, a float32, x []float32) {
	switch level {
	case AVX512:
		scale512(unsafe.SliceData(y), unsafe.SliceData(x), len(y), a)
	case AVX2:
		scale256(unsafe.SliceData(y), unsafe.SliceData(x), len(y), a)
	default:
		scaleGeneric(y, a, x)
	}
}

func add(level Level, y, x []float32) {
	switch level {
	case AVX512:
		add512(unsafe.SliceData(y), unsafe.SliceData(x), len(y))
	case AVX2:
		add256(unsafe.SliceData(y), unsafe.SliceData(x), len(y))
	default:
		addGeneric(y, x)
	}
}
