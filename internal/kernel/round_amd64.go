//go:build !purego

package kernel

import "unsafe"

//go:noescape
func roundAdd512(sum *int64, x *float32, n int)

//go:noescape
func roundAdd256(sum *int64, x *float32, n int)

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
