package nn_test

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/nn"
)

// Plain training, without privacy: three points that a line cannot part.
func Example() {
	model, err := nn.New(nn.Shape{1}, nn.Linear{Out: 8}, nn.Tanh{}, nn.Linear{Out: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	model.Init(nn.XavierUniform, 1)
	x := [][]float32{{-1}, {0}, {1}}
	y, err := nn.Labels([]int{0, 1, 0}, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	optimizer, err := nn.NewOptimizer(nn.Adam{LearningRate: 0.05})
	if err != nil {
		fmt.Println(err)
		return
	}
	pass := nn.NewPass(model, nn.SoftmaxCrossEntropy{})
	gradient := make([]float32, len(model.Params()))
	for range 200 {
		pass.Backward(x, y, nil).Mean(gradient)
		optimizer.Begin(len(gradient))
		optimizer.Update(model.Params(), gradient, 0)
	}
	for i, logits := range pass.Forward(x) {
		fmt.Println(x[i], logits[1] > logits[0])
	}
	// Output:
	// [-1] false
	// [0] true
	// [1] false
}

func ExampleNew() {
	model, err := nn.New(nn.Shape{1, 28, 28},
		nn.Conv2D{Out: 16, Kernel: 8, Stride: 2, Padding: 3}, nn.Tanh{}, nn.MaxPool{Kernel: 2, Stride: 1},
		nn.Conv2D{Out: 32, Kernel: 4, Stride: 2}, nn.Tanh{}, nn.MaxPool{Kernel: 2, Stride: 1},
		nn.Flatten{}, nn.Linear{Out: 32}, nn.Tanh{}, nn.Linear{Out: 10},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(model.Input(), "to", model.Output(), "with", len(model.Params()), "parameters")
	for _, p := range model.Parameters() {
		fmt.Println(p.Name, p.Shape)
	}

	_, err = nn.New(nn.Shape{1, 28, 28}, nn.Conv2D{Out: 16, Kernel: 8}, nn.Linear{Out: 10})
	fmt.Println(err)
	// Output:
	// 1×28×28 to 10 with 26010 parameters
	// 0.weight [16 8 8 1]
	// 0.bias [16]
	// 3.weight [32 4 4 16]
	// 3.bias [32]
	// 7.weight [32 512]
	// 7.bias [32]
	// 9.weight [10 32]
	// 9.bias [10]
	// nn: layer 1 (Linear) on 16×21×21: wants a vector or a sequence; put Flatten before it
}

// The two halves of private training's gradient: norms become weights, weights
// and examples become one sum of integers in units of a grid. Package dp does
// this, adds noise, and accounts for it.
func ExampleGradients_WeightedSum() {
	model, err := nn.New(nn.Shape{2}, nn.Linear{Out: 1, NoBias: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	y, err := nn.Values([][]float32{{1}, {100}, {0}})
	if err != nil {
		fmt.Println(err)
		return
	}
	x := [][]float32{{0.1, 0}, {3, 4}, {float32(math.NaN()), 0}}
	gradients := nn.NewPass(model, nn.MeanSquaredError{}).Backward(x, y, nil)
	norms := gradients.Norms(nil)
	fmt.Println(norms)

	const clip, grid = 1.0, 1.0 / 1024
	weights := make([]float32, len(norms))
	for i, norm := range norms {
		if norm-norm == 0 { // finite
			weights[i] = min(1, clip/norm) / grid
		}
	}
	sum := make([]int64, len(model.Params()))
	gradients.WeightedSum(sum, weights, []int{3})
	fmt.Println(sum) // -0.2·1024 - 0.6·1024, -0.8·1024
	// Output:
	// [0.2 1000 NaN]
	// [-819 -819]
}

func ExampleSpec() {
	model, err := nn.New(nn.Shape{4}, nn.Linear{Out: 8}, nn.ReLU{}, nn.Linear{Out: 2, NoBias: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := json.Marshal(model.Spec())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(text))

	var spec nn.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		fmt.Println(err)
		return
	}
	again, err := nn.New(spec.Input, spec.Layers...)
	fmt.Println(len(again.Params()), err)
	// Output:
	// {"input":[4],"layers":[{"type":"Linear","Out":8},{"type":"ReLU"},{"type":"Linear","Out":2,"NoBias":true}]}
	// 56 <nil>
}

func ExamplePass_Forward() {
	model, err := nn.New(nn.Shape{2, 2, 2}, nn.MaxPool{Kernel: 2}, nn.Flatten{})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Two channels of 2×2, one after the other.
	fmt.Println(nn.NewPass(model, nil).Forward([][]float32{{1, 2, 3, 4, 8, 7, 6, 5}}))
	// Output:
	// [[4 8]]
}

func ExampleLabels() {
	_, err := nn.Labels([]int{3, 10}, 10)
	fmt.Println(err)
	// Output:
	// nn: label 1 is 10, want 0 to 9
}
