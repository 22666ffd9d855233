//go:build !amd64 || purego

package kernel

func roundAdd(_ Level, sum []int64, x []float32) { roundAddGeneric(sum, x) }
