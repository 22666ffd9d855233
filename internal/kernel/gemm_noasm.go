//go:build !amd64 || purego

package kernel

func gemm(op Op, m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, add bool) {
	gemmGeneric(op, m, n, k, a, lda, b, ldb, c, ldc, add)
}

func gemmRuns(m, n int, a []float32, lda int, b []float32, ldb int, ends []int, sum []int64, ldsum int) {
	gemmRunsGeneric(m, n, a, lda, b, ldb, ends, sum, ldsum)
}
