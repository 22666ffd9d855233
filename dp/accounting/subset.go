package accounting

import (
	"math"
	"slices"
)

// addFixedSize: a Gaussian on a uniform subset of fixed size, when one record is
// replaced.
func (b *bill) addFixedSize(e FixedSize, count float64) error {
	g, ok := e.Event.(Gaussian)
	if !ok {
		return b.unknown("FixedSize", "its Event must be a Gaussian")
	}
	if b.relation != ReplaceOne {
		return b.unknown("FixedSize", "a batch of fixed size needs data sets of equal size; take ReplaceOne")
	}
	q := float64(e.Batch) / float64(e.Population)
	mu := 2 / g.NoiseMultiplier
	b.put(e, count, func() item {
		low := newMixture([]float64{mu}, []float64{1}, remove)
		if q < 1 { // all other records are null
			low = newMixture([]float64{0, mu}, []float64{1 - q, q}, remove)
		}
		return item{
			pairs: []pair{newFixedSize(q, mu)},
			low:   []pair{low},
			renyi: newSubset(q, mu).renyi,
		}
	})
	return nil
}

// subset bounds the Rényi divergence of a Gaussian of shift mu on a uniform
// subset of share q: Wang, Balle and Kasiviswanathan 2019, Theorem 27, with the
// ternary moments B(l) = E_Q (P/Q - 1)^l; between whole orders the log-moment is
// interpolated, being convex.
type subset struct {
	q, mu   float64
	ternary []float64 // log B(2i)
}

func newSubset(q, mu float64) *subset { return &subset{q, mu, []float64{0}} }

// maxSubsetOrder is the largest order that profits from sampling.
const maxSubsetOrder = 1024

func (s *subset) renyi(order float64, _ []float64) float64 {
	whole := s.mu * s.mu * order / 2 // with no help from sampling
	if s.q == 1 || order > maxSubsetOrder {
		return whole
	}
	low := math.Floor(order)
	share := order - low
	k := (1-share)*s.moment(int(low)) + share*s.moment(int(low)+1)
	return min(k/(order-1), whole)
}

// moment is order - 1 times the divergence.
func (s *subset) moment(a int) float64 {
	if a <= 1 {
		return 0
	}
	m2, q := s.mu*s.mu, math.Log(s.q)
	choose := math.Log(float64(a) * float64(a-1) / 2)
	sum := choose + 2*q + min(math.Log(4)+math.Log(math.Expm1(m2)), math.Log(2)+m2)
	for j := 3; j <= a; j++ {
		choose += math.Log(float64(a-j+1) / float64(j))
		sum = logAdd(sum, math.Log(4)+choose+float64(j)*q+(s.logTernary(j&^1)+s.logTernary((j+1)&^1))/2)
	}
	return logAdd(0, sum)
}

// logTernary is log E (exp(mu z - mu²/2) - 1)^l over a standard normal z, for even
// l: positive terms of a trapezoid rule, so that nothing cancels.
func (s *subset) logTernary(l int) float64 {
	for len(s.ternary) <= l/2 {
		n := float64(2 * len(s.ternary))
		const h = 0.05
		reach := 12 + math.Sqrt(2*n)
		lo, hi := -reach, n*s.mu+reach
		var logs []float64
		top := math.Inf(-1)
		for z := lo; z <= hi; z += h {
			x := n*math.Log(math.Abs(math.Expm1(s.mu*z-s.mu*s.mu/2))) - z*z/2
			logs = append(logs, x)
			top = max(top, x)
		}
		sum := 0.0
		for _, x := range logs {
			sum += math.Exp(x - top)
		}
		s.ternary = append(s.ternary, math.Log(sum*h/math.Sqrt(2*math.Pi)*(1+1e-12))+top)
	}
	return s.ternary[l/2]
}

// addAllocation: each record takes part in a uniform Chosen of Rounds.
//
// A uniform subset of k of t rounds is a uniform choice of one round in each of
// k blocks of floor(t/k) rounds, the blocks being cut at random, in public: it
// is k allocations of one round of n = floor(t/k), composed.
//
// In one allocation let w_j be the ratio N(1, σ²)/N(0, σ²) at round j's output.
// Given the outputs before round i, and that the record is there, it takes part
// in round i with the posterior probability 1/(n-i+1 + Σ_{j<i} w_j). As long as
// Σ_{j<i} (1-w_j) <= a that is at most 1/(n-a): the rounds are Poisson-sampled
// Gaussians, of rates chosen along the way and no higher, each of which a
// Poisson-sampled Gaussian of rate 1/(n-a) dominates. Under N(0, σ²)ⁿ the partial
// sums of 1-w_j are a martingale, so that they exceed a with probability at most
// exp(-θa) (E exp(θ(1-w)))ⁿ (Doob), and with the record no more often, as w then
// only grows. That probability goes into δ.
func (b *bill) addAllocation(e RandomAllocation, count float64) error {
	g, ok := e.Event.(Gaussian)
	if !ok {
		return b.unknown("RandomAllocation", "its Event must be a Gaussian")
	}
	if b.relation == ReplaceOne {
		return b.unknown("RandomAllocation", "only the pairs for a record added or removed are known")
	}
	k, n := float64(e.Chosen), math.Floor(float64(e.Rounds)/float64(e.Chosen))
	low := newMixture([]float64{k / (math.Sqrt(float64(e.Rounds)) * g.NoiseMultiplier)}, []float64{1}, remove) // all outputs added up
	if n == 1 && e.Chosen == e.Rounds {
		b.gaussian(1/g.NoiseMultiplier, count*k)
		return nil
	}
	b.tried = true
	if share := ways[b.way]; share > 0 && n > 1 {
		fail := share * b.hint / (count * k)
		if a := allocationSlack(n, 1/g.NoiseMultiplier, fail); a < n-1 {
			b.fail += fail * count * k
			rate := 1 / (n - a)
			b.put([2]any{e, rate}, count*k, func() item { // n rounds each: the count is of allocations
				return item{pairs: []pair{
					&repeated{sampled(rate, g.NoiseMultiplier, remove), n},
					&repeated{sampled(rate, g.NoiseMultiplier, add), n},
				}, low: []pair{silent, silent}}
			})
			b.put([2]any{e, "low"}, count, func() item {
				return item{pairs: []pair{silent, silent}, low: []pair{low, low}}
			})
			return nil
		}
	}
	// However the rounds are chosen, it is a mixture of Gaussians of this shift.
	b.put([2]any{e, 0}, count, func() item {
		m := newMixture([]float64{math.Sqrt(k) / g.NoiseMultiplier}, []float64{1}, remove)
		return item{pairs: []pair{m, m}, low: []pair{low, low}}
	})
	return nil
}

// allocationSlack is the least a with exp(-θa) (E exp(θ(1-w)))ⁿ <= fail for some
// θ, w = exp(mu z - mu²/2).
func allocationSlack(n, mu, fail float64) float64 {
	best := math.Inf(1)
	for theta := 1e-4; theta < 1e4; theta *= 1.15 {
		// E exp(θ(1-w)) = 1 + E (exp(θ(1-w)) - 1 - θ(1-w)), a positive integrand.
		const h = 1.0 / 64
		sum := 0.0
		for z := -14.0; z <= 14; z += h {
			x := -theta * math.Expm1(mu*z-mu*mu/2)
			f := math.Expm1(x) - x
			if math.Abs(x) < 1e-3 {
				f = x * x / 2 * (1 + x/3)
			}
			sum += f * math.Exp(-z*z/2)
		}
		log := math.Log1p(sum * h / math.Sqrt(2*math.Pi) * (1 + 1e-9))
		best = min(best, (n*log-math.Log(fail))/theta)
	}
	return best
}

// addSelect: the best of a random number of runs.
func (b *bill) addSelect(e RepeatAndSelect, count float64) error {
	base, err := billFor(e.Event, b.relation, 0, 0)
	if err != nil {
		return err
	}
	if base.infinite {
		b.infinite = true
		return nil
	}
	var low []pair
	if it := base.items; !math.IsInf(e.Shape, 0) && len(it) == 1 && it[0].count == 1 {
		low = it[0].low // where all runs are equally good, one is as good as given
	}
	b.put(e, count, func() item {
		s := &selection{base: base, mean: e.Mean, shape: e.Shape}
		return item{renyi: s.renyi, low: low}
	})
	return nil
}

// selection bounds the Rényi divergence of repeat-and-select (Papernot and
// Steinke 2022, Theorem 2 for negative binomials and Theorem 6 for Poisson).
type selection struct {
	base        *bill
	mean, shape float64
	orders      []float64
	best        []float64 // the least bound at orders[i] and above
	bases       []float64
	inner       float64
}

func (s *selection) prepare(orders []float64) {
	if len(s.orders) == len(orders) && len(orders) > 0 && &s.orders[0] == &orders[0] {
		return
	}
	s.orders, s.bases, s.best = orders, make([]float64, len(orders)), make([]float64, len(orders))
	s.inner = math.Inf(1)
	var gamma float64
	poisson := math.IsInf(s.shape, 1)
	if !poisson {
		gamma = stopping(s.mean, s.shape)
	}
	for i, a := range orders {
		s.bases[i] = s.base.renyi(a, orders)
		s.inner = min(s.inner, (1+s.shape)*((1-1/a)*s.bases[i]-math.Log(gamma)/a))
	}
	// Divergences grow with the order: a bound at an order holds below it too.
	least := math.Inf(1)
	for i := len(orders) - 1; i >= 0; i-- {
		s.best[i] = s.at(orders[i], s.bases[i])
		if !poisson { // whose bound falls steeply: an ε would not gain
			least = min(least, s.best[i])
			s.best[i] = least
		}
	}
}

// at is the theorem at one order.
func (s *selection) at(order, base float64) float64 {
	if !math.IsInf(s.shape, 1) {
		return base + s.inner + math.Log(s.mean)/(order-1)
	}
	eps, log := math.Log1p(1/(order-1)), 0.0
	for i, a := range s.orders {
		log = min(log, renyiLogDelta(a, s.bases[i], eps))
	}
	return base + s.mean*math.Exp(log) + math.Log(s.mean)/(order-1)
}

func (s *selection) renyi(order float64, orders []float64) float64 {
	for i := 1; i < len(orders); i++ {
		if orders[i] < orders[i-1] {
			orders = slices.Sorted(slices.Values(orders))
			break
		}
	}
	s.prepare(orders)
	for i, a := range s.orders {
		if a >= order {
			return s.best[i]
		}
	}
	return math.Inf(1)
}

// stopping is the γ with which the truncated negative binomial of a shape has
// this mean.
func stopping(mean, shape float64) float64 {
	lo, hi := math.Log(1e-300), 0.0
	for range 200 {
		mid := (lo + hi) / 2
		g := math.Exp(mid)
		var m float64
		if shape == 0 {
			m = math.Expm1(-mid) / -mid
		} else {
			m = shape * -math.Expm1(mid) / (g * -math.Expm1(shape*mid))
		}
		if m > mean {
			lo = mid
		} else {
			hi = mid
		}
	}
	return math.Exp(lo) // the smaller, which costs more
}

// repeated is a pair times over, as one.
type repeated struct {
	pair
	times float64
}

func (r *repeated) bound(s float64) float64 { return r.times * r.pair.bound(s) }
