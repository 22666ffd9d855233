//go:build !amd64 || purego

package kernel

func countWithin(votes []int32, x, least, most []float32) (outside int) {
	return countWithinGeneric(votes, x, least, most)
}

func sumWithin(shares []int64, x, least, most []float32) (sum int64) {
	return sumWithinGeneric(shares, x, least, most)
}
