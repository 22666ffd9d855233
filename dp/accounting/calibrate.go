package accounting

import (
	"errors"
	"fmt"
	"math"
)

// Goal is a budget: one number that an event must not exceed.
type Goal interface {
	// meets says whether the guarantee, the upper bound, is within the budget.
	meets(e Event, r Relation) (bool, error)
	check() error
	// precision is how finely, relatively, real numbers are searched for.
	precision() float64
}

// EpsilonGoal is an ε at δ.
type EpsilonGoal struct {
	Epsilon float64 // positive and finite
	Delta   float64 // in (0, 1)
}

// AdvantageGoal is the most that any membership attack's true-positive rate may
// exceed its false-positive rate: see [Advantage].
type AdvantageGoal struct {
	Advantage float64 // in (0, 1)
}

// RateGoal is the most that any membership attack's true-positive rate may be at
// a false-positive rate: see [TruePositiveRate] (Kulynych et al. 2024).
type RateGoal struct {
	FalsePositiveRate float64 // in (0, 1)
	TruePositiveRate  float64 // above FalsePositiveRate, below 1
}

func (g EpsilonGoal) check() error {
	return first(positive("epsilon", g.Epsilon), checkDelta(g.Delta))
}

func (EpsilonGoal) precision() float64   { return 1e-6 }
func (AdvantageGoal) precision() float64 { return 1e-6 }
func (RateGoal) precision() float64      { return 1e-4 }

func (g EpsilonGoal) meets(e Event, r Relation) (bool, error) {
	i, err := Epsilon(e, r, g.Delta)
	return i.Upper <= g.Epsilon, err
}

func (g AdvantageGoal) check() error {
	if !(g.Advantage > 0 && g.Advantage < 1) {
		return bad("AdvantageGoal.Advantage", g.Advantage, "lie in (0, 1)")
	}
	return nil
}

func (g AdvantageGoal) meets(e Event, r Relation) (bool, error) {
	i, err := Advantage(e, r)
	return i.Upper <= g.Advantage, err
}

func (g RateGoal) check() error {
	if !(g.FalsePositiveRate > 0 && g.FalsePositiveRate < 1) {
		return bad("RateGoal.FalsePositiveRate", g.FalsePositiveRate, "lie in (0, 1)")
	}
	if !(g.TruePositiveRate > g.FalsePositiveRate && g.TruePositiveRate < 1) {
		return bad("RateGoal.TruePositiveRate", g.TruePositiveRate, fmt.Sprintf("be above FalsePositiveRate, %v, and below 1", g.FalsePositiveRate))
	}
	return nil
}

func (g RateGoal) meets(e Event, r Relation) (bool, error) {
	i, err := TruePositiveRate(e, r, g.FalsePositiveRate)
	return i.Upper <= g.TruePositiveRate, err
}

// CalibrateNoise returns the least noise multiplier, to a relative 1e-6, whose
// event has an upper ε of at most epsilon at delta: [LeastNoise] for an
// [EpsilonGoal].
func CalibrateNoise(epsilon, delta float64, r Relation, event func(noiseMultiplier float64) Event) (float64, error) {
	return LeastNoise(EpsilonGoal{epsilon, delta}, r, event)
}

// LeastNoise returns the least noise multiplier, to a relative 1e-6 (1e-4 for a
// [RateGoal]) and between 1e-4 and 1e6, whose event meets the goal. The value returned was itself seen to
// meet it. event must get no dearer with more noise.
func LeastNoise(g Goal, r Relation, event func(noiseMultiplier float64) Event) (float64, error) {
	if err := g.check(); err != nil {
		return 0, err
	}
	meets := func(sigma float64) (bool, error) { return g.meets(event(sigma), r) }
	good := 1.0
	for {
		ok, err := meets(good)
		if err != nil {
			return 0, err
		}
		if ok {
			break
		}
		if good *= 2; good > 1e6 {
			return 0, errors.New("accounting: no noise multiplier up to 10^6 meets the budget")
		}
	}
	unmet := good / 2
	for unmet > 1e-4 {
		ok, err := meets(unmet)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		good, unmet = unmet, unmet/2
	}
	if unmet <= 1e-4 {
		return good, nil
	}
	return narrow(good, unmet, g.precision(), meets)
}

// MostRate returns the largest sampling rate, to a relative 1e-6, whose event
// meets the goal; seen to meet it. event must get no cheaper with a larger rate.
func MostRate(g Goal, r Relation, event func(rate float64) Event) (float64, error) {
	if err := g.check(); err != nil {
		return 0, err
	}
	meets := func(q float64) (bool, error) { return g.meets(event(q), r) }
	unmet := 1.0
	if ok, err := meets(unmet); err != nil || ok {
		return unmet, err
	}
	good := 0.5
	for {
		ok, err := meets(good)
		if err != nil {
			return 0, err
		}
		if ok {
			return narrow(good, unmet, g.precision(), meets)
		}
		unmet = good
		if good /= 2; good < 1e-12 {
			return 0, errors.New("accounting: no sampling rate down to 10^-12 meets the budget")
		}
	}
}

// narrow closes in on the border between good and unmet, keeping to the good side.
func narrow(good, unmet, precision float64, meets func(float64) (bool, error)) (float64, error) {
	for math.Abs(math.Log(good/unmet)) > precision {
		mid := math.Sqrt(good * unmet)
		ok, err := meets(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			good = mid
		} else {
			unmet = mid
		}
	}
	return good, nil
}

// MostCount returns the largest whole number from 1 to most, of steps or of
// records in a batch, whose event meets the goal; seen to meet it. event must get
// no cheaper with a larger number.
func MostCount(g Goal, r Relation, most int, event func(n int) Event) (int, error) {
	if err := g.check(); err != nil {
		return 0, err
	}
	if err := count("most", most, maxCount); err != nil {
		return 0, err
	}
	meets := func(n int) (bool, error) { return g.meets(event(n), r) }
	if ok, err := meets(1); err != nil {
		return 0, err
	} else if !ok {
		return 0, errors.New("accounting: not even 1 meets the budget")
	}
	good, unmet := 1, 2
	for unmet <= most {
		ok, err := meets(unmet)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		good = unmet
		if unmet > most/2 {
			if unmet == most {
				return most, nil
			}
			unmet = most
		} else {
			unmet *= 2
		}
	}
	if unmet > most {
		return good, nil
	}
	for unmet-good > 1 {
		mid := good + (unmet-good)/2
		ok, err := meets(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			good = mid
		} else {
			unmet = mid
		}
	}
	return good, nil
}
