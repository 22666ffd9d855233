package ledger

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// book is what the entries of a ledger come to.
type book struct {
	id       string
	hashes   []Hash // of the records
	accounts []*account
}

// account is a data set's.
type account struct {
	budget   Budget
	planText json.RawMessage // of the budget's
	rule     *rule           // nil before the first run
	planned  units           // what runs may come to, under rule plan
	runs     []*run
}

// run is one use of a data set.
type run struct {
	name      string
	reserved  charge
	resumed   bool
	isSettled bool
	spent     charge
	since     string
	until     string
}

// charge is what a run costs.
type charge struct {
	text  json.RawMessage
	event accounting.Event // nil: nothing
	units units
	delta float64 // beside the event
	cost  float64 // under the rule
}

// charge is what counts: all that is reserved, until the run is settled.
func (r *run) charge() charge {
	if r.isSettled {
		return r.spent
	}
	return r.reserved
}

func (b *book) find(dataSet string) *account {
	for _, a := range b.accounts {
		if a.budget.DataSet == dataSet {
			return a
		}
	}
	return nil
}

func (a *account) find(name string) *run {
	for _, r := range a.runs {
		if r.name == name {
			return r
		}
	}
	return nil
}

// replay takes over the records of a file.
func (b *book) replay(s scanned) error {
	for i, payload := range s.payloads {
		e, err := decode(payload)
		if err != nil {
			return tampered(i, err.Error())
		}
		commit, err := b.admit(e)
		if err != nil {
			return tampered(i, "cannot follow the former ones ("+err.Error()+")")
		}
		commit()
	}
	b.hashes = s.hashes
	return nil
}

// admit checks an entry against all former ones, the budget above all, and
// returns what makes it count.
func (b *book) admit(e entry) (commit func(), err error) {
	if (e.Kind == opened) != (b.id == "") {
		return nil, errors.New("the first entry, and no other, names the ledger")
	}
	switch e.Kind {
	case opened:
		if len(e.ID) != 32 || e.only(entry{ID: e.ID}) != nil {
			return nil, errors.New("entry does not name the ledger")
		}
		return func() { b.id = e.ID }, nil
	case budgeted:
		return b.admitBudget(e)
	}
	a := b.find(e.DataSet)
	if a == nil {
		return nil, fmt.Errorf("data set %q has no budget", e.DataSet)
	}
	r := a.find(e.Run)
	switch {
	case e.Kind == reserved && r == nil:
		return a.admitReserve(e)
	case e.Kind == reserved:
		return nil, errors.New("run is reserved twice")
	case r == nil:
		return nil, errors.New("run is not reserved")
	case r.isSettled:
		return nil, errors.New("run is settled")
	case e.Kind == resumed:
		return func() { r.resumed = true }, e.only(entry{DataSet: e.DataSet, Run: e.Run})
	case e.Kind == settled:
		return r.admitSettle(e)
	}
	return nil, fmt.Errorf("kind is %q", e.Kind)
}

// only refuses entries with members that their kind does not have; like has
// those that it has.
func (e entry) only(like entry) error {
	like.Kind, like.Time = e.Kind, e.Time
	mine, err := e.encode()
	if err != nil {
		return err
	}
	theirs, err := like.encode()
	if err != nil {
		return err
	}
	if string(mine) != string(theirs) {
		return fmt.Errorf("entry of kind %q has members that it cannot have", e.Kind)
	}
	return nil
}

func (b *book) admitBudget(e entry) (func(), error) {
	relation, ok := relationOf(e.Relation)
	if !ok {
		return nil, fmt.Errorf("relation is %q", e.Relation)
	}
	event, planned, err := unmarshalEvent(e.Event)
	if err != nil {
		return nil, err
	}
	a := &account{
		budget:   Budget{DataSet: e.DataSet, Relation: relation, Epsilon: e.Epsilon, Delta: e.Delta, Plan: event},
		planText: e.Event, rule: e.Rule, planned: planned,
	}
	if err := a.budget.check(); err != nil {
		return nil, err
	}
	if (event != nil) != (e.Rule != nil && e.Rule.Method == plan) || event == nil && e.Rule != nil {
		return nil, errors.New("a budget has a plan and its rule, or neither")
	}
	if e.Rule != nil {
		if err := e.Rule.check(a.budget); err != nil {
			return nil, err
		}
	}
	if b.find(e.DataSet) != nil {
		return nil, fmt.Errorf("data set %q has a budget", e.DataSet)
	}
	like := entry{DataSet: e.DataSet, Relation: e.Relation, Epsilon: e.Epsilon, Delta: e.Delta, Event: e.Event, Rule: e.Rule}
	return func() { b.accounts = append(b.accounts, a) }, e.only(like)
}

func (e entry) charge() (c charge, err error) {
	c = charge{text: e.Event, delta: e.Delta, cost: e.Cost}
	if c.event, c.units, err = unmarshalEvent(e.Event); err != nil {
		return c, err
	}
	if !(c.cost >= 0 && c.delta >= 0 && c.delta < 1) {
		return c, errors.New("run has a cost or delta that cannot be")
	}
	return c, nil
}

func (a *account) admitReserve(e entry) (func(), error) {
	if err := checkName("run", e.Run); err != nil {
		return nil, err
	}
	c, err := e.charge()
	if err != nil {
		return nil, err
	}
	if c.event == nil {
		return nil, errors.New("reservation has no event")
	}
	if (e.Rule != nil) != (a.rule == nil) {
		return nil, errors.New("the first run, and no other, fixes the rule")
	}
	// As the account would be.
	with := *a
	if e.Rule != nil {
		if err := e.Rule.check(a.budget); err != nil {
			return nil, err
		}
		with.rule = e.Rule
		if e.Rule.Method == plan {
			with.planned = c.units
		}
	}
	if err := with.admits(c.units, c.cost, c.delta); err != nil {
		return nil, err
	}
	with.runs = append(with.runs, &run{name: e.Run, reserved: c, since: e.Time})
	like := entry{DataSet: e.DataSet, Run: e.Run, Event: e.Event, Delta: e.Delta, Cost: e.Cost, Rule: e.Rule}
	return func() { *a = with }, e.only(like)
}

func (r *run) admitSettle(e entry) (func(), error) {
	c, err := e.charge()
	if err != nil {
		return nil, err
	}
	whole := string(c.text) == string(r.reserved.text)
	switch {
	case !c.units.within(r.reserved.units) || c.delta > r.reserved.delta || c.cost > r.reserved.cost:
		return nil, errors.New("what was run is not a part of what is reserved")
	case whole && (c.cost != r.reserved.cost || c.delta != r.reserved.delta):
		return nil, errors.New("what was run is all that is reserved and costs less")
	case r.resumed && !whole:
		return nil, errors.New("a resumed run is settled whole")
	}
	like := entry{DataSet: e.DataSet, Run: e.Run, Event: e.Event, Delta: e.Delta, Cost: e.Cost}
	return func() { r.isSettled, r.spent, r.until = true, c, e.Time }, e.only(like)
}
