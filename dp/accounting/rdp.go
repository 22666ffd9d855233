package accounting

import (
	"fmt"
	"math"
)

// orders are the Rényi orders tried.
var orders = func() (o []float64) {
	for a := 1.05; a < 11; a += 0.05 {
		o = append(o, a)
	}
	for a := 11.0; a < 64; a++ {
		o = append(o, a)
	}
	return append(o, 80, 96, 128, 192, 256, 384, 512, 768, 1024)
}()

// EpsilonRDP is the least ε over Rényi orders at δ: Canonne, Kamath and Steinke
// 2020, Proposition 12, over the sum of the parts' Rényi divergences. It is an
// upper bound.
func EpsilonRDP(e Event, r Relation, delta float64) (float64, error) {
	list, err := parts(e, r)
	if err != nil {
		return 0, err
	}
	if err := checkDelta(delta); err != nil {
		return 0, err
	}
	return epsilonRDP(list, r, delta), nil
}

func epsilonRDP(list []part, r Relation, delta float64) float64 {
	if len(list) == 0 {
		return 0
	}
	best := math.Inf(1)
	for _, a := range orders {
		rho := 0.0
		for _, p := range list {
			worst := 0.0
			for _, d := range directions(r) {
				worst = max(worst, renyi(pair{p.rate, p.sigma, d}, a))
			}
			rho += float64(p.count) * worst
		}
		rho *= 1 + 1e-12 // of the quadrature
		if -math.Expm1(-rho) < delta*delta {
			return 0
		}
		best = min(best, rho+math.Log1p(-1/a)-math.Log(delta*a)/(a-1))
	}
	return max(best, 0)
}

// renyi is the Rényi divergence of order a by the trapezoid rule, which
// converges faster than any power of its step on functions like this one.
func renyi(p pair, a float64) float64 {
	if p.q == 1 {
		shift := 1.0
		if p.d == replace {
			shift = 2
		}
		return a * shift * shift / (2 * p.sigma * p.sigma)
	}
	// E_P exp((a-1) L). The integrand's mass lies between the shifted normals.
	reach := a + 1
	lo, hi := -reach-14*p.sigma, reach+14*p.sigma
	step := min(p.sigma/12, (hi-lo)/400)
	n := int((hi-lo)/step) + 1
	total := math.Inf(-1)
	s2 := 2 * p.sigma * p.sigma
	for i := range n {
		x := lo + float64(i)*step
		var logP float64
		if p.d == add {
			logP = -x * x / s2
		} else {
			logP = logAdd(math.Log1p(-p.q)-x*x/s2, math.Log(p.q)-(x-1)*(x-1)/s2)
		}
		total = logAdd(total, logP+(a-1)*p.loss(x))
	}
	return max((total+math.Log(step/(p.sigma*math.Sqrt(2*math.Pi))))/(a-1), 0)
}

func checkDelta(delta float64) error {
	if !(delta > 0 && delta < 1) {
		return fmt.Errorf("accounting: delta is %v, must lie in (0, 1)", delta)
	}
	return nil
}
