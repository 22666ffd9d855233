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

// longRows is how many rows of sum a long run is added to at a time.
const longRows = 48

// A runsPack is the scratch of GEMMRuns.
type runsPack struct {
	b    packB
	lens [packLen + 1]int               // of the runs taken together, then 0
	tile [longRows * groupWidth]float32 // part of a long run
}

var runsPacks = sync.Pool{New: func() any { return new(runsPack) }}

// gemmRuns dispatches GEMMRuns on checked, non-empty operands. It takes as many
// whole runs together as fit a packed panel of b.
func gemmRuns(m, n int, a []float32, lda int, b []float32, ldb int, ends []int, sum []int64, ldsum int) {
	level := current
	if level == Generic {
		gemmRunsGeneric(m, n, a, lda, b, ldb, ends, sum, ldsum)
		return
	}
	buf := runsPacks.Get().(*runsPack)
	defer runsPacks.Put(buf)
	var bufA *packA
	if packingA(TN, m, n, ends[len(ends)-1], lda) {
		bufA = packAs.Get().(*packA)
		defer packAs.Put(bufA)
	}
	start, end, runs := 0, 0, 0 // of the runs in buf.lens
	add := func() {
		if runs > 0 {
			buf.lens[runs] = 0
			addTogether(level, buf, bufA, runs, m, n, end-start, a[start*lda:], lda, b[start*ldb:], ldb, sum, ldsum)
		}
		start, runs = end, 0
	}
	for _, e := range ends {
		length := e - end
		switch {
		case length == 0:
		case length > packLen:
			add()
			addLongRun(level, buf, m, n, length, a[start*lda:], lda, b[start*ldb:], ldb, sum, ldsum)
			start, end = e, e
		default:
			if e-start > packLen {
				add()
			}
			buf.lens[runs] = length
			runs++
			end = e
		}
	}
	add()
}

// roundMagicBits is the bit pattern of 1.5·2^52, see roundMagic.
const roundMagicBits = 0x4338 << 48

// addTogether adds the runs in buf.lens, of depth rows in all.
func addTogether(level Level, buf *runsPack, bufA *packA, runs, m, n, depth int, a []float32, lda int, b []float32, ldb int, sum []int64, ldsum int) {
	p := panel{depth: depth, crow: 8 * ldsum, runs: &buf.lens[0], bias: uint64(runs) * roundMagicBits}
	var bufB *packB
	if packingB(m, n, depth, ldb) {
		bufB = &buf.b
	}
	sweep := m
	if bufA != nil {
		sweep = sweepRows
	}
	for i := 0; i < m; i += sweep {
		rows := min(sweep, m-i)
		p.placeA(TN, a, lda, i, 0, rows, bufA)
		for j := 0; j < n; j += groupWidth {
			width := min(groupWidth, n-j)
			if bufB != nil {
				packGroup(level, bufB, b[j:], ldb, depth, width)
			} else {
				p.b, p.brow = unsafe.Pointer(&b[j]), 4*ldb
			}
			p.c = unsafe.Pointer(&sum[i*ldsum+j])
			p.group(level, rows, width, 12, bufB)
		}
	}
}

// addLongRun adds one run that is too long to be taken together with others:
// its chain is carried from one block of rows to the next in float32.
func addLongRun(level Level, buf *runsPack, m, n, depth int, a []float32, lda int, b []float32, ldb int, sum []int64, ldsum int) {
	p := panel{crow: 4 * groupWidth, brow: 4 * ldb}
	for j := 0; j < n; j += groupWidth {
		width := min(groupWidth, n-j)
		for i := 0; i < m; i += longRows {
			rows := min(longRows, m-i)
			p.mode = panelStore
			for q := 0; q < depth; q += blockLen {
				p.depth = min(blockLen, depth-q)
				p.placeA(TN, a, lda, i, q, rows, nil)
				p.b = unsafe.Pointer(&b[q*ldb+j])
				p.c = unsafe.Pointer(&buf.tile)
				p.group(level, rows, width, 12, nil)
				p.mode = panelContinue
			}
			for r := range rows {
				row := sum[(i+r)*ldsum+j : (i+r)*ldsum+j+width]
				for v, x := range buf.tile[r*groupWidth : r*groupWidth+width] {
					row[v] += roundGeneric(x)
				}
			}
		}
	}
}
