package dp

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// Plan says what a private training run does and, by the same token, what it
// costs. A [Trainer] can run nothing but a plan, and the plan's event is what
// the accountant is asked about: the two cannot come apart.
//
// Every field is required. [Plan.Validate] names what is wrong with a plan; so
// does everything that takes one.
type Plan struct {
	// Sampling is how a step's records are drawn: Poisson.
	Sampling Sampling
	// BatchSize is the public constant that sums are divided by: the expected
	// number of records in a draw from the largest data set that the plan
	// allows, [Plan.Population].
	BatchSize int
	// Steps is how many steps are taken.
	Steps int
	// Clip bounds what one record can contribute.
	Clip Clip
	// NoiseMultiplier is the noise's standard deviation over the sensitivity of
	// a step to one record that comes or goes, in [0.001, 100000].
	NoiseMultiplier float64
	// Relation says which data sets are neighbours.
	Relation accounting.Relation
	// Delta is the δ of the guarantee, in (0, 1).
	Delta float64
}

// Sampling is how a step's records are drawn.
type Sampling interface{ sampling() }

// Poisson draws each record by itself with probability Rate, in (0, 1], so a
// draw's size varies and may be 0. The rate that runs is Rate rounded down to a
// multiple of 2^-64.
type Poisson struct {
	Rate float64
}

// Shuffled batches, cut from the data set in a shuffled order, are common, and
// are often accounted as if they were Poisson draws. They give less privacy than
// that (Chua et al. 2024, "How private are DP-SGD implementations?"). A plan
// with them is refused; the type exists to say so.
type Shuffled struct{}

func (Poisson) sampling()  {}
func (Shuffled) sampling() {}

// The noise multipliers that a plan may have.
const (
	minNoise = 1e-3
	maxNoise = 1e5
)

// maxPopulation bounds the size of a data set.
const maxPopulation = 1 << 40

// Validate returns an error that names the field, its value and what is
// allowed, if the plan cannot be run.
func (p Plan) Validate() error { return p.validateBut(none) }

// calibrated is the field of a plan that is about to be found.
type calibrated uint8

const (
	none calibrated = iota
	noiseMultiplier
	stepCount
)

// validateBut validates, leaving out a field that is being calibrated.
func (p Plan) validateBut(field calibrated) error {
	if err := p.checkSampling(); err != nil {
		return err
	}
	if field != stepCount && (p.Steps < 1 || p.Steps > math.MaxInt32) {
		return fmt.Errorf("dp: plan: Steps is %d, must lie in [1, 2^31)", p.Steps)
	}
	switch p.Clip.(type) {
	case nil:
		return errors.New("dp: plan: Clip is missing, must be Flat, PerLayer, Automatic or AdaptiveQuantile")
	case Flat, PerLayer, Automatic, AdaptiveQuantile:
	default:
		return fmt.Errorf("dp: plan: Clip is %T, must be Flat, PerLayer, Automatic or AdaptiveQuantile", p.Clip)
	}
	if err := p.Clip.check(); err != nil {
		return fmt.Errorf("dp: plan: %w", err)
	}
	if field != noiseMultiplier && !(p.NoiseMultiplier >= minNoise && p.NoiseMultiplier <= maxNoise) {
		return fmt.Errorf("dp: plan: NoiseMultiplier is %v, must lie in [0.001, 100000]", p.NoiseMultiplier)
	}
	if _, ok := relationNames[p.Relation]; !ok {
		return errors.New("dp: plan: Relation is missing, must be accounting.AddRemove, ReplaceOne or ReplaceSpecial")
	}
	if !(p.Delta > 0 && p.Delta < 1) {
		return fmt.Errorf("dp: plan: Delta is %v, must lie in (0, 1)", p.Delta)
	}
	return nil
}

func (p Plan) checkSampling() error {
	switch s := p.Sampling.(type) {
	case nil:
		return errors.New("dp: plan: Sampling is missing, must be Poisson")
	case Poisson:
		if !(s.Rate > 0 && s.Rate <= 1) {
			return fmt.Errorf("dp: plan: Sampling: Poisson.Rate is %v, must lie in (0, 1]", s.Rate)
		}
	default:
		return fmt.Errorf("dp: plan: Sampling is %T, must be Poisson: no other sampling has the guarantee that is accounted", s)
	}
	if p.BatchSize < 1 || p.BatchSize > 1<<30 {
		return fmt.Errorf("dp: plan: BatchSize is %d, must lie in [1, 2^30]", p.BatchSize)
	}
	if n := float64(p.BatchSize) / p.rate(); n > maxPopulation {
		return fmt.Errorf("dp: plan: BatchSize %d over Poisson.Rate %v allows a data set of %.3g records, must be at most 2^40", p.BatchSize, p.rate(), n)
	}
	return nil
}

// rate is the sampling rate of a plan whose sampling was checked.
func (p Plan) rate() float64 { return p.Sampling.(Poisson).Rate }

// Population is the largest data set that the plan may run on, BatchSize over
// the sampling rate, to the nearest integer: a public bound, not the size of any
// data set. It panics if the plan is not valid.
func (p Plan) Population() int {
	if err := p.validateBut(noiseMultiplier); err != nil {
		panic("dp: Population of a plan that is not valid")
	}
	return p.population()
}

func (p Plan) population() int { return int(math.Round(float64(p.BatchSize) / p.rate())) }

// runs cuts the plan's draws.
func (p Plan) runs() runs {
	return newRuns(p.BatchSize, p.population(), p.Steps, p.rate(), p.Delta*overflowShare)
}

// Event is what the run does, as the accountant sees it: Steps Gaussian
// mechanisms on Poisson draws. With AdaptiveQuantile each is the pair of a
// gradient and a count, which together cost what one Gaussian mechanism of the
// plan's noise multiplier does. It panics if the plan is not valid.
func (p Plan) Event() accounting.Event {
	if err := p.Validate(); err != nil {
		panic("dp: Event of a plan that is not valid")
	}
	return p.event(p.Steps)
}

func (p Plan) event(steps int) accounting.Event {
	var step accounting.Event = accounting.Gaussian{NoiseMultiplier: p.NoiseMultiplier}
	if gradient, count := multipliers(p.Clip, p.NoiseMultiplier); count > 0 {
		const down = 1 - 0x1p-39                                                                       // what runs has the margin of multipliers
		step = accounting.AdaptiveClip{NoiseMultiplier: gradient * down, CountNoise: count / 2 * down} // a centred bit is 1/2 at most
	}
	return accounting.SelfComposed{Event: accounting.PoissonSampled{Rate: p.rate(), Event: step}, Count: steps}
}

// MechanismDelta is what of Delta is left for the accountant after the chance
// that a run overflows, which the package doc derives, is taken off. The noise
// needs nothing: its law is exact. It panics if the plan is not valid.
func (p Plan) MechanismDelta() float64 {
	if err := p.validateBut(noiseMultiplier); err != nil {
		panic("dp: MechanismDelta of a plan that is not valid")
	}
	return p.mechanismDelta()
}

func (p Plan) mechanismDelta() float64 { return p.Delta - p.overflowDelta(p.Steps) }

// overflowDelta bounds the chance that a run overflows in the first steps. The
// plan's bound is a sum over steps that are alike.
func (p Plan) overflowDelta(steps int) float64 {
	chance := p.runs().chance * (1 + 0x1p-40)
	if steps < p.Steps {
		chance *= float64(steps) / float64(p.Steps) * (1 + 0x1p-50)
	}
	return chance
}

// Epsilon bounds the ε of the whole run at Delta under Relation.
func (p Plan) Epsilon() (accounting.Interval, error) {
	if err := p.Validate(); err != nil {
		return accounting.Interval{}, err
	}
	return p.epsilon(p.Steps)
}

func (p Plan) epsilon(steps int) (accounting.Interval, error) {
	delta := p.mechanismDelta()
	if !(delta > 0) {
		return accounting.Interval{}, fmt.Errorf("dp: plan: Delta %v is below the chance of a run overflow", p.Delta)
	}
	if steps == 0 {
		return accounting.Interval{}, nil
	}
	e, err := accounting.Epsilon(p.event(steps), p.Relation, delta)
	if err != nil {
		return e, fmt.Errorf("dp: plan: %w", err)
	}
	return e, nil
}

// Guarantee is what the whole run guarantees.
func (p Plan) Guarantee() (Guarantee, error) { return p.Spent(p.Steps) }

// Spent is what the first steps of the run guarantee, from 0 to Steps.
func (p Plan) Spent(steps int) (Guarantee, error) {
	if err := p.Validate(); err != nil {
		return Guarantee{}, err
	}
	if steps < 0 || steps > p.Steps {
		return Guarantee{}, fmt.Errorf("dp: steps spent is %d, must lie in [0, %d]", steps, p.Steps)
	}
	e, err := p.epsilon(steps)
	if err != nil {
		return Guarantee{}, err
	}
	return Guarantee{Epsilon: e.Upper, Delta: p.Delta, Relation: p.Relation, Steps: steps, Plan: p}, nil
}

// String describes the plan in one line.
func (p Plan) String() string {
	var s strings.Builder
	switch sampling := p.Sampling.(type) {
	case nil:
		s.WriteString("no sampling")
	case Poisson:
		fmt.Fprintf(&s, "Poisson sampling at rate %.6g", sampling.Rate)
	default:
		fmt.Fprintf(&s, "%T", sampling)
	}
	relation, ok := relationNames[p.Relation]
	if !ok {
		relation = "no relation"
	}
	fmt.Fprintf(&s, ", batch size %d, %d steps, clip %T%+v, noise multiplier %.6g, δ = %g (%s)",
		p.BatchSize, p.Steps, p.Clip, p.Clip, p.NoiseMultiplier, p.Delta, relation)
	return s.String()
}
