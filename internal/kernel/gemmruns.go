package kernel

// GEMMRuns is the weighted-gradient kernel of private training: like
// c += aᵀ·b, but each run of rows is rounded to integers and added exactly.
//
// a is k×m and b is k×n with strides lda and ldb, k = ends[len(ends)-1]. Run r
// is rows ends[r-1] (0 for r = 0) to ends[r]-1; an empty run adds nothing. For
// every run
//
//	sum[i*ldsum+j] += int64(roundToNearestEven(Σ_{p in run} a[p*lda+i]*b[p*ldb+j]))
//
// where the sum is one float32 chain from +0 in row order, however long the
// run: fused on the vector levels, each product rounded first on Generic. As
// int64 addition is associative, any grouping of whole runs into calls gives
// the same result, and so does any split of the rows of sum or its columns.
//
// A run's sum must be within ±2^51; beyond it, or if it is NaN, the integer
// added is unspecified. GEMMRuns is single-threaded. It panics if a size is
// negative, ends decreases, a stride is below a row's length, a slice is too
// short, or the memory that sum spans overlaps that of a or b.
func GEMMRuns(m, n int, a []float32, lda int, b []float32, ldb int, ends []int, sum []int64, ldsum int) {
	if m < 0 || n < 0 {
		panic("kernel: negative matrix size")
	}
	k := 0
	for _, end := range ends {
		if end < k {
			panic("kernel: ends of runs decrease")
		}
		k = end
	}
	checkMatrix(a, k, m, lda)
	checkMatrix(b, k, n, ldb)
	checkMatrix(sum, m, n, ldsum)
	if meet(sum, m, n, ldsum, a, k, m, lda) || meet(sum, m, n, ldsum, b, k, n, ldb) {
		panic("kernel: GEMMRuns output overlaps an input")
	}
	if m == 0 || n == 0 || k == 0 {
		return
	}
	gemmRuns(m, n, a, lda, b, ldb, ends, sum, ldsum)
}
