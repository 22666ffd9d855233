package scattering_test

import (
	"fmt"

	"github.com/sotto-ml/sotto/nn/scattering"
)

func ExampleNew() {
	t, err := scattering.New(28, 28, scattering.Options{J: 2})
	if err != nil {
		panic(err)
	}
	channels, height, width := t.OutputShape()
	fmt.Println(channels, height, width)

	_, err = scattering.New(28, 3, scattering.Options{J: 2})
	fmt.Println(err)
	// Output:
	// 81 7 7
	// scattering: size 28x3 is too small for J = 2, each side must be at least 2^J = 4
}

// Features of two images, which then go to a linear model as they are.
func ExampleTransform_Batch() {
	t, err := scattering.New(28, 28, scattering.Options{J: 2})
	if err != nil {
		panic(err)
	}
	black, white := make([]float32, 784), make([]float32, 784)
	for i := range white {
		white[i] = 1
	}
	features := t.Batch(nil, [][]float32{black, white})
	fmt.Printf("%d features, %.3f %.3f\n", len(features[0]), features[0][0], features[1][0])
	// Output: 3969 features, 0.000 1.000
}

// The strongest response of order 1 tells the direction in which the image
// changes: a horizontal edge is seen by orientation 3, whose angle is zero.
func ExampleTransform_Apply() {
	t, err := scattering.New(16, 16, scattering.Options{J: 2})
	if err != nil {
		panic(err)
	}
	edge := make([]float32, 16*16)
	for i := 8 * 16; i < len(edge); i++ {
		edge[i] = 1
	}
	features := t.Apply(nil, edge)
	_, height, width := t.OutputShape()
	best, most := 0, float32(0)
	for theta := range 8 {
		sum := float32(0)
		for _, f := range features[(1+theta)*height*width:][:height*width] {
			sum += f
		}
		if sum > most {
			best, most = theta, sum
		}
	}
	fmt.Println("orientation", best)
	// Output: orientation 3
}
