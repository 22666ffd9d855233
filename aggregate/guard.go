package aggregate

import (
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Guard refuses rows before a rule sees them: those of another length than dst's
// or than most others', with NaN or infinities, or of a norm above MaxNorm. What is
// refused counts against F, the number of liars that the rule is made for.
type Guard struct {
	F       int              // liars expected, among them those refused
	MaxNorm float64          // 0 is none
	Fail    bool             // return an error instead, which lists the rows
	Rule    func(f int) Rule // the rule for those left, f of whom may still lie
}

// Aggregate implements [Rule].
func (g Guard) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if g.Rule == nil {
		return nil, fmt.Errorf("aggregate: Guard.Rule is missing")
	}
	if g.F < 0 || g.F > 0 && 2*g.F >= len(rows) {
		return nil, fmt.Errorf("aggregate: Guard.F is %d of %d rows, must be at least 0 and less than half", g.F, len(rows))
	}
	if !(g.MaxNorm >= 0) {
		return nil, fmt.Errorf("aggregate: Guard.MaxNorm is %v, must be at least 0", g.MaxNorm)
	}
	d := len(dst)
	if dst == nil {
		d = usualLength(rows)
	}
	reasons := make([]Reason, len(rows))
	var kept [][]float32
	var whose []int
	var refused []int
	for i, row := range rows {
		switch {
		case len(row) != d:
			reasons[i] = WrongLength
		case !finite(row):
			reasons[i] = NotFinite
		case g.MaxNorm > 0 && math.Sqrt(kernel.SumSquares(row)) > g.MaxNorm:
			reasons[i] = NormTooLarge
		default:
			kept, whose = append(kept, row), append(whose, i)
			continue
		}
		refused = append(refused, i)
	}
	if len(refused) > 0 && (g.Fail || len(kept) == 0) {
		return nil, fmt.Errorf("aggregate: rows %v are refused, row %d as %v", refused, refused[0], reasons[refused[0]])
	}
	var inner *Verdict
	if v != nil {
		inner = new(Verdict)
	}
	out, err := g.Rule(max(g.F-len(refused), 0)).Aggregate(dst, kept, inner)
	if err != nil {
		return nil, err
	}
	if v != nil {
		v.start(len(rows))
		for i := range v.Clients {
			v.Clients[i] = ClientVerdict{Trimmed: math.NaN(), Distance: math.NaN(), Rejected: reasons[i]}
		}
		for k, i := range whose {
			v.Clients[i] = inner.Clients[k]
		}
	}
	return out, nil
}

// usualLength is the length that most rows have, the least such.
func usualLength(rows [][]float32) int {
	count := map[int]int{}
	best := 0
	for _, row := range rows {
		count[len(row)]++
	}
	for d, n := range count {
		if n > count[best] || n == count[best] && d < best {
			best = d
		}
	}
	return best
}
