//go:build !purego

package noise

import (
	"unsafe"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// rounded is roundedGeneric at the level in use.
func rounded(dst []int64, words []uint64, slow []byte, sigma, limit float64) {
	groups := len(dst) / groupSize
	if groups == 0 {
		return
	}
	_, _ = words[groups*groupSize-1], slow[groups-1]
	switch kernel.Current() {
	case kernel.AVX512:
		roundedAVX512(unsafe.SliceData(dst), unsafe.SliceData(words), unsafe.SliceData(slow), groups, sigma, limit)
	case kernel.AVX2:
		roundedAVX2(unsafe.SliceData(dst), unsafe.SliceData(words), unsafe.SliceData(slow), groups, sigma, limit)
	default:
		roundedGeneric(dst, words, slow, sigma, limit)
	}
}

//go:noescape
func roundedAVX512(dst *int64, words *uint64, slow *byte, groups int, sigma, limit float64)

//go:noescape
func roundedAVX2(dst *int64, words *uint64, slow *byte, groups int, sigma, limit float64)
