package kernel

// distanceBlock is the squared distance of at most pairwiseLen elements, summed
// in eight chains.
func distanceBlock(x, y []float32) float64 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	y = y[:len(x)]
	i := 0
	for ; i+8 <= len(x); i += 8 {
		v, w := (*[8]float32)(x[i:]), (*[8]float32)(y[i:])
		d0, d1, d2, d3 := v[0]-w[0], v[1]-w[1], v[2]-w[2], v[3]-w[3]
		d4, d5, d6, d7 := v[4]-w[4], v[5]-w[5], v[6]-w[6], v[7]-w[7]
		s0 += float32(d0 * d0)
		s1 += float32(d1 * d1)
		s2 += float32(d2 * d2)
		s3 += float32(d3 * d3)
		s4 += float32(d4 * d4)
		s5 += float32(d5 * d5)
		s6 += float32(d6 * d6)
		s7 += float32(d7 * d7)
	}
	for ; i < len(x); i++ {
		d := x[i] - y[i]
		s0 += float32(d * d)
	}
	s := ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
	if inRange(s) {
		return float64(s)
	}
	return distanceExact(x, y)
}

// squaredDistancesGeneric takes blocks of coordinates so narrow that those of
// all rows stay in the caches.
func squaredDistancesGeneric(dst []float64, rows [][]float32) {
	n, d := len(rows), len(rows[0])
	for first := 0; first < d; first += pairwiseLen {
		last := min(first+pairwiseLen, d)
		for i, x := range rows {
			for j, y := range rows[:i] {
				s := distanceBlock(x[first:last], y[first:last])
				dst[i*n+j] += s
				dst[j*n+i] += s
			}
		}
	}
}

func distancesToGeneric(dst []float64, rows [][]float32, point []float32) {
	for first := 0; first < len(point); first += pairwiseLen {
		last := min(first+pairwiseLen, len(point))
		for i, row := range rows {
			dst[i] += distanceBlock(row[first:last], point[first:last])
		}
	}
}

// weightedRowsGeneric keeps a block of dst in the first cache.
func weightedRowsGeneric(dst []float32, rows [][]float32, w []float32) {
	const block = 1024
	for first := 0; first < len(dst); first += block {
		last := min(first+block, len(dst))
		out, started := dst[first:last], false
		// dst may be a row that is yet to come: the sum is made aside.
		var sum [block]float32
		for i, row := range rows {
			switch {
			case w[i] == 0:
			case started:
				axpyGeneric(sum[:len(out)], w[i], row[first:last])
			default:
				scaleGeneric(sum[:len(out)], w[i], row[first:last])
				started = true
			}
		}
		copy(out, sum[:])
	}
}

func mixRowsGeneric(dst, rows [][]float32, mixtures [][]Term) {
	for k, terms := range mixtures {
		if len(terms) == 0 {
			clear(dst[k])
		}
		for i, t := range terms {
			if row := mixed(dst, rows, t.Row); i == 0 {
				scaleGeneric(dst[k], t.Weight, row)
			} else {
				axpyGeneric(dst[k], t.Weight, row)
			}
		}
	}
}
