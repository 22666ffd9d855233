package dp

import (
	"fmt"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// CalibrateNoise returns the plan with the least noise multiplier whose run
// guarantees epsilon at the plan's Delta and Relation, by the accountant's upper
// bound. The plan's own NoiseMultiplier is ignored. An error says if no noise
// can meet the budget.
func CalibrateNoise(p Plan, epsilon float64) (Plan, error) {
	if err := p.calibratable(noiseMultiplier, epsilon); err != nil {
		return Plan{}, err
	}
	delta := p.mechanismDelta()
	if !(delta > 0) {
		return Plan{}, fmt.Errorf("dp: plan: Delta %v is below the chance of a run overflow: no noise can meet the budget", p.Delta)
	}
	noisy := func(multiplier float64) Plan {
		q := p
		q.NoiseMultiplier = multiplier
		return q
	}
	multiplier, err := accounting.CalibrateNoise(epsilon, delta, p.Relation, func(multiplier float64) accounting.Event {
		return noisy(multiplier).event(p.Steps)
	})
	if err != nil {
		return Plan{}, fmt.Errorf("dp: no noise multiplier meets ε = %v at δ = %v (%s) in %d steps: %w", epsilon, p.Delta, relationNames[p.Relation], p.Steps, err)
	}
	if multiplier > maxNoise {
		return Plan{}, fmt.Errorf("dp: ε = %v at δ = %v (%s) in %d steps takes a noise multiplier of %.3g, must be at most 100000: give a larger budget or fewer steps", epsilon, p.Delta, relationNames[p.Relation], p.Steps, multiplier)
	}
	q := noisy(max(multiplier, minNoise))
	return q, q.within(epsilon)
}

// CalibrateSteps returns the plan with the most steps whose run guarantees
// epsilon. The plan's own Steps is ignored. An error says if not even one step
// can be taken.
func CalibrateSteps(p Plan, epsilon float64) (Plan, error) {
	if err := p.calibratable(stepCount, epsilon); err != nil {
		return Plan{}, err
	}
	const most = 1 << 30
	return largest(most, epsilon, func(n int) Plan {
		q := p
		q.Steps = n
		return q
	}, "a single step of this plan")
}

// CalibrateBatch returns the plan with the largest batch size, and the sampling
// rate that belongs to it, whose run guarantees epsilon. The plan's BatchSize
// and Rate say what the population is, which stays.
func CalibrateBatch(p Plan, epsilon float64) (Plan, error) {
	if err := p.calibratable(none, epsilon); err != nil {
		return Plan{}, err
	}
	population := p.population()
	return largest(population, epsilon, func(n int) Plan {
		q := p
		q.BatchSize = n
		q.Sampling = Poisson{Rate: float64(n) / float64(population)}
		return q
	}, "a batch of one in this plan")
}

func (p Plan) calibratable(field calibrated, epsilon float64) error {
	if err := p.validateBut(field); err != nil {
		return err
	}
	if !(epsilon > 0 && epsilon <= 1e6) {
		return fmt.Errorf("dp: epsilon is %v, must lie in (0, 10^6]", epsilon)
	}
	return nil
}

// within returns an error unless the plan guarantees epsilon.
func (p Plan) within(epsilon float64) error {
	e, err := p.Epsilon()
	if err != nil {
		return err
	}
	if !(e.Upper <= epsilon) {
		return fmt.Errorf("dp: ε = %v, not the %v asked for", e.Upper, epsilon)
	}
	return nil
}

// largest returns make(n) for the largest n in [1, most] that guarantees
// epsilon, which grows with n.
func largest(most int, epsilon float64, make func(n int) Plan, least string) (Plan, error) {
	fits := func(n int) (bool, error) {
		e, err := make(n).Epsilon()
		return e.Upper <= epsilon, err
	}
	// Doubling first: large counts are dear to account, and fail soon.
	good, bad := 0, most+1
	for n := 1; good < bad-1; {
		ok, err := fits(n)
		switch {
		case err != nil:
			return Plan{}, err
		case ok:
			good = n
		default:
			bad = n
		}
		if bad > most {
			n = min(2*good, most)
		} else {
			n = good + (bad-good)/2
		}
	}
	if good == 0 {
		return Plan{}, fmt.Errorf("dp: ε = %v is less than %s costs: give more noise", epsilon, least)
	}
	return make(good), nil
}
