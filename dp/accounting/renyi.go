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
	b, err := billFor(e, r, 0, 0)
	if err != nil {
		return 0, err
	}
	if !(order > 1) || math.IsInf(order, 0) {
		return 0, fmt.Errorf("accounting: Rényi order is %v, must be above 1 and finite", order)
	}
	return b.renyi(order, defaultOrders), nil
}

// renyi adds up the items'. orders are those that selection may use inside.
func (b *bill) renyi(order float64, orders []float64) float64 {
	if b.infinite {
		return math.Inf(1)
	}
	usual := len(orders) > 0 && &orders[0] == &defaultOrders[0]
	if rho, ok := b.renyis[order]; ok && usual {
		return rho
	}
	total := 0.0
	for _, it := range b.items {
		if it.renyi != nil {
			total += it.count * it.renyi(order, orders)
			continue
		}
		worst := 0.0
		for _, p := range it.pairs {
			worst = max(worst, p.bound(order-1)/(order-1))
		}
		total += it.count * worst
	}
	if usual {
		if b.renyis == nil {
			b.renyis = map[float64]float64{}
		}
		b.renyis[order] = total
	}
	return total
}

// defaultOrders are tried first; between them the best order is searched for.
var defaultOrders = func() (o []float64) {
	for x := 1e-3; x < 1e9; x *= 1.6 {
		o = append(o, 1+x)
	}
	return o
}()

// EpsilonRDP is the least ε over Rényi orders at δ, by [RenyiEpsilon]: an upper
// bound, looser than [Epsilon]'s. It is over the given orders, each above 1, or
// over all real orders if there are none.
func EpsilonRDP(e Event, r Relation, delta float64, orders ...float64) (float64, error) {
	b, err := billFor(e, r, 0, 0)
	if err != nil {
		return 0, err
	}
	if err := checkDelta(delta); err != nil {
		return 0, err
	}
	if err := checkOrders(orders); err != nil {
		return 0, err
	}
	return b.epsilonRDP(delta, orders), nil
}

func (b *bill) epsilonRDP(delta float64, orders []float64) float64 {
	if b.empty() && !b.infinite {
		return 0
	}
	best, at := math.Inf(1), 0
	list := orders
	if orders == nil {
		list = defaultOrders
	}
	eps := func(order float64) float64 { return renyiEpsilon(order, b.renyi(order, list), delta) }
	rising := 0
	for i, order := range list {
		e := eps(order)
		if e < best {
			best, at, rising = e, i, 0
		} else if rising++; orders == nil && rising > 8 && !math.IsInf(best, 0) {
			break // ε falls and then rises with the order
		}
	}
	if orders != nil || math.IsInf(best, 0) || best == 0 {
		return best
	}
	// Golden section between the neighbours, over the log of order - 1.
	lo, hi := math.Log(list[max(at-1, 0)]-1), math.Log(list[min(at+1, len(list)-1)]-1)
	const golden = 0.6180339887498949
	a, c := hi-golden*(hi-lo), lo+golden*(hi-lo)
	fa, fc := eps(1+math.Exp(a)), eps(1+math.Exp(c))
	for range 16 {
		best = min(best, fa, fc)
		if fa < fc {
			hi, c, fc = c, a, fa
			a = hi - golden*(hi-lo)
			fa = eps(1 + math.Exp(a))
		} else {
			lo, a, fa = a, c, fc
			c = lo + golden*(hi-lo)
			fc = eps(1 + math.Exp(c))
		}
	}
	return best
}

// renyiEpsilon is ε at δ by one order: Canonne, Kamath and Steinke 2020,
// Proposition 12; and 0 if the total variation, at most sqrt(1 - e^-rho), allows.
func renyiEpsilon(order, rho, delta float64) float64 {
	if -math.Expm1(-rho) < delta*delta {
		return 0
	}
	return max(rho+math.Log1p(-1/order)-(math.Log(delta)+math.Log(order))/(order-1), 0)
}

// renyiLogDelta is its inverse.
func renyiLogDelta(order, rho, epsilon float64) float64 {
	return min((order-1)*(rho-epsilon+math.Log1p(-1/order))-math.Log(order), math.Log(-math.Expm1(-rho))/2, 0)
}

// RenyiEpsilon turns Rényi divergences at several orders into the least ε at
// delta, and says at which order (Canonne, Kamath and Steinke 2020, Proposition
// 12).
func RenyiEpsilon(orders, divergences []float64, delta float64) (epsilon, order float64, err error) {
	if err := checkDelta(delta); err != nil {
		return 0, 0, err
	}
	epsilon = math.Inf(1)
	err = eachOrder(orders, divergences, func(a, rho float64) {
		if e := renyiEpsilon(a, rho, delta); e < epsilon {
			epsilon, order = e, a
		}
	})
	return epsilon, order, err
}

// RenyiDelta turns Rényi divergences at several orders into the least δ at
// epsilon, and says at which order; [RenyiEpsilon]'s inverse.
func RenyiDelta(orders, divergences []float64, epsilon float64) (delta, order float64, err error) {
	if err := checkEpsilon(epsilon); err != nil {
		return 0, 0, err
	}
	log := math.Inf(1)
	err = eachOrder(orders, divergences, func(a, rho float64) {
		if l := renyiLogDelta(a, rho, epsilon); l < log {
			log, order = l, a
		}
	})
	return math.Exp(log), order, err
}

func eachOrder(orders, divergences []float64, visit func(order, rho float64)) error {
	if len(orders) == 0 || len(divergences) != len(orders) {
		return fmt.Errorf("accounting: %d Rényi orders and %d divergences, must be as many and at least one", len(orders), len(divergences))
	}
	if err := checkOrders(orders); err != nil {
		return err
	}
	for i, a := range orders {
		if !(divergences[i] >= 0) {
			return bad(fmt.Sprintf("divergences[%d]", i), divergences[i], "be at least 0")
		}
		visit(a, divergences[i])
	}
	return nil
}

func checkOrders(orders []float64) error {
	for i, a := range orders {
		if !(a > 1) || math.IsInf(a, 0) {
			return bad(fmt.Sprintf("orders[%d]", i), a, "be above 1 and finite")
		}
	}
	return nil
}

func checkDelta(delta float64) error {
	if !(delta > 0 && delta < 1) {
		return fmt.Errorf("accounting: delta is %v, must lie in (0, 1)", delta)
	}
	return nil
}

func checkEpsilon(epsilon float64) error {
	if !(epsilon >= 0 && epsilon <= 1e6) {
		return fmt.Errorf("accounting: epsilon is %v, must lie in [0, 10^6]", epsilon)
	}
	return nil
}
