package ledger

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
)

func someBudget() Budget {
	return Budget{DataSet: "patients 2026", Relation: accounting.AddRemove, Epsilon: 3, Delta: 1e-5}
}

func steps(rate, noise float64, count int) accounting.Event {
	return accounting.SelfComposed{Event: accounting.PoissonSampled{Rate: rate, Event: accounting.Gaussian{NoiseMultiplier: noise}}, Count: count}
}

func gaussians(noise float64, count int) accounting.Event {
	return accounting.SelfComposed{Event: accounting.Gaussian{NoiseMultiplier: noise}, Count: count}
}

func create(t testing.TB) (*Ledger, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := Create(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

func open(t testing.TB, l *Ledger, b Budget) *Account {
	t.Helper()
	a, err := l.Account(b)
	require.NoError(t, err)
	return a
}

func statement(t testing.TB, path, dataSet string) Statement {
	t.Helper()
	b, err := Read(path)
	require.NoError(t, err)
	for _, s := range b.DataSets {
		if s.DataSet == dataSet {
			return s
		}
	}
	require.Fail(t, "no such data set")
	return Statement{}
}

const addRemove = accounting.AddRemove

// What the Rényi filter lets through is (ε, δ)-private by the accountant too,
// and not far below; what it refuses leaves no trace.
func TestFilterRefusesBeforeOverspending(t *testing.T) {
	l, path := create(t)
	a := open(t, l, someBudget())
	event := steps(0.01, 1.2, 300)
	var all []accounting.Event
	var err error
	for n := 0; ; n++ {
		if err = a.Reserve("run "+string(rune('a'+n)), addRemove, event, 1e-12); err != nil {
			break
		}
		all = append(all, event)
		require.Less(t, n, 25)
	}
	require.ErrorIs(t, err, ErrOverspent)
	require.ErrorContains(t, err, "patients 2026")
	require.ErrorContains(t, err, "the limit is")
	e, err := accounting.Epsilon(accounting.Composed{Events: all}, addRemove, 1e-5)
	require.NoError(t, err)
	require.LessOrEqual(t, e.Upper, 3.0)
	more, err := accounting.EpsilonRDP(accounting.Composed{Events: append(all, event)}, addRemove, 1e-5)
	require.NoError(t, err)
	require.Greater(t, more, 2.98, "one more would have fit")
	s := statement(t, path, "patients 2026")
	require.Len(t, s.Runs, len(all))
	require.GreaterOrEqual(t, s.Spent, e.Upper)
	require.LessOrEqual(t, s.Spent, 3.0)
	require.LessOrEqual(t, s.Used, 1.0)

	// Settling less gives back, and only what is left counts.
	require.NoError(t, a.Settle("run a", steps(0.01, 1.2, 100), 1e-13))
	require.NoError(t, a.Settle("run b", nil, 0))
	after := statement(t, path, "patients 2026")
	require.InDelta(t, s.Used*(1-(5./3)/float64(len(all))), after.Used, 1e-9)
	require.NoError(t, a.Reserve("again", addRemove, event, 0))
	refused := 0
	for _, name := range []string{"and again", "and again and again"} {
		if a.Reserve(name, addRemove, event, 0) != nil {
			refused++
		}
	}
	require.Positive(t, refused)
	require.LessOrEqual(t, statement(t, path, "patients 2026").Used, 1.0)
}

// A run that takes the whole budget by the accountant's tight bound is admitted;
// then nothing else is, but what it left of itself.
func TestPlanTakesTheWholeBudget(t *testing.T) {
	b := someBudget()
	noise, err := accounting.CalibrateNoise(b.Epsilon, b.Delta*(1-1e-6), b.Relation, func(z float64) accounting.Event { return steps(0.01, z, 1000) })
	require.NoError(t, err)
	rdp, err := accounting.EpsilonRDP(steps(0.01, noise, 1000), b.Relation, b.Delta)
	require.NoError(t, err)
	require.Greater(t, rdp, b.Epsilon, "by Rényi orders it would not fit")

	l, path := create(t)
	a := open(t, l, b)
	require.NoError(t, a.Reserve("training", addRemove, steps(0.01, noise, 1000), b.Delta*1e-6))
	require.ErrorIs(t, a.Reserve("count", addRemove, accounting.Gaussian{NoiseMultiplier: 1e5}, 0), ErrOverspent)
	s := statement(t, path, b.DataSet)
	require.InDelta(t, b.Epsilon, s.Spent, 1e-3)
	require.Equal(t, 1.0, s.Used)
	require.NoError(t, a.Settle("training", steps(0.01, noise, 400), 0))
	require.Less(t, statement(t, path, b.DataSet).Spent, b.Epsilon*0.8)
	require.ErrorIs(t, a.Reserve("other", addRemove, steps(0.01, noise*2, 10), 0), ErrOverspent)
	require.ErrorIs(t, a.Reserve("more", addRemove, steps(0.01, noise, 601), 0), ErrOverspent)
	require.NoError(t, a.Reserve("rest", addRemove, steps(0.01, noise, 600), 0))
	require.ErrorIs(t, a.Reserve("last", addRemove, steps(0.01, noise, 1), 0), ErrOverspent)
	// Dearer by a hair than the whole budget.
	other := b
	other.DataSet = "others"
	require.ErrorIs(t, open(t, l, other).Reserve("x", addRemove, steps(0.01, noise*0.99, 1000), 0), ErrOverspent)
}

func TestPlannedBudget(t *testing.T) {
	b := someBudget()
	b.Plan = accounting.Composed{Events: []accounting.Event{steps(0.01, 1, 500), accounting.Gaussian{NoiseMultiplier: 8}}}
	l, path := create(t)
	a := open(t, l, b)
	require.NoError(t, a.Reserve("count", addRemove, accounting.Gaussian{NoiseMultiplier: 8}, 0))
	require.ErrorIs(t, a.Reserve("count 2", addRemove, accounting.Gaussian{NoiseMultiplier: 8}, 0), ErrOverspent)
	require.NoError(t, a.Reserve("train", addRemove, steps(0.01, 1, 500), 1e-10))
	require.NoError(t, a.Settle("count", nil, 0))
	require.ErrorIs(t, a.Reserve("train more", addRemove, steps(0.01, 1, 1), 0), ErrOverspent)
	require.NoError(t, l.Close())
	l, err := Open(path)
	require.NoError(t, err)
	a = open(t, l, b)
	require.NoError(t, a.Reserve("count 3", addRemove, accounting.Gaussian{NoiseMultiplier: 8}, 0))
	dear := b
	dear.DataSet, dear.Epsilon = "dear", 0.5
	_, err = l.Account(dear)
	require.ErrorIs(t, err, ErrOverspent)
	require.NoError(t, l.Close())
}

func TestRefusals(t *testing.T) {
	l, path := create(t)
	for want, change := range map[string]func(b *Budget){
		"Budget.DataSet": func(b *Budget) { b.DataSet = "" },
		"printable":      func(b *Budget) { b.DataSet = "a\nb" },
		"UTF-8":          func(b *Budget) { b.DataSet = "\xff" },
		"Relation":       func(b *Budget) { b.Relation = 0 },
		"Epsilon is NaN": func(b *Budget) { b.Epsilon = math.NaN() },
		"Epsilon is 0":   func(b *Budget) { b.Epsilon = 0 },
		"Epsilon is +In": func(b *Budget) { b.Epsilon = math.Inf(1) },
		"Delta is 1":     func(b *Budget) { b.Delta = 1 },
		"Delta is 0":     func(b *Budget) { b.Delta = 0 },
		"Budget.Plan":    func(b *Budget) { b.Plan = accounting.Gaussian{} },
	} {
		b := someBudget()
		change(&b)
		_, err := l.Account(b)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, path)
	}
	a := open(t, l, someBudget())
	for want, change := range map[string]func(b *Budget){
		"Budget.Relation is add/remove there, replace-one here": func(b *Budget) { b.Relation = accounting.ReplaceOne },
		"Budget.Epsilon is 3 there, 4 here":                     func(b *Budget) { b.Epsilon = 4 },
		"Budget.Delta is 1e-05 there, 1e-06 here":               func(b *Budget) { b.Delta = 1e-6 },
		"Budget.Plan": func(b *Budget) { b.Plan = gaussians(9, 2) },
	} {
		b := someBudget()
		change(&b)
		_, err := l.Account(b)
		require.ErrorContains(t, err, want)
	}
	event := gaussians(10, 4)
	require.ErrorContains(t, a.Reserve("", addRemove, event, 0), "run is \"\"")
	require.ErrorContains(t, a.Reserve("a", accounting.ReplaceOne, event, 0), "replace-one")
	require.ErrorContains(t, a.Reserve("a", addRemove, nil, 0), "event is missing")
	require.ErrorContains(t, a.Reserve("a", addRemove, accounting.Gaussian{}, 0), "NoiseMultiplier is 0")
	require.ErrorContains(t, a.Reserve("a", addRemove, event, math.NaN()), "delta beside the event is NaN")
	require.ErrorIs(t, a.Reserve("a", addRemove, event, 1e-5), ErrOverspent)
	require.ErrorContains(t, a.Settle("a", event, 0), "not reserved")
	require.NoError(t, a.Reserve("a", addRemove, event, 1e-9))
	require.ErrorContains(t, a.Reserve("a", addRemove, gaussians(10, 5), 1e-9), "another event")
	require.ErrorContains(t, a.Settle("a", gaussians(10, 5), 0), "not a part")
	require.ErrorContains(t, a.Settle("a", gaussians(11, 1), 0), "not a part")
	require.ErrorContains(t, a.Settle("a", gaussians(10, 1), 1e-8), "not a part")
	require.NoError(t, a.Settle("a", gaussians(10, 1), 1e-10))
	require.NoError(t, a.Settle("a", gaussians(10, 1), 1e-10), "once more")
	require.ErrorContains(t, a.Settle("a", nil, 0), "settled with another")
	require.ErrorContains(t, a.Reserve("a", addRemove, event, 1e-9), "is settled")
	require.ErrorIs(t, a.Reserve("b", addRemove, accounting.Gaussian{NoiseMultiplier: 1}, 1e-9), ErrOverspent)
	require.ErrorIs(t, a.Reserve("b", addRemove, gaussians(10, 1), 1e-8), ErrOverspent, "delta beside")
	require.NoError(t, l.Close())
	require.ErrorContains(t, a.Reserve("c", addRemove, event, 0), "closed")
	_, err := l.Account(Budget{DataSet: "x", Relation: addRemove, Epsilon: 1, Delta: 0.1})
	require.ErrorContains(t, err, "closed")
	require.NoError(t, l.Close())
	_, err = Create(path)
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = Open(path + "no")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Read(path + "no")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Open(filepath.Dir(path))
	require.Error(t, err)
}

// A run that went on in another process may have got further than the one that
// settles it knows.
func TestResumedRunsAreSettledWhole(t *testing.T) {
	l, path := create(t)
	a := open(t, l, someBudget())
	event := gaussians(10, 8)
	require.NoError(t, a.Reserve("a", addRemove, event, 1e-9))
	used := statement(t, path, someBudget().DataSet).Used
	require.NoError(t, l.Close())
	l, err := Open(path)
	require.NoError(t, err)
	a = open(t, l, someBudget())
	require.NoError(t, a.Reserve("a", addRemove, event, 1e-9))
	s := statement(t, path, someBudget().DataSet)
	require.Len(t, s.Runs, 1)
	require.Equal(t, used, s.Used, "set aside once")
	require.Equal(t, "resumed", s.Runs[0].State)
	require.NoError(t, a.Settle("a", gaussians(10, 1), 0))
	s = statement(t, path, someBudget().DataSet)
	require.Equal(t, used, s.Used, "nothing given back")
	require.JSONEq(t, string(s.Runs[0].Reserved), string(s.Runs[0].Counted))
	require.Equal(t, 1e-9, s.Runs[0].Delta)
	require.NoError(t, l.Close())
}

// The odometer bounds what the accountant finds, at every point.
func TestOdometer(t *testing.T) {
	l, _ := create(t)
	a := open(t, l, someBudget())
	var all []accounting.Event
	last := 0.0
	for i, e := range []accounting.Event{steps(0.01, 1, 100), gaussians(20, 3), steps(0.05, 4, 50), accounting.Gaussian{NoiseMultiplier: 9}} {
		require.NoError(t, a.Reserve(string(rune('a'+i)), addRemove, e, 0))
		all = append(all, e)
		b, err := l.Book()
		require.NoError(t, err)
		truth, err := accounting.Epsilon(accounting.Composed{Events: all}, addRemove, 1e-5)
		require.NoError(t, err)
		require.GreaterOrEqual(t, b.DataSets[0].Spent, truth.Upper)
		require.Greater(t, b.DataSets[0].Spent, last)
		last = b.DataSets[0].Spent
	}
	require.Less(t, last, 3.0)
}

func normal(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

// The limit turns back into the budget by the accountant's own conversion.
func TestRenyiLimit(t *testing.T) {
	for _, epsilon := range []float64{0.1, 3, 40} {
		for _, delta := range []float64{1e-2, 1e-5, 1e-12} {
			for _, order := range []float64{1.2, 5, 200} {
				limit := renyiLimit(epsilon, delta, order)
				back := limit + math.Log1p(-1/order) - math.Log(delta*order)/(order-1)
				require.LessOrEqual(t, back, epsilon)
				require.InDelta(t, epsilon, back, 1e-9)
				if limit <= 0 {
					continue
				}
				// A Gaussian of that divergence at that order is inside the budget.
				mu := math.Sqrt(2 * limit / order)
				require.LessOrEqual(t, normal(mu/2-epsilon/mu)-math.Exp(epsilon)*normal(-mu/2-epsilon/mu), delta)
			}
		}
	}
}

func TestOneWriter(t *testing.T) {
	l, path := create(t)
	_, err := Open(path)
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, path)
	_, err = Read(path)
	require.NoError(t, err, "readers go beside a writer")
	require.NoError(t, l.Close())
	second, err := Open(path)
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

// Many goroutines spend one account: each run counts once, and the budget holds.
func TestConcurrentSpending(t *testing.T) {
	l, path := create(t)
	a := open(t, l, someBudget())
	var group sync.WaitGroup
	var mu sync.Mutex
	admitted := map[string]bool{}
	for g := range 4 {
		group.Go(func() {
			for i := range 40 {
				name := string(rune('a'+g)) + string(rune('0'+i))
				switch err := a.Reserve(name, addRemove, gaussians(10, 2), 0); {
				case err == nil:
					mu.Lock()
					admitted[name] = true
					mu.Unlock()
				case !errors.Is(err, ErrOverspent):
					t.Error(err)
				}
				if i%8 == 0 {
					if _, err := Read(path); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	s := statement(t, path, someBudget().DataSet)
	require.Len(t, s.Runs, len(admitted))
	for _, r := range s.Runs {
		require.True(t, admitted[r.Name], r.Name)
	}
	require.Greater(t, s.Used, 0.9)
	require.Less(t, len(admitted), 160)
}

func TestPrints(t *testing.T) {
	l, path := create(t)
	a := open(t, l, someBudget())
	require.NoError(t, a.Reserve("training", addRemove, steps(0.01, 1.2, 300), 0))
	require.NoError(t, a.Settle("training", steps(0.01, 1.2, 200), 0))
	require.NoError(t, a.Reserve("count", addRemove, accounting.Gaussian{NoiseMultiplier: 20}, 0))
	require.NoError(t, a.Reserve("never", addRemove, accounting.Gaussian{NoiseMultiplier: 20}, 0))
	require.NoError(t, a.Settle("never", nil, 0))
	b, err := Read(path)
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, b.WriteTable(&out))
	for _, want := range []string{"patients 2026", "add/remove", "Rényi filter at order", "200 × Poisson 0.01 of Gaussian σ 1.2", "settled", "reserved", "released", b.Head.String()} {
		require.Contains(t, out.String(), want)
	}
	data, err := json.Marshal(b)
	require.NoError(t, err)
	var back Book
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, b.Head, back.Head)
	require.Equal(t, b.DataSets[0].Spent, back.DataSets[0].Spent)
	event, err := accounting.UnmarshalEvent(back.DataSets[0].Runs[0].Counted)
	require.NoError(t, err)
	require.Equal(t, steps(0.01, 1.2, 200), event)
	var h Hash
	require.Error(t, h.UnmarshalText([]byte("abc")))

	// A head once held is held for ever, by this ledger alone.
	require.NoError(t, a.Settle("count", nil, 0))
	grown, err := Read(path)
	require.NoError(t, err)
	require.True(t, grown.Holds(b.Head))
	require.False(t, b.Holds(grown.Head))
	other, _ := create(t)
	book, err := other.Book()
	require.NoError(t, err)
	require.False(t, book.Holds(b.Head))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
}
