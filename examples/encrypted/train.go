package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/sotto-ml/sotto/dp"
	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/internal/report"
	"github.com/sotto-ml/sotto/nn"
)

// examples are rows for a model with their labels.
type examples struct {
	rows   [][]float32
	labels []int
	y      nn.Targets
}

func newExamples(rows [][]float32, labels []int) (examples, error) {
	y, err := nn.Labels(labels, mnist.Classes)
	return examples{rows, labels, y}, err
}

// The budget of -private.
const (
	epsilon = 3
	delta   = 1e-5
)

// chunks is the number of parts that a batch is cut in, whatever the number of cores.
const chunks = 4

// train trains without privacy: AdamW with a warm-up and a cosine, gradients of a norm
// of at most 1, so that squares do not diverge, images moved a little. steps is 0 for the recipe's own number.
func (n network) train(m *nn.Model, set examples, steps int, seed uint64, out io.Writer) error {
	perEpoch := len(set.rows) / n.batch
	if steps == 0 {
		steps = n.epochs * perEpoch
	}
	optimizer, err := nn.NewOptimizer(nn.AdamW{LearningRate: n.rate, WeightDecay: n.decay,
		Schedule: nn.Schedule{WarmUp: min(200, steps/10+1), Cosine: steps, Floor: 0.002}})
	if err != nil {
		return err
	}
	m.Init(n.init, seed)
	var passes [chunks]*nn.Pass
	var sums [chunks][]float32
	var rows [chunks][][]float32
	for c := range passes {
		passes[c] = nn.NewPass(m, nn.SoftmaxCrossEntropy{})
		rows[c] = make([][]float32, n.batch/chunks)
		for i := range rows[c] {
			rows[c][i] = make([]float32, m.Input().Size())
		}
	}
	order := make([]int, len(set.rows))
	for i := range order {
		order[i] = i
	}
	source := rand.New(rand.NewPCG(seed, 1))
	bar := report.NewProgress(out, "training", steps)
	facts := ""
	gradient := make([]float32, len(m.Params()))
	for step := range steps {
		if step%perEpoch == 0 {
			source.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		batch := order[step%perEpoch*n.batch:][:n.batch]
		var losses [chunks]float64
		var group sync.WaitGroup
		for c := range chunks {
			group.Go(func() {
				ids := batch[c*len(rows[c]):][:len(rows[c])]
				for i, id := range ids {
					if n.augment {
						move(rows[c][i], set.rows[id], newSource(seed, step, id))
					} else {
						copy(rows[c][i], set.rows[id])
					}
				}
				g := passes[c].Backward(rows[c], set.y.Pick(nn.Targets{}, ids), nil)
				sums[c] = g.Mean(sums[c])
				for _, l := range g.Losses(nil) {
					losses[c] += float64(l) / float64(n.batch)
				}
			})
		}
		group.Wait()
		norm, loss := 0., 0.
		for i := range gradient {
			v := 0.
			for c := range sums {
				v += float64(sums[c][i]) / chunks
			}
			gradient[i] = float32(v)
			norm += v * v
		}
		for _, l := range losses {
			loss += l
		}
		norm = math.Sqrt(norm)
		if math.IsNaN(norm) || math.IsInf(norm, 0) {
			return fmt.Errorf("encrypted: training diverged at step %d", step)
		}
		if norm > 1 {
			for i := range gradient {
				gradient[i] = float32(float64(gradient[i]) / norm)
			}
		}
		optimizer.Begin(len(gradient))
		optimizer.Update(m.Params(), gradient, 0)
		facts = fmt.Sprintf("loss %.4f", loss)
		bar.Update(step+1, facts)
	}
	bar.Done(facts)
	return nil
}

// trainPrivately trains by Poisson draws, clipped gradients and exact noise, within
// (3, 1e-5). Images are as they are: moved copies would all count as one example's.
func (n network) trainPrivately(m *nn.Model, set examples, steps int, seed uint64, out io.Writer) (dp.Guarantee, error) {
	p := n.private
	if steps == 0 {
		steps = int(p.epochs * float64(len(set.rows)) / float64(p.batch))
	}
	plan, err := dp.CalibrateNoise(dp.Plan{
		Sampling: dp.Poisson{Rate: float64(p.batch) / float64(len(set.rows))}, BatchSize: p.batch, Steps: steps,
		Clip: dp.Flat{Norm: p.clip}, Relation: accounting.AddRemove, Delta: delta,
	}, epsilon)
	if err != nil {
		return dp.Guarantee{}, err
	}
	optimizer, err := nn.NewOptimizer(nn.SGD{LearningRate: p.rate, Momentum: 0.9})
	if err != nil {
		return dp.Guarantee{}, err
	}
	m.Init(n.init, seed)
	trainer, err := dp.NewTrainer(plan, dp.Task{Params: m.Params(), Records: len(set.rows), Optimizer: optimizer,
		NewWorker: func() (dp.Worker, error) {
			pass := nn.NewPass(m, nn.SoftmaxCrossEntropy{})
			var rows [][]float32
			var y nn.Targets
			return dp.WorkerFunc(func(_ int, ids []int) (dp.Gradients, error) {
				rows = rows[:0]
				for _, i := range ids {
					rows = append(rows, set.rows[i])
				}
				y = set.y.Pick(y, ids)
				return pass.Backward(rows, y, ids), nil
			}), nil
		}})
	if err != nil {
		return dp.Guarantee{}, err
	}
	bar := report.NewProgress(out, "private training", steps)
	for !trainer.Done() {
		if err := trainer.Step(); err != nil {
			return dp.Guarantee{}, err
		}
		bar.Update(trainer.Steps(), "")
	}
	bar.Done("")
	return trainer.Spent()
}

// newSource is the public randomness that moves one image at one step.
func newSource(seed uint64, step, id int) *rand.Rand {
	return rand.New(rand.NewPCG(seed^uint64(step)<<32, uint64(id)))
}

// move writes the image turned, scaled and shifted a little.
func move(dst, image []float32, source *rand.Rand) {
	const side = mnist.Side
	const half = float64(side-1) / 2
	uniform := func(width float64) float64 { return width * (2*source.Float64() - 1) }
	angle, scale, shear := uniform(0.18), 1+uniform(0.12), uniform(0.12)
	dx, dy := uniform(1.6), uniform(1.6)
	cos, sin := math.Cos(angle)*scale, math.Sin(angle)*scale
	for y := range side {
		for x := range side {
			u, v := float64(x)-half-dx, float64(y)-half-dy
			fx, fy := cos*u-sin*v+shear*v+half, sin*u+cos*v+half
			x0, y0 := int(math.Floor(fx)), int(math.Floor(fy))
			wx, wy := float32(fx-float64(x0)), float32(fy-float64(y0))
			at := func(x, y int) float32 {
				if x < 0 || y < 0 || x >= side || y >= side {
					return 0
				}
				return image[y*side+x]
			}
			dst[y*side+x] = (at(x0, y0)*(1-wx)+at(x0+1, y0)*wx)*(1-wy) + (at(x0, y0+1)*(1-wx)+at(x0+1, y0+1)*wx)*wy
		}
	}
}
