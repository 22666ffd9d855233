//go:build !purego

package kernel

import "unsafe"

//go:noescape
func readStream512(x *float32, n int)

//go:noescape
func readStream256(x *float32, n int)

func readStream(x []float32) {
	switch current {
	case AVX512:
		readStream512(unsafe.SliceData(x), len(x))
	case AVX2:
		readStream256(unsafe.SliceData(x), len(x))
	default:
		readStreamGeneric(x)
	}
}
