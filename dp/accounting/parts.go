package accounting

import (
	"errors"
	"fmt"
)

// part is a Poisson-sampled Gaussian, count times over.
type part struct {
	rate, sigma float64
	count       int
}

func flatten(e Event, list []part, count int) ([]part, error) {
	switch e := e.(type) {
	case Gaussian:
		return append(list, part{1, e.NoiseMultiplier, count}), nil
	case PoissonSampled:
		g, ok := e.Event.(Gaussian)
		if !ok {
			return nil, fmt.Errorf("accounting: PoissonSampled.Event is %T, must be Gaussian", e.Event)
		}
		return append(list, part{e.Rate, g.NoiseMultiplier, count}), nil
	case SelfComposed:
		if e.Count > maxCount/count {
			return nil, fmt.Errorf("accounting: SelfComposed.Count is %d, must be at least 1 and at most %d compositions in all", e.Count, maxCount)
		}
		return flatten(e.Event, list, count*e.Count)
	case Composed:
		for _, in := range e.Events {
			var err error
			if list, err = flatten(in, list, count); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("accounting: %T has no bound", e)
}

// parts lists the event's parts, leaving out what costs nothing.
func parts(e Event, r Relation) ([]part, error) {
	if e == nil {
		return nil, errors.New("accounting: event is missing")
	}
	if r < AddRemove || r > ReplaceSpecial {
		return nil, fmt.Errorf("accounting: relation is %v, must be AddRemove, ReplaceOne or ReplaceSpecial", r)
	}
	if err := checkTree(e, 0); err != nil {
		return nil, err
	}
	list, err := flatten(e, nil, 1)
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
