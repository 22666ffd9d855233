package dp

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/sotto-ml/sotto/dp/noise"
	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
)

// Task is what a plan is run on.
type Task struct {
	// Params is the model's parameter vector. Each step updates it in place;
	// between steps it may be read but not written.
	Params []float32
	// Records is the number of records in the data set, at most the plan's
	// Population. They are numbered from 0.
	Records int
	// Optimizer applies the private gradients.
	Optimizer Optimizer
	// NewWorker returns a new worker. It is called at once, at most GOMAXPROCS
	// times; each worker serves one goroutine, and all must compute the same.
	NewWorker func() (Worker, error)
	// Ledger, if there is one, is reserved all that the plan costs before the run
	// starts, and settled by Erase.
	Ledger Ledger
	// Digest identifies, for checkpoints, the data, the model and everything
	// else that gradients depend on (the optimiser's settings too, if its state
	// does not tell them): a hash of all that. It may stay zero in a run that is
	// never saved.
	Digest [32]byte
}

// ErrFinished is returned by Step when the plan's steps are taken.
var ErrFinished = errors.New("dp: the plan's steps are taken")

// Trainer runs a plan. It serves one goroutine, and uses all cores inside.
type Trainer struct {
	plan     Plan
	task     Task
	key      stream.Key // the run's; all others are derived from it
	noiseKey stream.Key
	erased   bool
	step     int // taken
	failed   error
	draw     *sampler
	clip     clipping
	layers   []int
	crew     crew
	stats    NotPrivateStats
	count    [1]int64 // AdaptiveQuantile's, on its way to be noised
	file     string   // the checkpoint, if there is one

	name    string // in the ledger
	resumed bool   // another process may have taken more steps
	settled bool

	optimizer string // digest of the optimiser as it was given

	noiseMultiplier float64 // of the gradient
	countNoise      *noise.RoundedGaussian

	// noiseless leaves the noise out, for tests of what is under it.
	noiseless bool
}

// Purposes of the keys of a run.
const (
	drawPurpose  = "dp draw"
	noisePurpose = "dp noise"
	namePurpose  = "dp run"
)

// NewTrainer starts a run of a plan under a fresh key. An error names what is
// wrong with the plan or the task, or is the ledger's, if the run would overspend
// its budget.
func NewTrainer(plan Plan, task Task) (*Trainer, error) {
	key := stream.NewKey()
	defer key.Erase()
	t, err := newTrainer(plan, task, &key)
	if err != nil {
		return nil, err
	}
	if err := t.reserve(); err != nil {
		t.wipe()
		return nil, err
	}
	return t, nil
}

func newTrainer(plan Plan, task Task, key *stream.Key) (_ *Trainer, err error) {
	if err := plan.Validate(); err != nil {
		return nil, err
	}
	if err := task.check(plan); err != nil {
		return nil, err
	}
	if c, ok := plan.Clip.(PerLayer); ok {
		c.Norms = slices.Clone(c.Norms)
		plan.Clip = c
	}
	optimizer, err := optimizerDigest(task.Optimizer)
	if err != nil {
		return nil, err
	}
	t := &Trainer{plan: plan, task: task, key: *key, optimizer: optimizer, name: runName(key)}
	defer func() {
		if err != nil {
			t.wipe()
		}
	}()
	runs := plan.runs()
	if plan.mechanismDelta() <= 0 {
		return nil, fmt.Errorf("dp: plan: Delta %v is below the chance of a run overflow", plan.Delta)
	}
	drawKey := key.Derive(drawPurpose, 0)
	defer drawKey.Erase()
	t.noiseKey = key.Derive(noisePurpose, 0)
	t.draw = newSampler(&drawKey, task.Records, plan.rate(), runs)
	if err := t.crew.hire(t, runs); err != nil {
		return nil, err
	}
	if err := t.newClip(); err != nil {
		return nil, err
	}
	return t, nil
}

func (k Task) check(plan Plan) error {
	switch {
	case len(k.Params) == 0:
		return errors.New("dp: task: Params is empty")
	case !kernel.AllFinite(k.Params):
		return errors.New("dp: task: Params hold a NaN or an infinity")
	case k.Records < 0:
		return fmt.Errorf("dp: task: Records is %d, must not be negative", k.Records)
	case k.Records > plan.population():
		return fmt.Errorf("dp: task: Records is %d, the plan allows at most %d (BatchSize over Poisson.Rate)", k.Records, plan.population())
	case k.Optimizer == nil:
		return errors.New("dp: task: Optimizer is missing")
	case k.NewWorker == nil:
		return errors.New("dp: task: NewWorker is missing")
	}
	return nil
}

// newClip starts the clip rule and checks that its grids fit.
func (t *Trainer) newClip() error {
	if _, ok := t.plan.Clip.(PerLayer); ok {
		layers, err := t.crew.layers(len(t.task.Params))
		if err != nil {
			return err
		}
		t.layers = layers
	}
	var count float64
	t.noiseMultiplier, count = multipliers(t.plan.Clip, t.plan.NoiseMultiplier)
	var err error
	if t.clip, err = newClipping(t.plan.Clip, len(t.layers)); err != nil {
		return err
	}
	least := t.clip.norm
	if count > 0 {
		least /= adaptiveSpan
		// The sum of ±1 has sensitivity 1, on the integers themselves.
		if t.countNoise, err = noise.NewRoundedGaussian(count); err != nil {
			return fmt.Errorf("dp: plan: NoiseMultiplier and AdaptiveQuantile.NoiseShare: %w", err)
		}
	}
	return newGrid(least, t.noiseMultiplier, len(t.task.Params), t.draw.runs.limit).check(t.clip.largestWeight())
}

// Plan returns the plan that runs.
func (t *Trainer) Plan() Plan { return t.plan }

// Steps returns the number of steps taken.
func (t *Trainer) Steps() int { return t.step }

// Done reports whether the plan's steps are taken.
func (t *Trainer) Done() bool { return t.step >= t.plan.Steps }

// ClipNorm returns the current clip norm. It is private: under AdaptiveQuantile
// it follows from noisy counts, else it is the plan's.
func (t *Trainer) ClipNorm() float64 { return t.clip.norm }

// Spent is the guarantee of the steps taken so far.
func (t *Trainer) Spent() (Guarantee, error) { return t.plan.Spent(t.step) }

// NotPrivateStats are exact counts over the records drawn. They are NOT covered
// by the guarantee: keep them from whoever must not see the data.
type NotPrivateStats struct {
	Step StepCounts // of the latest step
	Run  StepCounts // of all steps taken, resumed ones included
}

// StepCounts say what became of the records that were drawn.
type StepCounts struct {
	Drawn     int // given to the model
	Clipped   int // made shorter
	NotFinite int // left out because the gradient held a NaN or an infinity
	Dropped   int // left out because their run was full, which delta pays for
}

func (t *Trainer) record(c tally) {
	t.stats.Step = StepCounts{c.drawn, c.clipped, c.notFinite, c.dropped}
	r := &t.stats.Run
	r.Drawn, r.Clipped = r.Drawn+c.drawn, r.Clipped+c.clipped
	r.NotFinite, r.Dropped = r.NotFinite+c.notFinite, r.Dropped+c.dropped
}

// NotPrivateStats returns counts that are not private.
func (t *Trainer) NotPrivateStats() NotPrivateStats { return t.stats }

// maxWorkers is how many goroutines can be of use.
func maxWorkers(r runs) int { return max(1, min(runtime.GOMAXPROCS(0), r.count)) }
