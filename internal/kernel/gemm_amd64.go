//go:build !purego

package kernel

import "unsafe"

// sweepRows is how many rows of a are multiplied by all of b before the next
// rows: with blockLen columns they stay in a 1 MiB L2 cache.
const sweepRows = 384

// chunkWork bounds rows·depth of one assembly call, which the scheduler cannot
// interrupt: at most 64 columns wide, about 50 µs at 60 GFLOP/s.
const chunkWork = 96 * blockLen

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
	if packingA(op, m, n, length, lda) {
		bufA = packAs.Get().(*packA)
		defer packAs.Put(bufA)
	}
	sweep, most := sweepRows, 12
	if n <= groupWidth { // no row of a is read twice
		sweep = m
		if colliding(lda) {
			most = 6
		}
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
			p.packTiles(buf, a, lda, rows)
			return
		}
		p.arow, p.acol = 4, 4*lda
	} else {
		a = a[i0*lda+p0:]
		if buf != nil {
			p.packRows(buf, a, lda, rows)
			return
		}
		p.arow, p.acol = 4*lda, 4
	}
	p.a = unsafe.Pointer(unsafe.SliceData(a))
}

// group multiplies rows of a by a group of width columns of b: those at p.b, or
// the packed ones. p.c is the first element made of them. Tiles have at most
// most rows, or those that a is packed in.
func (p *panel) group(level Level, rows, width, most int, buf *packB) {
	q := *p
	size := 4
	if q.runs != nil {
		size = 8
	}
	chunk := max(12, chunkWork/q.depth)
	if p.tile != 0 {
		chunk -= chunk % p.tile
	}
	for i := 0; i < rows; i += chunk {
		q.rows = min(chunk, rows-i)
		if p.tile != 0 {
			q.a = unsafe.Add(p.a, i/p.tile*p.atile)
		} else {
			q.a = unsafe.Add(p.a, i*p.arow)
		}
		for j := 0; j < width; {
			s, w := shapeOf(level, width-j)
			q.setWidth(s, w)
			if p.tile == 0 {
				q.tile = tileRows(q.rows, min(most, s.rows()))
				q.atile = q.tile * q.arow
			}
			if buf != nil {
				q.b, q.brow = unsafe.Pointer(&buf[j*q.depth]), 4*s.stride()
			} else {
				q.b = unsafe.Add(p.b, 4*j)
			}
			q.c = unsafe.Add(p.c, i*q.crow+size*j)
			if q.runs != nil {
				q.addRuns(s, w)
			} else {
				q.multiply(s, w)
			}
			j += w
		}
	}
}
