//go:build !amd64 || purego

package kernel

func relu(dst, x []float32) { reluGeneric(dst, x) }

func reluGrad(dst, dy, x []float32) { reluGradGeneric(dst, dy, x) }

func mul(dst, x, y []float32) { mulGeneric(dst, x, y) }

func maximum(dst, x, y []float32) { maximumGeneric(dst, x, y) }

func allFinite(x []float32) bool { return allFiniteGeneric(x) }
