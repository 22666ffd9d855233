//go:build !amd64 || purego

package kernel

func roundAdd(sum []int64, x []float32) { roundAddGeneric(sum, x) }
