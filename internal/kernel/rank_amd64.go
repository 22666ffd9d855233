//go:build !purego

package kernel

import "unsafe"

func rankSum(dst []float32, rows [][]float32, lo, hi int, scale float32) (finite bool) {
	n := len(rows)
	if current == Generic {
		rankSumGeneric(dst, rows, lo, hi, scale)
		return false
	}
	if n == 1 {
		Scale(dst, scale, rows[0])
		return false
	}
	s := rankTiles.Get().(*rankTile)
	defer s.done()
	if n > maxNetwork {
		if hi-lo <= 2 {
			s.rankOfHalves(dst, rows, lo, hi, scale)
			return s.finite()
		}
		s.eachSorted(rows, dst, func(base unsafe.Pointer, stride, vectors int, out []float32, _ int) {
			addRanks(s.level, unsafe.Add(base, lo*s.bytes), stride, vectors, hi-lo, &out[0], scale)
		})
		return s.finite()
	}
	// The padding puts rank lo on the lower of the network's middle ranks.
	network := networkOf(n)
	if low := network/2 - 1 - lo; hi-lo <= 2 && low >= 0 && low+n <= network {
		s.begin(rows, low, network, 1)
		s.each(dst, func(vectors int, out []float32, _ int) {
			middleRows(s.level, network, &s.rows[0], vectors, &out[0], s.spill(), hi-lo-1, scale)
		})
		return false // the network has no ends
	}
	s.eachSorted(rows, dst, func(base unsafe.Pointer, stride, vectors int, out []float32, _ int) {
		addRanks(s.level, unsafe.Add(base, lo*s.bytes), stride, vectors, hi-lo, &out[0], scale)
	})
	return s.finite()
}

func meanAround(dst []float32, rows [][]float32, m int) (finite bool) {
	if current == Generic || len(rows) == 1 {
		meanAroundGeneric(dst, rows, m)
		return false
	}
	s := rankTiles.Get().(*rankTile)
	defer s.done()
	n := len(rows)
	s.eachSorted(rows, dst, func(base unsafe.Pointer, stride, vectors int, out []float32, _ int) {
		addAround(s.level, base, stride, vectors, n, m, (n-1)/2*s.bytes, n/2*s.bytes, &out[0])
	})
	return s.finite()
}

func rankBounds(least, most []float32, rows [][]float32, lo, hi int) {
	if current == Generic || len(rows) == 1 {
		rankBoundsGeneric(least, most, rows, lo, hi)
		return
	}
	s := rankTiles.Get().(*rankTile)
	defer s.done()
	s.eachSorted(rows, nil, func(base unsafe.Pointer, stride, vectors int, _ []float32, column int) {
		s.copyRanks(least, 0, unsafe.Add(base, lo*s.bytes), stride, vectors, 1, column)
		s.copyRanks(most, 0, unsafe.Add(base, (hi-1)*s.bytes), stride, vectors, 1, column)
	})
}

func sortColumns(dst []float32, ld int, rows [][]float32) {
	if current == Generic || len(rows) == 1 {
		sortColumnsGeneric(dst, ld, rows)
		return
	}
	s := rankTiles.Get().(*rankTile)
	defer s.done()
	s.eachSorted(rows, nil, func(base unsafe.Pointer, stride, vectors int, _ []float32, column int) {
		s.copyRanks(dst, ld, base, stride, vectors, len(rows), column)
	})
}

// copyRanks writes count rows of sorted columns from base on to dst, whose rows are ld
// elements apart, from a column on.
func (s *rankTile) copyRanks(dst []float32, ld int, base unsafe.Pointer, stride, vectors, count, column int) {
	columns := len(s.input[0])
	if column+vectors*s.lanes <= columns {
		copyRanks(s.level, base, stride, vectors, count, &dst[column], ld)
		return
	}
	for r := range count {
		keys := unsafe.Slice((*int32)(unsafe.Add(base, r*s.bytes)), columns-column)
		out := dst[r*ld+column : r*ld+columns]
		for j, k := range keys {
			out[j] = rankValue(k)
		}
	}
}

// eachSorted calls f for groups of vectors of sorted columns: their ranks are
// rows of keys from base on, stride bytes between vectors.
func (s *rankTile) eachSorted(rows [][]float32, dst []float32, f func(base unsafe.Pointer, stride, vectors int, out []float32, column int)) {
	network, runs := runsOf(len(rows))
	s.begin(rows, 0, network, runs)
	stride := network * runs * s.bytes
	group := s.room(stride)
	s.each(dst, func(vectors int, out []float32, column int) {
		for v := 0; v < vectors; v += group {
			count := min(group, vectors-v)
			base := s.work()
			for run := range runs {
				s.sortRun(run, v, count, unsafe.Add(base, run*network*s.bytes), stride)
			}
			s.merge(base, stride, count, network, runs)
			s.bound(base, stride, count, len(rows))
			part := out
			if dst != nil {
				part = out[v*s.lanes:]
			}
			f(base, stride, count, part, column+v*s.lanes)
		}
	})
}

// rankOfHalves sorts the rows in two halves and finds one or two ranks of their
// union without merging them: the value of rank k is the least, over the ways to
// take k+1 values from the bottoms of the halves, of the greatest taken.
func (s *rankTile) rankOfHalves(dst []float32, rows [][]float32, lo, hi int, scale float32) {
	network, runs := runsOf(len(rows))
	if runs == 2 {
		network = networkOf((len(rows) + 1) / 2) // nothing is merged
	}
	s.begin(rows, 0, network, runs)
	half := network * runs / 2   // rows
	size := (half + 1) * s.bytes // with a row below all values before it
	stride := 2*size + 2*s.bytes // with room for two ranks
	group := s.room(stride)
	for v := range group {
		for h := range 2 {
			lowest := unsafe.Slice((*int32)(unsafe.Add(s.work(), v*stride+h*size)), s.lanes)
			for i := range lowest {
				lowest[i] = -1 << 31
			}
		}
	}
	s.each(dst, func(vectors int, out []float32, _ int) {
		for v := 0; v < vectors; v += group {
			count := min(group, vectors-v)
			base := s.work()
			for run := range runs {
				h, place := run/(runs/2), run%(runs/2)
				s.sortRun(run, v, count, unsafe.Add(base, h*size+(1+place*network)*s.bytes), stride)
			}
			for h := range 2 {
				sorted := unsafe.Add(base, h*size+s.bytes)
				s.merge(sorted, stride, count, network, runs/2)
				s.bound(sorted, stride, count, min(half, len(rows)-h*half))
			}
			if lo+1 == half && hi-lo == 2 {
				middleOfTwo(s.level, unsafe.Add(base, s.bytes), stride, count,
					unsafe.Add(base, size+half*s.bytes), half, unsafe.Add(base, 2*size))
				addRanks(s.level, unsafe.Add(base, 2*size), stride, count, 2, &out[v*s.lanes], scale)
				continue
			}
			for k := lo; k < hi; k++ {
				fewest, most := max(0, k+1-half), min(k+1, half) // taken from the first half
				rankOfTwo(s.level, unsafe.Add(base, fewest*s.bytes), stride, count,
					unsafe.Add(base, size+(k+1-fewest)*s.bytes), most-fewest+1,
					unsafe.Add(base, 2*size+(k-lo)*s.bytes))
			}
			addRanks(s.level, unsafe.Add(base, 2*size), stride, count, hi-lo, &out[v*s.lanes], scale)
		}
	})
}

// trimmedSum sorts the rows in two halves and adds up what is in neither cut: of the
// 2·cut values at the ends of both halves, cut are the least, and pairing those of
// one half, ascending, with those of the other, descending, each pair holds one.
func trimmedSum(dst []float32, rows [][]float32, cut int, scale float32) (finite bool) {
	if current == Generic {
		trimmedSumGeneric(dst, rows, cut, scale)
		return false
	}
	s := rankTiles.Get().(*rankTile)
	defer s.done()
	n := len(rows)
	b := n / 2
	a := n - b
	network, runs := runsOf(n)
	switch {
	case runs == 1:
		network, runs = networkOf(a), 2
	case runs == 2:
		network = networkOf(a) // nothing is merged
	}
	half := network * runs / 2
	s.halves = append(s.halves[:0], rows[:a]...)
	for range half - a {
		s.halves = append(s.halves, nil)
	}
	s.halves = append(s.halves, rows[a:]...)
	s.begin(s.halves, 0, network, runs)
	stride := network * runs * s.bytes
	group := s.room(stride)
	s.each(dst, func(vectors int, out []float32, _ int) {
		for v := 0; v < vectors; v += group {
			count := min(group, vectors-v)
			base := s.work()
			for run := range runs {
				s.sortRun(run, v, count, unsafe.Add(base, run*network*s.bytes), stride)
			}
			other := unsafe.Add(base, half*s.bytes)
			s.merge(base, stride, count, network, runs/2)
			s.merge(other, stride, count, network, runs/2)
			s.bound(base, stride, count, a)
			s.bound(other, stride, count, b)
			addBetween(s.level, base, stride, count, other, cut, (a-cut)*s.bytes, (b-cut)*s.bytes, b-2*cut, &out[v*s.lanes], scale)
		}
	})
	return s.finite()
}

// merge merges sorted runs, a power of two in number, that lie one after the
// other. Each merge cuts bitonic blocks down to two or four times an eighth of
// the first runs' length, and sorts those.
func (s *rankTile) merge(base unsafe.Pointer, stride, vectors, network, runs int) {
	eighth := network / 8
	for length := network; length < network*runs; length *= 2 {
		for first := 0; first < network*runs; first += 2 * length {
			at := unsafe.Add(base, first*s.bytes)
			mergeFirst(s.level, at, stride, vectors, length)
			block, blocks := length/4, 8
			switch block / eighth {
			case 8:
				mergeHalve2(s.level, at, stride, vectors, block/2, blocks)
				block, blocks = block/2, blocks*2
			case 16:
				mergeHalve4(s.level, at, stride, vectors, block/4, blocks)
				block, blocks = block/4, blocks*4
			}
			mergeLast(s.level, block, at, stride, vectors, blocks, s.spill())
		}
	}
}
