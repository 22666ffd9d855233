package he

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/nn"
)

// A model that numpy wrote compiles, and answers as numpy does: testdata/numpy_model.py
// made the files.
func TestModelFromNumpy(t *testing.T) {
	m, _, err := nn.Load("testdata/numpy_model.safetensors")
	require.NoError(t, err)
	text, err := os.ReadFile("testdata/numpy_model.json")
	require.NoError(t, err)
	var want struct {
		Inputs  [][]float32
		Outputs [][]float64
	}
	require.NoError(t, json.Unmarshal(text, &want))
	p, err := Compile(m, want.Inputs[:32], Options{Degree: 15, Precision: 10})
	require.NoError(t, err)
	biggest := 0.
	for _, row := range want.Outputs[:32] {
		for _, v := range row {
			biggest = max(biggest, math.Abs(v))
		}
	}
	for i, got := range through(t, p, want.Inputs[32:36]) {
		for j, v := range got { // what the fit of tanh leaves, and the noise
			require.InDelta(t, want.Outputs[32+i][j], v, biggest/200, "output %d of input %d", j, i)
		}
	}
}
