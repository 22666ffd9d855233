//go:build !purego

package kernel

func peakFMA512(n int)

func peakFMA256(n int)

func peakFMA(n int) (flops int) {
	switch current {
	case AVX512:
		peakFMA512(n)
		return 2 * 24 * 16 * 2 * n
	case AVX2:
		peakFMA256(n)
		return 2 * 12 * 8 * 2 * n
	}
	return peakGeneric(n)
}
