//go:build !amd64 || purego

package kernel

func roundAdd(_ Level, sum []int64, x []float32) { roundAddGeneric(sum, x) }

func fromInt(_ Level, dst []float32, x []int64, scale float32) { fromIntGeneric(dst, x, scale) }
