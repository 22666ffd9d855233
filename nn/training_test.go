package nn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTrainingLearns trains on two interleaved spirals, which no linear model
// tells apart, with every optimiser, and asks for the accuracy on fresh points.
func TestTrainingLearns(t *testing.T) {
	spirals := func(seed uint64, n int) ([][]float32, Targets) {
		r := rand.New(rand.NewPCG(seed, 3))
		x, labels := make([][]float32, n), make([]int, n)
		for i := range x {
			labels[i] = i % 2
			at := 0.5 + 7.5*r.Float64()
			angle := at + math.Pi*float64(labels[i])
			x[i] = []float32{
				float32(at*math.Cos(angle)/4 + 0.02*r.NormFloat64()), float32(at*math.Sin(angle)/4 + 0.02*r.NormFloat64()),
			}
		}
		y, err := Labels(labels, 2)
		require.NoError(t, err)
		return x, y
	}
	x, y := spirals(1, 256)
	fresh, truth := spirals(2, 1000)
	linear, err := New(Shape{2}, Linear{Out: 2})
	require.NoError(t, err)
	const steps = 300
	train := func(m *Model, rule Rule) float64 {
		m.Init(HeNormal, 4)
		opt := newOptimizer(t, rule)
		p, grad := NewPass(m, SoftmaxCrossEntropy{}), make([]float32, len(m.Params()))
		for step := range uint64(steps) {
			p.SetStep(9, step)
			p.Backward(x, y, nil).Mean(grad)
			opt.Begin(len(grad))
			opt.Update(m.Params(), grad, 0)
		}
		return Accuracy(m, fresh, truth)
	}
	require.Less(t, train(linear, SGD{LearningRate: 0.5}), 0.75)
	schedule := Schedule{WarmUp: 20, Cosine: steps}
	for _, rule := range []Rule{
		SGD{LearningRate: 0.5, Momentum: 0.9, WeightDecay: 1e-4, Schedule: schedule},
		SGD{LearningRate: 0.5, Momentum: 0.9, Nesterov: true, Schedule: schedule},
		Adam{LearningRate: 0.02, Schedule: schedule},
		AdamW{LearningRate: 0.02, Schedule: schedule},
	} {
		m, err := New(Shape{2},
			Linear{Out: 32}, Tanh{},
			Residual{Layers: Layers{LayerNorm{}, Linear{Out: 32}, ReLU{}, Dropout{Rate: 0.1}}},
			GroupNorm{Groups: 4}, Linear{Out: 2})
		require.NoError(t, err)
		got := train(m, rule)
		t.Logf("%T: %.3f", rule, got)
		require.Greater(t, got, 0.97, "%+v", rule)
	}
}
