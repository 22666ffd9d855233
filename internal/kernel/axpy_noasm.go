//go:build !amd64 || purego

package kernel

func axpy(_ Level, y []float32, a float32, x []float32) { axpyGeneric(y, a, x) }

func scale(_ Level, y []float32, a float32, x []float32) { scaleGeneric(y, a, x) }

func add(_ Level, y, x []float32) { addGeneric(y, x) }
