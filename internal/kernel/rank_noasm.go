//go:build !amd64 || purego

package kernel

func rankSum(dst []float32, rows [][]float32, lo, hi int, scale float32) bool {
	rankSumGeneric(dst, rows, lo, hi, scale)
	return false
}

func trimmedSum(dst []float32, rows [][]float32, cut int, scale float32) bool {
	trimmedSumGeneric(dst, rows, cut, scale)
	return false
}

func meanAround(dst []float32, rows [][]float32, m int) bool {
	meanAroundGeneric(dst, rows, m)
	return false
}

func sortColumns(dst []float32, ld int, rows [][]float32) { sortColumnsGeneric(dst, ld, rows) }

func rankBounds(least, most []float32, rows [][]float32, lo, hi int) {
	rankBoundsGeneric(least, most, rows, lo, hi)
}
