package clients

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/sotto-ml/sotto/aggregate/attack"
	"github.com/sotto-ml/sotto/federated"
	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/nn"
)

// Local is how a client trains on its own examples: plain SGD.
type Local struct {
	Epochs int // passes over the part, unless Steps is set
	Steps  int // batches, drawn from shuffled passes
	Batch  int
	Rate   float64
	Fade   float64 // the rate is multiplied by it after each round; 0 is 1
	Decay  float64 // weight decay
	// Momentum lets a client send m ← Momentum·m + (1-Momentum)·Δ over the rounds that it
	// took part in, not Δ (worker momentum: Karimireddy, He and Jaggi 2021).
	Momentum float64
}

func (l Local) check() error {
	switch {
	case l.Steps < 0 || l.Epochs < 0 || l.Steps == 0 && l.Epochs == 0:
		return fmt.Errorf("local epochs are %d and steps %d, must not be negative, nor both 0", l.Epochs, l.Steps)
	case l.Batch < 1:
		return fmt.Errorf("batch is %d, must be at least 1", l.Batch)
	case !(l.Rate > 0) || math.IsInf(l.Rate, 0):
		return fmt.Errorf("learning rate is %v, must be positive and finite", l.Rate)
	case !(l.Fade >= 0 && l.Fade <= 1):
		return fmt.Errorf("fade is %v, must be in [0, 1]", l.Fade)
	case !(l.Decay >= 0) || math.IsInf(l.Decay, 0):
		return fmt.Errorf("weight decay is %v, must be finite and at least 0", l.Decay)
	case !(l.Momentum >= 0 && l.Momentum < 1):
		return fmt.Errorf("client momentum is %v, must be in [0, 1)", l.Momentum)
	}
	return nil
}

// rate is the learning rate of a round, from 1.
func (l Local) rate(round int) float64 {
	if l.Fade == 0 || l.Fade == 1 {
		return l.Rate
	}
	return l.Rate * math.Pow(l.Fade, float64(round-1))
}

// Learner trains one client after another: it holds one model.
type Learner struct {
	local   Local
	data    *Data
	labels  nn.Targets
	flipped nn.Targets
	model   *nn.Model
	pass    *nn.Pass
	grad    []float32
	order   []int
	rows    [][]float32
	targets nn.Targets
	delta   []float32
	correct []float32
	control []float32
}

// NewLearner returns a learner with a model of its own.
func NewLearner(data *Data, model string, local Local) (*Learner, error) {
	if err := local.check(); err != nil {
		return nil, err
	}
	m, err := NewModel(model, 0)
	if err != nil {
		return nil, err
	}
	l := &Learner{local: local, data: data, model: m, pass: nn.NewPass(m, nn.SoftmaxCrossEntropy{})}
	if l.labels, err = nn.Labels(data.TrainLabels, mnist.Classes); err != nil {
		return nil, err
	}
	turned := make([]int, len(data.TrainLabels))
	for i, label := range data.TrainLabels {
		turned[i] = attack.FlipLabel(label, mnist.Classes)
	}
	if l.flipped, err = nn.Labels(turned, mnist.Classes); err != nil {
		return nil, err
	}
	d := len(m.Params())
	l.grad, l.delta = make([]float32, d), make([]float32, d)
	return l, nil
}

// Learn trains on a part from params and leaves the result in the learner's model. It
// is the bare cost of training, to which federation adds. It returns the number of
// steps. adjust, if not nil, may change each gradient.
func (l *Learner) Learn(params []float32, part []int, round int, seed uint64, flip bool, adjust func(grad, at []float32)) int {
	at := l.model.Params()
	copy(at, params)
	rng := rand.New(rand.NewPCG(seed, uint64(round)))
	l.order = append(l.order[:0], part...)
	labels := l.labels
	if flip {
		labels = l.flipped
	}
	batch := min(l.local.Batch, len(part))
	steps := l.local.Steps
	if steps == 0 {
		steps = l.local.Epochs * ((len(part) + batch - 1) / batch)
	}
	rate := float32(l.local.rate(round))
	shrink := 1 - rate*float32(l.local.Decay)
	from := len(part)
	for s := range steps {
		if from >= len(part) {
			rng.Shuffle(len(l.order), func(i, j int) { l.order[i], l.order[j] = l.order[j], l.order[i] })
			from = 0
		}
		ids := l.order[from:min(from+batch, len(part))]
		from += batch
		l.rows = l.rows[:0]
		for _, i := range ids {
			l.rows = append(l.rows, l.data.Train[i])
		}
		l.targets = labels.Pick(l.targets, ids)
		l.pass.SetStep(seed, uint64(s))
		l.pass.Backward(l.rows, l.targets, ids).Mean(l.grad)
		if adjust != nil {
			adjust(l.grad, at)
		}
		if l.local.Decay != 0 {
			kernel.Scale(at, shrink, at)
		}
		kernel.Axpy(at, -rate, l.grad)
	}
	return steps
}

// memory is what a client keeps from round to round.
type memory struct {
	control  federated.Control
	momentum []float32 // as of rounds before made
	next     []float32 // made in round made
	made     int
}

// train is one client's answer to a task.
func (l *Learner) train(_ context.Context, t federated.Task, part []int, seed uint64, flip bool, own *memory) (federated.Update, error) {
	if len(t.Params) != len(l.delta) {
		return federated.Update{}, fmt.Errorf("the task's model has %d parameters, this client's %d", len(t.Params), len(l.delta))
	}
	var adjust func(grad, at []float32)
	if t.Control != nil {
		if l.correct == nil {
			l.correct, l.control = make([]float32, len(l.delta)), make([]float32, len(l.delta))
		}
		own.control.Correction(l.correct, t)
		adjust = func(grad, at []float32) { t.Adjust(grad, at, l.correct) }
	} else if t.Proximal != 0 {
		adjust = func(grad, at []float32) { t.Adjust(grad, at, nil) }
	}
	steps := l.Learn(t.Params, part, t.Round, seed, flip, adjust)
	copy(l.delta, l.model.Params())
	kernel.Axpy(l.delta, -1, t.Params)
	u := federated.Update{Delta: l.delta, Weight: float64(len(part)), Steps: steps}
	if t.Control != nil {
		u.Control = own.control.Change(l.control, t, l.delta, steps, l.local.rate(t.Round))
	}
	if beta := l.local.Momentum; beta > 0 {
		own.average(l.delta, t.Round, float32(beta))
	}
	return u, nil
}

// average replaces an update by the client's momentum. A task that is repeated gives
// the same.
func (m *memory) average(delta []float32, round int, beta float32) {
	if m.momentum == nil {
		m.momentum, m.next = make([]float32, len(delta)), make([]float32, len(delta))
	}
	if m.made != 0 && m.made != round {
		m.momentum, m.next = m.next, m.momentum
	}
	m.made = round
	for j, x := range delta {
		x = beta*m.momentum[j] + (1-beta)*x
		m.next[j], delta[j] = x, x
	}
}
