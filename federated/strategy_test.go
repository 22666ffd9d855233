package federated

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// models runs a plan whose clients send given updates and returns the models that they
// were sent, and the last.
func models(t *testing.T, p Plan, updates func(round, client int) Update, clients int) (seen [][]float32) {
	t.Helper()
	p.MinMembers, p.MinCohort, p.Selection = clients, clients, All{}
	server, _, err := scripted(t, p, clients, func(to ClientID, task Task) []Message {
		if to == "a" {
			seen = append(seen, task.Params)
		}
		return []Message{answered(to, task, updates(task.Round, int(to[0]-'a')))}
	})
	require.NoError(t, err)
	return append(seen, server.Params(nil))
}

// Each server rule is what its paper says, in numbers worked out beside it.
func TestServerRules(t *testing.T) {
	const d, rounds = 7, 5
	r := rand.New(rand.NewPCG(1, 1))
	deltas := make([][]float32, rounds)
	for i := range deltas {
		deltas[i] = make([]float32, d)
		for j := range deltas[i] {
			deltas[i][j] = float32(r.NormFloat64())
		}
	}
	const rate, b1, b2, tau = 0.3, 0.8, 0.95, 0.01
	type moments struct{ w, m, v float64 }
	for _, c := range []struct {
		s    Strategy
		step func(x *moments, g float64)
	}{
		{FedAvg{}, func(x *moments, g float64) { x.w += g }},
		{FedAvg{Rate: rate}, func(x *moments, g float64) { x.w += rate * g }},
		{FedProx{Mu: 2}, func(x *moments, g float64) { x.w += g }},
		{FedAvgM{Rate: rate, Momentum: b1}, func(x *moments, g float64) { x.m = b1*x.m + g; x.w += rate * x.m }},
		{FedAdagrad{Rate: rate, Beta1: b1, Tau: tau}, func(x *moments, g float64) {
			x.m = b1*x.m + (1-b1)*g
			x.v += g * g
			x.w += rate * x.m / (math.Sqrt(x.v) + tau)
		}},
		{FedAdam{Rate: rate, Beta1: b1, Beta2: b2, Tau: tau}, func(x *moments, g float64) {
			x.m = b1*x.m + (1-b1)*g
			x.v = b2*x.v + (1-b2)*g*g
			x.w += rate * x.m / (math.Sqrt(x.v) + tau)
		}},
		{FedYogi{Rate: rate, Beta1: b1, Beta2: b2, Tau: tau}, func(x *moments, g float64) {
			x.m = b1*x.m + (1-b1)*g
			sign := 0.0
			if x.v > g*g {
				sign = 1
			} else if x.v < g*g {
				sign = -1
			}
			x.v -= (1 - b2) * g * g * sign
			x.w += rate * x.m / (math.Sqrt(x.v) + tau)
		}},
	} {
		got := models(t, Plan{Parameters: d, Rounds: rounds, Strategy: c.s}, func(round, client int) Update {
			return Update{Delta: deltas[round-1]}
		}, 2)
		for j := range d {
			x := moments{v: tau * tau}
			for i := range rounds {
				c.step(&x, float64(deltas[i][j]))
				require.InDelta(t, x.w, got[i+1][j], 1e-5, "%s round %d", c.s.name(), i+1)
			}
		}
	}
}

// Weights count as they should, and only where they are asked for.
func TestWeights(t *testing.T) {
	p := Plan{Parameters: 1, Rounds: 1, Strategy: FedAvg{Weighted: true}, MaxWeight: 100}
	u := func(_, client int) Update {
		return Update{Delta: []float32{float32(10 * client)}, Weight: float64(1 + 3*client), Steps: 1 + client}
	}
	require.InDelta(t, 8, models(t, p, u, 2)[1][0], 1e-6) // (1·0 + 4·10)/5
	p.Strategy = FedAvg{}
	require.InDelta(t, 5, models(t, p, u, 2)[1][0], 1e-6)
	// FedNova: p = 1/5, 4/5; τ = 1, 2; (Σ pτ)·Σ pΔ/τ = 9/5 · (4/5·10/2)
	p.Strategy = FedNova{MaxSteps: 2}
	require.InDelta(t, 7.2, models(t, p, u, 2)[1][0], 1e-5)
	// Clients that all take τ steps: FedAvg.
	same := func(_, client int) Update {
		return Update{Delta: []float32{float32(10 * client)}, Weight: float64(1 + 3*client), Steps: 2}
	}
	require.InDelta(t, 8, models(t, p, same, 2)[1][0], 1e-5)
	p = Plan{Parameters: 1, Rounds: 1, Strategy: FedNova{MaxSteps: 2}, Selection: All{}, MinMembers: 1}
	server, log, err := scripted(t, p, 1, func(to ClientID, task Task) []Message {
		return []Message{answered(to, task, Update{Delta: []float32{1}, Steps: 3})}
	})
	require.NoError(t, err)
	require.Equal(t, []string{"refused: update: Steps is 3, must be in [1, 2]"}, about(log, "a"))
	require.Equal(t, float32(0), server.Params(nil)[0])
}

// FedProx holds a client back.
func TestProximal(t *testing.T) {
	task := Task{Params: []float32{1, 2}, Proximal: 0.5}
	grad := []float32{10, 10}
	task.Adjust(grad, []float32{3, 2}, []float32{1, -1})
	require.Equal(t, []float32{12, 9}, grad)
	b := newBowls(1, 1, 1)
	near := b.train(0, Task{Params: []float32{9}, Proximal: 5, Round: 1}, nil)
	far := b.train(0, Task{Params: []float32{9}, Round: 1}, nil)
	require.Less(t, math.Abs(float64(near.Delta[0])), math.Abs(float64(far.Delta[0])))
	require.Panics(t, func() { task.Adjust(grad[:1], grad, nil) })
}

// With clients that differ in how curved their losses are, FedAvg ends in the wrong
// place and SCAFFOLD in the right one, whoever drops out; the server's control variate
// stays the mean of the clients'.
func TestScaffoldCorrectsDrift(t *testing.T) {
	const clients, d = 10, 6
	b := newBowls(clients, d, 7)
	scale := make([][]float32, clients)
	for i := range scale {
		scale[i] = make([]float32, d)
		for j := range scale[i] {
			scale[i][j] = 0.2 + 1.6*float32((i+j)%clients)/clients
		}
	}
	optimum := make([]float32, d)
	for j := range d {
		num, den := 0.0, 0.0
		for i := range clients {
			num += float64(scale[i][j] * b.centre[i][j])
			den += float64(scale[i][j])
		}
		optimum[j] = float32(num / den)
	}
	run := func(s Strategy) float64 {
		controls := make([]Control, clients)
		sim := &Simulation{Clients: clients, DropOut: 0.3, Seed: 4, NewWorker: func() (Worker, error) {
			return WorkerFunc(func(_ context.Context, i int, task Task) (Update, error) {
				own := &bowls{centre: b.centre, scale: scale[i], rate: 0.3, steps: func(int) int { return 10 }}
				if s.needs().control {
					return own.train(i, task, &controls[i]), nil
				}
				return own.train(i, task, nil), nil
			}), nil
		}}
		defer sim.Close()
		c, err := New(Plan{Parameters: d, Rounds: 150, Strategy: s, Selection: Uniform{Clients: 6}, MinMembers: clients}, Config{Initial: make([]float32, d), Transport: sim, Now: sim.Clock})
		require.NoError(t, err)
		require.NoError(t, c.Run(t.Context()))
		if s.needs().control {
			mean := make([]float64, d)
			state := c.State()
			for i := range controls {
				v := controls[i].own
				if m := state.member(NameOf(i)); controls[i].next != nil && controls[i].round == m.Counted {
					v = controls[i].next
				}
				for j := range v {
					mean[j] += float64(v[j]) / clients
				}
			}
			for j := range mean {
				require.InDelta(t, mean[j], c.at.control[j], 1e-5)
			}
		}
		return distance(c.Params(nil), optimum)
	}
	drifted, corrected := run(FedAvg{}), run(Scaffold{})
	require.Greater(t, drifted, 0.05)
	require.Less(t, corrected, 1e-3)
}

// A buffer takes what comes, and weighs what is stale less.
func TestBufferedStaleness(t *testing.T) {
	s := &script{inbox: []Message{{From: "a", Kind: Joining}, {From: "b", Kind: Joining}, {From: "c", Kind: Joining}}}
	var starts []float32
	var waiting []Message // c answers what it was asked in round 1 only in round 3
	s.answer = func(to ClientID, task Task) []Message {
		m := answered(to, task, Update{Delta: []float32{1}})
		switch {
		case to == "c" && task.Round == 1:
			waiting = append(waiting, m)
			return nil
		case to == "a":
			starts = append(starts, task.Params[0])
			if task.Round == 3 {
				return append(waiting, m)
			}
		}
		return []Message{m}
	}
	plan := Plan{Parameters: 1, Rounds: 3, Strategy: FedBuff{Buffer: 2, Concurrency: 3, MaxStaleness: 2}, Selection: All{}, MinMembers: 3}
	server, err := New(plan, Config{Initial: []float32{0}, Transport: s, Now: still})
	require.NoError(t, err)
	require.NoError(t, server.Run(t.Context()))
	require.Equal(t, []float32{0, 1, 2}, starts)
	// Round 3: c's, two versions behind, and one that is fresh.
	require.InDelta(t, 2+(1/math.Sqrt(3)+1)/2, server.Params(nil)[0], 1e-6)
}
