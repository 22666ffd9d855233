package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// Budget is what may be spent on a data set, over all runs that ever see it.
type Budget struct {
	// DataSet names the data set: 1 to 200 bytes of printable UTF-8.
	DataSet string
	// Relation says which data sets are neighbours. Runs must be accounted
	// under the same.
	Relation accounting.Relation
	Epsilon  float64 // positive and finite
	Delta    float64 // in (0, 1)
	// Plan, if not nil, is everything that will ever be run on the data set,
	// fixed before any of it is: runs then draw from it. It is accounted as a
	// whole, which is tighter than any rule for runs that are chosen as they
	// come.
	Plan accounting.Event
}

func (b Budget) check() error {
	if err := checkName("Budget.DataSet", b.DataSet); err != nil {
		return err
	}
	switch {
	case b.Relation < accounting.AddRemove || b.Relation > accounting.ReplaceSpecial:
		return fmt.Errorf("Budget.Relation is %v, must be AddRemove, ReplaceOne or ReplaceSpecial", b.Relation)
	case !(b.Epsilon > 0) || math.IsInf(b.Epsilon, 0):
		return fmt.Errorf("Budget.Epsilon is %v, must be positive and finite", b.Epsilon)
	case !(b.Delta > 0 && b.Delta < 1):
		return fmt.Errorf("Budget.Delta is %v, must lie in (0, 1)", b.Delta)
	}
	return nil
}

// Ledger is a ledger open for writing. It is safe for concurrent use.
type Ledger struct {
	path string
	mu   sync.Mutex
	file *file // nil when closed
	book book
}

// Create makes a new ledger and opens it. It refuses to replace a file.
func Create(path string) (*Ledger, error) {
	id := make([]byte, 16)
	rand.Read(id)
	l := &Ledger{path: path}
	e := entry{Kind: opened, Time: now(), ID: hex.EncodeToString(id)}
	commit, err := l.book.admit(e)
	if err != nil {
		return nil, l.fail(err)
	}
	payload, err := e.encode()
	if err != nil {
		return nil, l.fail(err)
	}
	if l.file, err = createFile(path, payload); err != nil {
		return nil, l.fail(err)
	}
	commit()
	l.book.hashes = append(l.book.hashes, l.file.head)
	return l, nil
}

// Open opens a ledger. What a crash left of a record is dropped: it was never
// acknowledged. Errors wrap fs.ErrNotExist, [ErrLocked] or [ErrTampered] where
// that is what is wrong.
func Open(path string) (*Ledger, error) {
	l := &Ledger{path: path}
	f, s, err := openFile(path)
	if err != nil {
		return nil, l.fail(err)
	}
	if err := l.book.replay(s); err != nil {
		return nil, l.fail(errors.Join(err, f.close()))
	}
	l.file = f
	return l, nil
}

// Read reads a ledger without opening it for writing: a writer may be at work.
func Read(path string) (*Book, error) {
	s, err := readFile(path)
	if err == nil {
		var b book
		if err = b.replay(s); err == nil {
			return b.export()
		}
	}
	return nil, fmt.Errorf("ledger: %s: %w", path, err)
}

func (l *Ledger) fail(err error) error { return fmt.Errorf("ledger: %s: %w", l.path, err) }

// Close closes the ledger, so that others can open it.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.close()
	l.file = nil
	if err != nil {
		return l.fail(err)
	}
	return nil
}

// Book says what the ledger holds now.
func (l *Ledger) Book() (*Book, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := l.book.export()
	if err != nil {
		return nil, l.fail(err)
	}
	return b, nil
}

// write makes an entry durable, and only then counts it.
func (l *Ledger) write(e entry) error {
	if l.file == nil {
		return errors.New("the ledger is closed")
	}
	commit, err := l.book.admit(e)
	if err != nil {
		return err
	}
	payload, err := e.encode()
	if err != nil {
		return err
	}
	if err := l.file.append(payload); err != nil {
		return err
	}
	commit()
	l.book.hashes = append(l.book.hashes, l.file.head)
	return nil
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// Account is the budget of one data set in a ledger. It is safe for concurrent
// use, and serves as a dp.Ledger.
type Account struct {
	ledger *Ledger
	budget Budget
}

// Account returns the account of a data set, which it opens with this budget if
// there is none. A budget cannot be changed later: one that differs is refused,
// by name.
func (l *Ledger) Account(b Budget) (*Account, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.account(b); err != nil {
		return nil, l.fail(err)
	}
	return &Account{l, b}, nil
}

func (l *Ledger) account(b Budget) error {
	if err := b.check(); err != nil {
		return err
	}
	event, err := marshalEvent(b.Plan)
	if err != nil {
		return fmt.Errorf("Budget.Plan: %w", err)
	}
	e := entry{Kind: budgeted, Time: now(), DataSet: b.DataSet, Relation: b.Relation.String(), Epsilon: b.Epsilon, Delta: b.Delta, Event: event}
	if a := l.book.find(b.DataSet); a != nil {
		for _, f := range []struct {
			name       string
			had, wants any
		}{
			{"Relation", a.budget.Relation, b.Relation}, {"Epsilon", a.budget.Epsilon, b.Epsilon},
			{"Delta", a.budget.Delta, b.Delta}, {"Plan", string(a.planText), string(event)},
		} {
			if f.had != f.wants {
				return fmt.Errorf("data set %q has another budget: Budget.%s is %v there, %v here", b.DataSet, f.name, f.had, f.wants)
			}
		}
		return nil
	}
	if b.Plan != nil {
		r, err := planRule(b, b.Plan, 0)
		if err != nil {
			return fmt.Errorf("data set %q: Budget.Plan: %w", b.DataSet, err)
		}
		e.Rule = &r
	}
	return l.write(e)
}

// Reserve sets aside all that a run may cost: its event under a relation, and a
// delta beside the event. When it returns without an error, the reservation is
// on the disk, counts in full, and the run may start. Else the run must not
// start: errors wrap [ErrOverspent] if it is the budget that refuses.
//
// A run that is reserved again, with the same event and delta, goes on in
// another process: nothing more is set aside, and as the former process may have
// got further than this one knows, Settle gives nothing back. A run that is
// settled cannot be reserved again.
func (a *Account) Reserve(run string, r accounting.Relation, event accounting.Event, delta float64) error {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reserve(a.budget, run, r, event, delta); err != nil {
		return l.fail(fmt.Errorf("data set %q, run %q: %w", a.budget.DataSet, run, err))
	}
	return nil
}

func (l *Ledger) reserve(b Budget, run string, r accounting.Relation, event accounting.Event, delta float64) error {
	if r != b.Relation {
		return fmt.Errorf("run is accounted under %v, its data set under %v: they must be the same", r, b.Relation)
	}
	if event == nil {
		return errors.New("event is missing")
	}
	if !(delta >= 0 && delta < 1) {
		return fmt.Errorf("delta beside the event is %v, must lie in [0, 1)", delta)
	}
	text, err := marshalEvent(event)
	if err != nil {
		return err
	}
	a := l.book.find(b.DataSet)
	e := entry{Kind: reserved, Time: now(), DataSet: b.DataSet, Run: run, Event: text, Delta: delta}
	if known := a.find(run); known != nil {
		if known.isSettled {
			return errors.New("run is settled: what of it was not run is no longer reserved")
		}
		if string(known.reserved.text) != string(text) || known.reserved.delta != delta {
			return errors.New("run is reserved with another event")
		}
		return l.write(entry{Kind: resumed, Time: e.Time, DataSet: b.DataSet, Run: run})
	}
	rules := a.rule
	if rules == nil {
		chosen, err := chooseRule(b, event, delta)
		if err != nil {
			return err
		}
		rules, e.Rule = &chosen, &chosen
	}
	if e.Cost, err = rules.cost(b, event); err != nil {
		return err
	}
	return l.write(e)
}

// Settle replaces a reservation by what was run: a part of the reserved event,
// nil if nothing was, and the part's delta beside it. What is left is free
// again, so no more of the run may ever happen: a resumed run is settled as if it
// was run whole. When it returns without an error, the settlement is on the
// disk; until then, and if the process dies before, the whole reservation
// counts. Settling a second time the same way changes nothing.
func (a *Account) Settle(run string, event accounting.Event, delta float64) error {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settle(a.budget, run, event, delta); err != nil {
		return l.fail(fmt.Errorf("data set %q, run %q: %w", a.budget.DataSet, run, err))
	}
	return nil
}

func (l *Ledger) settle(b Budget, name string, event accounting.Event, delta float64) error {
	a := l.book.find(b.DataSet)
	run := a.find(name)
	if run == nil {
		return errors.New("run is not reserved")
	}
	e := entry{Kind: settled, Time: now(), DataSet: b.DataSet, Run: name, Delta: delta}
	if run.resumed {
		e.Event, e.Delta, e.Cost = run.reserved.text, run.reserved.delta, run.reserved.cost
	} else {
		var err error
		if e.Event, err = marshalEvent(event); err != nil {
			return err
		}
		if e.Cost = run.reserved.cost; string(e.Event) != string(run.reserved.text) {
			if e.Cost, err = a.rule.cost(b, event); err != nil {
				return err
			}
			e.Cost = min(e.Cost, run.reserved.cost)
		}
	}
	if run.isSettled {
		if string(run.spent.text) != string(e.Event) || run.spent.delta != e.Delta {
			return errors.New("run is settled with another event")
		}
		return nil
	}
	return l.write(e)
}

// Budget is the account's budget.
func (a *Account) Budget() Budget { return a.budget }
