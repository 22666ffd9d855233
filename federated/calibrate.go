package federated

import (
	"errors"
	"fmt"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// CalibrateNoise returns the plan with the least NoiseMultiplier, to a relative 1e-6,
// whose [Plan.Guarantee] is at most epsilon. The one that p has does not matter. It
// returns an error if p cannot be run, or no multiplier in [0.001, 1000] will do.
func (p Plan) CalibrateNoise(epsilon float64) (Plan, error) {
	if p.Privacy == nil {
		return p, errors.New("federated: CalibrateNoise: Privacy is missing")
	}
	with := func(z float64) Plan {
		q := p
		switch c := p.Privacy.(type) {
		case Central:
			c.NoiseMultiplier = z
			q.Privacy = c
		case Distributed:
			c.NoiseMultiplier = z
			q.Privacy = c
		case Local:
			c.NoiseMultiplier = z
			q.Privacy = c
		}
		return q
	}
	if err := with(1).Validate(); err != nil {
		return p, err
	}
	z, err := accounting.CalibrateNoise(epsilon, p.Privacy.delta(), p.Privacy.relation(), func(z float64) accounting.Event {
		return with(z).Event(p.Rounds)
	})
	if err != nil {
		return p, fmt.Errorf("federated: CalibrateNoise for epsilon %v: %w", epsilon, err)
	}
	q := with(z)
	return q, q.Validate()
}
