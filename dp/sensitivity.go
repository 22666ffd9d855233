package dp

import (
	"fmt"
	"math"
)

// The constants of the sensitivity proof in the package doc.
const (
	// runLength is the mean length of a run at the declared batch size.
	runLength = 64

	// normSlack is how far, relatively, a norm may lie below the norm of what
	// its example adds.
	normSlack = 0x1p-14

	// weightSlack covers the float64 operations that make a weight before it is
	// rounded down to float32.
	weightSlack = 0x1p-40

	// unitRoundoff is float32's.
	unitRoundoff = 0x1p-24

	// underflow covers what subnormal terms lose, in grid units per
	// coordinate: terms are far above float32's subnormals wherever they weigh.
	underflow = 0x1p-30

	// gridShare and dimensionShare say how fine the grid is: at most gridShare
	// of sigma, and so fine that rounding d coordinates costs at most
	// dimensionShare of the clip norm.
	gridShare      = 0x1p-20
	dimensionShare = 0x1p-10

	// maxWeight and maxRun are what Gradients must be able to take.
	maxWeight = 0x1p47
	maxRun    = 0x1p51

	// maxSigma keeps sigma in grid units well inside the sampler's range.
	maxSigma = 0x1p35

	// overflowShare is the part of delta that the chance of a run overflow may
	// take.
	overflowShare = 1e-6
)

// roundings is the γ_k of floating-point analysis: k roundings move a product
// or sum of chained terms by at most this, relatively (Higham 2002, Lemma 3.1).
func roundings(k int) float64 {
	return float64(k) * unitRoundoff / (1 - float64(k)*unitRoundoff)
}

// eta bounds, relatively to the clip norm, how much float32 arithmetic can add
// to the sensitivity of the sum of runs of at most limit examples.
func eta(limit int) float64 {
	slack := (1+normSlack)*(1+weightSlack) - 1
	chain := 0.0
	for m := 1; m <= limit; m++ {
		chain += roundings(m + 2)
	}
	return (slack + 2*chain*(1+slack)) * (1 + 0x1p-30)
}

// runs are the public sizes by which a draw is cut.
type runs struct {
	count  int     // R
	limit  int     // K: a run takes no more examples
	chance float64 // upper bound of the chance that a step of the plan meets a fuller run
}

// newRuns cuts a batch, whose records come from a population with probability
// rate each, so that the chance of an overflow within the given steps is at
// most allowance, or as small as it can be.
func newRuns(batch, population, steps int, rate, allowance float64) runs {
	r := runs{count: (batch + runLength - 1) / runLength}
	p := min(1, rate/float64(r.count)*(1+0x1p-50))
	trials := float64(steps) * float64(r.count)
	for r.limit = int(float64(population)*p) + 1; r.limit < population; r.limit++ {
		r.chance = trials * binomialTail(population, p, r.limit)
		if r.chance <= allowance {
			return r
		}
	}
	r.limit, r.chance = population, 0 // nothing more to draw
	return r
}

// binomialTail is an upper bound of P(X >= k), X binomial of n trials with
// probability p, for np < k < n. Successive terms shrink by at least the ratio of
// the first two, so a geometric series bounds the tail; the logarithm of its
// first term is summed from k+1 logarithms, whose rounding the last factor
// covers for n up to 2^40 and np up to 2^20 with room to spare.
func binomialTail(n int, p float64, k int) float64 {
	odds := p / (1 - p)
	ln := float64(n) * math.Log1p(-p)
	for i := 1; i <= k; i++ {
		ln += math.Log(float64(n-i+1) / float64(i) * odds)
	}
	ratio := float64(n-k) / float64(k+1) * odds
	if ratio >= 1 {
		return 1
	}
	return min(1, math.Exp(ln)/(1-ratio)*(1+1e-6))
}

// grid says how a step's sum lies on the integers.
type grid struct {
	unit        float64 // γ, a power of two: one integer, in units of gradients
	sensitivity float64 // of the integer sum to one record, in l2
	sigma       float64 // of the noise, in integers
}

// newGrid places sums of d coordinates, clipped to norm clip in runs of at most
// limit examples, for noise of multiplier times their sensitivity.
func newGrid(clip, multiplier float64, d, limit int) grid {
	root := math.Sqrt(float64(d))
	unit := clip * min(multiplier*gridShare, dimensionShare/root)
	// The sum of a run and sigma must fit, at the price of a coarser grid. The
	// factors leave room for rounding unit down and for what is added to clip.
	unit = max(unit, clip*float64(limit)*(4/maxRun), clip*multiplier*(2/maxSigma))
	_, exp := math.Frexp(unit)
	unit = math.Ldexp(1, exp-1) // rounded down to a power of two
	g := grid{unit: unit}
	g.sensitivity = (clip/unit*(1+eta(limit)) + root*(1+underflow)) * (1 + 0x1p-40)
	g.sigma = multiplier * g.sensitivity * (1 + 0x1p-40)
	return g
}

// check refuses grids whose weights are beyond what Gradients must take.
func (g grid) check(largestWeight float64) error {
	if w := largestWeight / g.unit; !(w < maxWeight) {
		return fmt.Errorf("dp: Clip and NoiseMultiplier give weights up to %.3g, must stay below 2^47: scale the loss up, and the clip norm with it", w)
	}
	if !(g.sigma <= 2*maxSigma) {
		return fmt.Errorf("dp: NoiseMultiplier gives a sigma of %.3g grid units, must stay below 2^36", g.sigma)
	}
	return nil
}
