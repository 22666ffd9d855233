//go:build !purego

package kernel

import "unsafe"

//go:noescape
func sortRows512(network int, rows *unsafe.Pointer, first, vectors int, out unsafe.Pointer, stride int, spill unsafe.Pointer)

//go:noescape
func sortRows256(network int, rows *unsafe.Pointer, first, vectors int, out unsafe.Pointer, stride int, spill unsafe.Pointer)

//go:noescape
func middleRows512(network int, rows *unsafe.Pointer, vectors int, dst *float32, spill unsafe.Pointer, both int, scale float32)

//go:noescape
func middleRows256(network int, rows *unsafe.Pointer, vectors int, dst *float32, spill unsafe.Pointer, both int, scale float32)

//go:noescape
func mergeFirst512(base unsafe.Pointer, stride, vectors, run int)

//go:noescape
func mergeFirst256(base unsafe.Pointer, stride, vectors, run int)

//go:noescape
func mergeHalve4512(base unsafe.Pointer, stride, vectors, rows, blocks int)

//go:noescape
func mergeHalve4256(base unsafe.Pointer, stride, vectors, rows, blocks int)

//go:noescape
func mergeHalve2512(base unsafe.Pointer, stride, vectors, rows, blocks int)

//go:noescape
func mergeHalve2256(base unsafe.Pointer, stride, vectors, rows, blocks int)

//go:noescape
func mergeLast512(rows int, base unsafe.Pointer, stride, vectors, blocks int, spill unsafe.Pointer)

//go:noescape
func mergeLast256(rows int, base unsafe.Pointer, stride, vectors, blocks int, spill unsafe.Pointer)

//go:noescape
func rankOfTwo512(base unsafe.Pointer, stride, vectors int, other unsafe.Pointer, count int, out unsafe.Pointer)

//go:noescape
func rankOfTwo256(base unsafe.Pointer, stride, vectors int, other unsafe.Pointer, count int, out unsafe.Pointer)

//go:noescape
func middleOfTwo512(base unsafe.Pointer, stride, vectors int, other unsafe.Pointer, count int, out unsafe.Pointer)

//go:noescape
func middleOfTwo256(base unsafe.Pointer, stride, vectors int, other unsafe.Pointer, count int, out unsafe.Pointer)

//go:noescape
func addBetween512(base unsafe.Pointer, stride, vectors int, other unsafe.Pointer, cut, highA, highB, middle int, dst *float32, scale float32)

//go:noescape
func addBetween256(base unsafe.Pointer, stride, vectors int, other unsafe.Pointer, cut, highA, highB, middle int, dst *float32, scale float32)

//go:noescape
func addRanks512(base unsafe.Pointer, stride, vectors, count int, dst *float32, scale float32)

//go:noescape
func addRanks256(base unsafe.Pointer, stride, vectors, count int, dst *float32, scale float32)

//go:noescape
func addAround512(base unsafe.Pointer, stride, vectors, n, m, lower, upper int, dst *float32)

//go:noescape
func addAround256(base unsafe.Pointer, stride, vectors, n, m, lower, upper int, dst *float32)

//go:noescape
func copyRanks512(base unsafe.Pointer, stride, vectors, rows int, dst *float32, ld int)

//go:noescape
func copyRanks256(base unsafe.Pointer, stride, vectors, rows int, dst *float32, ld int)

//go:noescape
func boundKeys512(base unsafe.Pointer, stride, vectors, first, last int, ends unsafe.Pointer)

//go:noescape
func boundKeys256(base unsafe.Pointer, stride, vectors, first, last int, ends unsafe.Pointer)

func sortRows(level Level, network int, rows *unsafe.Pointer, first, vectors int, out unsafe.Pointer, stride int, spill unsafe.Pointer) {
	if level == AVX512 {
		sortRows512(network, rows, first, vectors, out, stride, spill)
	} else {
		sortRows256(network, rows, first, vectors, out, stride, spill)
	}
}

func middleRows(level Level, network int, rows *unsafe.Pointer, vectors int, dst *float32, spill unsafe.Pointer, both int, scale float32) {
	if level == AVX512 {
		middleRows512(network, rows, vectors, dst, spill, both, scale)
	} else {
		middleRows256(network, rows, vectors, dst, spill, both, scale)
	}
}

func mergeFirst(level Level, base unsafe.Pointer, stride, vectors, run int) {
	if level == AVX512 {
		mergeFirst512(base, stride, vectors, run)
	} else {
		mergeFirst256(base, stride, vectors, run)
	}
}

func mergeHalve4(level Level, base unsafe.Pointer, stride, vectors, rows, blocks int) {
	if level == AVX512 {
		mergeHalve4512(base, stride, vectors, rows, blocks)
	} else {
		mergeHalve4256(base, stride, vectors, rows, blocks)
	}
}

func mergeHalve2(level Level, base unsafe.Pointer, stride, vectors, rows, blocks int) {
	if level == AVX512 {
		mergeHalve2512(base, stride, vectors, rows, blocks)
	} else {
		mergeHalve2256(base, stride, vectors, rows, blocks)
	}
}

func mergeLast(level Level, rows int, base unsafe.Pointer, stride, vectors, blocks int, spill unsafe.Pointer) {
	if level == AVX512 {
		mergeLast512(rows, base, stride, vectors, blocks, spill)
	} else {
		mergeLast256(rows, base, stride, vectors, blocks, spill)
	}
}

func rankOfTwo(level Level, base unsafe.Pointer, stride, vectors int, other unsafe.Pointer, count int, out unsafe.Pointer) {
	if level == AVX512 {
		rankOfTwo512(base, stride, vectors, other, count, out)
	} else {
		rankOfTwo256(base, stride, vectors, other, count, out)
	}
}

func middleOfTwo(level Level, base unsafe.Pointer, stride, vectors int, other unsafe.Pointer, count int, out unsafe.Pointer) {
	if level == AVX512 {
		middleOfTwo512(base, stride, vectors, other, count, out)
	} else {
		middleOfTwo256(base, stride, vectors, other, count, out)
	}
}

func addBetween(level Level, base unsafe.Pointer, stride, vectors int, other unsafe.Pointer, cut, highA, highB, middle int, dst *float32, scale float32) {
	if level == AVX512 {
		addBetween512(base, stride, vectors, other, cut, highA, highB, middle, dst, scale)
	} else {
		addBetween256(base, stride, vectors, other, cut, highA, highB, middle, dst, scale)
	}
}

func addRanks(level Level, base unsafe.Pointer, stride, vectors, count int, dst *float32, scale float32) {
	if level == AVX512 {
		addRanks512(base, stride, vectors, count, dst, scale)
	} else {
		addRanks256(base, stride, vectors, count, dst, scale)
	}
}

func addAround(level Level, base unsafe.Pointer, stride, vectors, n, m, lower, upper int, dst *float32) {
	if level == AVX512 {
		addAround512(base, stride, vectors, n, m, lower, upper, dst)
	} else {
		addAround256(base, stride, vectors, n, m, lower, upper, dst)
	}
}

func copyRanks(level Level, base unsafe.Pointer, stride, vectors, rows int, dst *float32, ld int) {
	if level == AVX512 {
		copyRanks512(base, stride, vectors, rows, dst, ld)
	} else {
		copyRanks256(base, stride, vectors, rows, dst, ld)
	}
}

func boundKeys(level Level, base unsafe.Pointer, stride, vectors, first, last int, ends unsafe.Pointer) {
	if level == AVX512 {
		boundKeys512(base, stride, vectors, first, last, ends)
	} else {
		boundKeys256(base, stride, vectors, first, last, ends)
	}
}
