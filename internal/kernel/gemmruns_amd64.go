//go:build !purego

package kernel

import (
	"sync"
	"unsafe"
)

//go:noescape
func runs512x4(p *panel)

//go:noescape
func runs512x3(p *panel)

//go:noescape
func runs512x2(p *panel)

//go:noescape
func runs512x1(p *panel)

//go:noescape
func runs256x2(p *panel)

//go:noescape
func runs256x2mask(p *panel)

//go:noescape
func runs256x1(p *panel)

//go:noescape
func runs256x1mask(p *panel)

func (p *panel) addRuns(s shape, width int) {
	switch s {
	case shape256x1:
		if width < 8 {
			runs256x1mask(p)
		} else {
			runs256x1(p)
		}
	case shape256x2:
		if width < 16 {
			runs256x2mask(p)
		} else {
			runs256x2(p)
		}
	case shape512x1:
		runs512x1(p)
	case shape512x2:
		runs512x2(p)
	case shape512x3:
		runs512x3(p)
	case shape512x4:
		runs512x4(p)
	}
}

// groupRows is how many rows of a and b are taken at a time, whole runs, so
// that a panel of b is packed once for all of them.
const groupRows = packLen

// runsPack is the scratch of GEMMRuns.
type runsPack struct {
	b    pack
	lens [groupRows + 1]int     // of the group's runs, then 0
	tile [longRows * 64]float32 // part of a long run
}

// longRows is how many rows of sum a long run is added to at a time.
const longRows = 48

var runsPacks = sync.Pool{New: func() any { return new(runsPack) }}

// gemmRuns dispatches GEMMRuns on checked, non-empty operands.
func gemmRuns(m, n int, a []float32, lda int, b []float32, ldb int, ends []int, sum []int64, ldsum int) {
	level := current
	if level == Generic {
		gemmRunsGeneric(m, n, a, lda, b, ldb, ends, sum, ldsum)
		return
	}
	buf := runsPacks.Get().(*runsPack)
	defer runsPacks.Put(buf)
	start := 0 // of the group
	end := 0   // of the runs in it
	group := 0 // how many
	for _, e := range ends {
		length := e - end
		if length == 0 {
			continue
		}
		if group > 0 && e-start > groupRows {
			buf.lens[group] = 0
			addGroup(level, buf, m, n, end-start, a[start*lda:], lda, b[start*ldb:], ldb, sum, ldsum)
			start, group = end, 0
		}
		end = e
		if length > groupRows {
			addLongRun(level, buf, m, n, length, a[start*lda:], lda, b[start*ldb:], ldb, sum, ldsum)
			start = end
			continue
		}
		buf.lens[group] = length
		group++
	}
	if group > 0 {
		buf.lens[group] = 0
		addGroup(level, buf, m, n, end-start, a[start*lda:], lda, b[start*ldb:], ldb, sum, ldsum)
	}
}

// addGroup adds the runs in buf.lens, of depth rows together.
func addGroup(level Level, buf *runsPack, m, n, depth int, a []float32, lda int, b []float32, ldb int, sum []int64, ldsum int) {
	p := panel{arow: 4, acol: 4 * lda, crow: 8 * ldsum, runs: &buf.lens[0]}
	packed := packing(m, n, ldb)
	for j := 0; j < n; {
		s, width := shapeOf(level, n-j)
		if packed {
			packRows(&buf.b, b[j:], ldb, depth, width, s.stride())
			p.b, p.brow = unsafe.Pointer(&buf.b), 4*s.stride()
		} else {
			p.b, p.brow = unsafe.Pointer(&b[j]), 4*ldb
		}
		p.setWidth(s, width)
		p.tile = s.tileRows(m)
		step := callRows(p.tile, depth, width)
		for i := 0; i < m; i += step {
			p.rows = min(step, m-i)
			p.a = unsafe.Pointer(&a[i])
			p.c = unsafe.Pointer(&sum[i*ldsum+j])
			p.addRuns(s, width)
		}
		j += width
	}
}

// addLongRun adds one run that is too long for a group: its chain is carried
// from one block of rows to the next in float32.
func addLongRun(level Level, buf *runsPack, m, n, depth int, a []float32, lda int, b []float32, ldb int, sum []int64, ldsum int) {
	p := panel{arow: 4, acol: 4 * lda, brow: 4 * ldb, c: unsafe.Pointer(&buf.tile)}
	for j := 0; j < n; {
		s, width := shapeOf(level, n-j)
		p.setWidth(s, width)
		p.crow = 4 * s.stride()
		for i := 0; i < m; i += longRows {
			p.rows = min(longRows, m-i)
			p.tile = s.tileRows(p.rows)
			p.mode = panelStore
			for q := 0; q < depth; q += blockLen {
				p.depth = min(blockLen, depth-q)
				p.a = unsafe.Pointer(&a[q*lda+i])
				p.b = unsafe.Pointer(&b[q*ldb+j])
				p.multiply(s, width)
				p.mode = panelContinue
			}
			for r := range p.rows {
				row := sum[(i+r)*ldsum+j : (i+r)*ldsum+j+width]
				for v, x := range buf.tile[r*s.stride() : r*s.stride()+width] {
					row[v] += roundGeneric(x)
				}
			}
		}
		j += width
	}
}
