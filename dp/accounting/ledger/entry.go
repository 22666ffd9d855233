package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// Kinds of entries.
const (
	opened   = "ledger"  // the first one: names the ledger
	budgeted = "budget"  // a data set and what may be spent on it
	reserved = "reserve" // what a run will cost at most
	resumed  = "resume"  // a run goes on in another process
	settled  = "settle"  // what the run cost
)

// entry is a record's payload.
type entry struct {
	Kind string `json:"kind"`
	Time string `json:"time"` // RFC 3339, UTC: for people, nothing depends on it

	ID string `json:"id,omitempty"` // of the ledger: random

	DataSet  string  `json:"data_set,omitempty"`
	Relation string  `json:"relation,omitempty"`
	Epsilon  float64 `json:"epsilon,omitempty"`

	Run   string          `json:"run,omitempty"`
	Event json.RawMessage `json:"event,omitempty"` // the plan, what is reserved, what was run
	Delta float64         `json:"delta,omitempty"` // the budget's, or a run's beside its event
	Cost  float64         `json:"cost,omitempty"`  // under the rule
	Rule  *rule           `json:"rule,omitempty"`  // what the data set is filtered by from here on
}

// encode gives the one form in which the entry is written.
func (e entry) encode() ([]byte, error) {
	out, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("entry cannot be written: %w", err)
	}
	return out, nil
}

// decode reads an entry and refuses all but the form that encode writes: members
// that are unknown, doubled or in other order do not pass.
func decode(payload []byte) (e entry, err error) {
	if err := json.Unmarshal(payload, &e); err != nil {
		return entry{}, fmt.Errorf("is not an entry: %w", err)
	}
	again, err := e.encode()
	if err != nil || !bytes.Equal(again, payload) {
		return entry{}, errors.New("is not an entry as this package writes it")
	}
	if _, err := time.Parse(time.RFC3339, e.Time); err != nil {
		return entry{}, errors.New("has no time")
	}
	return e, nil
}

// checkName refuses names that would not print.
func checkName(what, name string) error {
	if name == "" || len(name) > 200 || !utf8.ValidString(name) {
		return fmt.Errorf("%s is %.40q, must be 1 to 200 bytes of UTF-8", what, name)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%s is %q, must be printable", what, name)
		}
	}
	return nil
}

func relationOf(name string) (accounting.Relation, bool) {
	for _, r := range []accounting.Relation{accounting.AddRemove, accounting.ReplaceOne, accounting.ReplaceSpecial} {
		if r.String() == name {
			return r, true
		}
	}
	return 0, false
}

// units are an event as how many times each mechanism runs in it. Order does
// not matter to any bound that is used here.
type units map[string]int

// maxUnits keeps counts where they are exact and cannot overflow.
const maxUnits = math.MaxInt32

func unitsOf(e accounting.Event) (units, error) {
	u := units{}
	if e == nil {
		return u, nil
	}
	return u, u.add(e, 1)
}

func (u units) add(e accounting.Event, count int) error {
	switch e := e.(type) {
	case accounting.SelfComposed:
		if e.Count > maxUnits/count {
			return fmt.Errorf("event holds more than %d mechanisms", maxUnits)
		}
		return u.add(e.Event, count*e.Count)
	case accounting.Composed:
		for _, in := range e.Events {
			if err := u.add(in, count); err != nil {
				return err
			}
		}
		return nil
	}
	key, err := accounting.MarshalEvent(e)
	if err != nil {
		return err
	}
	if count > maxUnits-u[string(key)] {
		return fmt.Errorf("event holds more than %d mechanisms", maxUnits)
	}
	u[string(key)] += count
	return nil
}

// plus adds others' counts.
func (u units) plus(others units) {
	for key, n := range others {
		u[key] += n
	}
}

// within reports whether others hold at least as many of each.
func (u units) within(others units) bool {
	for key, n := range u {
		if n > others[key] {
			return false
		}
	}
	return true
}

// marshalEvent writes an event, nil as nothing.
func marshalEvent(e accounting.Event) (json.RawMessage, error) {
	if e == nil {
		return nil, nil
	}
	return accounting.MarshalEvent(e)
}

func unmarshalEvent(data json.RawMessage) (accounting.Event, units, error) {
	if len(data) == 0 {
		return nil, units{}, nil
	}
	e, err := accounting.UnmarshalEvent(data)
	if err != nil {
		return nil, nil, err
	}
	u, err := unitsOf(e)
	return e, u, err
}
