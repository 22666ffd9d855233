package federated

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// bowls are clients whose losses are 1/2·Σ scale_j·(w_j - centre_ij)²: the mean of all
// has its least at the mean of the centres, if scales are alike.
type bowls struct {
	centre [][]float32
	scale  []float32
	steps  func(client int) int
	rate   float32
}

func newBowls(clients, d int, seed uint64) *bowls {
	r := rand.New(rand.NewPCG(seed, 1))
	b := &bowls{rate: 0.1, steps: func(int) int { return 5 }}
	for range clients {
		c := make([]float32, d)
		for j := range c {
			c[j] = float32(1 + r.NormFloat64())
		}
		b.centre = append(b.centre, c)
	}
	for range d {
		b.scale = append(b.scale, 1)
	}
	return b
}

func (b *bowls) optimum() []float32 {
	out := make([]float32, len(b.scale))
	for j := range out {
		sum := 0.0
		for _, c := range b.centre {
			sum += float64(c[j])
		}
		out[j] = float32(sum / float64(len(b.centre)))
	}
	return out
}

// train is a client's training with plain gradient steps.
func (b *bowls) train(i int, t Task, control *Control) Update {
	w := append([]float32(nil), t.Params...)
	g := make([]float32, len(w))
	var correction []float32
	if control != nil {
		correction = control.Correction(nil, t)
	}
	n := b.steps(i)
	for range n {
		for j := range g {
			g[j] = b.scale[j] * (w[j] - b.centre[i][j])
		}
		t.Adjust(g, w, correction)
		for j := range w {
			w[j] -= b.rate * g[j]
		}
	}
	for j := range w {
		w[j] -= t.Params[j]
	}
	u := Update{Delta: w, Steps: n, Weight: 1}
	if control != nil {
		u.Control = control.Change(nil, t, w, n, float64(b.rate))
	}
	return u
}

func (b *bowls) client(i int, control *Control) Client {
	return ClientFunc(func(_ context.Context, t Task) (Update, error) { return b.train(i, t, control), nil })
}

func distance(a, b []float32) float64 {
	sum := 0.0
	for j := range a {
		sum += float64(a[j]-b[j]) * float64(a[j]-b[j])
	}
	return math.Sqrt(sum)
}

// simulate runs a plan over bowls and returns the model.
func (b *bowls) simulate(t *testing.T, p Plan, change func(*Config, *Simulation)) (*Coordinator, []float32) {
	t.Helper()
	p.Parameters = len(b.scale)
	sim := &Simulation{Clients: len(b.centre), Seed: 1}
	controls := make([]Control, len(b.centre))
	scaffold := p.Strategy.needs().control
	sim.NewWorker = func() (Worker, error) {
		return WorkerFunc(func(_ context.Context, i int, task Task) (Update, error) {
			if scaffold {
				return b.train(i, task, &controls[i]), nil
			}
			return b.train(i, task, nil), nil
		}), nil
	}
	config := Config{Initial: make([]float32, p.Parameters), Transport: sim, Now: sim.Clock}
	if change != nil {
		change(&config, sim)
	}
	defer sim.Close()
	c, err := New(p, config)
	require.NoError(t, err)
	require.NoError(t, c.Run(t.Context()))
	return c, c.Params(nil)
}

func TestStrategiesConverge(t *testing.T) {
	b := newBowls(12, 20, 1)
	optimum := b.optimum()
	for _, c := range []struct {
		s      Strategy
		rounds int
		within float64
	}{
		{FedAvg{}, 60, 1e-3},
		{FedAvg{Weighted: true, Rate: 1.5}, 60, 1e-3},
		{FedProx{Mu: 0.5}, 80, 1e-3},
		{FedAvgM{Rate: 0.5, Momentum: 0.7}, 100, 1e-3},
		{FedAdagrad{Rate: 0.5, Tau: 1e-3}, 300, 0.02},
		{FedYogi{Rate: 0.1, Beta1: 0.5, Beta2: 0.9, Tau: 1e-2}, 400, 0.02},
		{FedAdam{Rate: 0.1, Beta1: 0.5, Beta2: 0.9, Tau: 1e-2}, 400, 0.02},
		{Scaffold{}, 60, 1e-3},
		{FedNova{MaxSteps: 10}, 60, 1e-3},
		{FedBuff{Buffer: 4, Concurrency: 6, MaxStaleness: 5, Rate: 0.3}, 400, 1}, // a bias to whoever came last stays
	} {
		t.Run(c.s.name(), func(t *testing.T) {
			_, got := b.simulate(t, Plan{Rounds: c.rounds, Strategy: c.s, Selection: All{}, MinCohort: 1, MaxWeight: 10}, nil)
			require.Less(t, distance(got, optimum), c.within)
		})
	}
}
