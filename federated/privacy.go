package federated

import (
	"errors"
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// Privacy is who adds noise: [Central], [Distributed] or [Local]. The unit of all
// three is a client with all of its data. (For a guarantee per example, clients train
// with package dp, and each accounts for itself.)
type Privacy interface {
	// RoundEvent is what a round costs each client, as the accountant sees it.
	RoundEvent(p *Plan) accounting.Event
	relation() accounting.Relation
	delta() float64
	check(p *Plan) error
	adversary() string
	point() SpendPoint
	clip() float64
}

// Central is differential privacy by a trusted server, who clips each client's update,
// sums, and adds noise once: against everyone who sees models, not against the server.
// Selection must be [Poisson] or [All]. The sum is divided by a public number, the
// selection's rate times Population, whoever drops out.
type Central struct {
	// ClipNorm is the most that an update's l2 norm may be: longer ones are scaled
	// down. With Adaptive it is where the norm begins.
	ClipNorm float64
	Adaptive *AdaptiveQuantile
	// NoiseMultiplier is the noise's standard deviation over the most that a client
	// moves a sum, in [0.001, 1000].
	NoiseMultiplier float64
	// Population is the most members there may be: public, at most 2^20.
	Population int
	// Relation says which sets of clients are neighbours.
	Relation accounting.Relation
	Delta    float64 // in (0, 1)
}

// AdaptiveQuantile lets the clip norm follow a quantile of the updates' norms (Andrew
// et al. 2021, "Differentially private learning with adaptive clipping"). In each round
// a noisy count says which share of norms was at most the clip norm C, and
// C ← C·exp(-LearningRate·(share - Quantile)), within a factor of 2^12 of where it
// began. The noise multiplier z is that of both releases: the count's is z/√NoiseShare
// and the update's z/√(1-NoiseShare), so that 1/z² is the sum of both (their Theorem 1).
type AdaptiveQuantile struct {
	Quantile     float64 // in (0, 1)
	LearningRate float64 // positive and finite; the paper's is 0.2
	NoiseShare   float64 // in (0, 1), commonly below 0.01
}

// Distributed is differential privacy by the clients together: each adds a share of
// the noise before a secure sum, which alone is seen. It holds against the server too,
// as long as the secure sum does. Clients add discrete Gaussians, whose sum is nearly
// one (Kairouz, Liu and Steinke 2021, "The distributed discrete Gaussian mechanism for
// federated learning with secure aggregation", Theorem 1; what it lacks is accounted).
// The server sees who takes part, so that sampling gives nothing.
type Distributed struct {
	ClipNorm float64
	// NoiseMultiplier is the standard deviation, over the most that a client moves a
	// sum, of the least noise that a sum may hold, in [0.001, 1000].
	NoiseMultiplier float64
	// MinSurvivors is the fewest clients that a sum may be of: what the noise is made
	// for. The secure sum must not reveal one of fewer.
	MinSurvivors int
	// Colluders is how many of them may tell the server their noise, or add none.
	Colluders int
	// Relation is ReplaceOne or ReplaceSpecial: who takes part is seen.
	Relation accounting.Relation
	Delta    float64
}

// Local is differential privacy by each client by itself, against everyone: it clips
// its update and adds noise of NoiseMultiplier times ClipNorm, or with ReplaceOne as
// the accountant counts it, before the update leaves it. It needs far more clients than
// the others for the same accuracy. See [Protect].
type Local struct {
	ClipNorm        float64
	NoiseMultiplier float64 // in [0.001, 1000]
	Relation        accounting.Relation
	Delta           float64
}

func (c Central) relation() accounting.Relation     { return c.Relation }
func (c Distributed) relation() accounting.Relation { return c.Relation }
func (c Local) relation() accounting.Relation       { return c.Relation }
func (c Central) delta() float64                    { return c.Delta }
func (c Distributed) delta() float64                { return c.Delta }
func (c Local) delta() float64                      { return c.Delta }
func (Central) adversary() string                   { return "everyone who sees models, not the server" }
func (c Distributed) adversary() string {
	return fmt.Sprintf("the server and everyone who sees models, and at most %d clients of a sum", c.Colluders)
}
func (Local) adversary() string       { return "everyone" }
func (Central) point() SpendPoint     { return SpendBeforeCombine }
func (Distributed) point() SpendPoint { return SpendBeforeAsk }
func (Local) point() SpendPoint       { return SpendBeforeAsk }
func (c Central) clip() float64       { return c.ClipNorm }
func (c Distributed) clip() float64   { return c.ClipNorm }
func (c Local) clip() float64         { return c.ClipNorm }

// checkNoise checks what all three have.
func checkNoise(name string, clip, noise, delta float64) error {
	switch {
	case !(clip >= 1e-10 && clip <= 1e10):
		return fmt.Errorf("federated: %s.ClipNorm is %v, must be in [1e-10, 1e10]", name, clip)
	case !(noise >= 0.001 && noise <= 1000):
		return fmt.Errorf("federated: %s.NoiseMultiplier is %v, must be in [0.001, 1000]", name, noise)
	case !(delta > 0 && delta < 1):
		return fmt.Errorf("federated: %s.Delta is %v, must be in (0, 1)", name, delta)
	}
	return nil
}

func (c Central) check(p *Plan) error {
	if err := checkNoise("Central", c.ClipNorm, c.NoiseMultiplier, c.Delta); err != nil {
		return err
	}
	rate := p.Selection.sizes().rate
	switch {
	case c.Population < 1 || c.Population > 1<<20:
		return fmt.Errorf("federated: Central.Population is %d, must be in [1, 2^20]", c.Population)
	case c.Relation < accounting.AddRemove || c.Relation > accounting.ReplaceSpecial:
		return fmt.Errorf("federated: Central.Relation is %v, must be AddRemove, ReplaceOne or ReplaceSpecial", c.Relation)
	case p.Secure:
		return errors.New("federated: Central with Secure: the server that adds the noise sees sums without it; use Distributed")
	case rate == 0:
		return fmt.Errorf("federated: Central with Selection %T: the accountant assumes that each client is drawn by itself; use Poisson or All", p.Selection)
	case p.MinCohort > 0:
		return fmt.Errorf("federated: Central with MinCohort %d: a round that runs only for large draws has another law than the accountant's; leave it 0, the divisor is public and noise covers an empty draw", p.MinCohort)
	case p.Rule != nil && p.Buckets == nil:
		return fmt.Errorf("federated: Central with Rule %T: one client can move a robust rule's output by more than ClipNorm over the cohort; use Buckets, whose sums are noised", p.Rule)
	}
	if a := c.Adaptive; a != nil {
		switch {
		case !(a.Quantile > 0 && a.Quantile < 1):
			return fmt.Errorf("federated: AdaptiveQuantile.Quantile is %v, must be in (0, 1)", a.Quantile)
		case !(a.LearningRate > 0) || math.IsInf(a.LearningRate, 0):
			return fmt.Errorf("federated: AdaptiveQuantile.LearningRate is %v, must be positive and finite", a.LearningRate)
		case !(a.NoiseShare > 0 && a.NoiseShare < 1):
			return fmt.Errorf("federated: AdaptiveQuantile.NoiseShare is %v, must be in (0, 1)", a.NoiseShare)
		}
	}
	return unweighted("Central", p)
}

// unweighted refuses strategies in which a client's part is not its clipped update.
func unweighted(name string, p *Plan) error {
	n := p.Strategy.needs()
	switch {
	case n.weighted:
		return fmt.Errorf("federated: %s with weighted %s: a client's weight would be part of what it can change; leave Weighted unset", name, p.Strategy.name())
	case n.control:
		return fmt.Errorf("federated: %s with Scaffold: control variates are a second release of the client's data, which is not accounted", name)
	case n.buffer > 0 && name != "Local":
		return fmt.Errorf("federated: %s with FedBuff: which updates share a buffer follows from their arrival, not from a draw that is accounted", name)
	}
	return nil
}

func (c Distributed) check(p *Plan) error {
	if err := checkNoise("Distributed", c.ClipNorm, c.NoiseMultiplier, c.Delta); err != nil {
		return err
	}
	switch {
	case c.Relation != accounting.ReplaceOne && c.Relation != accounting.ReplaceSpecial:
		return fmt.Errorf("federated: Distributed.Relation is %v, must be ReplaceOne or ReplaceSpecial: the server sees who takes part", c.Relation)
	case !p.Secure:
		return errors.New("federated: Distributed without Secure: a share of the noise does not hide one update; use Local")
	case c.MinSurvivors < 2:
		return fmt.Errorf("federated: Distributed.MinSurvivors is %d, must be at least 2", c.MinSurvivors)
	case c.Colluders < 0 || c.Colluders >= c.MinSurvivors:
		return fmt.Errorf("federated: Distributed.Colluders is %d, must be in [0, MinSurvivors) = [0, %d)", c.Colluders, c.MinSurvivors)
	}
	return unweighted("Distributed", p)
}

func (c Local) check(p *Plan) error {
	if err := checkNoise("Local", c.ClipNorm, c.NoiseMultiplier, c.Delta); err != nil {
		return err
	}
	if c.Relation != accounting.ReplaceOne && c.Relation != accounting.ReplaceSpecial {
		return fmt.Errorf("federated: Local.Relation is %v, must be ReplaceOne or ReplaceSpecial: who takes part is seen", c.Relation)
	}
	if p.MaxNorm > 0 {
		return fmt.Errorf("federated: Local with MaxNorm %v: noise makes every update long; clip with ClipNorm alone", p.MaxNorm)
	}
	return unweighted("Local", p)
}

// RoundEvent is a Gaussian on a Poisson draw. With buckets a client is in one of
// them, and each bucket's sum is one block of a single noised vector.
func (c Central) RoundEvent(p *Plan) accounting.Event {
	g := accounting.Event(accounting.Gaussian{NoiseMultiplier: c.NoiseMultiplier})
	if rate := p.Selection.sizes().rate; rate < 1 {
		return accounting.PoissonSampled{Rate: rate, Event: g}
	}
	return g
}

// RoundEvent is zero-concentrated: with n = MinSurvivors - Colluders honest shares of
// standard deviation s, Δ the sensitivity in the grid's units and d parameters, the sum
// is ε²/2-concentrated for ε = Δ/(√n·s) + τ·√d, τ = 10·Σ_k exp(-2π²s²·k/(k+1)), k from 1
// to the number of shares less one (Kairouz, Liu and Steinke 2021, Theorem 1).
func (c Distributed) RoundEvent(p *Plan) accounting.Event {
	e := p.encoding()
	n := float64(c.MinSurvivors - c.Colluders)
	sensitivity := e.sensitivity
	if c.Relation == accounting.ReplaceOne {
		sensitivity *= 2
	}
	// Each of the terms is at most that of k = 1.
	tau := 10 * float64(e.most) * math.Exp(-math.Pi*math.Pi*e.share*e.share)
	epsilon := (sensitivity/(math.Sqrt(n)*e.share) + tau*math.Sqrt(float64(p.Parameters))) * (1 + 0x1p-30)
	return accounting.ZeroConcentrated{Rho: epsilon * epsilon / 2}
}

// RoundEvent is a Gaussian: nothing is gained by sampling, as who takes part is seen.
func (c Local) RoundEvent(*Plan) accounting.Event {
	return accounting.Gaussian{NoiseMultiplier: c.NoiseMultiplier}
}

// Guarantee is what a number of rounds cost, with all that this depends on.
type Guarantee struct {
	Epsilon   float64 // an upper bound
	Delta     float64
	Relation  accounting.Relation
	Rounds    int
	Unit      string // what is protected
	Adversary string // against whom
}

// String gives ε with its δ, unit, relation and adversary.
func (g Guarantee) String() string {
	return fmt.Sprintf("ε = %.6g at δ = %g per %s, %v, after %d rounds, against %s", g.Epsilon, g.Delta, g.Unit, g.Relation, g.Rounds, g.Adversary)
}

// Event is what a number of rounds cost: what a ledger's budget may hold as its plan.
// It panics if the plan has no Privacy or rounds is below 1.
func (p Plan) Event(rounds int) accounting.Event {
	if p.Privacy == nil || rounds < 1 {
		panic("federated: Plan.Event: no privacy, or no rounds")
	}
	return accounting.SelfComposed{Event: p.Privacy.RoundEvent(&p), Count: rounds}
}

// Guarantee is what the plan's rounds guarantee each client at most, all counted in
// which the ledger was asked.
func (p Plan) Guarantee() (Guarantee, error) { return p.Spent(p.Rounds) }

// Spent is what the first rounds guarantee.
func (p Plan) Spent(rounds int) (Guarantee, error) {
	if err := p.Validate(); err != nil {
		return Guarantee{}, err
	}
	if p.Privacy == nil {
		return Guarantee{}, errors.New("federated: Privacy is missing: nothing is guaranteed")
	}
	if rounds < 0 || rounds > p.Rounds {
		return Guarantee{}, fmt.Errorf("federated: rounds is %d, must be in [0, %d]", rounds, p.Rounds)
	}
	g := Guarantee{Delta: p.Privacy.delta(), Relation: p.Privacy.relation(), Rounds: rounds, Unit: "client (all of its data)", Adversary: p.Privacy.adversary()}
	if rounds == 0 {
		return g, nil
	}
	e, err := accounting.Epsilon(p.Event(rounds), g.Relation, g.Delta)
	if err != nil {
		return Guarantee{}, fmt.Errorf("federated: %w", err)
	}
	g.Epsilon = e.Upper
	return g, nil
}
