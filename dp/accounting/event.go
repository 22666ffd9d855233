package accounting

import (
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

// Event is what a mechanism costs. The set of events is closed; all are plain
// values, and [MarshalEvent] writes any of them.
type Event interface {
	// check returns an error that names the first field that is not allowed,
	// of the event alone and not of the events in it.
	check() error
}

// Gaussian is one release of a sum with normal noise whose standard deviation
// is NoiseMultiplier times the l2 norm that one record can have.
type Gaussian struct {
	NoiseMultiplier float64 // positive and finite
}

// DiscreteGaussian adds integer noise of mass proportional to exp(-x²/(2 Sigma²))
// to an integer that one record moves by at most Sensitivity (Canonne, Kamath
// and Steinke 2020). In d dimensions it is d of them composed.
type DiscreteGaussian struct {
	Sigma       float64 // positive, at most 10^6
	Sensitivity int     // at least 1, at most 2^20
}

// Laplace adds noise of density proportional to exp(-|x|/b), b being
// NoiseMultiplier times the l1 norm that one record can have.
type Laplace struct {
	NoiseMultiplier float64 // positive and finite
}

// DiscreteLaplace adds integer noise of mass proportional to exp(-|x|/Scale) to
// an integer that one record moves by at most Sensitivity.
type DiscreteLaplace struct {
	Scale       float64 // positive, at most 10^6
	Sensitivity int     // at least 1, at most 2^20
}

// RandomizedResponse gives one of Options values: a uniform one with
// probability Noise, else the true one.
type RandomizedResponse struct {
	Noise   float64 // in (0, 1]
	Options int     // at least 2
}

// PureDP is any mechanism that is (Epsilon, 0)-differentially private under the
// relation asked. Its worst case is binary randomised response.
type PureDP struct {
	Epsilon float64 // positive, at most 10^4
}

// BoundedRange is any mechanism whose losses span at most Epsilon, as the
// exponential mechanism's of parameter Epsilon do (Durfee and Rogers 2019).
type BoundedRange struct {
	Epsilon float64 // positive, at most 10^4
}

// ZeroConcentrated is any mechanism whose Rényi divergence of every order
// alpha > 1 is at most Xi + Rho·alpha (Bun and Steinke 2016).
type ZeroConcentrated struct {
	Rho float64 // positive and finite
	Xi  float64 // at least 0 and finite
}

// NonPrivate is a release without noise.
type NonPrivate struct{}

// MixtureGaussian adds normal noise of StandardDeviation to a sum that one
// record moves by Sensitivities[i] with probability Probs[i].
type MixtureGaussian struct {
	StandardDeviation float64   // positive and finite
	Sensitivities     []float64 // at least 0, finite, in any order
	Probs             []float64 // positive, summing to 1 within 1e-9
}

// PoissonSampled is Event run on a subset that holds each record by itself with
// probability Rate. Event is one mechanism, not a composition.
type PoissonSampled struct {
	Rate  float64 // in [0, 1]
	Event Event
}

// TruncatedPoisson is a Gaussian sum over a Poisson draw of Rate from Population
// records, of which at most MaxBatch, uniformly chosen, are kept (Ganesh et al.
// 2025).
type TruncatedPoisson struct {
	Population      int     // at least 1
	Rate            float64 // in (0, 1)
	MaxBatch        int     // at least 1
	NoiseMultiplier float64 // positive and finite
}

// FixedSize is Event, a Gaussian, run on a uniform subset of exactly Batch of
// Population records.
type FixedSize struct {
	Population int // at least 1
	Batch      int // at least 1, at most Population
	Event      Event
}

// RandomAllocation is Rounds runs of Event, a Gaussian, where each record takes
// part in a uniform Chosen of them: with Chosen = 1 an epoch of balls-in-bins
// batches.
type RandomAllocation struct {
	Chosen int // at least 1, at most Rounds
	Rounds int // at most 10^6
	Event  Event
}

// BandMF is training with noise correlated by a banded matrix factorisation and
// cyclic Poisson sampling: records are in Bands groups that take turns, and the
// group at turn is sampled with Rate (Choquette-Choo et al. 2023).
type BandMF struct {
	NoiseMultiplier float64 // over the column norm; positive and finite
	Iterations      int     // at least 1
	Bands           int     // at least 1
	Rate            float64 // within a group, in [0, 1]
}

// TreeAggregation is the release of all nodes of binary trees of StepCounts
// leaves, in which a record is in one leaf of one tree (Kairouz et al. 2021).
type TreeAggregation struct {
	NoiseMultiplier float64 // of each node; positive and finite
	StepCounts      []int   // each at least 1
}

// AdaptiveClip is the pair of releases of a step that adapts its clip norm: the
// sum, and with noise of standard deviation CountNoise the number of records
// below the norm less half the draw (Andrew et al. 2021, Theorem 1).
type AdaptiveClip struct {
	NoiseMultiplier float64 // positive and finite
	CountNoise      float64 // positive and finite
}

// RepeatAndSelect is the best of a random number of runs of Event, that number
// being negative binomial of Shape (1 geometric, 0 logarithmic) and not 0, or
// with an infinite Shape Poisson, of the given Mean (Papernot and Steinke 2022).
// For the negative binomials the mean is after zero is taken out.
type RepeatAndSelect struct {
	Event Event
	Mean  float64 // above 1, or with an infinite Shape above 0; at most 10^9
	Shape float64 // above -1; +Inf is Poisson
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

// maxCount bounds the number of compositions.
const maxCount = math.MaxInt32

func bad(field string, value any, allowed string) error {
	return fmt.Errorf("accounting: %s is %v, must %s", field, value, allowed)
}

func positive(field string, x float64) error {
	if !(x > 0) || math.IsInf(x, 0) {
		return bad(field, x, "be positive and finite")
	}
	return nil
}

func within(field string, x, most float64) error {
	if !(x > 0 && x <= most) {
		return bad(field, x, fmt.Sprintf("be positive and at most %v", most))
	}
	return nil
}

func rate(field string, q float64) error {
	if !(q >= 0 && q <= 1) {
		return bad(field, q, "lie in [0, 1]")
	}
	return nil
}

func count(field string, n, most int) error {
	if n < 1 || n > most {
		return bad(field, n, fmt.Sprintf("be at least 1 and at most %d", most))
	}
	return nil
}

func present(field string, e Event) error {
	if e == nil {
		return fmt.Errorf("accounting: %s is missing", field)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (e Gaussian) check() error {
	return positive("Gaussian.NoiseMultiplier", e.NoiseMultiplier)
}

func (e DiscreteGaussian) check() error {
	return first(within("DiscreteGaussian.Sigma", e.Sigma, 1e6), count("DiscreteGaussian.Sensitivity", e.Sensitivity, 1<<20))
}

func (e Laplace) check() error { return positive("Laplace.NoiseMultiplier", e.NoiseMultiplier) }

func (e DiscreteLaplace) check() error {
	return first(within("DiscreteLaplace.Scale", e.Scale, 1e6), count("DiscreteLaplace.Sensitivity", e.Sensitivity, 1<<20))
}

func (e RandomizedResponse) check() error {
	if !(e.Noise > 0 && e.Noise <= 1) {
		return bad("RandomizedResponse.Noise", e.Noise, "lie in (0, 1]")
	}
	if e.Options < 2 || e.Options > maxCount {
		return bad("RandomizedResponse.Options", e.Options, fmt.Sprintf("be at least 2 and at most %d", maxCount))
	}
	return nil
}

func (e PureDP) check() error       { return within("PureDP.Epsilon", e.Epsilon, 1e4) }
func (e BoundedRange) check() error { return within("BoundedRange.Epsilon", e.Epsilon, 1e4) }

func (e ZeroConcentrated) check() error {
	if !(e.Xi >= 0) || math.IsInf(e.Xi, 0) {
		return bad("ZeroConcentrated.Xi", e.Xi, "be at least 0 and finite")
	}
	return positive("ZeroConcentrated.Rho", e.Rho)
}

func (NonPrivate) check() error { return nil }

func (e MixtureGaussian) check() error {
	if len(e.Sensitivities) == 0 || len(e.Sensitivities) > 1000 {
		return bad("MixtureGaussian.Sensitivities", fmt.Sprintf("%d long", len(e.Sensitivities)), "hold 1 to 1000 values")
	}
	if len(e.Probs) != len(e.Sensitivities) {
		return bad("MixtureGaussian.Probs", fmt.Sprintf("%d long", len(e.Probs)), fmt.Sprintf("be as long as Sensitivities, %d", len(e.Sensitivities)))
	}
	total := 0.0
	for i, p := range e.Probs {
		if c := e.Sensitivities[i]; !(c >= 0) || math.IsInf(c, 0) {
			return bad(fmt.Sprintf("MixtureGaussian.Sensitivities[%d]", i), c, "be at least 0 and finite")
		}
		if !(p > 0 && p <= 1) {
			return bad(fmt.Sprintf("MixtureGaussian.Probs[%d]", i), p, "lie in (0, 1]")
		}
		total += p
	}
	if math.Abs(total-1) > 1e-9 {
		return bad("MixtureGaussian.Probs", fmt.Sprintf("%v in all", total), "sum to 1")
	}
	return positive("MixtureGaussian.StandardDeviation", e.StandardDeviation)
}

func (e PoissonSampled) check() error {
	return first(rate("PoissonSampled.Rate", e.Rate), present("PoissonSampled.Event", e.Event))
}

func (e TruncatedPoisson) check() error {
	if !(e.Rate > 0 && e.Rate < 1) {
		return bad("TruncatedPoisson.Rate", e.Rate, "lie in (0, 1)")
	}
	return first(
		count("TruncatedPoisson.Population", e.Population, maxCount),
		count("TruncatedPoisson.MaxBatch", e.MaxBatch, maxCount),
		positive("TruncatedPoisson.NoiseMultiplier", e.NoiseMultiplier))
}

func (e FixedSize) check() error {
	return first(
		count("FixedSize.Population", e.Population, maxCount),
		count("FixedSize.Batch", e.Batch, max(e.Population, 1)),
		present("FixedSize.Event", e.Event))
}

func (e RandomAllocation) check() error {
	return first(
		count("RandomAllocation.Rounds", e.Rounds, 1e6),
		count("RandomAllocation.Chosen", e.Chosen, max(e.Rounds, 1)),
		present("RandomAllocation.Event", e.Event))
}

func (e BandMF) check() error {
	return first(
		positive("BandMF.NoiseMultiplier", e.NoiseMultiplier),
		count("BandMF.Iterations", e.Iterations, maxCount),
		count("BandMF.Bands", e.Bands, maxCount),
		rate("BandMF.Rate", e.Rate))
}

func (e TreeAggregation) check() error {
	if len(e.StepCounts) == 0 {
		return bad("TreeAggregation.StepCounts", "empty", "hold at least one tree")
	}
	for i, n := range e.StepCounts {
		if err := count(fmt.Sprintf("TreeAggregation.StepCounts[%d]", i), n, maxCount); err != nil {
			return err
		}
	}
	return positive("TreeAggregation.NoiseMultiplier", e.NoiseMultiplier)
}

func (e AdaptiveClip) check() error {
	return first(positive("AdaptiveClip.NoiseMultiplier", e.NoiseMultiplier), positive("AdaptiveClip.CountNoise", e.CountNoise))
}

func (e RepeatAndSelect) check() error {
	if !(e.Shape > -1) {
		return bad("RepeatAndSelect.Shape", e.Shape, "be above -1")
	}
	least := 1.0
	if math.IsInf(e.Shape, 1) {
		least = 0
	}
	if !(e.Mean > least && e.Mean <= 1e9) {
		return bad("RepeatAndSelect.Mean", e.Mean, fmt.Sprintf("be above %v and at most 10^9", least))
	}
	return present("RepeatAndSelect.Event", e.Event)
}

func (e SelfComposed) check() error {
	return first(present("SelfComposed.Event", e.Event), count("SelfComposed.Count", e.Count, maxCount))
}

func (e Composed) check() error {
	if len(e.Events) == 0 {
		return fmt.Errorf("accounting: Composed.Events is empty, must hold at least one event")
	}
	for i, part := range e.Events {
		if err := present(fmt.Sprintf("Composed.Events[%d]", i), part); err != nil {
			return err
		}
	}
	return nil
}

// maxDepth bounds how deep events may lie in events.
const maxDepth = 64

// checkTree checks an event and all events in it.
func checkTree(e Event, depth int) error {
	if e == nil {
		return fmt.Errorf("accounting: event is missing")
	}
	if depth > maxDepth {
		return fmt.Errorf("accounting: event holds events %d deep, must be at most %d", depth, maxDepth)
	}
	if err := e.check(); err != nil {
		return err
	}
	for _, in := range inner(e) {
		if err := checkTree(in, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// inner lists the events that an event holds.
func inner(e Event) []Event {
	switch e := e.(type) {
	case PoissonSampled:
		return []Event{e.Event}
	case FixedSize:
		return []Event{e.Event}
	case RandomAllocation:
		return []Event{e.Event}
	case RepeatAndSelect:
		return []Event{e.Event}
	case SelfComposed:
		return []Event{e.Event}
	case Composed:
		return e.Events
	}
	return nil
}
