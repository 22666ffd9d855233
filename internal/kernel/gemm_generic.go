package kernel

import "sync"

// packGeneric holds one block of four columns of op(b), so that the inner loop
// reads both operands whatever the op.
type packGeneric [blockLen * 4]float32

var packsGeneric = sync.Pool{New: func() any { return new(packGeneric) }}

// gemmGeneric is GEMM in pure Go, and the reference of the other levels: each
// product is rounded, then added, so it gives the same bits everywhere.
func gemmGeneric(op Op, m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, add bool) {
	ars, acs := lda, 1
	if op == TN {
		ars, acs = 1, lda
	}
	brs, bcs := ldb, 1
	if op == NT {
		brs, bcs = 1, ldb
	}
	pack := packsGeneric.Get().(*packGeneric)
	defer packsGeneric.Put(pack)
	count, length := blocks(k)
	for block := range count {
		p0 := block * length
		kb := min(length, k-p0)
		into := add || block > 0
		for j := 0; j < n; j += 4 {
			nj := min(4, n-j)
			p := pack[:kb*4]
			packFour(p, b[p0*brs+j*bcs:], brs, bcs, nj)
			i := 0
			for ; i+2 <= m; i += 2 {
				t := mulTwoFour(a[i*ars+p0*acs:], ars, acs, p)
				storeGeneric(c[i*ldc+j:], t[:nj], into)
				storeGeneric(c[(i+1)*ldc+j:], t[4:4+nj], into)
			}
			if i < m {
				t := mulOneFour(a[i*ars+p0*acs:], acs, p)
				storeGeneric(c[i*ldc+j:], t[:nj], into)
			}
		}
	}
}

// packFour copies nj <= 4 columns of b to p, four floats a row, the columns
// that do not exist zero.
func packFour(p, b []float32, brs, bcs, nj int) {
	if nj == 4 && bcs == 1 {
		for q := 0; q+4 <= len(p); q += 4 {
			copy(p[q:q+4], b[:4])
			if q+4 < len(p) {
				b = b[brs:]
			}
		}
		return
	}
	clear(p)
	for j := range nj {
		at := j * bcs
		for q := j; q < len(p); q += 4 {
			p[q] = b[at]
			at += brs
		}
	}
}

// mulTwoFour returns the product of two rows of a (row stride ars, column
// stride acs) and a packed block of four columns.
func mulTwoFour(a []float32, ars, acs int, p []float32) (t [8]float32) {
	var t0, t1, t2, t3, u0, u1, u2, u3 float32
	a1 := a[ars:]
	at := 0
	for len(p) >= 4 {
		x, y := a[at], a1[at]
		b0, b1, b2, b3 := p[0], p[1], p[2], p[3]
		t0 += float32(x * b0)
		t1 += float32(x * b1)
		t2 += float32(x * b2)
		t3 += float32(x * b3)
		u0 += float32(y * b0)
		u1 += float32(y * b1)
		u2 += float32(y * b2)
		u3 += float32(y * b3)
		p = p[4:]
		at += acs
	}
	return [8]float32{t0, t1, t2, t3, u0, u1, u2, u3}
}

// mulOneFour is mulTwoFour for one row.
func mulOneFour(a []float32, acs int, p []float32) (t [4]float32) {
	var t0, t1, t2, t3 float32
	at := 0
	for len(p) >= 4 {
		x := a[at]
		t0 += float32(x * p[0])
		t1 += float32(x * p[1])
		t2 += float32(x * p[2])
		t3 += float32(x * p[3])
		p = p[4:]
		at += acs
	}
	return [4]float32{t0, t1, t2, t3}
}

func storeGeneric(c, t []float32, add bool) {
	if !add {
		copy(c, t)
		return
	}
	for j, v := range t {
		c[j] += v
	}
}
