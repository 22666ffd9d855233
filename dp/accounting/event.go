package accounting

import (
	"errors"
	"fmt"
	"math"
)

// Relation says which data sets are neighbours. The zero value is refused.
type Relation int

const (
	// AddRemove: one record more or less.
	AddRemove Relation = iota + 1
	// ReplaceOne: one record changed for any other.
	ReplaceOne
	// ReplaceSpecial: one record replaced by a null record (zero-out); the size
	// of the data set is public.
	ReplaceSpecial
)

// String names the relation as the field does.
func (r Relation) String() string {
	switch r {
	case AddRemove:
		return "add/remove"
	case ReplaceOne:
		return "replace-one"
	case ReplaceSpecial:
		return "replace-special"
	}
	return fmt.Sprintf("Relation(%d)", int(r))
}

// Event is what a mechanism costs. The set of events is closed.
type Event interface {
	// flatten adds the event's parts, count times over, to the list.
	flatten(list []part, count int) ([]part, error)
}

// Gaussian is one release of a sum with normal noise whose standard deviation
// is NoiseMultiplier times the l2 norm that one record can have.
type Gaussian struct {
	NoiseMultiplier float64 // positive and finite
}

// PoissonSampled is Event, a [Gaussian], run on a subset that holds each record
// by itself with probability Rate.
type PoissonSampled struct {
	Rate  float64 // in [0, 1]
	Event Event
}

// SelfComposed is Event, Count times over, each run seeing what came before.
type SelfComposed struct {
	Event Event
	Count int // at least 1
}

// Composed is all the events, one after the other.
type Composed struct {
	Events []Event // at least one
}

// part is a Poisson-sampled Gaussian, count times over.
type part struct {
	rate, sigma float64
	count       int
}

// maxCount bounds the number of compositions.
const maxCount = math.MaxInt32

func (e Gaussian) flatten(list []part, count int) ([]part, error) {
	if !(e.NoiseMultiplier > 0) || math.IsInf(e.NoiseMultiplier, 0) {
		return nil, fmt.Errorf("accounting: Gaussian.NoiseMultiplier is %v, must be positive and finite", e.NoiseMultiplier)
	}
	return append(list, part{1, e.NoiseMultiplier, count}), nil
}

func (e PoissonSampled) flatten(list []part, count int) ([]part, error) {
	if !(e.Rate >= 0 && e.Rate <= 1) {
		return nil, fmt.Errorf("accounting: PoissonSampled.Rate is %v, must lie in [0, 1]", e.Rate)
	}
	g, ok := e.Event.(Gaussian)
	if !ok {
		return nil, fmt.Errorf("accounting: PoissonSampled.Event is %T, must be Gaussian", e.Event)
	}
	list, err := g.flatten(list, count)
	if err != nil {
		return nil, err
	}
	list[len(list)-1].rate = e.Rate
	return list, nil
}

func (e SelfComposed) flatten(list []part, count int) ([]part, error) {
	if e.Event == nil {
		return nil, errors.New("accounting: SelfComposed.Event is missing")
	}
	if e.Count < 1 || e.Count > maxCount/count {
		return nil, fmt.Errorf("accounting: SelfComposed.Count is %d, must be at least 1 and at most %d compositions in all", e.Count, maxCount)
	}
	return e.Event.flatten(list, count*e.Count)
}

func (e Composed) flatten(list []part, count int) ([]part, error) {
	if len(e.Events) == 0 {
		return nil, errors.New("accounting: Composed.Events is empty, must hold at least one event")
	}
	for i, part := range e.Events {
		if part == nil {
			return nil, fmt.Errorf("accounting: Composed.Events[%d] is missing", i)
		}
		var err error
		if list, err = part.flatten(list, count); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// parts lists the event's parts, leaving out what costs nothing.
func parts(e Event, r Relation) ([]part, error) {
	if e == nil {
		return nil, errors.New("accounting: event is missing")
	}
	if r < AddRemove || r > ReplaceSpecial {
		return nil, fmt.Errorf("accounting: relation is %v, must be AddRemove, ReplaceOne or ReplaceSpecial", r)
	}
	list, err := e.flatten(nil, 1)
	if err != nil {
		return nil, err
	}
	kept := list[:0]
	for _, p := range list {
		if p.rate > 0 {
			kept = append(kept, p)
		}
	}
	return kept, nil
}
