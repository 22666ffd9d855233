package dp

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// idle gives gradients that cost nothing, so that what is left of a step is
// what the trainer adds to it.
type idle struct{ n int }

func (w *idle) Gradients(_ int, examples []int) (Gradients, error) {
	w.n = len(examples)
	return w, nil
}

func (w *idle) Norms(dst []float32) []float32 {
	for i := range dst {
		dst[i] = 2
	}
	return dst
}

func (w *idle) WeightedSum([]int64, []float32, []int) {}

// still is an optimiser that does nothing.
type still struct{}

func (still) Begin(int)                      {}
func (still) Update(_, _ []float32, _ int)   {}
func (still) MarshalBinary() ([]byte, error) { return nil, nil }
func (still) UnmarshalBinary([]byte) error   { return nil }

// BenchmarkStep is a step without its model and optimiser, on MNIST's size.
func BenchmarkStep(b *testing.B) {
	for _, d := range []int{7850, 26010, 101770, 1628170} {
		for _, batch := range []int{256, 4096} {
			b.Run(fmt.Sprintf("d=%d/batch=%d", d, batch), func(b *testing.B) {
				plan := somePlan()
				plan.Sampling, plan.BatchSize, plan.Steps = Poisson{Rate: float64(batch) / 60000}, batch, 1<<30
				plan.NoiseMultiplier = 1
				trainer, err := NewTrainer(plan, Task{
					Params: make([]float32, d), Records: 60000, Optimizer: still{},
					NewWorker: func() (Worker, error) { return &idle{}, nil },
				})
				require.NoError(b, err)
				for b.Loop() {
					if err := trainer.Step(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(d), "ns/parameter")
			})
		}
	}
}
