//go:build !purego

package kernel

import "unsafe"

//go:noescape
func sumSquares512(x *float32, n int) float32

//go:noescape
func sumSquares256(x *float32, n int) float32

//go:noescape
func sumSquaresScaled512(x *float32, n int, scale float32) float32

//go:noescape
func sumSquaresScaled256(x *float32, n int, scale float32) float32

//go:noescape
func dot512(x, y *float32, n int) float32

//go:noescape
func dot256(x, y *float32, n int) float32

func sumSquares(level Level, x []float32) float32 {
	switch level {
	case AVX512:
		return sumSquares512(unsafe.SliceData(x), len(x))
	case AVX2:
		return sumSquares256(unsafe.SliceData(x), len(x))
	}
	return sumSquaresGeneric(x)
}

func sumSquaresScaled(x []float32, scale float32) float32 {
	switch current {
	case AVX512:
		return sumSquaresScaled512(unsafe.SliceData(x), len(x), scale)
	case AVX2:
		return sumSquaresScaled256(unsafe.SliceData(x), len(x), scale)
	}
	return sumSquaresScaledGeneric(x, scale)
}

func dot(level Level, x, y []float32) float32 {
	switch level {
	case AVX512:
		return dot512(unsafe.SliceData(x), unsafe.SliceData(y), len(x))
	case AVX2:
		return dot256(unsafe.SliceData(x), unsafe.SliceData(y), len(x))
	}
	return dotGeneric(x, y)
}
