package he_test

import (
	"fmt"

	"github.com/sotto-ml/sotto/he"
	"github.com/sotto-ml/sotto/nn"
)

// A model is compiled, asked once by hand, and assessed on inputs that it was not
// calibrated with.
func ExampleCompile() {
	model, err := nn.New(nn.Shape{2}, nn.Linear{Out: 2}, nn.Square{}, nn.Linear{Out: 1})
	if err != nil {
		panic(err)
	}
	// (x+y)² - (x-y)² = 4xy
	copy(model.Params(), []float32{1, 1, 1, -1, 0, 0, 1, -1, 0})
	program, err := he.Compile(model, [][]float32{{1, 1}, {-1, 1}, {1, 0.5}}, he.Options{})
	if err != nil {
		panic(err)
	}

	client := he.NewClient(program.Schema()) // holds the secret key
	server, err := he.NewServer(program, client.Keys())
	if err != nil {
		panic(err)
	}
	query, err := client.Encrypt([][]float32{{0.5, 0.25}})
	if err != nil {
		panic(err)
	}
	answer, err := server.Evaluate(query)
	if err != nil {
		panic(err)
	}
	outputs, err := client.Decrypt(answer)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%.2f\n", outputs)

	assessment, err := program.Assess([][]float32{{0.75, -0.5}, {0.25, 1}})
	if err != nil {
		panic(err)
	}
	fmt.Println(assessment.PrecisionBits > 8, assessment.Agreement, program.Report().SecurityBits)
	// Output:
	// [[0.50]]
	// true 1 128
}
