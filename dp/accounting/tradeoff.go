package accounting

import (
	"fmt"
	"math"
)

// Advantage is the most by which the true-positive rate of any membership attack
// can exceed its false-positive rate: the total variation distance, δ at ε = 0.
func Advantage(e Event, r Relation) (Interval, error) { return Delta(e, r, 0) }

// TruePositiveRate is the most that the true-positive rate of any membership
// attack can be at a false-positive rate in [0, 1]: one less the trade-off
// function f (Dong, Roth and Su 2022), symmetrised over the order of the
// neighbours. f(α) is the greatest over ε of 1 - δ(ε) - e^ε α and e^-ε (1 - δ(ε) -
// α), both concave in e^ε.
func TruePositiveRate(e Event, r Relation, falsePositiveRate float64) (Interval, error) {
	curve, err := TradeOff(e, r, []float64{falsePositiveRate})
	if err != nil {
		return Interval{}, err
	}
	return curve[0], nil
}

// TradeOff is [TruePositiveRate] at each of several false-positive rates.
func TradeOff(e Event, r Relation, falsePositiveRates []float64) ([]Interval, error) {
	account, err := newAccount(e, r)
	if err != nil {
		return nil, err
	}
	for i, a := range falsePositiveRates {
		if !(a >= 0 && a <= 1) {
			return nil, bad(fmt.Sprintf("falsePositiveRates[%d]", i), a, "lie in [0, 1]")
		}
	}
	t := tradeOff{account: account, known: map[float64]Interval{}}
	out := make([]Interval, len(falsePositiveRates))
	for i, a := range falsePositiveRates {
		out[i] = t.at(a)
	}
	return out, nil
}

// tradeOff remembers the profile.
type tradeOff struct {
	account account
	known   map[float64]Interval
}

func (t *tradeOff) delta(eps float64) Interval {
	i, ok := t.known[eps]
	if !ok {
		l := t.account.logDelta(eps)
		i = Interval{math.Exp(l.Lower), math.Exp(l.Upper)}
		t.known[eps] = i
	}
	return i
}

// at is one point of the curve.
func (t *tradeOff) at(alpha float64) Interval {
	if alpha >= 1 {
		return Interval{1, 1}
	}
	if alpha == 0 { // e^ε α is 0 for every ε: f is 1 less the mass of infinite loss
		d := t.delta(1e6)
		return Interval{d.Lower, d.Upper}
	}
	steep := t.greatest(func(y float64, d float64) float64 { return 1 - d - y*alpha })
	flat := t.greatest(func(y float64, d float64) float64 { return (1 - d - alpha) / y })
	f := Interval{max(steep.Lower, flat.Lower, 0), max(steep.Upper, flat.Upper, 0)}
	out := Interval{1 - f.Upper, 1 - f.Lower}
	return Interval{min(max(out.Lower, alpha), 1), min(max(out.Upper, alpha), 1)}
}

// greatest bounds the greatest of a function of y = e^ε >= 1 and δ(ε) that falls
// with δ and has one peak: from below by its value, from above by what its
// neighbours allow, δ being monotone in ε.
func (t *tradeOff) greatest(f func(y, delta float64) float64) Interval {
	low := func(eps float64) float64 { return f(math.Exp(eps), t.delta(eps).Upper) }
	// Coarse steps find the peak, golden section refines it.
	grid := []float64{0}
	for e := 1e-3; e < 700; e *= 4 {
		grid = append(grid, e)
	}
	best := 0
	value := low(0)
	for i, e := range grid {
		if f(math.Exp(e), 0) < value {
			break // not even with a δ of 0
		}
		if v := low(e); v > value {
			best, value = i, v
		} else if i > best {
			break
		}
	}
	lo, hi := grid[max(best-1, 0)], grid[min(best+1, len(grid)-1)]
	for range 30 {
		if hi-lo <= 1e-4*hi {
			break
		}
		a, b := lo+(hi-lo)*0.382, lo+(hi-lo)*0.618
		if low(a) > low(b) {
			hi = b
		} else {
			lo = a
		}
	}
	eps := (lo + hi) / 2
	out := Interval{max(low(eps), low(lo), low(hi), value), 0}
	// Above: on each cell [a, b] around the peak no value exceeds f(e^a, δ_lower(b))
	// where f falls with y, and beyond the cells f is below its value at their
	// border, having one peak. The concave functions here allow more: the line
	// through two points on one side bounds the other side.
	out.Upper = t.ceiling(f, eps, lo, hi, out.Lower)
	return out
}

// ceiling bounds a function with one peak in y from above.
func (t *tradeOff) ceiling(f func(y, delta float64) float64, eps, lo, hi, reached float64) float64 {
	high := func(eps float64) float64 { return f(math.Exp(eps), t.delta(eps).Lower) }
	width := max(hi-lo, 1e-4*(1+eps))
	for {
		a, b := max(eps-width, 0), eps+width
		// The peak is inside if both borders are surely below the value reached.
		if (a == 0 || high(a) < reached) && high(b) < reached || width > 700 {
			const cells = 16
			top := math.Inf(-1)
			for i := range cells {
				x, z := a+(b-a)*float64(i)/cells, a+(b-a)*float64(i+1)/cells
				top = max(top, f(math.Exp(x), t.delta(z).Lower))
			}
			if width > 700 {
				return max(top, f(1, t.delta(b).Lower))
			}
			return top
		}
		width *= 2
	}
}

// Mu is the least μ such that the event's δ(ε) is at most that of a Gaussian of
// shift μ (Dong, Roth and Su 2022) plus floor, at every ε: μ-GDP but for a total
// variation of floor, in (0, 1). Without a floor the tail alone would decide,
// and a subsampled Gaussian would not profit from sampling.
func Mu(e Event, r Relation, floor float64) (Interval, error) {
	if !(floor > 0 && floor < 1) {
		return Interval{}, bad("floor", floor, "lie in (0, 1)")
	}
	far, err := Epsilon(e, r, floor)
	if err != nil {
		return Interval{}, err
	}
	if math.IsInf(far.Upper, 1) {
		return Interval{far.Lower, math.Inf(1)}, nil
	}
	account, err := newAccount(e, r)
	if err != nil {
		return Interval{}, err
	}
	t := tradeOff{account: account, known: map[float64]Interval{}}
	var out Interval
	const cells = 256
	at := func(i int) float64 { return far.Upper * math.Pow(float64(i)/cells, 1.5) }
	for i := range cells {
		a, b := at(i), at(i+1)
		d := t.delta(a)
		out.Lower = max(out.Lower, gaussianMu(a, d.Lower-floor))
		// For every ε in [a, b], δ(ε) <= δ(a), and a Gaussian's is at least its at b.
		out.Upper = max(out.Upper, gaussianMu(b, d.Upper-floor))
	}
	return out, nil
}

// gaussianMu is the μ at which a Gaussian's δ(eps) is delta.
func gaussianMu(eps, delta float64) float64 {
	if delta <= 0 {
		return 0
	}
	value := func(mu float64) float64 {
		return math.Erfc((eps/mu-mu/2)/math.Sqrt2)/2 - math.Exp(eps)*math.Erfc((eps/mu+mu/2)/math.Sqrt2)/2
	}
	lo, hi := 0.0, 1.0
	for value(hi) < delta && hi < 1e6 {
		lo, hi = hi, 2*hi
	}
	for range 100 {
		mid := (lo + hi) / 2
		if value(mid) < delta {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}
