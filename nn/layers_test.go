package nn

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/stretchr/testify/require"
)

var layerTrials = []struct {
	name   string
	tokens int
	input  Shape
	layers []Layer
}{
	{"group", 0, Shape{4, 3, 2}, []Layer{GroupNorm{Groups: 2}, Flatten{}, Linear{Out: 3}}},
	{"group plain", 0, Shape{4, 3, 2}, []Layer{GroupNorm{Groups: 4, NoAffine: true, Eps: 0.1}, Flatten{}, Linear{Out: 3}}},
	{"group sequence", 0, Shape{3, 6}, []Layer{Linear{Out: 4}, GroupNorm{Groups: 1}, ReLU{}, Flatten{}, Linear{Out: 3}}},
	{"group after linear", 0, Shape{5}, []Layer{Linear{Out: 6}, GroupNorm{Groups: 3, NoAffine: true}, Linear{Out: 3}}},
	{"layer", 0, Shape{7}, []Layer{LayerNorm{}, Linear{Out: 3}, LayerNorm{}, ReLU{}, Linear{Out: 3}}},
	{"layer plain", 0, Shape{7}, []Layer{Linear{Out: 5}, LayerNorm{NoAffine: true}, Linear{Out: 3}}},
	{"layer sequence", 0, Shape{3, 4}, []Layer{LayerNorm{}, Linear{Out: 4}, Flatten{}, Linear{Out: 3}}},
	{"embedding", 5, Shape{8}, []Layer{Embedding{Vocabulary: 5, Dim: 3}, Flatten{}, Linear{Out: 3}}},
	{"embedding norm", 4, Shape{6}, []Layer{Embedding{Vocabulary: 6, Dim: 3}, GroupNorm{Groups: 1}, LayerNorm{}, Linear{Out: 3}, Flatten{}, Linear{Out: 3}}},
	{"residual", 0, Shape{6}, []Layer{Residual{Layers: Layers{Linear{Out: 9}, ReLU{}, Linear{Out: 6}}}, Linear{Out: 3}}},
	{"residual first relu", 0, Shape{6}, []Layer{Linear{Out: 6}, Residual{Layers: Layers{ReLU{}, Linear{Out: 6}, ReLU{}}}, ReLU{}, Linear{Out: 3}}},
	{"residual nested", 0, Shape{2, 5}, []Layer{
		Linear{Out: 6},
		Residual{Layers: Layers{LayerNorm{}, Residual{Layers: Layers{ReLU{}, Linear{Out: 6}}}, GroupNorm{Groups: 2}}},
		Residual{Layers: Layers{GroupNorm{Groups: 3, NoAffine: true}}},
		Flatten{}, Linear{Out: 3},
	}},
	{"dropout", 0, Shape{9}, []Layer{Dropout{Rate: 0.3}, Linear{Out: 8}, Dropout{Rate: 0.5}, ReLU{}, Linear{Out: 3}}},
	{"dropout residual", 0, Shape{7}, []Layer{Linear{Out: 8}, Residual{Layers: Layers{Dropout{Rate: 0.4}, ReLU{}, Linear{Out: 8}, Dropout{Rate: 0.2}}}, Linear{Out: 3}}},
}

func TestLayersGradients(t *testing.T) {
	for _, c := range layerTrials {
		t.Run(c.name, func(t *testing.T) {
			defer kernel.Use(kernel.Current())()
			for _, level := range kernel.Levels()[:len(kernel.Levels())-1] { // the best comes last
				kernel.Use(level)
				tr := newTrial(t, 9, 7, SoftmaxCrossEntropy{}, c.input, c.layers...)
				if c.tokens > 0 {
					tr.tokens(c.tokens)
				}
				checkPrivate(t, tr)
				checkInvariance(t, tr)
			}
			kernel.Use(kernel.Best())
			tr := newTrial(t, 8, 11, SoftmaxCrossEntropy{}, c.input, c.layers...)
			if c.tokens > 0 {
				tr.tokens(c.tokens)
			}
			checkDerivatives(t, tr, 0x1p-11, 2e-3)
			checkPrivate(t, tr)
			checkInvariance(t, tr)
			if !strings.HasPrefix(c.name, "dropout") { // it may drop the NaN
				checkNaN(t, tr)
			}
		})
	}
}

func TestLayersSurviveJSON(t *testing.T) {
	for _, c := range layerTrials {
		m, err := New(c.input, c.layers...)
		require.NoError(t, err)
		text, err := json.Marshal(m.Spec())
		require.NoError(t, err)
		var back Spec
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, m.Spec(), back, string(text))
	}
}

func TestLayersRefusals(t *testing.T) {
	image, sequence, vector := Shape{4, 3, 3}, Shape{3, 4}, Shape{6}
	for _, c := range []struct {
		input Shape
		layer Layer
		want  string
	}{
		{image, BatchNorm{}, "layer 0 (BatchNorm) on 4×3×3: mixes the examples of a batch"},
		{vector, BatchNorm{}, "use GroupNorm"},
		{image, GroupNorm{}, "has Groups 0, want a divisor of the 4 channels"},
		{image, GroupNorm{Groups: 3}, "has Groups 3, want a divisor of the 4 channels"},
		{image, GroupNorm{Groups: -2}, "has Groups -2"},
		{sequence, GroupNorm{Groups: 3}, "divisor of the 4 channels"},
		{vector, GroupNorm{Groups: 6}, "a single value"},
		{image, GroupNorm{Groups: 2, Eps: -1}, "has Eps -1"},
		{image, GroupNorm{Groups: 2, Eps: math.NaN()}, "has Eps NaN"},
		{image, GroupNorm{Groups: 2, Eps: math.Inf(1)}, "has Eps +Inf"},
		{image, LayerNorm{}, "use GroupNorm"},
		{Shape{1}, LayerNorm{}, "a single value"},
		{Shape{5, 1}, LayerNorm{}, "a single value"},
		{vector, LayerNorm{Eps: -1}, "has Eps -1"},
		{sequence, Embedding{Vocabulary: 3, Dim: 2}, "wants a vector of tokens"},
		{vector, Embedding{Dim: 2}, "has Vocabulary 0"},
		{vector, Embedding{Vocabulary: 1<<24 + 1, Dim: 2}, "has Vocabulary 16777217"},
		{vector, Embedding{Vocabulary: 4}, "has Dim 0"},
		{vector, Embedding{Vocabulary: 1 << 24, Dim: 1 << 10}, "more than 2^31 parameters"},
		{vector, Residual{}, "has no Layers"},
		{vector, Residual{Layers: Layers{Linear{Out: 5}}}, "has Layers that make 5 of 6"},
		{vector, Residual{Layers: Layers{Linear{}}}, "layer 0 (Residual) on 6: layer 0 (Linear) on 6: has Out 0"},
		{image, Residual{Layers: Layers{BatchNorm{}}}, "layer 0 (BatchNorm) on 4×3×3: mixes"},
		{vector, Dropout{Rate: -0.1}, "has Rate -0.1"},
		{vector, Dropout{Rate: 1}, "has Rate 1"},
		{vector, Dropout{Rate: math.NaN()}, "has Rate NaN"},
	} {
		_, err := New(c.input, c.layer)
		require.ErrorContains(t, err, c.want)
	}
}

func TestLayersNameTheirParameters(t *testing.T) {
	m, err := New(Shape{6}, Linear{Out: 4}, LayerNorm{}, Residual{Layers: Layers{ReLU{}, Linear{Out: 4, NoBias: true}, Residual{Layers: Layers{LayerNorm{}}}}})
	require.NoError(t, err)
	var names []string
	for _, p := range m.Parameters() {
		names = append(names, fmt.Sprint(p.Name, p.Shape))
	}
	require.Equal(t, []string{
		"0.weight[4 6]", "0.bias[4]", "1.weight[4]", "1.bias[4]", "2.1.weight[4 4]", "2.2.0.weight[4]", "2.2.0.bias[4]",
	}, names)
	require.Equal(t, []float32{1, 1, 1, 1, 0, 0, 0, 0}, m.Params()[28:36]) // gains and shifts
}

// TestNormalizedRows checks what the layers promise of their outputs.
func TestNormalizedRows(t *testing.T) {
	tr := newTrial(t, 4, 3, MeanSquaredError{}, Shape{4, 5, 3}, GroupNorm{Groups: 2, NoAffine: true})
	for _, row := range NewPass(tr.model, nil).Forward(tr.x) {
		for g := range 2 { // channels 2g and 2g+1 are neighbours in (c, h, w)
			var sum, squares float64
			for _, v := range row[g*30 : (g+1)*30] {
				sum += float64(v) / 30
				squares += float64(v) * float64(v) / 30
			}
			require.InDelta(t, 0, sum, 1e-6)
			require.InDelta(t, 1, squares, 1e-4)
		}
	}
}
