package nn_test

import (
	"fmt"

	"github.com/sotto-ml/sotto/nn"
)

func ExampleGroupNorm() {
	model, err := nn.New(nn.Shape{4, 1, 2}, nn.GroupNorm{Groups: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Four channels of 1×2; the first two are one group, the others another.
	y := nn.NewPass(model, nil).Forward([][]float32{{1, 1, 3, 3, 10, 10, 10, 20}})
	fmt.Printf("%.2f\n", y[0])
	// Output:
	// [-1.00 -1.00 1.00 1.00 -0.58 -0.58 -0.58 1.73]
}

func ExampleLayerNorm() {
	model, err := nn.New(nn.Shape{2, 2}, nn.LayerNorm{}) // 2 positions of 2 features
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.2f\n", nn.NewPass(model, nil).Forward([][]float32{{1, 3, 50, 10}})[0])
	// Output:
	// [-1.00 1.00 1.00 -1.00]
}

func ExampleBatchNorm() {
	_, err := nn.New(nn.Shape{16, 8, 8}, nn.Conv2D{Out: 32, Kernel: 3}, nn.BatchNorm{})
	fmt.Println(err)
	// Output:
	// nn: layer 1 (BatchNorm) on 32×6×6: mixes the examples of a batch, so that no example has a gradient of its own; use GroupNorm (LayerNorm for vectors and sequences), which normalise each example by itself
}

func ExampleEmbedding() {
	model, err := nn.New(nn.Shape{3}, nn.Embedding{Vocabulary: 4, Dim: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	copy(model.Params(), []float32{0, 0, 10, 11, 20, 21, 30, 31})
	fmt.Println(nn.NewPass(model, nil).Forward([][]float32{{3, 1, 1}})[0])
	// Output:
	// [30 31 10 11 10 11]
}

func ExampleResidual() {
	model, err := nn.New(nn.Shape{2}, nn.Residual{Layers: nn.Layers{nn.ReLU{}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(nn.NewPass(model, nil).Forward([][]float32{{3, -1}})[0])
	// Output:
	// [6 -1]
}

func ExampleDropout() {
	model, err := nn.New(nn.Shape{4}, nn.Linear{Out: 64}, nn.ReLU{}, nn.Dropout{Rate: 0.5}, nn.Linear{Out: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	model.Init(nn.HeNormal, 1)
	labels, err := nn.Labels([]int{0, 0}, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	x := []float32{1, 2, 3, 4}
	pass := nn.NewPass(model, nn.SoftmaxCrossEntropy{})
	pass.SetStep(7, 0) // seed and step: both public
	same := pass.Backward([][]float32{x, x}, labels, []int{12, 12}).Losses(nil)
	fmt.Println(same[0] == same[1])
	other := pass.Backward([][]float32{x, x}, labels, []int{12, 13}).Losses(nil)
	fmt.Println(other[0] == same[0], other[0] == other[1])
	// Output:
	// true
	// true false
}

func ExampleModel_Init() {
	model, err := nn.New(nn.Shape{784}, nn.Linear{Out: 128}, nn.ReLU{}, nn.Linear{Out: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	model.Init(nn.HeNormal, 42)
	first := model.Params()[0]
	model.Init(nn.HeNormal, 42)
	fmt.Println(len(model.Params()), model.Params()[0] == first)
	// Output:
	// 101770 true
}

func ExampleAccuracy() {
	model, err := nn.New(nn.Shape{2}, nn.Linear{Out: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	copy(model.Params(), []float32{1, 0, 0, 1}) // the identity
	labels, err := nn.Labels([]int{0, 1, 1}, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	x := [][]float32{{3, 1}, {0, 2}, {5, 4}}
	fmt.Println(nn.Predict(model, x[:1])[0])
	fmt.Printf("%.3f\n", nn.Accuracy(model, x, labels))
	// Output:
	// [3 1]
	// 0.667
}
