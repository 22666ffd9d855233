//go:build !amd64 || purego

package kernel

func exp(dst, x []float32) { expGeneric(dst, x) }

func tanh(dst, x []float32) { tanhGeneric(dst, x) }

func sigmoid(dst, x []float32) { sigmoidGeneric(dst, x) }
