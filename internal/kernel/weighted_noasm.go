//go:build !amd64 || purego

package kernel

func weightedSum(sum *[WeightedTile]int64, x [][]uint64, offset int, col []int32, w []int64) {
	weightedSumGeneric(sum, x, offset, col, w)
}
