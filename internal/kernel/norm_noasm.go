//go:build !amd64 || purego

package kernel

func sumSquares(_ Level, x []float32) float32 { return sumSquaresGeneric(x) }

func sumSquaresScaled(x []float32, scale float32) float32 { return sumSquaresScaledGeneric(x, scale) }

func dot(_ Level, x, y []float32) float32 { return dotGeneric(x, y) }
