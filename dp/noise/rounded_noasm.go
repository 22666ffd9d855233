//go:build !amd64 || purego

package noise

func rounded(dst []int64, words []uint64, slow []byte, sigma, limit float64) {
	roundedGeneric(dst, words, slow, sigma, limit)
}
