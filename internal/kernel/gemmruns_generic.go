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
	if k > blockLen {
		addLongRunGeneric(m, n, k, a, lda, b, ldb, sum, ldsum)
		return
	}
	buf := packsGeneric.Get().(*packGeneric)
	defer packsGeneric.Put(buf)
	pack := buf[:4*k]
	for j := 0; j < n; j += 4 {
		nj := min(4, n-j)
		packFour(pack, b[j:], ldb, 1, nj)
		i := 0
		for ; i+2 <= m; i += 2 {
			t := mulTwoFour(a[i:], 1, lda, pack)
			roundAddGeneric(sum[i*ldsum+j:], t[:nj])
			roundAddGeneric(sum[(i+1)*ldsum+j:], t[4:4+nj])
		}
		if i < m {
			t := mulOneFour(a[i:], lda, pack)
			roundAddGeneric(sum[i*ldsum+j:], t[:nj])
		}
	}
}

// addLongRunGeneric is addRunGeneric for a run too long to pack.
func addLongRunGeneric(m, n, k int, a []float32, lda int, b []float32, ldb int, sum []int64, ldsum int) {
	for i := range m {
		for j := range n {
			var t float32
			for p := range k {
				t += float32(a[p*lda+i] * b[p*ldb+j])
			}
			sum[i*ldsum+j] += roundGeneric(t)
		}
	}
}

func roundGeneric(x float32) int64 { return int64(math.RoundToEven(float64(x))) }
