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
	// taskBlocks is how many blocks of noise a goroutine takes at a time, up to
	// twice as many: their sums stay in its cache.
	taskBlocks = 16
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
	task                              int     // blocks of noise taken at a time
	norm                              float64 // that grid is for
	grid                              grid
	noise                             *noise.RoundedGaussian
	broken                            atomic.Bool // a parameter is not finite
}

// member is what one goroutine works with.
type member struct {
	worker  Worker
	sum     []int64        // zero between steps; made when needed
	used    bool           // sum may hold something
	late    BlockGradients // not in sum: the update makes their sum
	part    []int64        // where it does; zero between tasks
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
	// A chunk for everyone, if that makes chunks of some size, and a task.
	c.chunk = max(1, min(chunkRuns, ceilDiv(r.count, len(c.members))))
	each := ceilDiv(c.blocks(), len(c.members))
	c.task = ceilDiv(each, max(1, each/taskBlocks))
	for i := range c.members {
		m := &c.members[i]
		w, err := t.task.NewWorker()
		if err != nil {
			return fmt.Errorf("dp: task: NewWorker: %w", err)
		}
		if w == nil {
			return errors.New("dp: task: NewWorker returned nil")
		}
		m.worker, m.ends = w, make([]int, c.chunk)
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
	c.run(len(c.members), c.chunks(), c.gradientPhase)
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
			m := &c.members[i]
			clear(m.sum)
			m.used, m.late = false, nil
		}
		return fmt.Errorf("dp: step %d: %w", t.step, err)
	}

	t.task.Optimizer.Begin(d)
	c.run(len(c.members), ceilDiv(c.blocks(), c.task), c.updatePhase)
	for i := range c.members {
		c.members[i].used, c.members[i].late = false, nil
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
func (c *crew) blocks() int { return ceilDiv(len(c.trainer.task.Params), noise.BlockSize) }

// chunks is the number of chunks of a draw.
func (c *crew) chunks() int { return ceilDiv(c.trainer.draw.runs.count, c.chunk) }

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// firstStream is the id of the noise of a step's first block. A step has a
// stream for each block and one for the count.
func (t *Trainer) firstStream() uint64 { return uint64(t.step) * (uint64(t.crew.blocks()) + 1) }

// gradients is the first phase: chunk i of the draw. If there is a member for
// every chunk, each chunk has its own, whoever does the work: its gradients then
// last until the update, which makes their sum a part at a time.
func (c *crew) gradients(m *member, i int) {
	t := c.trainer
	lasting := c.chunks() <= len(c.members)
	if lasting {
		m = &c.members[i]
	}
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
	if t.layers == nil {
		m.norms = g.Norms(m.norms)
		m.tally.add(t.clip.weigh(m.weights, m.norms, c.grid.unit))
		if late, ok := g.(BlockGradients); ok && lasting {
			late.Weigh(m.weights, local)
			m.late = late
			return
		}
		g.WeightedSum(m.open(len(t.task.Params)), m.weights, local)
		return
	}
	l, ok := g.(LayerGradients)
	if !ok {
		m.err = fmt.Errorf("gradients (%T) are not LayerGradients", g)
		return
	}
	m.norms = l.LayerNorms(m.norms)
	m.tally.add(t.clip.weigh(m.weights, m.norms, c.grid.unit))
	l.LayerWeightedSum(m.open(len(t.task.Params)), m.weights, local)
}

// open returns the member's sum over d parameters, to be added to.
func (m *member) open(d int) []int64 {
	if m.sum == nil {
		m.sum = make([]int64, d)
	}
	m.used = true
	return m.sum
}

// sized returns a slice of n elements, s's if it has the room.
func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4+runLength)
	}
	return s[:n]
}

// update is the second phase: the sums of blocks i·task to (i+1)·task are
// made or merged, noised, converted and applied.
func (c *crew) update(m *member, i int) {
	t := c.trainer
	from := i * c.task * noise.BlockSize
	to := min(from+c.task*noise.BlockSize, len(t.task.Params))
	sum := c.merge(m, from, to)
	if !t.noiseless {
		c.noise.AddBlocks(sum, &t.noiseKey, t.firstStream()+uint64(i*c.task))
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
	clear(m.part)
}

// merge returns the sum of all members for parameters from to to, made in
// hand's own memory or in that of the first member that has a sum. All else
// that it takes it clears.
func (c *crew) merge(hand *member, from, to int) (sum []int64) {
	hand.part = hand.part[:0]
	for i := range c.members {
		late := c.members[i].late
		if late == nil {
			continue
		}
		first, last := late.Span(from, to)
		hand.part = sized(hand.part, last-first)
		late.AddBlock(hand.part, first)
		sum = hand.part[from-first : to-first]
	}
	for i := range c.members {
		m := &c.members[i]
		if !m.used {
			continue
		}
		part := m.sum[from:to]
		if sum == nil {
			sum = part
			continue
		}
		for j, v := range part[:len(sum)] {
			sum[j] += v
		}
		clear(part)
	}
	if sum == nil { // of nothing
		hand.part = sized(hand.part, to-from)
		sum = hand.part
	}
	return sum
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
