package federated

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/dp/accounting/ledger"
)

// free is a ledger that grants all and remembers what it was asked.
type free struct{ names []string }

func (f *free) Reserve(name string, _ accounting.Relation, _ accounting.Event, _ float64) error {
	f.names = append(f.names, name)
	return nil
}

func (f *free) Settle(string, accounting.Event, float64) error { return nil }

// always is a simulation whose clients all send the same.
func always(clients int, delta []float32) *Simulation {
	return &Simulation{Clients: clients, NewWorker: func() (Worker, error) {
		return WorkerFunc(func(context.Context, int, Task) (Update, error) { return Update{Delta: delta}, nil }), nil
	}}
}

func centralPlan(d int, c Central) Plan {
	if c.ClipNorm == 0 {
		c.ClipNorm = 1
	}
	c.Relation, c.Delta = accounting.AddRemove, 1e-5
	return Plan{Parameters: d, Rounds: 1, Strategy: FedAvg{}, Selection: All{}, MinMembers: c.Population, Privacy: c}
}

func runAlways(t *testing.T, p Plan, clients int, delta []float32) []float32 {
	t.Helper()
	s := always(clients, delta)
	defer s.Close()
	c, err := New(p, Config{Initial: make([]float32, p.Parameters), Transport: s, Now: s.Clock, Ledger: &free{}})
	require.NoError(t, err)
	require.NoError(t, c.Run(t.Context()))
	return c.Params(nil)
}

// deviation is of values whose mean is 0.
func deviation(x []float32) float64 {
	square := 0.0
	for _, v := range x {
		square += float64(v) * float64(v)
	}
	return math.Sqrt(square / float64(len(x)))
}

// The server clips, divides by a public number and adds the noise that the plan says:
// its deviation over many coordinates is within what chance allows.
func TestCentralNoise(t *testing.T) {
	const d, clients = 60000, 4
	delta := make([]float32, d)
	delta[0] = 300 // of which 1 is left
	for _, buckets := range []int{1, 2} {
		p := centralPlan(d, Central{NoiseMultiplier: 2, Population: clients})
		if buckets > 1 {
			p.Buckets, p.Rule = &Buckets{Count: buckets}, aggregate.Mean{}
		}
		got := runAlways(t, p, clients, delta)
		// Each bucket's sum has all the noise; the mean of their means has 1/√buckets of
		// it, times buckets for the smaller divisor.
		want := 2.0 / clients * math.Sqrt(float64(buckets))
		require.InDelta(t, 1, deviation(got[1:])/want, 5/math.Sqrt(2*d))
		require.InDelta(t, 1, got[0], 6*want)
	}
	// With hardly any noise what comes out is the sum of clipped updates over the public
	// population, half of which is not there.
	p := centralPlan(3, Central{NoiseMultiplier: 0.001, Population: 1000})
	p.MinMembers = 500
	require.InDeltaSlice(t, []float32{0, 0.3, 0.4}, runAlways(t, p, 500, []float32{0, 3, 4}), 1e-4)
}

// The clip norm goes to the quantile of the norms.
func TestAdaptiveClipFindsTheQuantile(t *testing.T) {
	const clients = 200
	p := centralPlan(2, Central{ClipNorm: 0.1, NoiseMultiplier: 0.05, Population: clients, Adaptive: &AdaptiveQuantile{Quantile: 0.25, LearningRate: 0.3, NoiseShare: 0.1}})
	p.Rounds = 80
	s := &Simulation{Clients: clients, NewWorker: func() (Worker, error) {
		return WorkerFunc(func(_ context.Context, i int, _ Task) (Update, error) {
			return Update{Delta: []float32{float32(i+1) / clients, 0}}, nil // norms spread over (0, 1]
		}), nil
	}}
	defer s.Close()
	c, err := New(p, Config{Initial: make([]float32, 2), Transport: s, Now: s.Clock, Ledger: &free{}})
	require.NoError(t, err)
	require.NoError(t, c.Run(t.Context()))
	require.InDelta(t, 0.25, c.at.clip, 0.03)
	central := p.Privacy.(Central)
	sum := 1/math.Pow(central.updateNoise(), 2) + 1/math.Pow(central.countNoise(), 2)
	require.InDelta(t, 1/math.Pow(0.05, 2), sum, 1e-9, "both releases cost what the plan says")
}

// Rounds are in the ledger before they are seen, once each; beyond the budget nothing
// runs.
func TestLedgerEndsTheRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := ledger.Create(path)
	require.NoError(t, err)
	defer l.Close()
	p := centralPlan(3, Central{NoiseMultiplier: 4, Population: 3})
	p.Rounds = 50
	four, err := p.Spent(4)
	require.NoError(t, err)
	account, err := l.Account(ledger.Budget{DataSet: "clients", Relation: accounting.AddRemove, Epsilon: four.Epsilon, Delta: 1e-5, Plan: p.Event(4)})
	require.NoError(t, err)
	s := always(3, []float32{1, 2, 3})
	defer s.Close()
	c, err := New(p, Config{Initial: make([]float32, 3), Transport: s, Now: s.Clock, Ledger: account})
	require.NoError(t, err)
	err = c.Run(t.Context())
	require.ErrorIs(t, err, ErrStopped)
	require.ErrorContains(t, err, "the privacy budget is spent")
	require.Equal(t, 4, c.Version())
	spent, err := c.Spent()
	require.NoError(t, err)
	require.Equal(t, four, spent)
	book, err := ledger.Read(path)
	require.NoError(t, err)
	require.Len(t, book.DataSets[0].Runs, 4)
}

// The guarantee is the accountant's of the plan's event, and says all that it depends on.
func TestGuarantee(t *testing.T) {
	p := centralPlan(3, Central{NoiseMultiplier: 1, Population: 1000})
	p.Selection, p.Rounds, p.MinMembers = Poisson{Rate: 0.1}, 100, 0
	g, err := p.Guarantee()
	require.NoError(t, err)
	want, err := accounting.Epsilon(accounting.SelfComposed{Event: accounting.PoissonSampled{Rate: 0.1, Event: accounting.Gaussian{NoiseMultiplier: 1}}, Count: 100}, accounting.AddRemove, 1e-5)
	require.NoError(t, err)
	require.Equal(t, want.Upper, g.Epsilon)
	for _, part := range []string{"per client (all of its data)", "add", "δ = 1e-05", "after 100 rounds", "against everyone who sees models, not the server"} {
		require.Contains(t, g.String(), part)
		require.Contains(t, p.String(), part)
	}
	central := p.Privacy.(Central)
	central.Relation = accounting.ReplaceOne
	p.Privacy = central
	replaced, err := p.Guarantee()
	require.NoError(t, err)
	require.Greater(t, replaced.Epsilon, 1.3*g.Epsilon)

	local := Plan{Parameters: 3, Rounds: 2, Strategy: FedAvg{}, Selection: All{}, Privacy: Local{ClipNorm: 1, NoiseMultiplier: 4, Relation: accounting.ReplaceSpecial, Delta: 1e-5}}
	g, err = local.Guarantee()
	require.NoError(t, err)
	want, err = accounting.Epsilon(accounting.Gaussian{NoiseMultiplier: 4 / math.Sqrt2}, accounting.AddRemove, 1e-5)
	require.NoError(t, err)
	require.InDelta(t, want.Upper, g.Epsilon, 1e-6)
	require.Equal(t, "everyone", g.Adversary)
}

// A client adds its own noise, once a round: asked again, it says the same again.
func TestLocalNoise(t *testing.T) {
	const d = 50000
	p := Plan{Parameters: d, Rounds: 3, Strategy: FedAvg{}, Selection: All{}, Privacy: Local{ClipNorm: 2, NoiseMultiplier: 3, Relation: accounting.ReplaceOne, Delta: 1e-5}}
	delta := make([]float32, d)
	delta[0] = 200
	trained := 0
	book := &free{}
	c, err := Protect(p, "a", ClientFunc(func(context.Context, Task) (Update, error) {
		trained++
		return Update{Delta: delta, Weight: 7, Steps: 9}, nil
	}))
	require.NoError(t, err)
	c.Ledger = book
	task := Task{Round: 1, Attempt: 1, Params: make([]float32, d)}
	first, err := c.Train(t.Context(), task)
	require.NoError(t, err)
	require.Zero(t, first.Weight)
	require.Zero(t, first.Steps)
	require.InDelta(t, 1, deviation(first.Delta[1:])/(3*2), 5/math.Sqrt(2*d))
	require.InDelta(t, 2, first.Delta[0], 6*6)
	task.Attempt = 2
	again, err := c.Train(t.Context(), task)
	require.NoError(t, err)
	require.Equal(t, first.Delta, again.Delta)
	require.Equal(t, 1, trained)
	require.Len(t, book.names, 1)
	task.Round = 2
	second, err := c.Train(t.Context(), task)
	require.NoError(t, err)
	require.NotEqual(t, first.Delta[1:9], second.Delta[1:9])
	task.Round = 1
	_, err = c.Train(t.Context(), task)
	require.ErrorContains(t, err, "round 1 is over, round 2 was answered")
	require.Len(t, book.names, 2)
}

// Distributed noise goes the whole way: from the clients' shares through secure sums in
// buckets to the model, which has about the noise that was promised.
func TestDistributedWholeWay(t *testing.T) {
	const clients, d = 16, 3000
	private := Distributed{ClipNorm: 1, NoiseMultiplier: 1, MinSurvivors: 6, Relation: accounting.ReplaceOne, Delta: 1e-5}
	p := Plan{Parameters: d, Rounds: 1, Strategy: FedAvg{}, Selection: All{}, MinMembers: clients, MaxMembers: clients, Secure: true, Privacy: private,
		Rule: aggregate.Mean{}, Buckets: &Buckets{Count: 2}}
	require.Contains(t, p.String(), "the server learns, each round, who is in which of 2 buckets and each bucket's sum, of at least 6 clients")
	inside := NewInProcess()
	all := map[ClientID]*Protected{}
	for i := range clients {
		c, err := Protect(p, NameOf(i), ClientFunc(func(context.Context, Task) (Update, error) {
			return Update{Delta: append([]float32{5}, make([]float32, d-1)...)}, nil
		}))
		require.NoError(t, err)
		all[NameOf(i)] = c
		inside.Join(NameOf(i), 1, c)
	}
	gone := map[ClientID]bool{NameOf(3): true, NameOf(7): true}
	book := &free{}
	server, err := New(p, Config{Initial: make([]float32, d), Transport: inside, Ledger: book, Sums: PlainSum{Input: func(id ClientID, round, attempt int) ([]uint32, bool) {
		if gone[id] {
			return nil, false
		}
		return all[id].Input(round, attempt)
	}}})
	require.NoError(t, err)
	require.NoError(t, server.Run(t.Context()))
	got := server.Params(nil)
	// Eight clients a bucket, of whom up to two are gone: each bucket's mean has noise of
	// between √(6/6)/6 and √(8/6)/8 of the sum's, and the mean of two 1/√2 of that.
	s := deviation(got[1:])
	require.Greater(t, s, 0.9*math.Sqrt(8./6)/8/math.Sqrt2)
	require.Less(t, s, 1.1/6/math.Sqrt2)
	require.InDelta(t, 1, got[0], 6*s)
	require.Len(t, book.names, 1)
	require.Len(t, strings.Split(book.names[0], "/"), 3)
}

// An attempt that may have been seen is not repeated: privacy was paid for once.
func TestSeenRoundsAreNotRepeated(t *testing.T) {
	for _, unseen := range []bool{true, false} {
		p := Plan{Parameters: 2, Rounds: 1, Attempts: 3, Strategy: FedAvg{}, Selection: All{}, MinMembers: 4, MaxMembers: 4, Secure: true,
			Privacy: Distributed{ClipNorm: 1, NoiseMultiplier: 1, MinSurvivors: 3, Relation: accounting.ReplaceOne, Delta: 1e-5}}
		book, calls := &free{}, 0
		s := always(4, nil)
		c, err := New(p, Config{Initial: make([]float32, 2), Transport: s, Now: s.Clock, Ledger: book, Sums: sumFunc(func(r SumRequest) ([]uint32, []ClientID, error) {
			calls++
			if calls < 3 {
				if unseen {
					return nil, nil, ErrUnseen
				}
				return nil, nil, context.DeadlineExceeded
			}
			return []uint32{1, 2}, r.Clients, nil
		})})
		require.NoError(t, err)
		require.NoError(t, c.Run(t.Context()))
		s.Close()
		require.Len(t, book.names, 1, "paid for once")
		if unseen {
			require.Equal(t, 3, calls)
			require.Equal(t, 1, c.Version())
		} else {
			require.Equal(t, 1, calls)
			require.Equal(t, 0, c.Version())
		}
	}
}

type sumFunc func(SumRequest) ([]uint32, []ClientID, error)

func (f sumFunc) Sum(_ context.Context, r SumRequest) ([]uint32, []ClientID, error) { return f(r) }

// Sums that are not what was asked for are refused.
func TestSumsAreChecked(t *testing.T) {
	two := []uint32{1, 1}
	for want, f := range map[string]sumFunc{
		"a sum has 1 elements, must have 2":            func(r SumRequest) ([]uint32, []ClientID, error) { return two[:1], r.Clients, nil },
		`a sum is of client "z", which was not asked`:  func(r SumRequest) ([]uint32, []ClientID, error) { return two, []ClientID{"z"}, nil },
		"which was not asked, or is named twice":       func(r SumRequest) ([]uint32, []ClientID, error) { return two, append(r.Clients, r.Clients[0]), nil },
		"a sum is of 1 clients, must be of at least 2": func(r SumRequest) ([]uint32, []ClientID, error) { return two, r.Clients[:1], nil },
	} {
		p := Plan{Parameters: 2, Rounds: 1, Attempts: 1, Strategy: FedAvg{}, Selection: All{}, MinMembers: 3, MaxMembers: 3, Secure: true, MaxNorm: 1}
		s := always(3, nil)
		var log []string
		c, err := New(p, Config{Initial: make([]float32, 2), Transport: s, Now: s.Clock, Sums: f, Watch: func(r Record) { log = append(log, r.Reason) }})
		require.NoError(t, err)
		require.NoError(t, c.Run(t.Context()))
		s.Close()
		require.Zero(t, c.Version())
		require.Contains(t, strings.Join(log, "\n"), want)
	}
}
