package dp

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// The noise that reaches the parameters, over all of a step's machinery: its
// scale, that steps and coordinates are independent, and that it follows from
// the plan.
func TestNoiseOnParameters(t *testing.T) {
	for _, clip := range []Clip{Flat{Norm: 0.3}, Automatic{Norm: 2, Stability: 0.01}, AdaptiveQuantile{Initial: 0.3, Quantile: 0.5, LearningRate: 1e-9, NoiseShare: 0.2}} {
		plan := somePlan()
		plan.Clip, plan.Steps, plan.NoiseMultiplier = clip, 8, 1.7
		const d = 20000
		tr := newTrial(0, plan)
		tr.task.Params = make([]float32, d)
		tr.task.Optimizer = &sgd{rate: 1}
		trainer := tr.start(t)

		var norm float64
		multiplier := plan.NoiseMultiplier
		switch c := clip.(type) {
		case Flat:
			norm = c.Norm
		case Automatic:
			norm = c.Norm
		case AdaptiveQuantile:
			norm = c.Initial
			multiplier /= math.Sqrt(1 - c.NoiseShare)
		}
		sigma := multiplier * norm / float64(plan.BatchSize)

		last, former := make([]float32, d), make([]float64, d)
		var squares, lagged, neighbours, mean float64
		for step := range plan.Steps {
			require.NoError(t, trainer.Step())
			before := 0.0
			for j, v := range tr.task.Params {
				z := float64(v-last[j]) / sigma
				mean += z
				squares += z * z
				neighbours += z * before
				if step > 0 {
					lagged += z * former[j]
				}
				former[j], before = z, z
			}
			copy(last, tr.task.Params)
		}
		n := float64(d * plan.Steps)
		// 6 standard deviations, a false alarm in 5e8, and 0.2% for the
		// sensitivity's eta and grid, which only add.
		accept := func(scale float64) bool {
			ratio := squares / n / (scale * scale)
			return ratio > 1-6*math.Sqrt(2/n) && ratio < 1+6*math.Sqrt(2/n)+0.006
		}
		require.True(t, accept(1), "%T: %v", clip, squares/n)
		require.False(t, accept(2./3))
		require.False(t, accept(3./2))
		require.False(t, accept(1.02) || accept(0.98))
		require.Less(t, math.Abs(mean), 6*math.Sqrt(n))
		require.Less(t, math.Abs(lagged), 6*math.Sqrt(n))
		require.Less(t, math.Abs(neighbours), 6*math.Sqrt(n))
	}
}

// Fresh runs have fresh noise.
func TestRunsDiffer(t *testing.T) {
	var former []float32
	for range 3 {
		tr := newTrial(0, somePlan())
		trainer, err := NewTrainer(tr.plan, tr.task)
		require.NoError(t, err)
		require.NoError(t, trainer.Step())
		require.NotEqual(t, former, tr.task.Params)
		former = tr.task.Params
	}
}

// The count of AdaptiveQuantile is noised by its own share, on its own stream.
func TestAdaptiveCountIsNoised(t *testing.T) {
	plan := somePlan()
	const share, rate = 0.09, 0.01
	plan.Clip, plan.Steps = AdaptiveQuantile{Initial: 1, Quantile: 0.5, LearningRate: rate, NoiseShare: share}, 3000
	tr := newTrial(0, plan)
	tr.task.Params = make([]float32, 5)
	tr.task.Optimizer = &sgd{rate: 1}
	trainer := tr.start(t)
	var squares, lagged, former float64
	shared, moved := make([]float64, 5), make([]float32, 5) // with the gradient's noise
	last := trainer.ClipNorm()
	sigma := plan.NoiseMultiplier / math.Sqrt(share) / 2 / float64(plan.BatchSize)
	for !trainer.Done() {
		require.NoError(t, trainer.Step())
		// An empty draw counts nothing: centred, it is 1/2, the quantile.
		z := -math.Log(trainer.ClipNorm()/last) / rate / sigma
		last = trainer.ClipNorm()
		squares += z * z
		lagged += z * former
		former = z
		for j, v := range tr.task.Params {
			shared[j] += z * float64(v-moved[j]) * 250 / plan.NoiseMultiplier / last
			moved[j] = v
		}
	}
	n := float64(plan.Steps)
	for _, s := range shared {
		require.Less(t, math.Abs(s), 6*math.Sqrt(n)/math.Sqrt(1-share)*1.1)
	}
	accept := func(scale float64) bool {
		return math.Abs(squares/n/(scale*scale)-1) < 6*math.Sqrt(2/n)+0.01 // rounding adds 1/12 to 25
	}
	require.True(t, accept(1), squares/n)
	require.False(t, accept(2./3))
	require.False(t, accept(3./2))
	require.Less(t, math.Abs(lagged), 6*math.Sqrt(n))
}

// The clip norm finds the median of the norms.
func TestAdaptiveQuantileFindsIt(t *testing.T) {
	plan := Plan{
		Sampling: Poisson{Rate: 0.5}, BatchSize: 200, Steps: 200, NoiseMultiplier: 0.5,
		Clip:     AdaptiveQuantile{Initial: 0.01, Quantile: 0.5, LearningRate: 0.3, NoiseShare: 0.05},
		Relation: accounting.AddRemove, Delta: 1e-5,
	}
	tr := newTrial(400, plan)
	tr.task.Optimizer = still{}
	trainer := tr.start(t)
	for !trainer.Done() {
		require.NoError(t, trainer.Step())
	}
	within, row := 0, make([]float32, len(tr.task.Params))
	for i := range 400 {
		tr.model.gradient(row, tr.task.Params, i)
		var s float64
		for _, v := range row {
			s += float64(v) * float64(v)
		}
		if math.Sqrt(s) <= trainer.ClipNorm() {
			within++
		}
	}
	require.InDelta(t, 200, within, 40)
}
