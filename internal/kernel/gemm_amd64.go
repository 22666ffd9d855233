//go:build !purego

package kernel

import (
	"sync"
	"unsafe"
)

// A panel is a call of a micro-kernel: rows of a, a few columns of b, and the
// part of c (float32) or sum (int64) that they make. Distances are in bytes.
type panel struct {
	a          unsafe.Pointer // first row's first element
	arow, acol int            // distance between rows of op(a), between columns
	b          unsafe.Pointer
	brow       int
	c          unsafe.Pointer
	crow       int
	rows       int            // of a and c
	tile       int            // rows at a time, at most the micro-kernel's
	depth      int            // length of the chain, at least 1; GEMM alone
	mode       int            // what becomes of c; GEMM alone
	lanes      int            // AVX-512: bits of the last vector's lanes
	mask       unsafe.Pointer // AVX2: lanes of the last vector, 8 int32
	runs       *int           // lengths of runs, ended by 0; GEMMRuns alone
}

// Modes of a panel: what becomes of the chain that starts from zero, or from c.
const (
	panelStore    = iota // c = chain
	panelAdd             // c += chain
	panelContinue        // c = chain that starts from c
)

//go:noescape
func gemm512x4(p *panel)

//go:noescape
func gemm512x3(p *panel)

//go:noescape
func gemm512x2(p *panel)

//go:noescape
func gemm512x1(p *panel)

//go:noescape
func gemm256x2(p *panel)

//go:noescape
func gemm256x2mask(p *panel)

//go:noescape
func gemm256x1(p *panel)

//go:noescape
func gemm256x1mask(p *panel)

// A shape is the pair of micro-kernels that multiplies panels of one width.
type shape uint8

const (
	shape256x1 shape = iota
	shape256x2
	shape512x1
	shape512x2
	shape512x3
	shape512x4
)

// shapeOf returns the micro-kernel for the next columns of a matrix of which n
// are left, and how many it takes.
func shapeOf(level Level, n int) (s shape, width int) {
	switch {
	case n <= 8:
		return shape256x1, n
	case level == AVX2:
		return shape256x2, min(n, 16)
	case n <= 16:
		return shape512x1, n
	case n <= 32:
		return shape512x2, n
	case n <= 48:
		return shape512x3, n
	}
	return shape512x4, min(n, 64)
}

// stride is the width of a packed panel, whole vectors.
func (s shape) stride() int { return [...]int{8, 16, 16, 32, 48, 64}[s] }

// rows is the most rows of a tile.
func (s shape) rows() int { return [...]int{12, 6, 12, 12, 8, 6}[s] }

// tileRows returns how many rows of m to take at a time: as many as the
// micro-kernel can, evened out so that the last tile is not a thin one.
func (s shape) tileRows(m int) int {
	most := s.rows()
	if m <= most {
		return m
	}
	tiles := (m + most - 1) / most
	return (m + tiles - 1) / tiles
}

// lanes256 holds the masks of AVX2: 8-w..15-w are w ones, then zeros.
var lanes256 = [16]int32{-1, -1, -1, -1, -1, -1, -1, -1}

// setWidth sets the lanes of the last vector of a panel of width columns.
func (p *panel) setWidth(s shape, width int) {
	if s <= shape256x2 {
		last := (width-1)%8 + 1
		p.mask = unsafe.Pointer(&lanes256[8-last])
		return
	}
	last := (width-1)%16 + 1
	p.lanes = 1<<last - 1
}

func (p *panel) multiply(s shape, width int) {
	switch s {
	case shape256x1:
		if width < 8 {
			gemm256x1mask(p)
		} else {
			gemm256x1(p)
		}
	case shape256x2:
		if width < 16 {
			gemm256x2mask(p)
		} else {
			gemm256x2(p)
		}
	case shape512x1:
		gemm512x1(p)
	case shape512x2:
		gemm512x2(p)
	case shape512x3:
		gemm512x3(p)
	case shape512x4:
		gemm512x4(p)
	}
}

// callWork bounds rows·depth·width of one assembly call, which the scheduler
// cannot interrupt: about 100 µs at 60 GFLOP/s.
const callWork = 3 << 20

// callRows returns how many rows one call may take, a multiple of tile.
func callRows(tile, depth, width int) int {
	return max(tile, callWork/(depth*width)/tile*tile)
}

// sweepRows is how many rows of a are multiplied by every panel of b before
// the next rows: with blockLen columns they stay in a 1 MiB L2 cache.
const sweepRows = 384

// packLen is the longest b panel that is packed, in rows.
const packLen = 384

// packs holds b panels of 64 columns. An array of this size starts on a page.
type pack [packLen * 64]float32

var packs = sync.Pool{New: func() any { return new(pack) }}

// gemm dispatches GEMM on checked, non-empty operands.
func gemm(op Op, m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, add bool) {
	level := current
	if level == Generic {
		gemmGeneric(op, m, n, k, a, lda, b, ldb, c, ldc, add)
		return
	}
	var p panel
	p.arow, p.acol = 4*lda, 4
	if op == TN {
		p.arow, p.acol = 4, 4*lda
	}
	p.crow = 4 * ldc
	var buf *pack
	if op == NT || packing(m, n, ldb) {
		buf = packs.Get().(*pack)
		defer packs.Put(buf)
	}
	pa, pc := unsafe.Pointer(unsafe.SliceData(a)), unsafe.Pointer(unsafe.SliceData(c))
	count, length := blocks(k)
	for block := range count {
		p0 := block * length
		p.depth = min(length, k-p0)
		p.mode = panelStore
		if add || block > 0 {
			p.mode = panelAdd
		}
		sweep := sweepRows
		if n <= 64 { // one panel: no row of a is read twice
			sweep = m
		}
		for i0 := 0; i0 < m; i0 += sweep {
			rows := min(sweep, m-i0)
			for j := 0; j < n; {
				s, width := shapeOf(level, n-j)
				switch {
				case op == NT:
					packTransposed(buf, b[j*ldb+p0:], ldb, p.depth, width, s.stride())
					p.b, p.brow = unsafe.Pointer(buf), 4*s.stride()
				case buf != nil:
					packRows(buf, b[p0*ldb+j:], ldb, p.depth, width, s.stride())
					p.b, p.brow = unsafe.Pointer(buf), 4*s.stride()
				default:
					p.b, p.brow = unsafe.Pointer(&b[p0*ldb+j]), 4*ldb
				}
				p.setWidth(s, width)
				p.tile = s.tileRows(rows)
				step := callRows(p.tile, p.depth, width)
				for i := 0; i < rows; i += step {
					p.rows = min(step, rows-i)
					p.a = unsafe.Add(pa, (i0+i)*p.arow+p0*p.acol)
					p.c = unsafe.Add(pc, (i0+i)*p.crow+4*j)
					p.multiply(s, width)
				}
				j += width
			}
		}
	}
}

// packing reports whether b pays for a packed copy: it is read often enough,
// and its rows are far apart.
func packing(m, n, ldb int) bool { return m > 24 && ldb > 64 }

// packRows copies depth rows of width floats to buf, stride apart.
func packRows(buf *pack, b []float32, ldb, depth, width, stride int) {
	for q := range depth {
		copy(buf[q*stride:q*stride+width], b[q*ldb:q*ldb+width])
	}
}

// A strip is a call of transpose8.
type strip struct {
	rows   [8]unsafe.Pointer // read 8·blocks floats each
	dst    unsafe.Pointer    // 8·blocks rows of 8 floats
	dstrow int               // bytes between them
	blocks int               // at least 1
}

//go:noescape
func transpose8(p *strip)

// packTransposed copies width rows of b, depth floats each, to the columns of
// buf, stride apart. The rows that a vector has and b has not repeat b's last:
// what is made of them is never stored.
func packTransposed(buf *pack, b []float32, ldb, depth, width, stride int) {
	pb := unsafe.Pointer(unsafe.SliceData(b))
	for j := 0; j < width; j += 8 {
		if depth < 8 {
			for q := range depth {
				for r := range min(8, width-j) {
					buf[q*stride+j+r] = b[(j+r)*ldb+q]
				}
			}
			continue
		}
		var s strip
		for r := range s.rows {
			s.rows[r] = unsafe.Add(pb, 4*ldb*min(j+r, width-1))
		}
		s.dst = unsafe.Pointer(&buf[j])
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
