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
