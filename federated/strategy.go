package federated

import (
	"fmt"
	"math"
)

// Strategy is what a server makes of its clients' updates: one of FedAvg, FedProx,
// FedAvgM, FedAdagrad, FedYogi, FedAdam, Scaffold, FedNova and FedBuff.
type Strategy interface {
	name() string
	check() error
	needs() needs
	// scale is the factor of an update in the sum that combines all.
	scale(u *Update, stale int) float64
	// apply moves a server's model by the combined update.
	apply(s *server, mean []float32)
}

// needs says what a strategy asks of others.
type needs struct {
	weighted  bool // clients' weights
	steps     bool // their number of steps
	control   bool // control variates
	first     bool // vectors of the server's own: momentum
	second    bool // and second moments
	proximal  float64
	buffer    int // updates of a buffered round
	staleness int
}

// FedAvg moves the model to the mean of the clients' models (McMahan et al. 2017,
// "Communication-efficient learning of deep networks from decentralized data"), or by
// Rate times the way there; 0 stands for 1.
type FedAvg struct {
	Weighted bool // by how many examples clients have
	Rate     float64
}

// FedProx is FedAvg with clients that are held back by a term Mu/2·|w - w0|² in their
// loss (Li et al. 2020, "Federated optimization in heterogeneous networks").
type FedProx struct {
	Mu       float64 // positive and finite
	Weighted bool
}

// FedAvgM is FedAvg with momentum at the server (Hsu, Qi and Brown 2019, "Measuring
// the effects of non-identical data distribution for federated visual
// classification"): v ← Momentum·v + Δ, w ← w + Rate·v.
type FedAvgM struct {
	Rate     float64 // positive and finite
	Momentum float64 // in [0, 1)
	Weighted bool
}

// Adaptive holds what the three strategies of Reddi et al. 2021, "Adaptive federated
// optimization", Algorithm 2, share: m ← Beta1·m + (1-Beta1)·Δ,
// w ← w + Rate·m/(√v + Tau), without bias correction, and v from Tau² on.
type Adaptive struct {
	Rate     float64 // positive and finite
	Beta1    float64 // in [0, 1)
	Beta2    float64 // in [0, 1); FedAdagrad has none
	Tau      float64 // positive and finite; the paper's is 1e-3
	Weighted bool
}

type (
	// FedAdagrad is [Adaptive] with v ← v + Δ².
	FedAdagrad Adaptive
	// FedYogi is [Adaptive] with v ← v - (1-Beta2)·Δ²·sign(v - Δ²).
	FedYogi Adaptive
	// FedAdam is [Adaptive] with v ← Beta2·v + (1-Beta2)·Δ².
	FedAdam Adaptive
)

// Scaffold corrects clients' steps by control variates, so that clients of different
// data drift less (Karimireddy et al. 2020, "SCAFFOLD: stochastic controlled averaging
// for federated learning", with option II). A client keeps a [Control].
type Scaffold struct {
	Rate float64 // of the server; 0 stands for 1
}

// FedNova takes clients that make different numbers of steps as what they are (Wang et
// al. 2020, "Tackling the objective inconsistency problem in heterogeneous federated
// optimization"): Δ = (Σ p_i·τ_i)·Σ p_i·Δ_i/τ_i, p_i being client i's share of the
// examples and τ_i its number of steps, of plain SGD.
type FedNova struct {
	Rate     float64 // of the server; 0 stands for 1
	MaxSteps int     // that a client may claim, at least 1
}

// FedBuff does not wait for a cohort: Concurrency clients are at work at all times, and
// when Buffer updates have come, w ← w + Rate/Buffer·Σ Δ_i/√(1+τ_i), τ_i being how many
// versions have been published since client i was sent its model (Nguyen et al. 2022,
// "Federated learning with buffered asynchronous aggregation"). Updates that are more
// than MaxStaleness behind are not counted.
type FedBuff struct {
	Rate         float64 // 0 stands for 1
	Buffer       int     // at least 1
	Concurrency  int     // at least Buffer
	MaxStaleness int     // at least 0
}

func (FedAvg) name() string     { return "FedAvg" }
func (FedProx) name() string    { return "FedProx" }
func (FedAvgM) name() string    { return "FedAvgM" }
func (FedAdagrad) name() string { return "FedAdagrad" }
func (FedYogi) name() string    { return "FedYogi" }
func (FedAdam) name() string    { return "FedAdam" }
func (Scaffold) name() string   { return "Scaffold" }
func (FedNova) name() string    { return "FedNova" }
func (FedBuff) name() string    { return "FedBuff" }

func positive(field string, x float64) error {
	if !(x > 0) || math.IsInf(x, 0) {
		return fmt.Errorf("federated: %s is %v, must be positive and finite", field, x)
	}
	return nil
}

// rateOrOne is positive and finite, or 0.
func rateOrOne(field string, x float64) error {
	if x == 0 {
		return nil
	}
	return positive(field, x)
}

func fraction(field string, x float64) error {
	if !(x >= 0 && x < 1) {
		return fmt.Errorf("federated: %s is %v, must be in [0, 1)", field, x)
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

func (s FedAvg) check() error  { return rateOrOne("FedAvg.Rate", s.Rate) }
func (s FedProx) check() error { return positive("FedProx.Mu", s.Mu) }
func (s FedAvgM) check() error {
	return first(positive("FedAvgM.Rate", s.Rate), fraction("FedAvgM.Momentum", s.Momentum))
}
func (s Adaptive) check(name string) error {
	return first(positive(name+".Rate", s.Rate), fraction(name+".Beta1", s.Beta1), fraction(name+".Beta2", s.Beta2), positive(name+".Tau", s.Tau))
}
func (s FedAdagrad) check() error {
	if s.Beta2 != 0 {
		return fmt.Errorf("federated: FedAdagrad.Beta2 is %v, must be 0: its second moments do not fade", s.Beta2)
	}
	return Adaptive(s).check("FedAdagrad")
}
func (s FedYogi) check() error  { return Adaptive(s).check("FedYogi") }
func (s FedAdam) check() error  { return Adaptive(s).check("FedAdam") }
func (s Scaffold) check() error { return rateOrOne("Scaffold.Rate", s.Rate) }
func (s FedNova) check() error {
	if s.MaxSteps < 1 {
		return fmt.Errorf("federated: FedNova.MaxSteps is %d, must be at least 1", s.MaxSteps)
	}
	return rateOrOne("FedNova.Rate", s.Rate)
}
func (s FedBuff) check() error {
	switch {
	case s.Buffer < 1:
		return fmt.Errorf("federated: FedBuff.Buffer is %d, must be at least 1", s.Buffer)
	case s.Concurrency < s.Buffer:
		return fmt.Errorf("federated: FedBuff.Concurrency is %d, must be at least the buffer's %d", s.Concurrency, s.Buffer)
	case s.MaxStaleness < 0:
		return fmt.Errorf("federated: FedBuff.MaxStaleness is %d, must be at least 0", s.MaxStaleness)
	}
	return rateOrOne("FedBuff.Rate", s.Rate)
}

func (s FedAvg) needs() needs     { return needs{weighted: s.Weighted} }
func (s FedProx) needs() needs    { return needs{weighted: s.Weighted, proximal: s.Mu} }
func (s FedAvgM) needs() needs    { return needs{weighted: s.Weighted, first: true} }
func (s FedAdagrad) needs() needs { return needs{weighted: s.Weighted, first: true, second: true} }
func (s FedYogi) needs() needs    { return needs{weighted: s.Weighted, first: true, second: true} }
func (s FedAdam) needs() needs    { return needs{weighted: s.Weighted, first: true, second: true} }
func (s Scaffold) needs() needs   { return needs{control: true} }
func (s FedNova) needs() needs    { return needs{weighted: true, steps: true} }
func (s FedBuff) needs() needs {
	return needs{buffer: s.Buffer, staleness: s.MaxStaleness}
}

// weightOf is 1 for updates that name none.
func weightOf(u *Update) float64 {
	if u.Weight == 0 {
		return 1
	}
	return u.Weight
}

func weigh(weighted bool, u *Update) float64 {
	if weighted {
		return weightOf(u)
	}
	return 1
}

func (s FedAvg) scale(u *Update, _ int) float64     { return weigh(s.Weighted, u) }
func (s FedProx) scale(u *Update, _ int) float64    { return weigh(s.Weighted, u) }
func (s FedAvgM) scale(u *Update, _ int) float64    { return weigh(s.Weighted, u) }
func (s FedAdagrad) scale(u *Update, _ int) float64 { return weigh(s.Weighted, u) }
func (s FedYogi) scale(u *Update, _ int) float64    { return weigh(s.Weighted, u) }
func (s FedAdam) scale(u *Update, _ int) float64    { return weigh(s.Weighted, u) }
func (s Scaffold) scale(*Update, int) float64       { return 1 }
func (s FedNova) scale(u *Update, _ int) float64    { return weightOf(u) / float64(u.Steps) }
func (s FedBuff) scale(_ *Update, stale int) float64 {
	return 1 / math.Sqrt(1+float64(stale))
}

// server is the model with what the strategy keeps beside it. A version of a model is
// one, and is not changed after it was published.
type server struct {
	params  []float32
	first   []float32 // momentum
	second  []float32 // second moments
	control []float32
	clip    float64 // the clip norm of a private plan
	// trend is a moving average of accepted updates, for the gate.
	trend    []float32
	score    float64 // of the held-out data
	accepted int     // changes since the first version
}

// rated is a server's rate, 1 if it is 0.
func rated(x float64) float32 {
	if x == 0 {
		return 1
	}
	return float32(x)
}

func (s *server) move(rate float32, by []float32) {
	for j, x := range by {
		s.params[j] += rate * x
	}
}

func (s FedAvg) apply(v *server, mean []float32)   { v.move(rated(s.Rate), mean) }
func (s FedProx) apply(v *server, mean []float32)  { v.move(1, mean) }
func (s Scaffold) apply(v *server, mean []float32) { v.move(rated(s.Rate), mean) }
func (s FedNova) apply(v *server, mean []float32)  { v.move(rated(s.Rate), mean) }
func (s FedBuff) apply(v *server, mean []float32)  { v.move(rated(s.Rate), mean) }

func (s FedAvgM) apply(v *server, mean []float32) {
	momentum := float32(s.Momentum)
	for j, x := range mean {
		v.first[j] = momentum*v.first[j] + x
	}
	v.move(float32(s.Rate), v.first)
}

// apply moves by the moments, the second being made by moment, in float64.
func (s Adaptive) apply(v *server, mean []float32, moment func(v, squared float64) float64) {
	for j, x := range mean {
		x := float64(x)
		m := s.Beta1*float64(v.first[j]) + (1-s.Beta1)*x
		u := moment(float64(v.second[j]), x*x)
		v.first[j], v.second[j] = float32(m), float32(u)
		v.params[j] += float32(s.Rate * m / (math.Sqrt(u) + s.Tau))
	}
}

func (s FedAdagrad) apply(v *server, mean []float32) {
	Adaptive(s).apply(v, mean, func(v, squared float64) float64 { return v + squared })
}

func (s FedAdam) apply(v *server, mean []float32) {
	Adaptive(s).apply(v, mean, func(v, squared float64) float64 { return s.Beta2*v + (1-s.Beta2)*squared })
}

func (s FedYogi) apply(v *server, mean []float32) {
	Adaptive(s).apply(v, mean, func(v, squared float64) float64 {
		switch {
		case v > squared:
			return v - (1-s.Beta2)*squared
		case v < squared:
			return v + (1-s.Beta2)*squared
		}
		return v
	})
}

// newServer returns version 0 of a plan's model.
func newServer(p *Plan, params []float32) *server {
	s := &server{params: append([]float32(nil), params...), score: math.NaN()}
	n := p.Strategy.needs()
	if n.first {
		s.first = make([]float32, len(params))
	}
	if n.second {
		s.second = make([]float32, len(params))
		tau := 0.0
		switch a := p.Strategy.(type) {
		case FedAdagrad:
			tau = a.Tau
		case FedYogi:
			tau = a.Tau
		case FedAdam:
			tau = a.Tau
		}
		for j := range s.second {
			s.second[j] = float32(tau * tau)
		}
	}
	if n.control {
		s.control = make([]float32, len(params))
	}
	if p.Gate.Drift != nil {
		s.trend = make([]float32, len(params))
	}
	if c, ok := p.Privacy.(Central); ok {
		s.clip = c.clip()
	}
	return s
}

// clone returns a version to be changed.
func (s *server) clone() *server {
	c := *s
	c.params = append([]float32(nil), s.params...)
	c.first = append([]float32(nil), s.first...)
	c.second = append([]float32(nil), s.second...)
	c.control = append([]float32(nil), s.control...)
	c.trend = append([]float32(nil), s.trend...)
	return &c
}
