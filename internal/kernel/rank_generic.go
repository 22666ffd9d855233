package kernel

import "sync"

// rankColumns is how many columns are sorted side by side in pure Go.
const rankColumns = 64

// rankGeneric holds the keys of a tile of columns, a row after the other.
type rankGeneric struct {
	keys [][rankColumns]int32
}

var ranksGeneric = sync.Pool{New: func() any { return new(rankGeneric) }}

// load fills the keys of columns first to first+width-1. Columns beyond width
// keep what they held.
func (s *rankGeneric) load(rows [][]float32, first, width int) {
	if cap(s.keys) < len(rows) {
		s.keys = make([][rankColumns]int32, len(rows))
	}
	s.keys = s.keys[:len(rows)]
	for i, row := range rows {
		keys := s.keys[i][:width]
		for j, x := range row[first : first+width] {
			keys[j] = rankKey(x)
		}
	}
}

// sort sorts each column of the keys.
func (s *rankGeneric) sort() { sortTile(s.keys) }

// sortTile sorts each column by merge exchange (Knuth, The Art of
// Computer Programming, volume 3, algorithm 5.2.2M), which compares the same
// pairs whatever the values.
func sortTile(keys [][rankColumns]int32) {
	n := len(keys)
	top := 1
	for 2*top < n {
		top *= 2
	}
	for p := top; p > 0; p /= 2 {
		for q, r, d := top, 0, p; ; q, r, d = q/2, p, q-p {
			for i := range n - d {
				if i&p == r {
					exchange(&keys[i], &keys[i+d])
				}
			}
			if q == p {
				break
			}
		}
	}
}

// exchange leaves the lesser key of each column in x, the greater in y.
func exchange(x, y *[rankColumns]int32) {
	for j := 0; j < rankColumns; j += 4 {
		x0, x1, x2, x3 := x[j], x[j+1], x[j+2], x[j+3]
		y0, y1, y2, y3 := y[j], y[j+1], y[j+2], y[j+3]
		x[j], x[j+1], x[j+2], x[j+3] = min(x0, y0), min(x1, y1), min(x2, y2), min(x3, y3)
		y[j], y[j+1], y[j+2], y[j+3] = max(x0, y0), max(x1, y1), max(x2, y2), max(x3, y3)
	}
}

// eachSortedTile calls f for each tile of columns, sorted.
func eachSortedTile(rows [][]float32, f func(keys [][rankColumns]int32, first, width int)) {
	s := ranksGeneric.Get().(*rankGeneric)
	columns := len(rows[0])
	for first := 0; first < columns; first += rankColumns {
		width := min(rankColumns, columns-first)
		s.load(rows, first, width)
		s.sort()
		f(s.keys, first, width)
	}
	ranksGeneric.Put(s)
}

func rankSumGeneric(dst []float32, rows [][]float32, lo, hi int, scale float32) {
	eachSortedTile(rows, func(keys [][rankColumns]int32, first, width int) {
		var chains [4][rankColumns]float32
		for r, row := range keys[lo:hi] {
			chain := chains[r%4][:width]
			if r < 4 {
				for j, k := range row[:width] {
					chain[j] = rankValue(k)
				}
				continue
			}
			for j, k := range row[:width] {
				chain[j] += rankValue(k)
			}
		}
		out := dst[first : first+width]
		for j := range out {
			sum := chains[0][j]
			if hi-lo > 1 {
				sum += chains[1][j]
			}
			if hi-lo == 3 {
				sum += chains[2][j]
			}
			if hi-lo > 3 {
				sum += chains[2][j] + chains[3][j]
			}
			out[j] = sum * scale
		}
	})
}

func trimmedSumGeneric(dst []float32, rows [][]float32, cut int, scale float32) {
	s := ranksGeneric.Get().(*rankGeneric)
	defer ranksGeneric.Put(s)
	for first := 0; first < len(dst); first += rankColumns {
		width := min(rankColumns, len(dst)-first)
		s.load(rows, first, width)
		a, b := s.keys[:(len(rows)+1)/2], s.keys[(len(rows)+1)/2:]
		sortTile(a)
		sortTile(b)
		var chains [4][rankColumns]float32
		for k := range cut {
			low, high := &a[k], &a[len(a)-cut+k]
			for j, x := range b[cut-1-k][:width] {
				chains[0][j] += rankValue(max(low[j], x))
			}
			for j, x := range b[len(b)-1-k][:width] {
				chains[1][j] += rankValue(min(high[j], x))
			}
		}
		for c, half := range [][][rankColumns]int32{a, b} {
			for k := cut; k < len(half)-cut; k++ {
				for j, x := range half[k][:width] {
					chains[2+c][j] += rankValue(x)
				}
			}
		}
		out := dst[first : first+width]
		for j := range out {
			out[j] = ((chains[0][j] + chains[1][j]) + (chains[2][j] + chains[3][j])) * scale
		}
	}
}

func meanAroundGeneric(dst []float32, rows [][]float32, m int) {
	n := len(rows)
	eachSortedTile(rows, func(keys [][rankColumns]int32, first, width int) {
		out := dst[first : first+width]
		for j := range out {
			median := rankValue(keys[n/2][j])
			if n%2 == 0 {
				median = (rankValue(keys[n/2-1][j]) + median) * 0.5
			}
			// The window of m ranks slides up while what it leaves is farther
			// than what it enters.
			start := 0
			for start < n-m && median-rankValue(keys[start][j]) > rankValue(keys[start+m][j])-median {
				start++
			}
			var moving, still float32
			for c := range m {
				r := start + ((c-start)%m+m)%m // of the window, with r ≡ c modulo m
				if x := rankValue(keys[r][j]); c < n-m {
					moving += x
				} else {
					still += x
				}
			}
			out[j] = (moving + still) / float32(m)
		}
	})
}

func sortColumnsGeneric(dst []float32, ld int, rows [][]float32) {
	eachSortedTile(rows, func(keys [][rankColumns]int32, first, width int) {
		for r, row := range keys {
			out := dst[r*ld+first:][:width]
			for j := range out {
				out[j] = rankValue(row[j])
			}
		}
	})
}

func rankBoundsGeneric(least, most []float32, rows [][]float32, lo, hi int) {
	eachSortedTile(rows, func(keys [][rankColumns]int32, first, width int) {
		below, above := keys[lo][:width], keys[hi-1][:width]
		for j := range width {
			least[first+j], most[first+j] = rankValue(below[j]), rankValue(above[j])
		}
	})
}
