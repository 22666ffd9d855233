package kernel

import "math"

// gemmRunsGeneric is GEMMRuns in pure Go, and the reference of the other
// levels up to the fused multiply-add.
func gemmRunsGeneric(m, n int, a []float32, lda int, b []float32, ldb int, ends []int, sum []int64, ldsum int) {
	start := 0
	for _, end := range ends {
		if end > start {
			addRunGeneric(m, n, end-start, a[start*lda:], lda, b[start*ldb:], ldb, sum, ldsum)
		}
		start = end
	}
}

// addRunGeneric adds one run of k > 0 rows.
func addRunGeneric(m, n, k int, a []float32, lda int, b []float32, ldb int, sum []int64, ldsum int) {
	for i := range m {
		row := sum[i*ldsum : i*ldsum+n]
		j := 0
		for ; j+4 <= n; j += 4 {
			var t0, t1, t2, t3 float32
			for p := range k {
				x := a[p*lda+i]
				q := b[p*ldb+j : p*ldb+j+4 : p*ldb+j+4]
				t0 += float32(x * q[0])
				t1 += float32(x * q[1])
				t2 += float32(x * q[2])
				t3 += float32(x * q[3])
			}
			row[j] += roundGeneric(t0)
			row[j+1] += roundGeneric(t1)
			row[j+2] += roundGeneric(t2)
			row[j+3] += roundGeneric(t3)
		}
		for ; j < n; j++ {
			var t float32
			for p := range k {
				t += float32(a[p*lda+i] * b[p*ldb+j])
			}
			row[j] += roundGeneric(t)
		}
	}
}

func roundGeneric(x float32) int64 { return int64(math.RoundToEven(float64(x))) }
