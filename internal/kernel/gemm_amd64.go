//go:build !purego

package kernel

import "unsafe"

// callWork bounds rows·depth·width of one assembly call, which the scheduler
// cannot interrupt: about 100 µs at 60 GFLOP/s.
const callWork = 3 << 20

// callRows returns how many rows one call may take, a multiple of tile.
func callRows(tile, depth, width int) int {
	return max(tile, callWork/(depth*width)/tile*tile)
}

// sweepRows is how many rows of a are multiplied by all of b before the next
// rows: with blockLen columns they stay in a 1 MiB L2 cache.
const sweepRows = packLen

// gemm dispatches GEMM on checked, non-empty operands.
func gemm(op Op, m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, add bool) {
	level := current
	if level == Generic {
		gemmGeneric(op, m, n, k, a, lda, b, ldb, c, ldc, add)
		return
	}
	p := panel{crow: 4 * ldc}
	count, length := blocks(k)
	var bufB *packB
	if op == NT || packingB(m, n, length, ldb) {
		bufB = packBs.Get().(*packB)
		defer packBs.Put(bufB)
	}
	var bufA *packA
	sweep, most := sweepRows, 12
	switch {
	case n <= groupWidth: // no row of a is read twice
		sweep = m
		if colliding(lda) {
			most = 6
		}
	case m > 24 && colliding(lda):
		bufA = packAs.Get().(*packA)
		defer packAs.Put(bufA)
	}
	for block := range count {
		p0 := block * length
		p.depth = min(length, k-p0)
		p.mode = panelStore
		if add || block > 0 {
			p.mode = panelAdd
		}
		for i0 := 0; i0 < m; i0 += sweep {
			rows := min(sweep, m-i0)
			p.placeA(op, a, lda, i0, p0, rows, bufA)
			for j := 0; j < n; j += groupWidth {
				width := min(groupWidth, n-j)
				switch {
				case op == NT:
					packGroupTransposed(level, bufB, b[j*ldb+p0:], ldb, p.depth, width)
				case bufB != nil:
					packGroup(level, bufB, b[p0*ldb+j:], ldb, p.depth, width)
				default:
					p.b, p.brow = unsafe.Pointer(&b[p0*ldb+j]), 4*ldb
				}
				p.c = unsafe.Pointer(&c[i0*ldc+j])
				p.group(level, rows, width, most, bufB)
			}
		}
	}
}

// placeA points p at rows i0 to i0+rows-1 of op(a), from column p0 on, packed
// if there is a buffer.
func (p *panel) placeA(op Op, a []float32, lda, i0, p0, rows int, buf *packA) {
	if op == TN {
		a = a[p0*lda+i0:]
		if buf != nil {
			lda = packRowsA(buf, a, lda, p.depth, rows)
			a = buf[:]
		}
		p.arow, p.acol = 4, 4*lda
	} else {
		a = a[i0*lda+p0:]
		if buf != nil {
			lda = packRowsA(buf, a, lda, rows, p.depth)
			a = buf[:]
		}
		p.arow, p.acol = 4*lda, 4
	}
	p.a = unsafe.Pointer(unsafe.SliceData(a))
}

// group multiplies rows of a by a group of width columns of b: those at p.b, or
// the packed ones. p.c is the first element made of them. Tiles have at most
// most rows.
func (p *panel) group(level Level, rows, width, most int, buf *packB) {
	q := *p
	for j := 0; j < width; {
		s, w := shapeOf(level, width-j)
		q.setWidth(s, w)
		q.tile = tileRows(rows, min(most, s.rows()))
		if buf != nil {
			q.b, q.brow = unsafe.Pointer(&buf[j*q.depth]), 4*s.stride()
		} else {
			q.b = unsafe.Add(p.b, 4*j)
		}
		size := 4
		if q.runs != nil {
			size = 8
		}
		step := callRows(q.tile, q.depth, w)
		for i := 0; i < rows; i += step {
			q.rows = min(step, rows-i)
			q.a = unsafe.Add(p.a, i*q.arow)
			q.c = unsafe.Add(p.c, i*q.crow+size*j)
			if q.runs != nil {
				q.addRuns(s, w)
			} else {
				q.multiply(s, w)
			}
		}
		j += w
	}
}
