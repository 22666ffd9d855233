package kernel

import (
	"math"
	"unsafe"
)

// pairwiseLen is how many elements of two rows a float32 partial sum covers
// before it is added to a float64.
const pairwiseLen = 1024

// SquaredDistances adds to dst, n×n float64 row-major for n rows of one length,
// the squared Euclidean distance of every two rows: dst[i*n+j] += |rows[i]-rows[j]|².
// Rows may be given in blocks of coordinates, one call each.
//
// The differences are taken directly, so close rows lose nothing to
// cancellation. Blocks of 1024 elements are summed in float32 and added in order
// in float64; a block whose sum may have been hurt by overflow or underflow is
// summed again in float64. An element of dst depends on its two rows and what it
// held alone, to the last bit: it is the same for any order and number of rows,
// and dst stays symmetric. Nothing is added to the diagonal. For finite rows the
// relative error is at most 135·2^-24; a row with a NaN or infinity makes its
// distances NaN or +Inf. Levels differ by rounding.
//
// dst must be symmetric at first. It panics if the rows differ in length or dst
// is not of length n².
func SquaredDistances(dst []float64, rows [][]float32) {
	n := len(rows)
	if len(dst) != n*n {
		panic("kernel: matrix slice of wrong length")
	}
	if n < 2 {
		return
	}
	for _, row := range rows {
		checkLen(len(row) == len(rows[0]))
	}
	if len(rows[0]) > 0 {
		squaredDistances(dst, rows)
	}
}

// DistancesTo adds to dst[i] the squared Euclidean distance of rows[i] to point,
// as SquaredDistances does: rows[i] and point give the same bits there.
//
// It panics if a row differs in length from point, or dst from rows.
func DistancesTo(dst []float64, rows [][]float32, point []float32) {
	checkLen(len(dst) == len(rows))
	for _, row := range rows {
		checkLen(len(row) == len(point))
	}
	if len(point) > 0 && len(rows) > 0 {
		distancesTo(dst, rows, point)
	}
}

// WeightedRows writes to dst the weighted sum of the rows, Σ w[i]·rows[i], each
// product rounded before it is added, in the order of the rows, from w[0]·rows[0]:
// the bits of Scale and then Axpy, on every level and architecture, in one pass
// over the rows. Rows of weight zero are left out, so that what they hold plays
// no part; of no rows the sum is +0.
//
// dst may be one of the rows. It panics if rows and w differ in number, a row
// differs from dst in length or overlaps it in part.
func WeightedRows(dst []float32, rows [][]float32, w []float32) {
	checkLen(len(rows) == len(w))
	for _, row := range rows {
		checkPair(dst, row)
	}
	if len(dst) > 0 {
		weightedRows(dst, rows, w)
	}
}

// A Term is a row's share in a mixture.
type Term struct {
	Row    int // of the rows, and after them of the mixtures
	Weight float32
}

// MixRows writes to each dst[k] the sum of the terms of mixtures[k], in their order, as
// WeightedRows does; terms of weight zero count. Row len(rows)+j is dst[j], which must
// be of a lower index than k: a part that many mixtures share is worked out once. Rows
// should be short enough to stay in the caches. Of no terms the sum is +0. The bits are
// those of Scale and then Axpy on every level.
//
// It panics if dst and mixtures differ in number, a term names no row that is there, a
// row is not of dst's length, or one of dst overlaps a row or another of dst.
func MixRows(dst, rows [][]float32, mixtures [][]Term) {
	checkLen(len(dst) == len(mixtures))
	if len(dst) == 0 {
		return
	}
	for k, out := range dst {
		checkLen(len(out) == len(dst[0]))
		for _, row := range rows {
			checkApart(out, row)
		}
		for _, other := range dst[:k] {
			checkApart(out, other)
		}
		for _, t := range mixtures[k] {
			if t.Row < 0 || t.Row >= len(rows)+k {
				panic("kernel: row out of range")
			}
			checkLen(len(mixed(dst, rows, t.Row)) == len(out))
		}
	}
	if len(dst[0]) > 0 {
		mixRows(dst, rows, mixtures)
	}
}

func mixed(dst, rows [][]float32, i int) []float32 {
	if i < len(rows) {
		return rows[i]
	}
	return dst[i-len(rows)]
}

// distanceExact adds up a block whose float32 sum s is out of range. Equal rows,
// the common case, are told by their bits.
func distanceExact(x, y []float32) float64 {
	if sameBits(x, y) {
		if AllFinite(x) {
			return 0
		}
		var bad float64
		for _, v := range x {
			bad += float64(v) * 0 // NaN if v is not finite
		}
		return bad
	}
	return distanceFloat64(x, y)
}

// distanceFloat64 sums in float64, where squares of differences of float32
// neither overflow nor underflow.
func distanceFloat64(x, y []float32) float64 {
	var s [4]float64
	y = y[:len(x)]
	whole := len(x) &^ 3
	for i := 0; i < whole; i += 4 {
		v, w := (*[4]float32)(x[i:]), (*[4]float32)(y[i:])
		d0, d1 := float64(v[0])-float64(w[0]), float64(v[1])-float64(w[1])
		d2, d3 := float64(v[2])-float64(w[2]), float64(v[3])-float64(w[3])
		s[0] += float64(d0 * d0)
		s[1] += float64(d1 * d1)
		s[2] += float64(d2 * d2)
		s[3] += float64(d3 * d3)
	}
	for i := whole; i < len(x); i++ {
		d := float64(x[i]) - float64(y[i])
		s[0] += float64(d * d)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

func sameBits(x, y []float32) bool {
	px, py := unsafe.SliceData(x), unsafe.SliceData(y)
	return px == py || unsafe.String((*byte)(unsafe.Pointer(px)), 4*len(x)) == unsafe.String((*byte)(unsafe.Pointer(py)), 4*len(y))
}

// inRange reports whether a block's float32 sum is neither overflown nor so
// small that squares may have been lost.
func inRange(s float32) bool { return s >= tinySum && s <= math.MaxFloat32 }
