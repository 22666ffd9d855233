package whitening_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/sotto-ml/sotto/nn/whitening"
)

// Two features that rise and fall together become two of even spread.
func Example() {
	r := rand.New(rand.NewPCG(1, 2))
	samples := make([][]float32, 1000) // public
	for i := range samples {
		both, own := r.NormFloat64(), r.NormFloat64()
		samples[i] = []float32{float32(5 + 10*both + own), float32(5 + 10*both - own)}
	}
	w, err := whitening.New(samples, whitening.Options{Components: 2, Ridge: 0.001})
	if err != nil {
		fmt.Println(err)
		return
	}
	var spread [2]float64
	for _, y := range w.Apply(nil, samples) {
		for j, v := range y {
			spread[j] += float64(v) * float64(v) / 1000
		}
	}
	fmt.Printf("%.2f\n", spread)
	// Output: [1.00 1.00]
}
