package accounting

import (
	"fmt"
	"math"
)

// Renyi bounds the Rényi divergence of an order above 1 between an event's
// outputs on neighbouring data sets, whichever comes first. It adds up over
// composition even when each event is chosen by what the former ones gave, at
// one order (Feldman and Zrnic 2021, "Individual privacy accounting via a Rényi
// filter", Theorem 3.1), which is what a budget filter counts in.
func Renyi(e Event, r Relation, order float64) (float64, error) {
	list, err := parts(e, r)
	if err != nil {
		return 0, err
	}
	if !(order > 1) || math.IsInf(order, 0) {
		return 0, fmt.Errorf("accounting: Rényi order is %v, must be above 1 and finite", order)
	}
	rho := 0.0
	for _, p := range list {
		worst := 0.0
		for _, d := range directions(r) {
			worst = max(worst, renyi(pair{p.rate, p.sigma, d}, order))
		}
		rho += float64(p.count) * worst
	}
	return rho * (1 + 1e-12), nil // the quadrature's rounding
}
