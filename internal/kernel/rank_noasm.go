//go:build !amd64 || purego

package kernel

func rankSum(dst []float32, rows [][]float32, lo, hi int, scale float32) {
	rankSumGeneric(dst, rows, lo, hi, scale)
}

func trimmedSum(dst []float32, rows [][]float32, cut int, scale float32) {
	trimmedSumGeneric(dst, rows, cut, scale)
}

func meanAround(dst []float32, rows [][]float32, m int) { meanAroundGeneric(dst, rows, m) }

func sortColumns(dst []float32, ld int, rows [][]float32) { sortColumnsGeneric(dst, ld, rows) }
