//go:build !purego

package kernel

import (
	"sync"
	"unsafe"
)

// packLen is the longest panel of b that is packed, in rows, and groupWidth
// how many columns are packed at a time: one panel of AVX-512, four of AVX2.
const (
	packLen    = blockLen
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

// A packA holds rows of op(a) close together. Where they lie a multiple of 1 KiB
// apart they all fall in a few sets of a cache; and of a transposed a, a tile
// reads a line from every row and uses only a part of it.
type packA [sweepRows * (packLen + packGap)]float32

// packGap makes the distance between packed rows an odd number of cache lines
// where their length is a multiple of 32 floats.
const packGap = 16

var packAs = sync.Pool{New: func() any { return new(packA) }}

// colliding reports whether rows ld floats apart collide in caches.
func colliding(ld int) bool { return ld%256 == 0 }

// packingA reports whether a packed copy of a pays: it is read often enough,
// and badly placed.
func packingA(op Op, m, n, depth, lda int) bool {
	if m <= 24 || n <= groupWidth || depth <= 16 {
		return false
	}
	return colliding(lda) || op == TN && lda > 16 && depth > 64
}

// packRows copies depth floats of every row of a.
func (p *panel) packRows(buf *packA, a []float32, lda, rows int) {
	ld := p.depth + packGap
	for r := range rows {
		copy(buf[r*ld:r*ld+p.depth], a[r*lda:r*lda+p.depth])
	}
	p.a, p.arow, p.acol = unsafe.Pointer(buf), 4*ld, 4
}

// packTiles copies the transpose of depth rows of a, in tiles whose columns are
// contiguous. It sets p.tile and p.atile, which then hold for all of b.
func (p *panel) packTiles(buf *packA, a []float32, lda, rows int) {
	p.tile = tileRows(rows, 6)
	p.atile = 4 * p.tile * p.depth
	p.a, p.arow, p.acol = unsafe.Pointer(buf), 4, 4*p.tile
	const together = 64 // rows whose lines stay in the L2 cache even when they collide
	for q := 0; q < p.depth; q += together {
		for i := 0; i < rows; i += p.tile {
			s := strip{
				dst: unsafe.Pointer(&buf[i*p.depth+q*p.tile]), dstrow: p.acol, srcrow: 4 * lda,
				blocks: min(together, p.depth-q), mask: unsafe.Pointer(&lanes256[8-min(p.tile, rows-i)]),
			}
			s.rows[0] = unsafe.Pointer(&a[q*lda+i])
			copyTile(&s)
		}
	}
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

// A strip is a call of transpose8, copyRows or copyTile.
type strip struct {
	rows   [8]unsafe.Pointer // read 8·blocks floats each; the copies have the first
	dst    unsafe.Pointer    // 8·blocks rows (the copies: blocks)
	dstrow int               // bytes between them
	blocks int               // at least 1
	srcrow int               // the copies: bytes between the rows read
	size   int               // copyRows: bytes of a row, a multiple of 32
	mask   unsafe.Pointer    // copyTile: lanes of a row, 8 int32
}

//go:noescape
func transpose8(p *strip)

//go:noescape
func copyRows(p *strip)

//go:noescape
func copyTile(p *strip)

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
