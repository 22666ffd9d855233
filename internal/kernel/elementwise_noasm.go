//go:build !amd64 || purego

package kernel

func relu(_ Level, dst, x []float32) { reluGeneric(dst, x) }

func reluGrad(_ Level, dst, dy, x []float32) { reluGradGeneric(dst, dy, x) }

func mul(_ Level, dst, x, y []float32) { mulGeneric(dst, x, y) }

func maximum(_ Level, dst, x, y []float32) { maximumGeneric(dst, x, y) }

func allFinite(_ Level, x []float32) bool { return allFiniteGeneric(x) }
