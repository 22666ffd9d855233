package nn_test

import (
	"bytes"
	"fmt"

	"github.com/sotto-ml/sotto/nn"
)

func ExampleEncodeSafetensors() {
	var file bytes.Buffer
	err := nn.EncodeSafetensors(&file, &nn.Safetensors{
		Metadata: map[string]string{"format": "pt"},
		Tensors:  map[string]nn.Tensor{"0.bias": {Shape: []int{2}, Data: []float32{0.5, -1}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	back, err := nn.DecodeSafetensors(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(back.Tensors["0.bias"].Shape, back.Tensors["0.bias"].Data, back.Metadata["format"])
	// Output:
	// [2] [0.5 -1] pt
}

func ExampleReadSafetensors() {
	s, err := nn.ReadSafetensors("testdata/types.safetensors")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Tensors["brain"].Shape, s.Tensors["scalar"].Data)

	_, err = nn.ReadSafetensors("testdata/optimizers.py")
	fmt.Println(err)
	// Output:
	// [4] [42]
	// nn: safetensors: header of 7074999379835167011 bytes, want at most 100000000 (in testdata/optimizers.py)
}

func ExampleModel_LoadSafetensors() {
	// In Python: safetensors.torch.save_file(model.state_dict(), …) of the
	// torch.nn.Sequential of the same layers.
	model, err := nn.New(nn.Shape{2, 9, 5},
		nn.Conv2D{Out: 4, Kernel: 3, Stride: 2, Padding: 1}, nn.GroupNorm{Groups: 2}, nn.ReLU{},
		nn.Conv2D{Out: 6, Kernel: 2, Groups: 2}, nn.Tanh{}, nn.Flatten{}, nn.Linear{Out: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	weights, err := nn.ReadSafetensors("testdata/model.safetensors")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(model.LoadSafetensors(weights))

	delete(weights.Tensors, "6.bias")
	fmt.Println(model.LoadSafetensors(weights))
	// Output:
	// <nil>
	// nn: tensor "6.bias" is missing; given are 0.bias, 0.weight, 1.bias, 1.weight, 3.bias, 3.weight, 6.weight
}

func ExampleModel_WriteSafetensors() {
	model, err := nn.New(nn.Shape{4}, nn.Linear{Out: 8}, nn.Tanh{}, nn.Linear{Out: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	model.Init(nn.XavierNormal, 1)
	var file bytes.Buffer
	if err := model.WriteSafetensors(&file, map[string]string{"epsilon": "3"}); err != nil {
		fmt.Println(err)
		return
	}
	back, metadata, err := nn.ReadModel(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(back.Output(), len(back.Params()), metadata["epsilon"])
	// Output:
	// 2 58 3
}
