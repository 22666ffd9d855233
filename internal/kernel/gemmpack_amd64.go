//go:build !purego

package kernel

import (
	"sync"
	"unsafe"
)

// packLen is the longest panel of b that is packed, in rows, and groupWidth
// how many columns are packed at a time: one panel of AVX-512, four of AVX2.
const (
	packLen    = 384
	groupWidth = 64
)

// A packB holds the panels of a group of columns of b one after the other,
// each row of a panel in whole vectors. An array of this size starts on a page.
type packB [packLen * groupWidth]float32

var packBs = sync.Pool{New: func() any { return new(packB) }}

// packingB reports whether a packed copy of b pays: b is read often enough,
// its rows are far apart, and a panel of them would not stay in an L1 cache.
func packingB(m, n, depth, ldb int) bool {
	return m > 24 && ldb > groupWidth && (depth > 32 || depth > 4 && colliding(ldb))
}

// A packA holds rows of a that lie a multiple of 1 KiB apart closer to each
// other: at such a distance they all fall in a few sets of a cache.
type packA [packLen * (256 + packGap)]float32

// packGap makes the distance between packed rows of a an odd number of cache
// lines when their length is a multiple of 32 floats.
const packGap = 16

var packAs = sync.Pool{New: func() any { return new(packA) }}

// colliding reports whether rows lda floats apart collide in caches.
func colliding(lda int) bool { return lda%256 == 0 }

// packRowsA copies rows of cols floats and returns the distance between them.
func packRowsA(buf *packA, a []float32, lda, rows, cols int) (ld int) {
	ld = cols + packGap
	for r := range rows {
		copy(buf[r*ld:r*ld+cols], a[r*lda:r*lda+cols])
	}
	return ld
}

// packGroup lays out depth rows of width columns of b from the first of them.
func packGroup(level Level, buf *packB, b []float32, ldb, depth, width int) {
	for j := 0; j < width; {
		s, w := shapeOf(level, width-j)
		dst := buf[j*depth:]
		stride := s.stride()
		if w%8 == 0 {
			c := strip{dst: unsafe.Pointer(&dst[0]), dstrow: 4 * stride, blocks: depth, srcrow: 4 * ldb, size: 4 * w}
			c.rows[0] = unsafe.Pointer(&b[j])
			copyRows(&c)
		} else {
			for q := range depth {
				copy(dst[q*stride:q*stride+w], b[q*ldb+j:q*ldb+j+w])
			}
		}
		j += w
	}
}

// packGroupTransposed is packGroup of width rows, depth floats each.
func packGroupTransposed(level Level, buf *packB, b []float32, ldb, depth, width int) {
	for j := 0; j < width; {
		s, w := shapeOf(level, width-j)
		transposeRows(buf[j*depth:], b[j*ldb:], ldb, depth, w, s.stride())
		j += w
	}
}

// A strip is a call of transpose8 or copyRows.
type strip struct {
	rows   [8]unsafe.Pointer // read 8·blocks floats each; copyRows has the first
	dst    unsafe.Pointer    // 8·blocks (copyRows: blocks) rows
	dstrow int               // bytes between them
	blocks int               // at least 1
	srcrow int               // copyRows: bytes between the rows read
	size   int               // copyRows: bytes of a row, a multiple of 32
}

//go:noescape
func transpose8(p *strip)

//go:noescape
func copyRows(p *strip)

// transposeRows copies width rows of b, depth floats each, to the columns of
// dst, stride apart. The rows that a vector has and b has not repeat b's last:
// what is made of them is never stored.
func transposeRows(dst, b []float32, ldb, depth, width, stride int) {
	pb := unsafe.Pointer(unsafe.SliceData(b))
	for j := 0; j < width; j += 8 {
		if depth < 8 {
			for q := range depth {
				for r := range min(8, width-j) {
					dst[q*stride+j+r] = b[(j+r)*ldb+q]
				}
			}
			continue
		}
		var s strip
		for r := range s.rows {
			s.rows[r] = unsafe.Add(pb, 4*ldb*min(j+r, width-1))
		}
		s.dst = unsafe.Pointer(&dst[j])
		s.dstrow = 4 * stride
		s.blocks = depth / 8
		transpose8(&s)
		if depth%8 != 0 { // the last eight once more, some for the second time
			for r := range s.rows {
				s.rows[r] = unsafe.Add(s.rows[r], 4*(depth-8))
			}
			s.dst = unsafe.Add(s.dst, (depth-8)*s.dstrow)
			s.blocks = 1
			transpose8(&s)
		}
	}
}
