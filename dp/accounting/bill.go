package accounting

import (
	"errors"
	"fmt"
	"math"
	"reflect"
)

// bill is what an event costs under a relation.
type bill struct {
	relation Relation
	items    []item
	index    map[any]int
	way      int     // of ways, which of the bounds that cost δ is used
	hint     float64 // the δ that those bounds are chosen for
	tried    bool    // some mechanism has such bounds
	fail     float64 // added to δ
	infinite bool
	asked    map[[2]int]*known
	renyis   map[float64]float64 // by order, of the usual orders
}

// known is what earlier questions about a sum found.
type known struct {
	contours []*contour
	grids    [][2]*profile // from above and from below
	hard     bool          // a contour failed
}

// item is one mechanism, count times over.
type item struct {
	count float64
	pairs []pair                                        // from above, one for each direction; nil: none is known
	low   []pair                                        // pairs that some such mechanism has
	renyi func(order float64, orders []float64) float64 // nil: of the pairs
}

// ways are the shares of δ that bounds which cost some δ may take; the first is
// none at all.
var ways = []float64{0, 1e-3, 0.1}

// billFor checks an event and lists what it costs. way chooses among bounds that
// cost δ, near hint.
func billFor(e Event, r Relation, way int, hint float64) (*bill, error) {
	if e == nil {
		return nil, errors.New("accounting: event is missing")
	}
	if r < AddRemove || r > ReplaceSpecial {
		return nil, fmt.Errorf("accounting: relation is %v, must be AddRemove, ReplaceOne or ReplaceSpecial", r)
	}
	if err := checkTree(e, 0); err != nil {
		return nil, err
	}
	b := &bill{relation: r, index: map[any]int{}, way: way, hint: hint}
	if err := b.add(e, 1); err != nil {
		return nil, err
	}
	return b, nil
}

// put adds an item; the same mechanism again adds to its count.
func (b *bill) put(key any, count float64, make func() item) {
	if reflect.ValueOf(key).Comparable() {
		if i, ok := b.index[key]; ok {
			b.items[i].count += count
			return
		}
		b.index[key] = len(b.items)
	}
	it := make()
	it.count = count
	if it.low == nil {
		it.low = it.pairs
	}
	b.items = append(b.items, it)
}

// unknown says that there is no bound.
func (b *bill) unknown(what, why string) error {
	return fmt.Errorf("accounting: %s has no bound under %s: %s", what, b.relation, why)
}

// shifts is how far apart two records can be, in norms of one.
func (b *bill) shifts() float64 {
	if b.relation == ReplaceOne {
		return 2
	}
	return 1
}

func (b *bill) gaussian(mu, count float64) {
	b.put(Gaussian{1 / mu}, count, func() item {
		m := newMixture([]float64{mu * b.shifts()}, []float64{1}, remove)
		return item{pairs: b.both(m, m)}
	})
}

// both is a pair for each direction.
func (b *bill) both(with, without pair) []pair {
	if b.relation == ReplaceOne {
		return []pair{with}
	}
	return []pair{with, without}
}

func (b *bill) sampledGaussian(q, sigma, count float64) {
	switch q {
	case 0:
		return
	case 1:
		b.gaussian(1/sigma, count)
		return
	}
	b.put(PoissonSampled{q, Gaussian{sigma}}, count, func() item {
		if b.relation == ReplaceOne {
			return item{pairs: []pair{sampled(q, sigma, replace)}}
		}
		return item{pairs: []pair{sampled(q, sigma, remove), sampled(q, sigma, add)}}
	})
}

// sampledDiscrete puts a mechanism with atoms, sampled with rate q.
func (b *bill) sampledDiscrete(e Event, q, count float64, d *discrete) {
	b.put(PoissonSampled{q, e}, count, func() item {
		with := d.sampled(q, [2]float64{})
		return item{pairs: b.both(with, with.swapped(0, 0))}
	})
}

// add puts an event on the bill.
func (b *bill) add(e Event, count float64) error {
	if !(count <= maxCount) {
		return fmt.Errorf("accounting: event holds %v compositions, must be at most %d", count, maxCount)
	}
	switch e := e.(type) {
	case Composed:
		for _, in := range e.Events {
			if err := b.add(in, count); err != nil {
				return err
			}
		}
		return nil
	case SelfComposed:
		return b.add(e.Event, count*float64(e.Count))
	case NonPrivate:
		b.infinite = true
		return nil
	case PoissonSampled:
		if e.Rate == 0 {
			return nil
		}
		return b.addSampled(e.Event, e.Rate, count)
	case MixtureGaussian:
		return b.addMixture(e, 1, count)
	case TruncatedPoisson:
		return b.addTruncated(e, count)
	case FixedSize:
		return b.addFixedSize(e, count)
	case RandomAllocation:
		return b.addAllocation(e, count)
	case BandMF:
		rounds := (e.Iterations + e.Bands - 1) / e.Bands
		b.sampledGaussian(e.Rate, e.NoiseMultiplier, count*float64(rounds))
		return nil
	case TreeAggregation:
		if b.relation == AddRemove {
			return b.unknown("TreeAggregation", "a record added moves the leaves of those after it; take ReplaceSpecial")
		}
		most := 0
		for _, n := range e.StepCounts {
			most = max(most, n)
		}
		b.gaussian(math.Sqrt(math.Ceil(math.Log2(float64(most)+1)))/e.NoiseMultiplier, count)
		return nil
	case RepeatAndSelect:
		return b.addSelect(e, count)
	case ZeroConcentrated:
		b.put(e, count, func() item {
			low := newMixture([]float64{math.Sqrt(2 * e.Rho)}, []float64{1}, remove)
			return item{
				renyi: func(order float64, _ []float64) float64 { return e.Xi + order*e.Rho },
				low:   b.both(low, low), // a Gaussian of this Rho
			}
		})
		return nil
	case BoundedRange:
		b.put(e, count, func() item {
			d := binary(e.Epsilon)
			// Dong, Durfee and Rogers 2020, Lemmas 3.2 and 3.4: the divergence is at most the
			// greatest of order 1 and then grows by at most ε²/8 for each order.
			x := e.Epsilon / math.Expm1(e.Epsilon)
			slope := e.Epsilon * e.Epsilon / 8
			start := x - 1 - math.Log(x) - slope
			half := binary(e.Epsilon / 2) // its losses span ε
			return item{
				pairs: b.both(d, d),
				low:   b.both(half, half),
				renyi: func(order float64, _ []float64) float64 { return min(start+order*slope, e.Epsilon) },
			}
		})
		return nil
	}
	return b.addSampled(e, 1, count)
}

// addSampled puts a single mechanism, run on a Poisson draw of rate q.
func (b *bill) addSampled(e Event, q, count float64) error {
	half := b.relation == ReplaceOne && q < 1
	name := fmt.Sprintf("PoissonSampled %T", e)[len("PoissonSampled accounting."):]
	known := errors.New("")
	if half {
		known = b.unknown("PoissonSampled "+name, "only the Gaussian's is known")
	}
	shifts := b.shifts()
	switch e := e.(type) {
	case Gaussian:
		b.sampledGaussian(q, e.NoiseMultiplier, count)
		return nil
	case AdaptiveClip:
		// The centred bits move by at most 1/2 (Andrew et al. 2021, Theorem 1).
		z := 1 / math.Hypot(1/e.NoiseMultiplier, 1/(2*e.CountNoise))
		b.sampledGaussian(q, z, count)
		return nil
	case MixtureGaussian:
		return b.addMixture(e, q, count)
	case DiscreteGaussian:
		if half {
			return known
		}
		b.put(PoissonSampled{q, e}, count, func() item {
			d := latticeGaussian{e.Sigma, float64(e.Sensitivity) * shifts, q, false}
			swapped := d
			swapped.swap = true
			return item{pairs: b.both(d, swapped)}
		})
		return nil
	case Laplace:
		if half {
			return known
		}
		b.put(PoissonSampled{q, e}, count, func() item {
			rate := shifts / e.NoiseMultiplier
			return item{pairs: b.both(&laplace{rate: rate, q: q}, &laplace{rate: rate, q: q, swap: q < 1})}
		})
		return nil
	case DiscreteLaplace:
		if half {
			return known
		}
		b.sampledDiscrete(e, q, count, latticeLaplace(1/e.Scale, e.Sensitivity*int(shifts)))
		return nil
	case PureDP:
		if half {
			return known
		}
		b.sampledDiscrete(e, q, count, binary(e.Epsilon))
		return nil
	case RandomizedResponse:
		if half {
			return known
		}
		if b.relation == AddRemove {
			return b.unknown("RandomizedResponse", "a record that is not there gives no response; take ReplaceOne or ReplaceSpecial")
		}
		b.sampledDiscrete(e, q, count, response(e.Noise, e.Options, b.relation == ReplaceSpecial))
		return nil
	case NonPrivate:
		b.infinite = true
		return nil
	}
	return fmt.Errorf("accounting: PoissonSampled.Event is %s, must be a single mechanism: Gaussian, DiscreteGaussian, Laplace, DiscreteLaplace, MixtureGaussian, AdaptiveClip, RandomizedResponse, PureDP or NonPrivate", name)
}

func (b *bill) addMixture(e MixtureGaussian, q, count float64) error {
	if b.relation == ReplaceOne {
		return b.unknown("MixtureGaussian", "only the pairs for a record added or removed are known")
	}
	b.put(PoissonSampled{q, e}, count, func() item {
		d, p := []float64{0}, []float64{1 - q}
		for i, c := range e.Sensitivities {
			if c == 0 {
				p[0] += q * e.Probs[i]
				continue
			}
			d, p = append(d, c/e.StandardDeviation), append(p, q*e.Probs[i])
		}
		if p[0] == 0 {
			d, p = d[1:], p[1:]
		}
		if len(d) == 1 && d[0] == 0 {
			return item{pairs: b.both(silent, silent)}
		}
		return item{pairs: b.both(newMixture(d, p, remove), newMixture(d, p, add))}
	})
	return nil
}

// silent is the pair of equal laws.
var silent = &discrete{loss: []float64{0}, mass: []float64{1}}

// addTruncated: with a public probability that the batch is full, the record
// takes part as if one were replaced, else as in a plain Poisson draw (Ganesh et
// al. 2025).
func (b *bill) addTruncated(e TruncatedPoisson, count float64) error {
	if b.relation == ReplaceOne {
		return b.unknown("TruncatedPoisson", "only the pairs for a record added, removed or nulled are known")
	}
	b.put(e, count, func() item {
		n, m := float64(e.Population), float64(e.MaxBatch)
		full := upperTail(e.Population-1, e.Rate, e.MaxBatch)
		with, without := pair(sampled(e.Rate, e.NoiseMultiplier, remove)), pair(sampled(e.Rate, e.NoiseMultiplier, add))
		if full > 0 {
			rate := min(upperTail(e.Population, e.Rate, e.MaxBatch+1)*m/(n*full), 1)
			swap := sampled(rate, e.NoiseMultiplier/2, replace)
			with = &blend{[]float64{1 - full, full}, []pair{with, swap}}
			without = &blend{[]float64{1 - full, full}, []pair{without, swap}}
		}
		return item{pairs: b.both(with, without)}
	})
	return nil
}

// upperTail is P(Bin(n, q) >= k), of small terms first.
func upperTail(n int, q float64, k int) float64 {
	if k <= 0 {
		return 1
	}
	if k > n {
		return 0
	}
	log := func(j int) float64 {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(j + 1))
		c, _ := math.Lgamma(float64(n - j + 1))
		return a - b - c + float64(j)*math.Log(q) + float64(n-j)*math.Log1p(-q)
	}
	odds := q / (1 - q)
	if float64(k) > float64(n)*q {
		sum, t := 0.0, 1.0
		for j := k; j <= n && t > 1e-20*sum; j++ {
			sum += t
			t *= odds * float64(n-j) / float64(j+1)
		}
		return min(sum*math.Exp(log(k)), 1)
	}
	sum, t := 0.0, 1.0
	for j := k - 1; j >= 0 && t > 1e-20*sum; j-- {
		sum += t
		t *= float64(j) / (odds * float64(n-j+1))
	}
	return max(1-sum*math.Exp(log(k-1)), 0)
}

// sum is the sum of the losses in one direction; ok says that every mechanism
// has a pair.
func (b *bill) sum(direction int, low bool) (m sum, ok bool) {
	ok = true
	key := [2]int{direction, 0}
	if low && !b.exact() {
		key[1] = 1
	}
	if b.asked == nil {
		b.asked = map[[2]int]*known{}
	}
	if b.asked[key] == nil {
		b.asked[key] = &known{}
	}
	m.known = b.asked[key]
	for _, it := range b.items {
		pairs := it.pairs
		if low {
			pairs = it.low
		}
		if pairs == nil {
			ok = false
			continue
		}
		p, count := pairs[direction], it.count
		if r, is := p.(*repeated); is {
			p, count = r.pair, count*r.times
		}
		if g, is := p.(*mixture); is && len(g.d) == 1 && g.dir != replace {
			m.mu2 += count * g.top * g.top
		} else if p != pair(silent) {
			m.terms = append(m.terms, term{p, count})
		}
	}
	return m, ok
}

// exact says that the pairs from above and from below are the same.
func (b *bill) exact() bool {
	for _, it := range b.items {
		for i, p := range it.pairs {
			if it.low == nil || it.low[i] != p {
				return false
			}
		}
		if it.pairs == nil {
			return false
		}
	}
	return b.fail == 0
}

func (b *bill) empty() bool { return len(b.items) == 0 }

// directions is how many pairs each mechanism has.
func (b *bill) directions() int { return len(directions(b.relation)) }
