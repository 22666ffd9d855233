package kernel

import "unsafe"

// Op names how GEMM reads its operands.
type Op uint8

const (
	NN Op = iota // c = a·b,  a m×k, b k×n
	NT           // c = a·bᵀ, a m×k, b n×k
	TN           // c = aᵀ·b, a k×m, b k×n
)

// String returns "NN", "NT" or "TN".
func (op Op) String() string {
	switch op {
	case NN:
		return "NN"
	case NT:
		return "NT"
	case TN:
		return "TN"
	}
	return "invalid"
}

// blockLen is the longest chain of multiply-adds before the partial sum is
// added to c.
const blockLen = 256

// blocks returns into how many blocks GEMM cuts a product of inner length k,
// and their length (the last may be shorter). It depends on k alone.
func blocks(k int) (count, length int) {
	count = (k + blockLen - 1) / blockLen
	if count == 0 {
		return 0, 0
	}
	return count, (k + count - 1) / count
}

// GEMM sets the m×n matrix c to op(a)·op(b), or adds it to c when add is true.
// Matrices are row-major; lda, ldb and ldc are the distances between rows, in
// elements. With k = 0 the product is zero.
//
// Element (i, j) depends, to the last bit, only on row i of op(a), column j of
// op(b), k and (when add) its former value; see the package doc.
//
// GEMM is single-threaded. It panics if a size is negative, a stride is below
// a row's length, a slice is too short, or the memory that c spans overlaps that
// of a or b.
func GEMM(op Op, m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, add bool) {
	if m < 0 || n < 0 || k < 0 {
		panic("kernel: negative matrix size")
	}
	ar, ac, br, bc := m, k, k, n
	switch op {
	case NN:
	case NT:
		br, bc = n, k
	case TN:
		ar, ac = k, m
	default:
		panic("kernel: unknown GEMM op")
	}
	checkMatrix(a, ar, ac, lda)
	checkMatrix(b, br, bc, ldb)
	checkMatrix(c, m, n, ldc)
	if meet(c, m, n, ldc, a, ar, ac, lda) || meet(c, m, n, ldc, b, br, bc, ldb) {
		panic("kernel: GEMM output overlaps an input")
	}
	if m == 0 || n == 0 {
		return
	}
	if k == 0 {
		if !add {
			for i := range m {
				clear(c[i*ldc : i*ldc+n])
			}
		}
		return
	}
	gemm(op, m, n, k, a, lda, b, ldb, c, ldc, add)
}

// checkMatrix panics unless x holds rows×cols elements at stride ld.
func checkMatrix[T float32 | int64](x []T, rows, cols, ld int) {
	if rows == 0 || cols == 0 {
		return
	}
	if ld < cols {
		panic("kernel: stride below row length")
	}
	if len(x) < cols || (len(x)-cols)/ld < rows-1 {
		panic("kernel: matrix slice too short")
	}
}

// meet reports whether the memory from the first to the last element of a
// matrix of x shares a byte with that of one of y. Both have been checked.
func meet[X, Y float32 | int64](x []X, xrows, xcols, ldx int, y []Y, yrows, ycols, ldy int) bool {
	if xrows == 0 || xcols == 0 || yrows == 0 || ycols == 0 {
		return false
	}
	x0, y0 := uintptr(unsafe.Pointer(&x[0])), uintptr(unsafe.Pointer(&y[0]))
	x1 := uintptr(unsafe.Pointer(&x[(xrows-1)*ldx+xcols-1])) + unsafe.Sizeof(x[0])
	y1 := uintptr(unsafe.Pointer(&y[(yrows-1)*ldy+ycols-1])) + unsafe.Sizeof(y[0])
	return x0 < y1 && y0 < x1
}
