//go:build !amd64 || purego

package kernel

func readStream(x []float32) { readStreamGeneric(x) }
