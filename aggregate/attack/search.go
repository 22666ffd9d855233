package attack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/sotto-ml/sotto/aggregate"
)

// Search is a line search for the strength of an attack on a rule: from Start, in
// steps of Delta that double while they help, and then shrink by Ratio with each try
// (as in ByzFL). The state that rules of package aggregate keep between rounds, also
// inside a Chain or a Guard, is that of the server at the start of each try, and is left
// alone; rules from elsewhere should keep none.
type Search struct {
	Rule  aggregate.Rule // the server's
	Evals int            // how often the rule may be run; 0 stands for 16
	Start float64
	Delta float64 // positive; 0 stands for 10
	Ratio float64 // between 0 and 1; 0 stands for 0.8
}

// defaults returns an error unless the fields make sense.
func (s Search) defaults() (Search, error) {
	if s.Evals == 0 {
		s.Evals = 16
	}
	if s.Delta == 0 {
		s.Delta = 10
	}
	if s.Ratio == 0 {
		s.Ratio = 0.8
	}
	if s.Rule == nil {
		return s, fmt.Errorf("attack: Search.Rule is missing")
	}
	if s.Evals < 1 || !(s.Delta > 0) || !(s.Ratio > 0 && s.Ratio < 1) || number("", s.Start) != nil || number("", s.Delta) != nil {
		return s, fmt.Errorf("attack: Search of %d Evals from %v by %v shrunk by %v, must be positive, a shrinking below 1", s.Evals, s.Start, s.Delta, s.Ratio)
	}
	return s, nil
}

// best is the strength of the greatest damage found, and the damage.
func (s Search) best(damage func(tau float64) (float64, error)) (tau, most float64, err error) {
	tau = s.Start
	if most, err = damage(tau); err != nil {
		return 0, 0, err
	}
	delta, growing := s.Delta, true
	for range s.Evals - 1 {
		at, err := damage(tau + delta)
		if err != nil {
			return 0, 0, err
		}
		better := at > most
		if better {
			tau, most = tau+delta, at
		}
		growing = growing && better
		if growing {
			delta *= 2
		} else {
			delta *= s.Ratio
		}
	}
	return tau, most, nil
}

// damage is how far from the honest mean the rule ends when f liars send base + tau
// way.
func (s Search) damage(honest [][]float32, f int, mean, base, way []float32) func(tau float64) (float64, error) {
	liar := make([]float32, len(mean))
	rows := append([][]float32(nil), honest...)
	for range f {
		rows = append(rows, liar)
	}
	var out []float32
	return func(tau float64) (float64, error) {
		along([][]float32{liar}, base, tau, way)
		var err error
		if out, err = tried(s.Rule).Aggregate(out, rows, nil); err != nil {
			return 0, fmt.Errorf("attack: Search.Rule: %w", err)
		}
		return math.Sqrt(squared(out, mean)), nil
	}
}

// tried is a rule that goes on from where another is, and leaves its state alone.
func tried(rule aggregate.Rule) aggregate.Rule {
	switch r := rule.(type) {
	case *aggregate.CenteredClipping: // not *r, which holds a buffer that a call overwrites
		return &aggregate.CenteredClipping{Tau: r.Tau, Steps: r.Steps, Momentum: slices.Clone(r.Momentum)}
	case *aggregate.FoolsGold:
		history := slices.Clone(r.History)
		for i, row := range history {
			history[i] = slices.Clone(row)
		}
		return &aggregate.FoolsGold{Confidence: r.Confidence, Forget: r.Forget, History: history}
	case aggregate.Chain:
		c := slices.Clone(r)
		for i := range c {
			c[i] = tried(c[i])
		}
		return c
	case *aggregate.Chain:
		return tried(*r)
	case aggregate.Guard:
		if of := r.Rule; of != nil {
			r.Rule = func(f int) aggregate.Rule { return tried(of(f)) }
		}
		return r
	case *aggregate.Guard:
		return tried(*r)
	}
	return rule
}

// OptimalIPM is [IPM] of the strength that does the rule the most damage.
type OptimalIPM struct{ Search }

// Tau is that strength, for f liars.
func (a OptimalIPM) Tau(honest [][]float32, f int) (float64, error) {
	_, tau, err := a.tau(honest, f)
	return tau, err
}

func (a OptimalIPM) tau(honest [][]float32, f int) (mean []float32, tau float64, err error) {
	s, err := a.defaults()
	if err != nil {
		return nil, 0, err
	}
	if err := check(nil, honest); err != nil {
		return nil, 0, err
	}
	mean, _ = moments(honest)
	tau, _, err = s.best(s.damage(honest, f, mean, nil, negative(mean)))
	return mean, tau, err
}

// negative is a row with its signs turned.
func negative(row []float32) []float32 {
	out := make([]float32, len(row))
	along([][]float32{out}, nil, -1, row)
	return out
}

// Forge implements [Attack].
func (a OptimalIPM) Forge(liars, honest [][]float32) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	mean, tau, err := a.tau(honest, len(liars))
	if err != nil {
		return err
	}
	along(liars, nil, -tau, mean)
	return nil
}

// OptimalALIE is [ALIE] of the strength that does the rule the most damage.
type OptimalALIE struct{ Search }

// Tau is that strength, for f liars.
func (a OptimalALIE) Tau(honest [][]float32, f int) (float64, error) {
	_, _, tau, err := a.tau(honest, f)
	return tau, err
}

func (a OptimalALIE) tau(honest [][]float32, f int) (mean, deviation []float32, tau float64, err error) {
	s, err := a.defaults()
	if err != nil {
		return nil, nil, 0, err
	}
	if err := check(nil, honest); err != nil {
		return nil, nil, 0, err
	}
	mean, deviation = moments(honest)
	tau, _, err = s.best(s.damage(honest, f, mean, mean, deviation))
	return mean, deviation, tau, err
}

// Forge implements [Attack].
func (a OptimalALIE) Forge(liars, honest [][]float32) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	mean, deviation, tau, err := a.tau(honest, len(liars))
	if err != nil {
		return err
	}
	along(liars, mean, tau, deviation)
	return nil
}

// Adaptive knows the rule and the honest rows, and searches in many directions from
// the honest mean, both ways, from a hundredth of the honest rows' spread on: against
// the mean, its sign, and the deviation, towards the row farthest out and away from
// it, and in random ones. It sends what does the most damage: at least as much as any
// of the rows it tried.
type Adaptive struct {
	Rule   aggregate.Rule // the server's
	Evals  int            // of the rule, in each direction; 0 stands for 12
	Random int            // directions at random
	Seed   uint64         // of those
}

// Forge implements [Attack].
func (a Adaptive) Forge(liars, honest [][]float32) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	if a.Evals == 0 {
		a.Evals = 12
	}
	mean, deviation := moments(honest)
	signs, _ := AgainstSign.of("", mean, deviation)
	far, farthest := 0, 0.0
	for i, row := range honest {
		if d2 := squared(row, mean); d2 > farthest {
			far, farthest = i, d2
		}
	}
	out := make([]float32, len(mean))
	for j, x := range honest[far] {
		out[j] = x - mean[j]
	}
	ways := [][]float32{mean, signs, deviation, out}
	rng := rand.New(rand.NewPCG(a.Seed, 0x6164617074))
	for range a.Random {
		way := make([]float32, len(mean))
		for j := range way {
			way[j] = float32(rng.NormFloat64())
		}
		ways = append(ways, way)
	}
	zero := make([]float32, len(mean))
	worst := -1.0
	for _, way := range ways {
		size := math.Sqrt(squared(way, zero))
		if size == 0 {
			continue
		}
		for _, sign := range []float64{1, -1} {
			unit := make([]float32, len(mean))
			along([][]float32{unit}, nil, sign/size, way)
			scale := max(math.Sqrt(farthest), 1e-3*math.Sqrt(squared(mean, zero)), 1e-30)
			s, err := Search{Rule: a.Rule, Evals: a.Evals, Delta: scale / 100}.defaults()
			if err != nil {
				return err
			}
			tau, most, err := s.best(s.damage(honest, len(liars), mean, mean, unit))
			if err != nil {
				return err
			}
			if most > worst {
				worst = most
				along(liars, mean, tau, unit)
			}
		}
	}
	if worst < 0 { // all honest rows are zero
		along(liars, mean, 0, mean)
	}
	return nil
}
