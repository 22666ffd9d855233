package accounting

import (
	"errors"
	"fmt"
	"math"
)

// Interval holds the truth: Upper is a guarantee, Lower shows its slack.
type Interval struct {
	Lower, Upper float64
}

// Epsilon is the ε of an event at delta, in (0, 1), under a relation.
func Epsilon(e Event, r Relation, delta float64) (Interval, error) {
	list, err := parts(e, r)
	if err != nil {
		return Interval{}, err
	}
	if err := checkDelta(delta); err != nil {
		return Interval{}, err
	}
	if len(list) == 0 {
		return Interval{}, nil
	}
	if i, ok := contourEpsilon(list, r, delta); ok {
		return i, nil
	}
	upper := upperEpsilon(list, r, delta)
	lower := 0.0
	for _, d := range directions(r) {
		c := compose(list, d, delta*1e-7, false)
		if slack := c.lostDown + c.roundoff; c.ok {
			lower = max(lower, c.epsilon(delta+slack))
		}
	}
	return Interval{min(lower, upper), upper}, nil
}

// upperEpsilon is the guarantee alone.
func upperEpsilon(list []part, r Relation, delta float64) float64 {
	if i, ok := contourEpsilon(list, r, delta); ok {
		return i.Upper
	}
	upper := 0.0
	for _, d := range directions(r) {
		c := compose(list, d, delta*1e-7, true)
		slack := c.infinite + c.lostUp + c.roundoff
		if !c.ok || slack > delta/100 {
			return epsilonRDP(list, r, delta)
		}
		upper = max(upper, c.epsilon(delta-slack))
	}
	return upper
}

// Delta is the δ of an event at epsilon, in [0, 1e6], under a relation. Upper is
// no less than about 1e-12, the rounding of what it is computed by.
func Delta(e Event, r Relation, epsilon float64) (Interval, error) {
	list, err := parts(e, r)
	if err != nil {
		return Interval{}, err
	}
	if !(epsilon >= 0 && epsilon <= 1e6) {
		return Interval{}, fmt.Errorf("accounting: epsilon is %v, must lie in [0, 10^6]", epsilon)
	}
	if len(list) == 0 {
		return Interval{}, nil
	}
	if l, ok := contourLogDelta(list, r, epsilon); ok {
		return Interval{math.Exp(l.Lower), math.Min(math.Exp(l.Upper), 1)}, nil
	}
	const tail = 1e-16
	var i Interval
	for _, d := range directions(r) {
		c := compose(list, d, tail, true)
		if !c.ok {
			return Interval{0, 1}, nil
		}
		i.Upper = max(i.Upper, c.delta(epsilon)+c.infinite+c.lostUp+c.roundoff)
		if c = compose(list, d, tail, false); c.ok {
			i.Lower = max(i.Lower, c.delta(epsilon)-c.lostDown-c.roundoff)
		}
	}
	i.Upper = min(i.Upper, 1)
	i.Lower = min(max(i.Lower, 0), i.Upper)
	return i, nil
}

// CalibrateNoise returns the least noise multiplier, to a relative 1e-4, whose
// event has an upper ε of at most epsilon at delta. The value returned was
// itself seen to meet the budget. event must get no dearer with more noise.
func CalibrateNoise(epsilon, delta float64, r Relation, event func(noiseMultiplier float64) Event) (float64, error) {
	if !(epsilon > 0) || math.IsInf(epsilon, 0) {
		return 0, fmt.Errorf("accounting: epsilon is %v, must be positive and finite", epsilon)
	}
	if err := checkDelta(delta); err != nil {
		return 0, err
	}
	meets := func(sigma float64) (bool, error) {
		list, err := parts(event(sigma), r)
		return err == nil && (len(list) == 0 || upperEpsilon(list, r, delta) <= epsilon), err
	}
	const least, most = 1e-2, 1e6
	good := 1.0
	for {
		ok, err := meets(good)
		if err != nil {
			return 0, err
		}
		if ok {
			break
		}
		if good *= 2; good > most {
			return 0, errors.New("accounting: no noise multiplier up to 10^6 meets the budget")
		}
	}
	bad := good / 2
	for bad > least {
		ok, err := meets(bad)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		good, bad = bad, bad/2
	}
	if bad <= least {
		return good, nil
	}
	for good/bad > 1+1e-4 {
		mid := math.Sqrt(good * bad)
		ok, err := meets(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			good = mid
		} else {
			bad = mid
		}
	}
	return good, nil
}

// sumOf is the sum of the losses in one direction.
func sumOf(list []part, d direction) sum {
	var m sum
	count := map[[2]float64]float64{}
	var order [][2]float64
	for _, p := range list {
		if p.rate == 1 {
			mu := 1 / p.sigma
			if d == replace {
				mu *= 2
			}
			m.mu2 += float64(p.count) * mu * mu
			continue
		}
		key := [2]float64{p.rate, p.sigma}
		if count[key] == 0 {
			order = append(order, key)
		}
		count[key] += float64(p.count)
	}
	for _, k := range order {
		m.terms = append(m.terms, term{sampled(k[0], k[1], d), count[k]})
	}
	return m
}

// contourEpsilon is the larger of the directions' intervals.
func contourEpsilon(list []part, r Relation, delta float64) (Interval, bool) {
	var out Interval
	for n, d := range directions(r) {
		m := sumOf(list, d)
		if n > 0 {
			// The other direction often costs less: Chernoff's bound may say so.
			p := m.saddleFor(func(p saddle) bool { return p.eps >= out.Lower })
			if p.ok && m.bound(p.s)-p.s*out.Lower+kappa(p.s) < math.Log(delta) {
				continue
			}
		}
		i, ok := m.epsilon(math.Log(delta))
		if !ok {
			return out, false
		}
		out.Lower, out.Upper = max(out.Lower, i.Lower), max(out.Upper, i.Upper)
	}
	return out, true
}

// contourLogDelta is the larger of the directions' intervals of log δ.
func contourLogDelta(list []part, r Relation, epsilon float64) (Interval, bool) {
	out := Interval{math.Inf(-1), math.Inf(-1)}
	for n, d := range directions(r) {
		m := sumOf(list, d)
		if n > 0 {
			p := m.saddleFor(func(p saddle) bool { return p.eps >= epsilon })
			if p.ok && m.bound(p.s)-p.s*epsilon+kappa(p.s) < out.Lower {
				continue
			}
		}
		l, u, ok := m.logDelta(epsilon)
		if !ok {
			return out, false
		}
		out.Lower, out.Upper = max(out.Lower, l), max(out.Upper, u)
	}
	return out, true
}
