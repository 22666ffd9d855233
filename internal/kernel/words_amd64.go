//go:build !purego

package kernel

import "unsafe"

//go:noescape
func addWords512(y *uint32, x *uint64, n int)

//go:noescape
func addWords256(y *uint32, x *uint64, n int)

//go:noescape
func subWords512(y *uint32, x *uint64, n int)

//go:noescape
func subWords256(y *uint32, x *uint64, n int)

func addWords(level Level, y []uint32, words []uint64) {
	switch level {
	case AVX512:
		addWords512(unsafe.SliceData(y), unsafe.SliceData(words), len(y))
	case AVX2:
		addWords256(unsafe.SliceData(y), unsafe.SliceData(words), len(y))
	default:
		addWordsGeneric(y, words)
	}
}

func subWords(level Level, y []uint32, words []uint64) {
	switch level {
	case AVX512:
		subWords512(unsafe.SliceData(y), unsafe.SliceData(words), len(y))
	case AVX2:
		subWords256(unsafe.SliceData(y), unsafe.SliceData(words), len(y))
	default:
		subWordsGeneric(y, words)
	}
}
