package nn_test

import (
	"fmt"

	"github.com/sotto-ml/sotto/nn"
)

func ExampleNewOptimizer() {
	opt, err := nn.NewOptimizer(nn.SGD{LearningRate: 0.25, Momentum: 0.5})
	if err != nil {
		fmt.Println(err)
		return
	}
	params := []float32{4, -2} // minimise |params|²/2, whose gradient is params
	for range 3 {
		gradient := append([]float32(nil), params...)
		opt.Begin(len(params))
		opt.Update(params, gradient, 0)
		fmt.Println(params)
	}
	// Output:
	// [3 -1.5]
	// [1.75 -0.875]
	// [0.6875 -0.34375]
}

func ExampleNewOptimizer_refusal() {
	_, err := nn.NewOptimizer(nn.AdamW{LearningRate: 1e-3, Beta2: 1.5})
	fmt.Println(err)
	// Output:
	// nn: AdamW.Beta2 is 1.5, want at least 0 and below 1
}

func ExampleSchedule() {
	s := nn.Schedule{WarmUp: 2, Cosine: 6, Floor: 0.1}
	for t := range 8 {
		fmt.Printf("%.3f ", s.Factor(t))
	}
	fmt.Println()
	// Output:
	// 0.500 1.000 1.000 0.868 0.550 0.232 0.100 0.100
}
