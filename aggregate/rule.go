package aggregate

import (
	"fmt"
	"math"
)

// Rule turns n rows of equal length into one.
type Rule interface {
	// Aggregate writes to dst, of the rows' length (nil allocates), and returns it.
	// If v is not nil it is overwritten with what was done to each client. It returns
	// an error, and leaves dst as it was, if the rows are too few for the rule, too
	// many (above 1024), of unequal length, or hold values that are not finite, or if the
	// result is not finite. Median, TrimmedMean, Krum and MultiKrum, which compare values,
	// take infinities for the farthest there are, and return an error only for a NaN or if
	// an infinity counts in the result.
	Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error)
}

// PreAggregation turns rows into rows that are easier to aggregate. By itself, as
// a Rule, it is followed by the mean.
type PreAggregation interface {
	Rule
	// Mix returns new rows, in dst's where those are large enough. It never writes to
	// rows, but may return some of them. If v is not nil it is overwritten.
	Mix(dst, rows [][]float32, v *Verdict) ([][]float32, error)
}

// Chain is pre-aggregations, each of the rows that the one before gave, and a rule
// at the end.
type Chain []Rule

// Aggregate implements [Rule]. The verdict's weights are the rows' shares of the result,
// through all stages; what else it says is the first stage's, as later ones see no clients
// but mixtures of them. With stages from elsewhere all of it is the first stage's.
func (c Chain) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.planned() {
		s, err := open("Chain", dst, rows)
		if err != nil {
			return nil, err
		}
		overlap(dst, rows)
		return s.finish(dst, c.plan(s, v))
	}
	overlap(dst, rows)
	for i, stage := range c[:len(c)-1] { // stages that are not of this package
		var err error
		if rows, err = stage.(PreAggregation).Mix(nil, rows, v); err != nil {
			return nil, fmt.Errorf("aggregate: Chain[%d]: %w", i, err)
		}
		v = nil
	}
	return c[len(c)-1].Aggregate(dst, rows, v)
}

// check returns an error unless all stages but the last mix.
func (c Chain) check() error {
	if len(c) == 0 {
		return fmt.Errorf("aggregate: Chain is empty, must end in a rule")
	}
	for i, stage := range c {
		if stage == nil {
			return fmt.Errorf("aggregate: Chain[%d] is missing", i)
		}
		if _, ok := stage.(PreAggregation); !ok && i < len(c)-1 {
			return fmt.Errorf("aggregate: Chain[%d] is %T, which gives one row; all but the last must be pre-aggregations", i, stage)
		}
	}
	return nil
}

// planned says whether all stages are of this package.
func (c Chain) planned() bool {
	for _, stage := range c[:len(c)-1] {
		if _, ok := stage.(mixing); !ok {
			return false
		}
	}
	switch last := pointed(c[len(c)-1]).(type) {
	case Chain:
		return last.check() == nil && last.planned()
	case planned:
		return true
	}
	return false
}

func (c Chain) plan(s *survey, v *Verdict) error {
	if err := c.check(); err != nil {
		return err
	}
	last, told := c[len(c)-1].(planned), v
	for i, stage := range c[:len(c)-1] {
		weights, err := stage.(mixing).mixture(s, v)
		if err != nil {
			return fmt.Errorf("aggregate: Chain[%d]: %w", i, err)
		}
		s.apply(weights)
		v = nil
	}
	if err := last.plan(s, v); err != nil || v != nil || told == nil {
		return err
	}
	if s.end.columns {
		s.end.told = told
		return nil
	}
	for k, i := range s.order {
		told.Clients[i].weigh(float64(s.end.given[k]))
	}
	return nil
}

// Kappa is the robustness coefficient of the last stage, made better by [NNM] (8F/(n-F)
// (κ+1), Allouah et al. 2023, lemma 1) and worse by [ARC] (κ + 2F/(n-2F), Allouah et
// al. 2025) before it, with their F; infinite if one of the stages has none, or unless f <= F
// and n > 2F of each.
func (c Chain) Kappa(n, f int) float64 {
	if len(c) == 0 || f < 0 || n <= 2*f {
		return math.Inf(1)
	}
	last, ok := c[len(c)-1].(interface{ Kappa(n, f int) float64 })
	if !ok {
		return math.Inf(1)
	}
	kappa := last.Kappa(n, f)
	for i := len(c) - 2; i >= 0; i-- {
		switch stage := pointed(c[i]).(type) {
		case NNM:
			if stage.F < f || n <= 2*stage.F {
				return math.Inf(1)
			}
			kappa = 8 * float64(stage.F) / float64(n-stage.F) * (kappa + 1)
		case ARC:
			if stage.F < f || n <= 2*stage.F {
				return math.Inf(1)
			}
			kappa += 2 * float64(stage.F) / float64(n-2*stage.F)
		default:
			return math.Inf(1)
		}
	}
	return kappa
}

// Verdict says what was done to each client. Rules that work by columns take two to three
// times as long with one, or up to nine times where many rows are equal; [Meamed] six to
// fourteen. Others take no longer.
type Verdict struct {
	Clients []ClientVerdict // by the row's index
}

// ClientVerdict is what a rule did with one row. What a rule does not measure is
// NaN.
type ClientVerdict struct {
	Weight   float64 // the row's share of the output, of all coordinates on average
	Trimmed  float64 // the share of its coordinates that were cut off
	Distance float64 // what the rule measured the row by
	Rejected Reason
}

// Reason is why a row was left out.
type Reason int

// The reasons.
const (
	Kept Reason = iota
	NotFinite
	WrongLength
	NormTooLarge
	Outvoted // the rule preferred others
)

// String names the reason.
func (r Reason) String() string {
	names := []string{"kept", "not finite", "wrong length", "norm too large", "outvoted"}
	if r < 0 || int(r) >= len(names) {
		return fmt.Sprintf("Reason(%d)", int(r))
	}
	return names[r]
}

// overlap panics if dst is one of the rows or overlaps one.
func overlap(dst []float32, rows [][]float32) {
	for _, row := range rows {
		if overlaps(dst, row) {
			panic("aggregate: dst overlaps a row")
		}
	}
}

// choose makes the verdict of a rule that keeps some rows whole.
func (v *Verdict) choose(s *survey, chosen []int, distances []float64) {
	if v == nil {
		return
	}
	v.start(s.n)
	for k, i := range s.order {
		v.Clients[i] = ClientVerdict{Trimmed: math.NaN(), Distance: distances[k], Rejected: Outvoted}
	}
	for _, k := range chosen {
		c := &v.Clients[s.order[k]]
		c.Weight, c.Rejected = 1/float64(len(chosen)), Kept
	}
}

// tell makes the verdict of a rule that weighs rows.
func (v *Verdict) tell(s *survey, weights, distances []float64) {
	if v == nil {
		return
	}
	v.start(s.n)
	for k, i := range s.order {
		v.Clients[i].Weight = weights[k]
		if distances != nil {
			v.Clients[i].Distance = distances[k]
		}
		if weights[k] == 0 {
			v.Clients[i].Rejected = Outvoted
		}
	}
}

// weigh tells a client's share of the result.
func (c *ClientVerdict) weigh(w float64) {
	if c.Weight = w; w == 0 && c.Rejected == Kept {
		c.Rejected = Outvoted
	}
}

// start makes the verdict of n clients of equal weight.
func (v *Verdict) start(n int) {
	if v == nil {
		return
	}
	v.Clients = append(v.Clients[:0], make([]ClientVerdict, n)...)
	for i := range v.Clients {
		v.Clients[i] = ClientVerdict{Weight: 1 / float64(n), Trimmed: math.NaN(), Distance: math.NaN()}
	}
}

// maxRows is the most rows that a rule takes.
const maxRows = 1024

// shape returns an error unless there are 1 to 1024 rows of one length, and panics
// unless dst fits them.
func shape(rule string, dst []float32, rows [][]float32) error {
	if len(rows) == 0 {
		return fmt.Errorf("aggregate: %s of no rows, must be at least one", rule)
	}
	if len(rows) > maxRows {
		return fmt.Errorf("aggregate: %s of %d rows, must be at most %d", rule, len(rows), maxRows)
	}
	d := len(rows[0])
	for i, row := range rows {
		if len(row) != d {
			return fmt.Errorf("aggregate: row %d has %d values, must have as many as row 0, %d", i, len(row), d)
		}
	}
	if dst != nil && len(dst) != d {
		panic("aggregate: dst and rows of different lengths")
	}
	return nil
}

// faulty checks a rule's F against 2F < n.
func faulty(rule string, f, n int) error {
	if f < 0 || 2*f >= n {
		return fmt.Errorf("aggregate: %s.F is %d of %d rows, must be at least 0 and less than half", rule, f, n)
	}
	return nil
}

func sized(dst []float32, d int) []float32 {
	if dst == nil {
		return make([]float32, d)
	}
	return dst
}
