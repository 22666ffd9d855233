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
	switch {
	case s.Evals < 1:
		return s, fmt.Errorf("attack: Search.Evals is %d, must be positive, or 0 for the default", s.Evals)
	case !(s.Delta > 0) || math.IsInf(s.Delta, 0):
		return s, fmt.Errorf("attack: Search.Delta is %v, must be positive and finite, or 0 for the default", s.Delta)
	case !(s.Ratio > 0 && s.Ratio < 1):
		return s, fmt.Errorf("attack: Search.Ratio is %v, must be between 0 and 1, or 0 for the default", s.Ratio)
	}
	return s, number("Search.Start", s.Start)
}

// best is the strength of the greatest damage found, and the damage. A strength that
// the rule refuses gains nothing, unless it is the first; nor does one that gains less
// than float32, in which rules answer, can tell.
func (s Search) best(damage func(tau float64) (float64, error)) (tau, most float64, err error) {
	tau = s.Start
	if most, err = damage(tau); err != nil {
		return 0, 0, err
	}
	delta, growing := s.Delta, true
	for range s.Evals - 1 {
		at, err := damage(tau + delta)
		better := err == nil && at > most*(1+0x1p-23)
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

// Adaptive knows the rule and the honest rows, and sends the row that does the most
// damage of all that it tries. These are, first, the rows of [SignFlip], [IPM] of 0.1,
// 0.5 and 10, [ALIE] of 0, 1 and [ALIETau], [OptimalIPM] and [OptimalALIE] as they are
// by default, [MinMax] and [MinSum] in each direction, and [Mimic] of each honest row.
// Then it leaves the honest mean by the mean, its sign, the deviation, the row farthest
// out, the worst row so far, and at random, both ways: from a hundredth of the honest
// rows' spread on by doublings, until four in a row gain nothing, 32 at most, and closes
// in on the best by Evals more. For n honest rows the rule is run at most
// n + 45 + (10 + 2 Random) (32 + Evals) times. A row that the rule refuses gains nothing.
type Adaptive struct {
	Rule   aggregate.Rule // the server's, as in [Search]
	Evals  int            // of the rule, to close in; 0 stands for 12
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
	if a.Rule == nil {
		return fmt.Errorf("attack: Adaptive.Rule is missing")
	}
	if a.Evals < 1 {
		return fmt.Errorf("attack: Adaptive.Evals is %d, must be at least 0", a.Evals)
	}
	if a.Random < 0 {
		return fmt.Errorf("attack: Adaptive.Random is %d, must be at least 0", a.Random)
	}
	s, err := Search{Rule: a.Rule}.defaults()
	if err != nil {
		return err
	}
	f := len(liars)
	mean, deviation := moments(honest)
	most, err := s.damage(honest, f, mean, mean, mean)(0)
	if err != nil {
		return err
	}
	worst := slices.Clone(mean)
	// keep takes base + tau way if it is the worst so far.
	keep := func(damage, tau float64, base, way []float32) {
		if damage > most {
			most = damage
			along([][]float32{worst}, base, tau, way)
		}
	}
	for _, way := range []struct{ base, way []float32 }{{nil, negative(mean)}, {mean, deviation}} {
		if tau, damage, err := s.best(s.damage(honest, f, mean, way.base, way.way)); err == nil {
			keep(damage, tau, way.base, way.way)
		}
	}
	row := make([]float32, len(mean))
	for _, fixed := range a.fixed(len(honest), f) {
		if err := fixed.Forge([][]float32{row}, honest); err != nil {
			return err
		}
		if damage, err := s.damage(honest, f, mean, nil, row)(1); err == nil {
			keep(damage, 1, nil, row)
		}
	}
	ways, spread := a.ways(honest, mean, deviation, worst)
	for _, way := range ways {
		size := norm(way)
		if size == 0 {
			continue
		}
		for _, sign := range []float64{1, -1} {
			unit := make([]float32, len(mean))
			along([][]float32{unit}, nil, sign/size, way)
			tau, damage := climb(s.damage(honest, f, mean, mean, unit), spread/100, a.Evals)
			keep(damage, tau, mean, unit)
		}
	}
	along(liars, nil, 1, worst)
	return nil
}

// fixed are the attacks that are tried besides those that search.
func (a Adaptive) fixed(honest, f int) []Attack {
	all := []Attack{SignFlip{}, IPM{0.1}, IPM{0.5}, IPM{10}, ALIE{1}, ALIE{ALIETau(honest+f, f)}}
	for _, way := range []Direction{AgainstDeviation, AgainstMean, AgainstSign} {
		all = append(all, MinMax{way}, MinSum{way})
	}
	for i := range honest {
		all = append(all, Mimic{i})
	}
	return all
}

// ways are the directions to leave the mean by, and the scale to do so.
func (a Adaptive) ways(honest [][]float32, mean, deviation, worst []float32) (ways [][]float32, spread float64) {
	far, farthest := mean, 0.0
	for _, row := range honest {
		if d2 := squared(row, mean); d2 > farthest {
			far, farthest = row, d2
		}
	}
	signs, _ := AgainstSign.of("", mean, deviation)
	ways = [][]float32{mean, signs, deviation, less(far, mean), less(worst, mean)}
	rng := rand.New(rand.NewPCG(a.Seed, 0x6164617074))
	for range a.Random {
		way := make([]float32, len(mean))
		for j := range way {
			way[j] = float32(rng.NormFloat64())
		}
		ways = append(ways, way)
	}
	return ways, max(math.Sqrt(farthest), 1e-3*norm(mean), 1e-30)
}

// climb is the greatest damage found from start on, by 32 doublings at most, and where.
func climb(damage func(tau float64) (float64, error), start float64, evals int) (best, most float64) {
	most = -1
	try := func(tau float64) bool {
		at, err := damage(tau)
		if err != nil || !(at > most) {
			return false
		}
		best, most = tau, at
		return true
	}
	idle := 0
	for range 32 {
		if idle++; try(start) {
			idle = 0
		}
		if idle == 4 {
			break
		}
		start *= 2
	}
	step, out := best/2, true // outward, then inward, then half as far
	for range evals {
		way := step
		if !out {
			way = -step
		}
		if try(best+way) || !out {
			step /= 2
			out = true
		} else {
			out = false
		}
	}
	return best, most
}

func less(x, y []float32) []float32 {
	out := make([]float32, len(x))
	for j := range out {
		out[j] = x[j] - y[j]
	}
	return out
}

func norm(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}
