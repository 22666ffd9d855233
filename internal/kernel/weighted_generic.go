package kernel

// weightedSumGeneric goes over four columns at a time.
func weightedSumGeneric(sum *[WeightedTile]int64, x [][]uint64, offset int, col []int32, w []int64) {
	at := func(c int32) *[WeightedTile]uint64 {
		return (*[WeightedTile]uint64)(x[c][offset:])
	}
	for len(w) >= 4 {
		x0, x1, x2, x3 := at(col[0]), at(col[1]), at(col[2]), at(col[3])
		w0, w1, w2, w3 := w[0], w[1], w[2], w[3]
		for i := range sum {
			sum[i] += w0*int64(x0[i]) + w1*int64(x1[i]) + w2*int64(x2[i]) + w3*int64(x3[i])
		}
		col, w = col[4:], w[4:]
	}
	for j, c := range col {
		x, w := at(c), w[j]
		for i := range sum {
			sum[i] += w * int64(x[i])
		}
	}
}
