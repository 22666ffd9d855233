//go:build !amd64 || purego

package kernel

func sumSquares(x []float32) float32 { return sumSquaresGeneric(x) }

func sumSquaresScaled(x []float32, scale float32) float32 { return sumSquaresScaledGeneric(x, scale) }

func dot(x, y []float32) float32 { return dotGeneric(x, y) }
