//go:build !purego

package kernel

import "unsafe"

//go:noescape
func countWithin512(votes *int32, x, least, most *float32, n int) (outside int)

//go:noescape
func countWithin256(votes *int32, x, least, most *float32, n int) (outside int)

//go:noescape
func sumWithin512(shares *int64, x, least, most *float32, n int) (sum int64)

//go:noescape
func sumWithin256(shares *int64, x, least, most *float32, n int) (sum int64)

func countWithin(votes []int32, x, least, most []float32) (outside int) {
	v, a, b, c := unsafe.SliceData(votes), unsafe.SliceData(x), unsafe.SliceData(least), unsafe.SliceData(most)
	switch current {
	case AVX512:
		return countWithin512(v, a, b, c, len(x))
	case AVX2:
		return countWithin256(v, a, b, c, len(x))
	}
	return countWithinGeneric(votes, x, least, most)
}

func sumWithin(shares []int64, x, least, most []float32) (sum int64) {
	v, a, b, c := unsafe.SliceData(shares), unsafe.SliceData(x), unsafe.SliceData(least), unsafe.SliceData(most)
	switch current {
	case AVX512:
		return sumWithin512(v, a, b, c, len(x))
	case AVX2:
		return sumWithin256(v, a, b, c, len(x))
	}
	return sumWithinGeneric(shares, x, least, most)
}
