package dp

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sotto-ml/sotto/dp/noise"
	"github.com/sotto-ml/sotto/internal/kernel"
)

const (
	// chunkRuns is the most runs that a chunk holds, about 256 examples: it
	// bounds the memory of a model's activations, whatever the batch.
	chunkRuns = 4
	// taskBlocks is how many blocks of noise a goroutine takes at a time.
	taskBlocks = 4
)

// crew are the goroutines of a step. They are started for each phase and share
// its pieces by a counter; nothing they compute depends on who took which.
type crew struct {
	trainer                           *Trainer
	members                           []member
	starts                            []func()
	running                           sync.WaitGroup
	next                              atomic.Int64
	gradientPhase, updatePhase, phase func(m *member, piece int)
	pieces                            int
	chunk                             int     // runs
	norm                              float64 // that grid is for
	grid                              grid
	noise                             *noise.RoundedGaussian
	broken                            atomic.Bool // a parameter is not finite
}

// member is what one goroutine works with.
type member struct {
	worker  Worker
	sum     []int64 // zero between steps
	used    bool    // sum may hold something
	norms   []float32
	weights []float32
	ends    []int
	grad    [noise.BlockSize]float32
	tally   tally
	err     error
}

// hire makes the members.
func (c *crew) hire(t *Trainer, r runs) error {
	c.trainer = t
	c.gradientPhase, c.updatePhase = c.gradients, c.update
	c.members = make([]member, maxWorkers(r))
	// A chunk for everyone, if that makes chunks of some size.
	c.chunk = max(1, min(chunkRuns, (r.count+len(c.members)-1)/len(c.members)))
	for i := range c.members {
		m := &c.members[i]
		w, err := t.task.NewWorker()
		if err != nil {
			return fmt.Errorf("dp: task: NewWorker: %w", err)
		}
		if w == nil {
			return errors.New("dp: task: NewWorker returned nil")
		}
		m.worker, m.sum = w, make([]int64, len(t.task.Params))
		m.ends = make([]int, c.chunk)
		c.starts = append(c.starts, func() {
			c.work(m)
			c.running.Done()
		})
	}
	return nil
}

// layers asks the model for its layers, by way of the gradients of no example.
func (c *crew) layers(d int) ([]int, error) {
	g, err := c.members[0].worker.Gradients(0, nil)
	if err != nil {
		return nil, fmt.Errorf("dp: gradients of no examples: %w", err)
	}
	l, ok := g.(LayerGradients)
	if !ok {
		return nil, fmt.Errorf("dp: Clip is PerLayer, but the model's gradients (%T) are not LayerGradients", g)
	}
	ends, last := l.Layers(), 0
	for i, end := range ends {
		if end < last || end > d {
			return nil, fmt.Errorf("dp: layer %d of the gradients ends at parameter %d, must lie in [%d, %d]", i, end, last, d)
		}
		last = end
	}
	if last != d {
		return nil, fmt.Errorf("dp: layers of the gradients end at parameter %d of %d", last, d)
	}
	return ends, nil
}

// run does all pieces of a phase on the given number of goroutines.
func (c *crew) run(hands, pieces int, phase func(m *member, piece int)) {
	hands = min(hands, pieces)
	c.phase, c.pieces = phase, pieces
	c.next.Store(0)
	for i := 1; i < hands; i++ {
		c.running.Add(1)
		go c.starts[i]()
	}
	c.work(&c.members[0])
	c.running.Wait()
}

func (c *crew) work(m *member) {
	for {
		i := int(c.next.Add(1)) - 1
		if i >= c.pieces {
			return
		}
		c.phase(m, i)
	}
}

// Step draws a batch, and updates the parameters by its private gradient. It
// returns ErrFinished if the plan's steps are taken.
//
// If a worker fails, its error is returned, nothing is released, and the step
// may be tried again: it has the same draw and the same noise. (That it failed
// is not private.) If the updated parameters are not all finite, the error
// names the step, and the run has ended: what the optimiser diverged from was
// private already.
func (t *Trainer) Step() error {
	switch {
	case t.failed != nil:
		return t.failed
	case t.erased:
		return errors.New("dp: the run's keys are erased")
	case t.Done():
		return ErrFinished
	}
	c := &t.crew
	d := len(t.task.Params)
	t.draw.draw(t.step)
	if err := c.place(); err != nil {
		return fmt.Errorf("dp: step %d: %w", t.step, err)
	}
	c.run(len(c.members), (t.draw.runs.count+c.chunk-1)/c.chunk, c.gradientPhase)
	counts := t.draw.tally
	var err error
	for i := range c.members {
		m := &c.members[i]
		counts.add(m.tally)
		m.tally = tally{}
		if m.err != nil && err == nil {
			err = m.err
		}
		m.err = nil
	}
	if err != nil {
		for i := range c.members {
			clear(c.members[i].sum)
			c.members[i].used = false
		}
		return fmt.Errorf("dp: step %d: %w", t.step, err)
	}

	t.task.Optimizer.Begin(d)
	blocks := c.blocks()
	c.run(len(c.members), (blocks+taskBlocks-1)/taskBlocks, c.updatePhase)
	for i := range c.members {
		c.members[i].used = false
	}
	t.adapt(counts.within)
	t.record(counts)
	t.step++
	if c.broken.Load() {
		t.failed = fmt.Errorf("dp: step %d: the optimiser diverged: parameters hold a NaN or an infinity; lower the learning rate", t.step-1)
	}
	return t.failed
}

// place makes the grid and its noise, unless they are the former step's.
func (c *crew) place() (err error) {
	t := c.trainer
	if c.noise == nil || t.clip.norm != c.norm {
		c.norm = t.clip.norm
		c.grid = newGrid(c.norm, t.noiseMultiplier, len(t.task.Params), t.draw.runs.limit)
		c.noise, err = noise.NewRoundedGaussian(c.grid.sigma)
	}
	return err
}

// blocks is the number of blocks of noise in the parameters.
func (c *crew) blocks() int {
	return (len(c.trainer.task.Params) + noise.BlockSize - 1) / noise.BlockSize
}

// firstStream is the id of the noise of a step's first block. A step has a
// stream for each block and one for the count.
func (t *Trainer) firstStream() uint64 { return uint64(t.step) * (uint64(t.crew.blocks()) + 1) }

// gradients is the first phase: chunk i of the draw.
func (c *crew) gradients(m *member, i int) {
	t := c.trainer
	ends := t.draw.ends[i*c.chunk : min((i+1)*c.chunk, len(t.draw.ends))]
	from, to := 0, ends[len(ends)-1]
	if i > 0 {
		from = t.draw.ends[i*c.chunk-1]
	}
	if from == to || m.err != nil {
		return
	}
	examples := t.draw.order[from:to]
	local := m.ends[:len(ends)]
	for r, end := range ends {
		local[r] = end - from
	}
	g, err := m.worker.Gradients(t.step, examples)
	if err != nil {
		m.err = err
		return
	}
	n := len(examples) * max(1, len(t.layers))
	m.norms, m.weights = sized(m.norms, n), sized(m.weights, n)
	m.used = true
	if t.layers == nil {
		m.norms = g.Norms(m.norms)
		m.tally.add(t.clip.weigh(m.weights, m.norms, c.grid.unit))
		g.WeightedSum(m.sum, m.weights, local)
		return
	}
	l, ok := g.(LayerGradients)
	if !ok {
		m.err = fmt.Errorf("gradients (%T) are not LayerGradients", g)
		return
	}
	m.norms = l.LayerNorms(m.norms)
	m.tally.add(t.clip.weigh(m.weights, m.norms, c.grid.unit))
	l.LayerWeightedSum(m.sum, m.weights, local)
}

// sized returns a slice of n elements, s's if it has the room.
func sized(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n, n+n/4+runLength)
	}
	return s[:n]
}

// update is the second phase: the sums of blocks i·taskBlocks to
// (i+1)·taskBlocks are merged, noised, converted and applied.
func (c *crew) update(m *member, i int) {
	t := c.trainer
	from := i * taskBlocks * noise.BlockSize
	to := min(from+taskBlocks*noise.BlockSize, len(t.task.Params))
	sum := c.members[0].sum[from:to]
	for k := 1; k < len(c.members); k++ {
		if other := &c.members[k]; other.used {
			part := other.sum[from:to]
			for j, v := range part[:len(sum)] {
				sum[j] += v
			}
			clear(part)
		}
	}
	if !t.noiseless {
		c.noise.AddBlocks(sum, &t.noiseKey, t.firstStream()+uint64(i*taskBlocks))
	}
	scale := float32(c.grid.unit / float64(t.plan.BatchSize))
	for at := 0; at < len(sum); at += len(m.grad) {
		part := sum[at:min(at+len(m.grad), len(sum))]
		grad := m.grad[:len(part)]
		kernel.FromInt(grad, part, scale)
		params := t.task.Params[from+at : from+at+len(part)]
		t.task.Optimizer.Update(params, grad, from+at)
		if !kernel.AllFinite(params) {
			c.broken.Store(true)
		}
	}
	clear(sum)
}

// adapt ends a step of AdaptiveQuantile.
func (t *Trainer) adapt(within int) {
	if t.countNoise == nil {
		return
	}
	t.count[0] = int64(within)
	if !t.noiseless {
		t.countNoise.AddBlocks(t.count[:], &t.noiseKey, t.firstStream()+uint64(t.crew.blocks()))
	}
	t.clip.adapt(t.count[0], t.plan.BatchSize)
	t.count[0] = 0
}
