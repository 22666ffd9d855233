package kernel

func axpyGeneric(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for i, v := range x {
		y[i] += float32(a * v)
	}
}

func scaleGeneric(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for i, v := range x {
		y[i] = a * v
	}
}

func addGeneric(y, x []float32) {
	x = x[:len(y)]
	for i, v := range x {
		y[i] += v
	}
}
