package kernel

// WeightedTile is the number of sums that [WeightedSum] makes.
const WeightedTile = 128

// WeightedSum adds whole columns, times integer weights, to a tile of sums:
// sum[i] += Σ_j w[j]·x[col[j]][offset+i] modulo 2^64, so that the sums are right
// wherever they fit 63 bits, with the same bits on every level. It panics if col and w
// have different lengths, a column is out of range, or one ends before the tile does.
func WeightedSum(sum *[WeightedTile]int64, x [][]uint64, offset int, col []int32, w []int64) {
	checkLen(len(col) == len(w))
	for _, c := range col {
		_ = x[c][offset : offset+WeightedTile]
	}
	if len(col) > 0 {
		weightedSum(sum, x, offset, col, w)
	}
}
