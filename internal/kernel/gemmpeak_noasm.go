//go:build !amd64 || purego

package kernel

func peakFMA(n int) (flops int) { return peakGeneric(n) }
