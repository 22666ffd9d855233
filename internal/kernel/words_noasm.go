//go:build !amd64 || purego

package kernel

func addWords(_ Level, y []uint32, words []uint64) { addWordsGeneric(y, words) }

func subWords(_ Level, y []uint32, words []uint64) { subWordsGeneric(y, words) }
