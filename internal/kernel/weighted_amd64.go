//go:build !purego

package kernel

import "unsafe"

//go:noescape
func weightedSum512(sum *int64, x *[]uint64, offset int, col *int32, w *int64, n int)

func weightedSum(sum *[WeightedTile]int64, x [][]uint64, offset int, col []int32, w []int64) {
	if current == AVX512 {
		weightedSum512(&sum[0], unsafe.SliceData(x), offset, unsafe.SliceData(col), unsafe.SliceData(w), len(col))
		return
	}
	weightedSumGeneric(sum, x, offset, col, w)
}
