//go:build !purego

package kernel

import (
	"slices"
	"sync"
	"unsafe"
)

//go:noescape
func distances512(x, y *unsafe.Pointer, first, n int, sums *float64, ld int, ahead, ahead2 unsafe.Pointer) (added int)

//go:noescape
func distances256(x, y *unsafe.Pointer, first, n int, sums *float64, ld int, ahead, ahead2 unsafe.Pointer) (added int)

//go:noescape
func distancesOwn512(x, y *unsafe.Pointer, first, n int, sums *float64, ld int, ahead, ahead2 unsafe.Pointer) (added int)

//go:noescape
func distancesOwn256(x, y *unsafe.Pointer, first, n int, sums *float64, ld int, ahead, ahead2 unsafe.Pointer) (added int)

//go:noescape
func distancesTo512(x, y *unsafe.Pointer, first, n int, sums *float64, ld int, ahead, ahead2 unsafe.Pointer) (added int)

//go:noescape
func distancesTo256(x, y *unsafe.Pointer, first, n int, sums *float64, ld int, ahead, ahead2 unsafe.Pointer) (added int)

//go:noescape
func addRows512(dst *float32, rows *unsafe.Pointer, w *float32, count, first, n int)

//go:noescape
func addRows256(dst *float32, rows *unsafe.Pointer, w *float32, count, first, n int)

//go:noescape
func mixRows512(dst *float32, rows *unsafe.Pointer, w *float32, count, first, n int, ahead unsafe.Pointer)

//go:noescape
func mixRows256(dst *float32, rows *unsafe.Pointer, w *float32, count, first, n int, ahead unsafe.Pointer)

// A rowTable holds the rows' starts, and weights beside them.
type rowTable struct {
	rows []unsafe.Pointer
	w    []float32

	group  [1 + groupRows]unsafe.Pointer
	shares [1 + groupRows]float32
}

var rowTables = sync.Pool{New: func() any { return new(rowTable) }}

// fill takes the rows, and repeats the last until their number is a multiple of
// four.
func (t *rowTable) fill(rows [][]float32) {
	t.rows = t.rows[:0]
	for _, row := range rows {
		t.rows = append(t.rows, unsafe.Pointer(unsafe.SliceData(row)))
	}
	for len(t.rows)%4 > 0 {
		t.rows = append(t.rows, t.rows[len(t.rows)-1])
	}
}

// done forgets the rows and gives t back.
func (t *rowTable) done() {
	clear(t.rows)
	clear(t.group[:])
	rowTables.Put(t)
}

// distances4 adds the distances of four rows to four others, but for those out
// of range, to sums, and returns the bits of those added: 4·i+j of pair i, j.
func distances4(level Level, x, y *[4]unsafe.Pointer, first, n int, sums *float64, ld int, ahead, ahead2 unsafe.Pointer) (added int) {
	if level == AVX512 {
		return distances512(&x[0], &y[0], first, n, sums, ld, ahead, ahead2)
	}
	left := distances256(&x[0], &y[0], first, n, sums, ld, ahead, ahead)
	right := distances256(&x[0], &y[2], first, n, (*float64)(unsafe.Add(unsafe.Pointer(sums), 16)), ld, ahead2, ahead2)
	for i := range 4 {
		added |= (left >> (2 * i) & 3) << (4 * i)
		added |= (right >> (2 * i) & 3) << (4*i + 2)
	}
	return added
}

// ownPairs are the pairs of four rows, in the order of distancesOwn.
var ownPairs = [...][2]int{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}

// distancesOwn are the distances of four rows among themselves, but for those out of range,
// and the bits of the others.
func distancesOwn(level Level, x *[4]unsafe.Pointer, first, n int, ahead, ahead2 unsafe.Pointer) (sums [8]float64, added int) {
	if level == AVX512 {
		added = distancesOwn512(&x[0], nil, first, n, &sums[0], 4, ahead, ahead2)
	} else {
		added = distancesOwn256(&x[0], nil, first, n, &sums[0], 4, ahead, ahead2)
	}
	return sums, added
}

const allAdded = 1<<16 - 1

// fewTiles is the number of rows up to which tiles are so few that each must fetch two
// rows of the next block; of more rows one, so that fetching does not come in bursts
// that stall the loads.
const fewTiles = 24

// bandRows is how many rows are paired with all before them while their elements of a block
// of coordinates stay in the second cache.
const bandRows = 64

// squaredDistances fills the tiles on and above the diagonal, block by block of
// coordinates and band by band of columns, and copies what lies above it below.
func squaredDistances(dst []float64, rows [][]float32) {
	level := current
	if level == Generic {
		squaredDistancesGeneric(dst, rows)
		return
	}
	t := rowTables.Get().(*rowTable)
	defer t.done()
	t.fill(rows)
	n, d := len(rows), len(rows[0])
	for first := 0; first < d; first += pairwiseLen {
		count := min(pairwiseLen, d-first)
		next := 4 * min(first+pairwiseLen, (d-1)/pairwiseLen*pairwiseLen)
		fetched := 0
		ahead := func() unsafe.Pointer { // each row once, then what is there already
			if fetched == n {
				return unsafe.Add(t.rows[0], 4*first)
			}
			fetched++
			return unsafe.Add(t.rows[fetched-1], next)
		}
		second := ahead
		if n >= fewTiles {
			second = func() unsafe.Pointer { return unsafe.Add(t.rows[0], 4*first) }
		}
		for band := 0; band < n; band += bandRows {
			end := min(band+bandRows, n)
			for i := 0; i < end; i += 4 {
				j := band
				if i >= band {
					t.ownTile(level, dst, rows, i, first, count, ahead(), second())
					j = i + 4
				}
				for ; j < end; j += 4 {
					t.tile(level, dst, rows, i, j, first, count, ahead(), second())
				}
			}
		}
	}
	for i := range n {
		for j := range i {
			dst[i*n+j] = dst[j*n+i]
		}
	}
}

// ownTile adds the distances of four rows from i on among themselves.
func (t *rowTable) ownTile(level Level, dst []float64, rows [][]float32, i, first, count int, ahead, ahead2 unsafe.Pointer) {
	n := len(rows)
	sums, own := distancesOwn(level, (*[4]unsafe.Pointer)(t.rows[i:]), 4*first, count, ahead, ahead2)
	for k, pair := range ownPairs {
		r, c := i+pair[0], i+pair[1]
		switch {
		case c >= n:
		case own>>k&1 == 1:
			dst[r*n+c] += sums[k]
		default:
			dst[r*n+c] += distanceExact(rows[r][first:first+count], rows[c][first:first+count])
		}
	}
}

// tile adds the distances of four rows from i on to four from j on, of which the last may
// not be there.
func (t *rowTable) tile(level Level, dst []float64, rows [][]float32, i, j, first, count int, ahead, ahead2 unsafe.Pointer) {
	n := len(rows)
	x, y := (*[4]unsafe.Pointer)(t.rows[i:]), (*[4]unsafe.Pointer)(t.rows[j:])
	var added int
	if j+4 <= n {
		added = distances4(level, x, y, 4*first, count, &dst[i*n+j], n, ahead, ahead2)
	} else {
		var edge [16]float64
		added = distances4(level, x, y, 4*first, count, &edge[0], 4, ahead, ahead2)
		for k, s := range edge {
			if r, c := i+k/4, j+k%4; c < n {
				dst[r*n+c] += s
			}
		}
	}
	if added == allAdded {
		return
	}
	for k := range 16 {
		if r, c := i+k/4, j+k%4; added>>k&1 == 0 && c < n {
			dst[r*n+c] += distanceExact(rows[r][first:first+count], rows[c][first:first+count])
		}
	}
}

// distancesTo measures four rows at a time.
func distancesTo(dst []float64, rows [][]float32, point []float32) {
	level := current
	if level == Generic {
		distancesToGeneric(dst, rows, point)
		return
	}
	t := rowTables.Get().(*rowTable)
	defer t.done()
	t.fill(rows)
	y := unsafe.Pointer(unsafe.SliceData(point))
	for first := 0; first < len(point); first += pairwiseLen {
		count := min(pairwiseLen, len(point)-first)
		for i := 0; i < len(rows); i += 4 {
			var sums [4]float64
			var added int
			if level == AVX512 {
				added = distancesTo512(&t.rows[i], &y, 4*first, count, &sums[0], 0, nil, nil)
			} else {
				added = distancesTo256(&t.rows[i], &y, 4*first, count, &sums[0], 0, nil, nil)
			}
			for k := range min(4, len(rows)-i) {
				if added>>k&1 == 1 {
					dst[i+k] += sums[k]
				} else {
					dst[i+k] += distanceExact(rows[i+k][first:first+count], point[first:first+count])
				}
			}
		}
	}
}

// weightedRows goes over blocks of columns, for assembly cannot be preempted.
func weightedRows(dst []float32, rows [][]float32, w []float32) {
	if current == Generic {
		weightedRowsGeneric(dst, rows, w)
		return
	}
	t := rowTables.Get().(*rowTable)
	defer t.done()
	t.rows, t.w = t.rows[:0], t.w[:0]
	for i, row := range rows {
		if w[i] != 0 {
			t.rows = append(t.rows, unsafe.Pointer(unsafe.SliceData(row)))
			t.w = append(t.w, w[i])
		}
	}
	if len(t.rows) == 0 {
		clear(dst)
		return
	}
	out := unsafe.Pointer(unsafe.SliceData(dst))
	group := groupRows
	if slices.Contains(t.rows, out) { // it must be read before it is overwritten
		group = len(t.rows)
	}
	for first := 0; first < len(dst); first += groupColumns {
		part := dst[first:min(first+groupColumns, len(dst))]
		addRows(part, t.rows[:min(group, len(t.rows))], t.w, first)
		for at := group; at < len(t.rows); at += group {
			// What is there already is a row of weight one, which rounds nothing.
			t.group[0], t.shares[0] = out, 1
			n := copy(t.group[1:], t.rows[at:])
			copy(t.shares[1:], t.w[at:])
			addRows(part, t.group[:1+n], t.shares[:], first)
		}
	}
}

// addRows writes the sum of the rows from a column on.
func addRows(dst []float32, rows []unsafe.Pointer, w []float32, first int) {
	if current == AVX512 {
		addRows512(&dst[0], &rows[0], &w[0], len(rows), 4*first, len(dst))
	} else {
		addRows256(&dst[0], &rows[0], &w[0], len(rows), 4*first, len(dst))
	}
}

// Rows are added up in small groups, over columns that stay in a near cache: more streams
// than that from memory are fetched late.
const (
	groupRows    = 8
	groupColumns = 4096
)

// mixLen is how many columns are mixed at a time: of a hundred rows they stay in the
// first cache.
const mixLen = 64

// mixRows goes over narrow blocks of columns, and in each over the mixtures, while it
// fetches the next block, a row with each mixture.
func mixRows(dst, rows [][]float32, mixtures [][]Term) {
	if current == Generic {
		mixRowsGeneric(dst, rows, mixtures)
		return
	}
	t := rowTables.Get().(*rowTable)
	defer t.done()
	terms := 0
	for _, m := range mixtures {
		terms += len(m)
	}
	t.rows, t.w = slices.Grow(t.rows[:0], terms), slices.Grow(t.w[:0], terms)
	for _, terms := range mixtures {
		for _, term := range terms {
			row := unsafe.SliceData(mixed(dst, rows, term.Row))
			t.rows, t.w = append(t.rows, unsafe.Pointer(row)), append(t.w, term.Weight)
		}
	}
	columns := len(dst[0])
	for first := 0; first < columns; first += mixLen {
		count, at := min(mixLen, columns-first), 0
		for k, terms := range mixtures {
			var ahead unsafe.Pointer
			if k < len(rows) {
				ahead = unsafe.Pointer(&rows[k][min(first+mixLen, columns-1)])
			}
			switch {
			case len(terms) == 0:
				clear(dst[k][first : first+count])
			case current == AVX512:
				mixRows512(&dst[k][first], &t.rows[at], &t.w[at], len(terms), 4*first, count, ahead)
			default:
				mixRows256(&dst[k][first], &t.rows[at], &t.w[at], len(terms), 4*first, count, ahead)
			}
			at += len(terms)
		}
	}
}
