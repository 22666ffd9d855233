//go:build !purego

package kernel

import "unsafe"

//go:noescape
func exp512(dst, x *float32, n int)

//go:noescape
func exp256(dst, x *float32, n int)

//go:noescape
func tanh512(dst, x *float32, n int)

//go:noescape
func tanh256(dst, x *float32, n int)

//go:noescape
func sigmoid512(dst, x *float32, n int)

//go:noescape
func sigmoid256(dst, x *float32, n int)

func exp(dst, x []float32) {
	switch current {
	case AVX512:
		exp512(unsafe.SliceData(dst), unsafe.SliceData(x), len(dst))
	case AVX2:
		exp256(unsafe.SliceData(dst), unsafe.SliceData(x), len(dst))
	default:
		expGeneric(dst, x)
	}
}

func tanh(dst, x []float32) {
	switch current {
	case AVX512:
		tanh512(unsafe.SliceData(dst), unsafe.SliceData(x), len(dst))
	case AVX2:
		tanh256(unsafe.SliceData(dst), unsafe.SliceData(x), len(dst))
	default:
		tanhGeneric(dst, x)
	}
}

func sigmoid(dst, x []float32) {
	switch current {
	case AVX512:
		sigmoid512(unsafe.SliceData(dst), unsafe.SliceData(x), len(dst))
	case AVX2:
		sigmoid256(unsafe.SliceData(dst), unsafe.SliceData(x), len(dst))
	default:
		sigmoidGeneric(dst, x)
	}
}
