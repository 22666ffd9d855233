package aggregate

import (
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Rule turns n rows of equal length into one.
type Rule interface {
	// Aggregate writes to dst, of the rows' length (nil allocates), and returns it.
	// If v is not nil it is overwritten with what was done to each client. It returns
	// an error, and leaves dst as it was, if the rows are too few for the rule, too
	// many (above 1024), of unequal length, or hold values that are not finite.
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

// Aggregate implements [Rule]. The verdict is that of the first stage: later ones
// see no clients but mixtures of them.
func (c Chain) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if len(c) == 0 {
		return nil, fmt.Errorf("aggregate: Chain is empty, must end in a rule")
	}
	for i, stage := range c[:len(c)-1] {
		pre, ok := stage.(PreAggregation)
		if !ok {
			return nil, fmt.Errorf("aggregate: Chain[%d] is %T, which gives one row; all but the last must be pre-aggregations", i, stage)
		}
		var err error
		if rows, err = pre.Mix(nil, rows, v); err != nil {
			return nil, fmt.Errorf("aggregate: Chain[%d]: %w", i, err)
		}
		v = nil
	}
	return c[len(c)-1].Aggregate(dst, rows, v)
}

// Verdict says what was done to each client.
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

// check returns an error unless there are 1 to 1024 finite rows of one length, and
// dst fits them.
func check(rule string, dst []float32, rows [][]float32) error {
	if err := shape(rule, dst, rows); err != nil {
		return err
	}
	for i, row := range rows {
		if !finite(row) {
			return fmt.Errorf("aggregate: row %d holds values that are not finite; see Guard", i)
		}
	}
	return nil
}

// checkOrdered is check for rules that only compare: infinities are the least and
// the greatest values, but a NaN is neither.
func checkOrdered(rule string, dst []float32, rows [][]float32) error {
	if err := shape(rule, dst, rows); err != nil {
		return err
	}
	for i, row := range rows {
		if finite(row) {
			continue
		}
		for _, x := range row {
			if x != x {
				return fmt.Errorf("aggregate: row %d holds a NaN; see Guard", i)
			}
		}
	}
	return nil
}

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

// finite says whether all values are.
func finite(row []float32) bool {
	const block = 1 << 14 // a sum of squares that is finite has finite terms
	for len(row) > 0 {
		n := min(block, len(row))
		if s := kernel.SumSquares(row[:n]); math.IsNaN(s) || math.IsInf(s, 0) {
			for _, x := range row[:n] {
				if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
					return false
				}
			}
		}
		row = row[n:]
	}
	return true
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
