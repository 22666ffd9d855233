//go:build !purego

package kernel

import "unsafe"

//go:noescape
func roundAdd512(sum *int64, x *float32, n int)

//go:noescape
func roundAdd256(sum *int64, x *float32, n int)

//go:noescape
func fromInt512(dst *float32, x *int64, n int, scale float32)

//go:noescape
func fromInt256(dst *float32, x *int64, n int, scale float32)

func roundAdd(level Level, sum []int64, x []float32) {
	switch level {
	case AVX512:
		roundAdd512(unsafe.SliceData(sum), unsafe.SliceData(x), len(x))
	case AVX2:
		roundAdd256(unsafe.SliceData(sum), unsafe.SliceData(x), len(x))
	default:
		roundAddGeneric(sum, x)
	}
}

func fromInt(level Level, dst []float32, x []int64, scale float32) {
	switch level {
	case AVX512:
		fromInt512(unsafe.SliceData(dst), unsafe.SliceData(x), len(x), scale)
	case AVX2:
		fromInt256(unsafe.SliceData(dst), unsafe.SliceData(x), len(x), scale)
	default:
		fromIntGeneric(dst, x, scale)
	}
}
