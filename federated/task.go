package federated

import (
	"context"
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Client is where data lives: what a server asks, in any process.
type Client interface {
	// Train improves a task's model on the client's own data and says how it changed.
	// It is called again for the same round if a server was restarted or an attempt
	// failed. An error drops the client out of the attempt.
	Train(ctx context.Context, task Task) (Update, error)
}

// ClientFunc is a function that serves as a [Client].
type ClientFunc func(ctx context.Context, task Task) (Update, error)

// Train calls f.
func (f ClientFunc) Train(ctx context.Context, task Task) (Update, error) { return f(ctx, task) }

// Task is what a client is asked to do.
type Task struct {
	Round   int
	Attempt int
	Version int
	// Counted is the last round whose model holds an update of this client: 0 is none.
	Counted int
	// Params is the model to start from, shared by all clients of a process: it is
	// only read.
	Params []float32
	// Proximal is the weight μ of a term μ/2·|w - Params|² that is added to the
	// client's loss, 0 for most strategies.
	Proximal float64
	// Control is the server's control variate, for [Scaffold]; else nil.
	Control []float32
}

// Adjust adds to a client's gradient at params what the strategy asks for: the pull
// of Proximal towards the model that was sent, and correction, which is c - c_i for
// [Scaffold] ([Control.Correction]) and else nil. It panics if lengths differ.
func (t Task) Adjust(grad, params, correction []float32) {
	if len(grad) != len(t.Params) || len(params) != len(t.Params) || correction != nil && len(correction) != len(grad) {
		panic("federated: Task.Adjust: lengths differ")
	}
	if t.Proximal != 0 {
		mu := float32(t.Proximal)
		for j, w := range params {
			grad[j] += mu * (w - t.Params[j])
		}
	}
	if correction != nil {
		kernel.Add(grad, correction)
	}
}

// Update is what a client's training gave.
type Update struct {
	// Delta is the trained model less the one that was sent.
	Delta []float32
	// Weight is on how many examples the client trained, for weighted strategies; 0
	// stands for 1.
	Weight float64
	// Steps is how many steps the client took, for [FedNova].
	Steps int
	// Control is the change of the client's control variate, for [Scaffold].
	Control []float32
	// Packed stands for Delta if the plan compresses updates: see [Protect].
	Packed []byte
}

// check returns an error that says what is wrong with an update from outside.
func (u *Update) check(p *Plan) error {
	d := p.Parameters
	switch {
	case len(u.Delta) != d:
		return fmt.Errorf("update: Delta has %d elements, must have %d", len(u.Delta), d)
	case !kernel.AllFinite(u.Delta):
		return fmt.Errorf("update: Delta holds a NaN or an infinity")
	case math.IsNaN(u.Weight) || u.Weight < 0 || u.Weight > p.maxWeight():
		return fmt.Errorf("update: Weight is %v, must be in (0, %v]", u.Weight, p.maxWeight())
	case p.Strategy.needs().steps && (u.Steps < 1 || u.Steps > p.maxSteps()):
		return fmt.Errorf("update: Steps is %d, must be in [1, %d]", u.Steps, p.maxSteps())
	}
	if p.Strategy.needs().control {
		if len(u.Control) != d {
			return fmt.Errorf("update: Control has %d elements, must have %d", len(u.Control), d)
		}
		if !kernel.AllFinite(u.Control) {
			return fmt.Errorf("update: Control holds a NaN or an infinity")
		}
	} else if u.Control != nil {
		return fmt.Errorf("update: Control is given, which %s does not take", p.Strategy.name())
	}
	if p.MaxNorm > 0 {
		if norm := math.Sqrt(kernel.SumSquares(u.Delta)); norm > p.MaxNorm {
			return fmt.Errorf("update: Delta has norm %.6g, must be at most %.6g", norm, p.MaxNorm)
		}
	}
	return nil
}

// Control is a client's control variate, for [Scaffold]. A client keeps one over all
// rounds. It follows Karimireddy et al. 2020, Algorithm 1 with option II.
type Control struct {
	own, next []float32
	round     int // that next was made in
}

// Correction writes c - c_i to dst, to be added to every gradient, and returns it; nil
// allocates. A variate that was made in a round whose model holds the client's update
// becomes the client's own; one that was made in vain is forgotten, so that the
// server's variate stays the mean of the clients'.
func (c *Control) Correction(dst []float32, t Task) []float32 {
	if dst == nil {
		dst = make([]float32, len(t.Params))
	}
	if len(dst) != len(t.Control) {
		panic("federated: Control.Correction: lengths differ")
	}
	if c.own == nil {
		c.own = make([]float32, len(t.Control))
	}
	if c.next != nil && c.round != t.Round {
		if c.round == t.Counted {
			c.own, c.next = c.next, nil
		} else {
			c.next = nil
		}
	}
	for j := range dst {
		dst[j] = t.Control[j] - c.own[j]
	}
	return dst
}

// Change writes to dst how the client's variate changes by its training, for
// [Update].Control, and returns it; nil allocates. delta is the update's, made in so
// many steps of so large a rate.
func (c *Control) Change(dst []float32, t Task, delta []float32, steps int, rate float64) []float32 {
	if dst == nil {
		dst = make([]float32, len(delta))
	}
	if len(dst) != len(delta) || len(c.own) != len(delta) || len(t.Control) != len(delta) {
		panic("federated: Control.Change: lengths differ, or Correction was not called")
	}
	if c.next == nil {
		c.next = make([]float32, len(delta))
	}
	c.round = t.Round
	scale := float32(1 / (float64(steps) * rate))
	for j, x := range delta {
		dst[j] = -t.Control[j] - scale*x
		c.next[j] = c.own[j] + dst[j]
	}
	return dst
}
