package dp

import (
	"errors"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// naive takes a step of a plan without noise as a loop over examples in
// float64, from the draw alone.
func naive(tr *trial, draw []int, norm float64, params []float32) (grad []float64, within int) {
	d := len(params)
	grad, row := make([]float64, d), make([]float32, d)
	length := func(part []float32) float64 {
		var s float64
		for _, v := range part {
			s += float64(v) * float64(v)
		}
		return math.Sqrt(s)
	}
	add := func(from, to int, factor float64) {
		for j := from; j < to; j++ {
			grad[j] += factor * float64(row[j]) / float64(tr.plan.BatchSize)
		}
	}
	for _, i := range draw {
		tr.model.gradient(row, params, i)
		switch c := tr.plan.Clip.(type) {
		case Flat:
			add(0, d, min(1, c.Norm/length(row)))
		case Automatic:
			add(0, d, c.Norm/(length(row)+c.Stability))
		case AdaptiveQuantile:
			if n := length(row); n <= norm {
				add(0, d, 1)
				within++
			} else {
				add(0, d, norm/n)
				within--
			}
		case PerLayer:
			from := 0
			for l, to := range []int{4, trialFeatures, trialFeatures + 1} {
				limit := c.Total / math.Sqrt(3)
				if c.Norms != nil {
					limit = c.Norms[l]
				}
				add(from, to, min(1, limit/length(row[from:to])))
				from = to
			}
		}
	}
	return grad, within
}

func TestEveryClipIsTheNaiveLoop(t *testing.T) {
	for name, plan := range everyClip() {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(400, plan)
			tr.task.Optimizer = &sgd{rate: 1}
			trainer := tr.start(t)
			trainer.noiseless = true
			norm := trainer.ClipNorm()
			var former []int
			for !trainer.Done() {
				before := slices.Clone(tr.task.Params)
				require.NoError(t, trainer.Step())
				require.Greater(t, len(trainer.draw.order), 60)
				require.NotEqual(t, former, trainer.draw.order)
				former = slices.Clone(trainer.draw.order)
				grad, within := naive(tr, trainer.draw.order, norm, before)
				for j, g := range grad {
					// Rounding, the grid, and norms a little too large.
					require.InDelta(t, float64(before[j])-g, float64(tr.task.Params[j]), 2e-5, "step %d parameter %d", trainer.Steps(), j)
				}
				if a, ok := plan.Clip.(AdaptiveQuantile); ok {
					norm *= math.Exp(-a.LearningRate * (float64(within)/500 + 0.5 - a.Quantile))
					require.InEpsilon(t, norm, trainer.ClipNorm(), 1e-12)
				}
			}
		})
	}
}

// No noise and a huge clip is plain gradient descent.
func TestHugeClipIsPlainDescent(t *testing.T) {
	plan := somePlan()
	plan.Sampling, plan.BatchSize = Poisson{Rate: 1}, 100
	plan.Clip = Flat{Norm: 1e6}
	tr := newTrial(100, plan)
	trainer := tr.start(t)
	trainer.noiseless = true
	plain, o := slices.Clone(tr.task.Params), &sgd{rate: 0.1, momentum: 0.5}
	row, grad := make([]float32, len(plain)), make([]float32, len(plain))
	for !trainer.Done() {
		sum := make([]float64, len(plain))
		for i := range 100 {
			tr.model.gradient(row, plain, i)
			for j, v := range row {
				sum[j] += float64(v)
			}
		}
		for j, v := range sum {
			grad[j] = float32(v / 100)
		}
		o.Begin(len(plain))
		o.Update(plain, grad, 0)
		require.NoError(t, trainer.Step())
		// The grid's unit is near 1e6·1.5·2^-20, over the batch and per run.
		require.InDeltaSlice(t, plain, tr.task.Params, 0.02)
	}
}

func TestRule02DivisorIsPublic(t *testing.T) {
	// Half the records of the population, every one drawn, all alike: the update
	// is half a record's gradient.
	plan := somePlan()
	plan.Sampling, plan.BatchSize, plan.Steps, plan.Clip = Poisson{Rate: 1}, 100, 1, Flat{Norm: 100}
	tr := newTrial(50, plan)
	for i := range tr.model.x {
		tr.model.x[i], tr.model.y[i] = tr.model.x[0], tr.model.y[0]
	}
	tr.task.Optimizer = &sgd{rate: 1}
	before := slices.Clone(tr.task.Params)
	row := make([]float32, len(before))
	tr.model.gradient(row, before, 0)
	trainer := tr.start(t)
	trainer.noiseless = true
	require.NoError(t, trainer.Step())
	for j, v := range row {
		require.InDelta(t, before[j]-v/2, tr.task.Params[j], 1e-3)
	}
}

func TestRule03EmptyDrawTakesNoisyStep(t *testing.T) {
	plan := somePlan()
	tr := newTrial(0, plan)
	tr.worker = func() *rowsWorker {
		return &rowsWorker{fail: func(int, []int) error { return errors.New("asked for gradients of nothing") }}
	}
	tr.task.Optimizer = &sgd{rate: 1}
	trainer := tr.start(t)
	last := slices.Clone(tr.task.Params)
	for step := range plan.Steps {
		require.NoError(t, trainer.Step())
		require.Equal(t, step+1, trainer.Steps())
		for j, v := range tr.task.Params {
			require.NotEqual(t, last[j], v)
		}
		last = slices.Clone(tr.task.Params)
	}
	require.Zero(t, trainer.NotPrivateStats().Run.Drawn)
	require.ErrorIs(t, trainer.Step(), ErrFinished)
}

// wide is a trial with more than a phase's worth of blocks.
func wide(plan Plan, records int) *trial {
	tr := newTrial(records, plan)
	d := 45001
	tr.model = newLeastSquares(9, records, d-1)
	tr.task.Params = make([]float32, d)
	params := tr.task.Params
	tr.worker = func() *rowsWorker { return &rowsWorker{leastSquares: tr.model, params: params} }
	return tr
}

func TestRule04ChunksNeverShow(t *testing.T) {
	for name, plan := range everyClip() {
		t.Run(name, func(t *testing.T) {
			want := newTrial(400, plan).run(t)
			for _, cores := range []int{1, 2, 3, 8} {
				for chunk := 1; chunk <= 4; chunk++ {
					func() {
						defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
						tr := newTrial(400, plan)
						trainer := tr.start(t)
						c := &trainer.crew
						require.Equal(t, min(cores, 4), len(c.members))
						c.chunk = chunk
						for i := range c.members {
							c.members[i].ends = make([]int, chunk)
						}
						for !trainer.Done() {
							require.NoError(t, trainer.Step())
						}
						require.Equal(t, want, tr.task.Params, "cores %d chunk %d", cores, chunk)
					}()
				}
			}
		})
	}
	plan := somePlan()
	plan.Steps, plan.Sampling, plan.BatchSize = 2, Poisson{Rate: 0.8}, 80
	var want []float32
	for _, cores := range []int{1, 2, 4} {
		func() {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			got := wide(plan, 100).run(t)
			if want == nil {
				want = got
			}
			require.Equal(t, want, got, "cores %d", cores)
		}()
	}
}

func TestRule06NotFiniteIsZeroAndCounted(t *testing.T) {
	bad := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}
	for name, plan := range everyClip() {
		t.Run(name, func(t *testing.T) {
			plan.Sampling, plan.BatchSize, plan.Steps = Poisson{Rate: 1}, 60, 2
			const spoiled = 17
			run := func(spoil func(row []float32, example int)) ([]float32, *Trainer) {
				tr := newTrial(60, plan)
				inner := tr.worker
				tr.worker = func() *rowsWorker {
					w := inner()
					w.spoil = spoil
					return w
				}
				trainer := tr.start(t)
				for !trainer.Done() {
					require.NoError(t, trainer.Step())
				}
				return tr.task.Params, trainer
			}
			zero, _ := run(func(row []float32, example int) {
				if example == spoiled {
					clear(row)
				}
			})
			for _, v := range bad {
				got, trainer := run(func(row []float32, example int) {
					if example == spoiled {
						row[example%len(row)] = v
					}
				})
				if name == "adaptive" { // the count knows it no more
					for _, p := range got {
						require.False(t, math.IsNaN(float64(p)) || math.IsInf(float64(p), 0))
					}
				} else {
					require.Equal(t, zero, got)
				}
				require.Equal(t, 1, trainer.NotPrivateStats().Step.NotFinite)
				require.Equal(t, 2, trainer.NotPrivateStats().Run.NotFinite)
				require.Equal(t, 120, trainer.NotPrivateStats().Run.Drawn)
			}
		})
	}
}

// A step that fails releases nothing, and taken again is the same step.
func TestRule08StepIsWholeOrNothing(t *testing.T) {
	for name, plan := range everyClip() {
		t.Run(name, func(t *testing.T) {
			want := newTrial(400, plan).run(t)
			tr := newTrial(400, plan)
			broken := errors.New("broken disk")
			fails := 0
			inner := tr.worker
			tr.worker = func() *rowsWorker {
				w := inner()
				calls := 0
				w.fail = func(step int, examples []int) error {
					if calls++; len(examples) > 0 && calls%3 == 0 && fails < 7 {
						fails++
						return broken
					}
					return nil
				}
				return w
			}
			trainer := tr.start(t)
			trainer.crew.chunk = 1
			seen := 0
			for !trainer.Done() {
				before, steps := slices.Clone(tr.task.Params), trainer.Steps()
				if err := trainer.Step(); err != nil {
					require.ErrorIs(t, err, broken)
					require.ErrorContains(t, err, "step")
					require.Equal(t, before, tr.task.Params)
					require.Equal(t, steps, trainer.Steps())
					seen++
				}
			}
			require.Greater(t, seen, 2)
			require.Equal(t, want, tr.task.Params)
		})
	}
}

func TestDivergenceNamesTheStep(t *testing.T) {
	tr := newTrial(400, somePlan())
	o := &sgd{rate: 1}
	tr.task.Optimizer = o
	trainer := tr.start(t)
	require.NoError(t, trainer.Step())
	o.rate = float32(math.Inf(1))
	err := trainer.Step()
	require.ErrorContains(t, err, "diverged")
	require.ErrorContains(t, err, "step 1:")
	require.Equal(t, err, trainer.Step())
	require.Error(t, trainer.Save(t.TempDir()+"/run"))
}

// What the trainer keeps is one vector of 8 bytes a parameter for each worker.
func TestMemory(t *testing.T) {
	const d = 1 << 21
	plan := somePlan()
	tr := newTrial(400, plan)
	tr.task.Params, tr.task.Optimizer = make([]float32, d), still{}
	tr.task.NewWorker = func() (Worker, error) { return &idle{}, nil }
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	trainer := tr.start(t)
	for !trainer.Done() {
		require.NoError(t, trainer.Step())
	}
	runtime.ReadMemStats(&after)
	workers := uint64(len(trainer.crew.members))
	require.Less(t, after.TotalAlloc-before.TotalAlloc, workers*(8*d+1<<20)+1<<20)
}

func TestStepAllocatesNothing(t *testing.T) {
	for name, plan := range everyClip() {
		if name == "layers" || name == "total" {
			continue // the tests' own model allocates
		}
		plan.Steps = 400
		tr := newTrial(400, plan)
		trainer := tr.start(t)
		for range 200 {
			require.NoError(t, trainer.Step())
		}
		allowed := 0.0
		if name == "adaptive" {
			allowed = 1 // a new sigma each step
		}
		require.LessOrEqual(t, testing.AllocsPerRun(100, func() { require.NoError(t, trainer.Step()) }), allowed, name)
	}
}
