package noise

import (
	"math"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// Event is what adding the noise to an integer vector costs, if one record can
// move the vector by sensitivity in l2 norm: that of the continuous Gaussian
// mechanism, of which adding it is a post-processing. It panics if sensitivity
// is not positive and finite.
func (g *RoundedGaussian) Event(sensitivity float64) accounting.Event {
	if !(sensitivity > 0) || math.IsInf(sensitivity, 0) {
		panic("noise: sensitivity must be positive and finite")
	}
	return accounting.Gaussian{NoiseMultiplier: math.Nextafter(g.Sigma()/sensitivity, 0)}
}

// Event is what adding the noise to one integer costs, if one record can move it
// by at most sensitivity: of a vector, take the composition of its elements'. It
// panics if sensitivity is below 1.
func (g *DiscreteGaussian) Event(sensitivity int) accounting.Event {
	if sensitivity < 1 {
		panic("noise: sensitivity must be at least 1")
	}
	return accounting.DiscreteGaussian{Sigma: g.sigma, Sensitivity: sensitivity}
}

// Event is what adding the noise to one integer costs, as
// [DiscreteGaussian.Event] has it.
func (l *DiscreteLaplace) Event(sensitivity int) accounting.Event {
	if sensitivity < 1 {
		panic("noise: sensitivity must be at least 1")
	}
	return accounting.DiscreteLaplace{Scale: l.scale, Sensitivity: sensitivity}
}
