//go:build !purego

package kernel

import "unsafe"

// A panel is a call of a micro-kernel: rows of a, a few columns of b, and the
// part of c (float32) or sum (int64) that they make. Distances are in bytes.
type panel struct {
	a          unsafe.Pointer // first row's first element
	arow, acol int            // distance between rows of op(a), between columns
	atile      int            // distance between tiles of a
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
	bias       uint64         // AVX2: how many runs, times roundMagicBits
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

// tileRows returns how many rows of m to take at a time: as many as allowed,
// evened out so that the last tile is not a thin one.
func tileRows(m, most int) int {
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
