package kernel

import (
	"math"
	"unsafe"
)

// maxRankRows is the most rows that the rank kernels take.
const maxRankRows = 1024

// fewestHalved is from how many rows on TrimmedSum sorts two halves.
const fewestHalved = 33

// RankSum writes to dst, for each column j, scale times the sum of the values
// of ranks lo to hi-1 (0-based, ascending) among rows[0][j], rows[1][j], …: the
// median, a trimmed mean or a quantile of every column.
//
// The order of values is total: that of the reals, -0 below +0, NaNs of
// negative sign below -Inf and those of positive sign above +Inf. So a column's
// result depends on which values it holds alone, not on whose they are, and has
// the same bits for any order of the rows, on every level and architecture
// (a NaN's payload aside).
//
// The sum is taken in float32 in four chains, the value of rank r in chain
// (r-lo) mod 4, ascending, and then as (c0+c1)+(c2+c3) with absent chains left
// out. Of one value it is that value, of two their plain sum. It is then
// multiplied by scale. The sum of values near the largest float32 overflows to
// an infinity.
//
// It says whether it happened to see that all values of the rows are finite; that it did
// not says nothing.
//
// dst may be one of the rows. It panics unless there are 1 to 1024 rows of
// dst's length and 0 <= lo < hi <= len(rows), and if dst overlaps a row in part.
func RankSum(dst []float32, rows [][]float32, lo, hi int, scale float32) (finite bool) {
	checkRows(dst, rows)
	checkRanks(lo, hi, len(rows))
	return len(dst) == 0 || rankSum(dst, rows, lo, hi, scale)
}

// RankBounds writes the values of rank lo of all columns to least and those of rank hi-1 to
// most, in the order of RankSum.
//
// least and most may be one of the rows, but not the same. It panics unless there are 1 to
// 1024 rows of their length and 0 <= lo < hi <= len(rows), and if they overlap a row in
// part or each other.
func RankBounds(least, most []float32, rows [][]float32, lo, hi int) {
	checkRows(least, rows)
	checkRows(most, rows)
	checkApart(least, most)
	checkRanks(lo, hi, len(rows))
	if len(least) > 0 {
		rankBounds(least, most, rows, lo, hi)
	}
}

// TrimmedSum is RankSum of the ranks cut to n-cut-1 of n rows, in less time if there are
// 33 rows and cut is at most a quarter of n, but the sum is then taken in an order that depends
// on that of the rows, so that permuting those may change its last bits. It is the
// same on every level and architecture.
//
// Let a be the first ⌈n/2⌉ rows of a column, sorted, b the others, sorted, and A and
// B their numbers. If n >= 33 and 1 <= cut <= n/4, four chains are summed in float32 from +0, in
// the order of k: max(a[k], b[cut-1-k]) and min(a[A-cut+k], b[B-1-k]) for k < cut,
// a[cut+k] for k < A-2·cut and b[cut+k] for k < B-2·cut; and then (c0+c1)+(c2+c3).
//
// It says of finite values what RankSum does.
//
// dst may be one of the rows. It panics unless there are 1 to 1024 rows of dst's
// length and 0 <= 2·cut < len(rows), and if dst overlaps a row in part.
func TrimmedSum(dst []float32, rows [][]float32, cut int, scale float32) (finite bool) {
	n := len(rows)
	if n < fewestHalved || cut < 1 || cut > n/4 {
		return RankSum(dst, rows, cut, n-cut, scale)
	}
	checkRows(dst, rows)
	return len(dst) == 0 || trimmedSum(dst, rows, cut, scale)
}

// MeanAround writes to dst, for each column, the mean of the m values nearest
// to the column's median (the mean of the middle two if the rows are even in
// number). Of two values at the same distance, on opposite sides, the lesser is
// nearer. Values are ordered as in RankSum, so the result does not depend on the
// order of the rows, and distances are float32 differences.
//
// The m values, which are neighbours in the sorted column of n, are summed in
// float32 in the order of their ranks modulo m, those of residues below n-m and
// the others apart, each from +0; the two sums are added and divided by m. The
// result has the same bits on every level and architecture. Columns with NaN or
// infinities hold an unspecified value. It says of finite values what RankSum does.
//
// dst may be one of the rows. It panics unless there are 1 to 1024 rows of
// dst's length and 1 <= m <= len(rows), and if dst overlaps a row in part.
func MeanAround(dst []float32, rows [][]float32, m int) (finite bool) {
	checkRows(dst, rows)
	checkRanks(0, m, len(rows))
	return len(dst) == 0 || meanAround(dst, rows, m)
}

// SortColumns writes the rows with each column sorted, ascending in the order
// of RankSum: the value of rank r of column j goes to dst[r*ld+j].
//
// It panics unless there are 1 to 1024 rows of one length, at most ld, with
// room for them in dst, and if dst overlaps a row.
func SortColumns(dst []float32, ld int, rows [][]float32) {
	if len(rows) == 0 || len(rows) > maxRankRows {
		panic("kernel: number of rows out of range")
	}
	columns := len(rows[0])
	for _, row := range rows {
		checkLen(len(row) == columns)
	}
	if columns == 0 {
		return
	}
	if ld < columns {
		panic("kernel: stride below row length")
	}
	if (len(rows)-1)*ld+columns > len(dst) {
		panic("kernel: matrix slice too short")
	}
	used := dst[:(len(rows)-1)*ld+columns]
	for _, row := range rows {
		checkApart(used, row)
	}
	sortColumns(dst, ld, rows)
}

// checkRows panics unless the rows are of dst's length, 1 to maxRankRows, and
// each is dst itself or disjoint from it.
func checkRows(dst []float32, rows [][]float32) {
	if len(rows) == 0 || len(rows) > maxRankRows {
		panic("kernel: number of rows out of range")
	}
	for _, row := range rows {
		checkPair(dst, row)
	}
}

func checkRanks(lo, hi, n int) {
	if lo < 0 || lo >= hi || hi > n {
		panic("kernel: ranks out of range")
	}
}

// checkApart panics if x and y overlap.
func checkApart(x, y []float32) {
	px, py := uintptr(unsafe.Pointer(unsafe.SliceData(x))), uintptr(unsafe.Pointer(unsafe.SliceData(y)))
	if px < py+4*uintptr(len(y)) && py < px+4*uintptr(len(x)) {
		panic("kernel: output overlaps an input")
	}
}

// rankKey maps a float32 to an integer of the same order, and rankValue maps it
// back: each flips the lower bits of negative numbers.
func rankKey(x float32) int32 {
	k := int32(math.Float32bits(x))
	return k ^ int32(uint32(k>>31)>>1)
}

func rankValue(k int32) float32 {
	return math.Float32frombits(uint32(k ^ int32(uint32(k>>31)>>1)))
}
