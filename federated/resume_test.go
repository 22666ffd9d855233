package federated

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/dp/accounting/ledger"
	"github.com/sotto-ml/sotto/internal/stream/streamtest"
)

var errKilled = errors.New("killed")

// people are clients that outlive servers.
func people(t *testing.T, plan Plan, b *bowls) map[ClientID]*Protected {
	t.Helper()
	clients := map[ClientID]*Protected{}
	for i := range b.centre {
		id := NameOf(i)
		c, err := Protect(plan, id, b.client(i, nil))
		require.NoError(t, err)
		clients[id] = c
	}
	return clients
}

// killed runs a plan in a folder until the point-th crash point, or to its end.
func killed(t *testing.T, dir string, plan Plan, clients map[ClientID]*Protected, point int) (params []float32, done bool) {
	t.Helper()
	book := filepath.Join(dir, "ledger")
	var l *ledger.Ledger
	var err error
	if _, err = os.Stat(book); err == nil {
		l, err = ledger.Open(book)
	} else {
		l, err = ledger.Create(book)
	}
	require.NoError(t, err)
	defer l.Close()
	config := Config{Initial: make([]float32, plan.Parameters), Folder: filepath.Join(dir, "run")}
	if plan.Privacy != nil {
		account, err := l.Account(ledger.Budget{DataSet: "clients", Relation: plan.Privacy.relation(), Epsilon: 1000, Delta: 1e-5, Plan: plan.Event(plan.Rounds)})
		require.NoError(t, err)
		config.Ledger = account
	}
	inside := NewInProcess()
	config.Transport = inside
	for i := range len(clients) {
		inside.Join(NameOf(i), 1, clients[NameOf(i)])
	}
	if plan.Secure {
		config.Sums = PlainSum{Input: func(id ClientID, round, attempt int) ([]uint32, bool) { return clients[id].Input(round, attempt) }}
	}
	var c *Coordinator
	defer func() {
		if c != nil {
			require.NoError(t, c.Close())
		}
		if e := recover(); e != nil {
			if e != errKilled { //nolint:errorlint // it is this very value
				panic(e)
			}
			done = false
		}
	}()
	c, err = New(plan, config)
	require.NoError(t, err)
	at := 0
	c.crash = func(string) {
		if at == point {
			panic(errKilled)
		}
		at++
	}
	require.NoError(t, c.Run(t.Context()))
	return c.Params(nil), true
}

// TestResumeEverywhere kills a server at every point of a run, one after the other, and
// resumes it: the model has the bits of the run that nobody disturbed, and the ledger
// holds every round once.
func TestResumeEverywhere(t *testing.T) {
	b := newBowls(4, 5, 3)
	central := Central{ClipNorm: 1, NoiseMultiplier: 0.5, Population: 4, Relation: accounting.AddRemove, Delta: 1e-5,
		Adaptive: &AdaptiveQuantile{Quantile: 0.5, LearningRate: 0.2, NoiseShare: 0.1}}
	gate := Gate{
		MaxNorm: 1000, Drift: &Drift{MinCosine: -1, Memory: 0.5, After: 1},
		Validation: &Validation{Score: func(w []float32) (float64, error) { return float64(w[0]), nil }, MaxDrop: 1000},
		Approve:    func(context.Context, Candidate) (bool, string, error) { return true, "the test", nil },
	}
	for name, plan := range map[string]Plan{
		"central": {Parameters: 5, Rounds: 2, Selection: Poisson{Rate: 0.7}, Privacy: central, Gate: gate,
			Strategy: FedAdam{Rate: 0.1, Beta1: 0.5, Beta2: 0.9, Tau: 0.1}},
		"robust": {Parameters: 5, Rounds: 2, Selection: Uniform{Clients: 3}, MinCohort: 3, Rule: aggregate.Median{}, Strategy: FedAvgM{Rate: 1, Momentum: 0.5}, Compression: Quantized{}},
		"secure": {Parameters: 5, Rounds: 2, Selection: All{}, MinMembers: 4, MinCohort: 3, Secure: true, MaxNorm: 10, Strategy: FedAvg{}, Attempts: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "robust" { // packing draws a new rounding each time
				plan.Compression = nil
			}
			folder := func() string {
				dir := t.TempDir()
				require.NoError(t, os.MkdirAll(filepath.Join(dir, "run"), 0o700))
				key := streamtest.Key(7)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "run", keyName), key[:], 0o600))
				return dir
			}
			want, done := killed(t, folder(), plan, people(t, plan, b), -1)
			require.True(t, done)
			points := 0 // of the undisturbed run
			for done := false; !done; points++ {
				_, done = killed(t, folder(), plan, people(t, plan, b), points*16)
			}
			points *= 16
			stride := 1
			if testing.Short() {
				stride = 7
			}
			var wg sync.WaitGroup
			free := make(chan struct{}, 16) // they wait for the disk
			for point := 0; point < points; point += stride {
				dir, clients := folder(), people(t, plan, b)
				free <- struct{}{}
				wg.Go(func() {
					defer func() { <-free }()
					if _, done := killed(t, dir, plan, clients, point); done {
						return
					}
					got, done := killed(t, dir, plan, clients, -1)
					require.True(t, done)
					require.Equal(t, want, got, "killed at point %d", point)
					f, err := os.Open(filepath.Join(dir, "run", logName))
					require.NoError(t, err)
					s, err := Verify(f, nil)
					require.NoError(t, errors.Join(err, f.Close()))
					require.Equal(t, 1, s.Kinds[KindResumed])
					require.GreaterOrEqual(t, s.Kinds[KindAccepted], plan.Rounds)
					if plan.Privacy != nil {
						book, err := ledger.Read(filepath.Join(dir, "ledger"))
						require.NoError(t, err)
						require.Len(t, book.DataSets[0].Runs, plan.Rounds)
					}
				})
			}
			wg.Wait()
			t.Logf("killed at each of about %d points", points)

			dir, clients := folder(), people(t, plan, b) // killed again and again, soon after each start
			soon := 30
			if plan.Secure { // a sum and what leads to it must happen in one life
				soon = 60
			}
			for range 1000 {
				if got, done := killed(t, dir, plan, clients, soon); done {
					require.Equal(t, want, got)
					return
				}
			}
			require.Fail(t, "it does not end")
		})
	}
}

func TestResumeRefuses(t *testing.T) {
	dir := t.TempDir()
	b := newBowls(2, 3, 1)
	plan := Plan{Parameters: 3, Rounds: 1, Selection: All{}, Strategy: FedAvg{}, MinMembers: 2}
	_, done := killed(t, dir, plan, people(t, plan, b), 9)
	require.False(t, done)
	config := Config{Initial: make([]float32, 3), Folder: filepath.Join(dir, "run"), Transport: NewInProcess()}
	other := plan
	other.Strategy = FedAvg{Rate: 2}
	_, err := New(other, config)
	require.ErrorContains(t, err, "another plan")
	state := filepath.Join(config.Folder, stateName)
	data, err := os.ReadFile(state)
	require.NoError(t, err)
	data[len(data)-2] ^= 1
	require.NoError(t, os.WriteFile(state, data, 0o600))
	_, err = New(plan, config)
	require.ErrorContains(t, err, "damaged")
	require.NoError(t, os.Remove(filepath.Join(config.Folder, keyName)))
	_, err = New(plan, config)
	require.ErrorContains(t, err, "no key")
}
