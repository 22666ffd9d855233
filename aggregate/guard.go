package aggregate

import (
	"fmt"
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Guard refuses rows before a rule sees them: those of another length than dst's
// or than most others', with NaN or infinities, or of a norm above MaxNorm. What is
// refused counts against F, the number of liars that the rule is made for. In a [Stream]
// rows are to be as long as the source's shape says; it tells of others by a [LengthError].
//
// Indices and weights that rules of this package have for clients (MoNNA's Trusted, Weights,
// Bucketing's Permutation, FoolsGold's History) are those of the rows before any is refused, by
// the outermost Guard if there is one in another.
// A rule that remembers rounds is to be made once: Rule must return the same pointer each
// time. A FoolsGold leaves the history of clients whose rows are refused as it is.
type Guard struct {
	F       int              // liars expected, among them those refused
	MaxNorm float64          // 0 is none
	Fail    bool             // return an error instead, which lists the rows
	Rule    func(f int) Rule // the rule for those left, f of whom may still lie
}

// Aggregate implements [Rule].
func (g Guard) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return guardAmong{g, nil, len(rows)}.Aggregate(dst, rows, v)
}

// guardAmong is a Guard for some of n clients, or if some is nil for all.
type guardAmong struct {
	Guard
	some []int
	n    int
}

// Aggregate implements [Rule].
func (g guardAmong) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if err := g.check(len(rows)); err != nil {
		return nil, err
	}
	d := len(dst)
	if dst == nil {
		d = usualLength(rows)
	}
	reasons := make([]Reason, len(rows))
	for i, row := range rows {
		if len(row) != d {
			reasons[i] = WrongLength
			continue
		}
		squares := 0.0
		if g.MaxNorm > 0 {
			squares = squaredNorm(row)
		}
		reasons[i] = g.judge(kernel.AllFinite(row), squares)
	}
	whose, rule, err := g.sift(reasons)
	if err != nil {
		return nil, err
	}
	for i, row := range rows {
		if reasons[i] != Kept && overlaps(dst, row) && !(len(row) == d && &row[0] == &dst[0] && byColumns(rule)) {
			panic("aggregate: dst overlaps a row")
		}
	}
	kept := make([][]float32, len(whose))
	for k, i := range whose {
		kept[k] = rows[i]
	}
	var inner *Verdict
	if v != nil {
		inner = new(Verdict)
	}
	out, err := rule.Aggregate(dst, kept, inner)
	if err != nil {
		return nil, err
	}
	g.tell(v, inner, reasons, whose)
	return out, nil
}

// check returns an error unless the fields make sense for n rows.
func (g Guard) check(n int) error {
	if g.Rule == nil {
		return fmt.Errorf("aggregate: Guard.Rule is missing")
	}
	if g.F < 0 || g.F > 0 && 2*g.F >= n {
		return fmt.Errorf("aggregate: Guard.F is %d of %d rows, must be at least 0 and less than half", g.F, n)
	}
	if !(g.MaxNorm >= 0) {
		return fmt.Errorf("aggregate: Guard.MaxNorm is %v, must be at least 0", g.MaxNorm)
	}
	return nil
}

func (g Guard) judge(finite bool, squares float64) Reason {
	switch {
	case !finite:
		return NotFinite
	case g.MaxNorm > 0 && math.Sqrt(squares) > g.MaxNorm:
		return NormTooLarge
	}
	return Kept
}

// sift is the rows that are kept, and the rule for them.
func (g guardAmong) sift(reasons []Reason) (kept []int, rule Rule, err error) {
	var clients, refused []int
	for i, reason := range reasons {
		client := i
		if g.some != nil {
			client = g.some[i]
		}
		if reason == Kept {
			kept, clients = append(kept, i), append(clients, client)
		} else {
			refused = append(refused, client)
		}
	}
	if len(refused) > 0 && (g.Fail || len(kept) == 0) {
		first := slices.IndexFunc(reasons, func(r Reason) bool { return r != Kept })
		return nil, nil, fmt.Errorf("aggregate: rows %v are refused, row %d as %v", refused, refused[0], reasons[first])
	}
	rule = pointed(g.Rule(max(g.F-len(refused), 0)))
	if len(clients) < g.n {
		rule, err = among(rule, clients, g.n)
	}
	return kept, rule, err
}

// pointed is the rule that a pointer to one of those that are told apart by their type points
// to, or the rule itself.
func pointed(rule Rule) Rule {
	switch r := rule.(type) {
	case *Mean:
		return *r
	case *Median:
		return *r
	case *TrimmedMean:
		return *r
	case *Meamed:
		return *r
	case *SignMajority:
		return *r
	case *WeightedMedian:
		return *r
	case *WeightedTrimmedMean:
		return *r
	case *MoNNA:
		return *r
	case *Bucketing:
		return *r
	case *NNM:
		return *r
	case *ARC:
		return *r
	case *Chain:
		return *r
	case *Guard:
		return *r
	}
	return rule
}

// among is the rule for some of n clients, if it knows them by their index.
func among(rule Rule, some []int, n int) (Rule, error) {
	pick := func(rule string, weights []float64) ([]float64, error) {
		if weights == nil { // of which the rule thinks what it may
			return nil, nil
		}
		if _, err := weigh(rule, weights, n); err != nil {
			return nil, err
		}
		var out []float64
		for _, i := range some {
			out = append(out, weights[i])
		}
		return out, nil
	}
	var err error
	switch r := pointed(rule).(type) {
	case Mean:
		r.Weights, err = pick("Mean", r.Weights)
		return r, err
	case WeightedMedian:
		r.Weights, err = pick("WeightedMedian", r.Weights)
		return r, err
	case WeightedTrimmedMean:
		r.Weights, err = pick("WeightedTrimmedMean", r.Weights)
		return r, err
	case MoNNA:
		if k, ok := slices.BinarySearch(some, r.Trusted); ok {
			r.Trusted = k
		} else if r.Trusted >= 0 && r.Trusted < n {
			return nil, fmt.Errorf("aggregate: MoNNA.Trusted is %d, a row that Guard refuses", r.Trusted)
		}
		return r, nil
	case Bucketing:
		if r.Permutation != nil {
			if err := permutes(r.Permutation, n); err != nil {
				return nil, err
			}
			order := make([]int, 0, len(some))
			for _, i := range r.Permutation {
				if k, ok := slices.BinarySearch(some, i); ok {
					order = append(order, k)
				}
			}
			r.Permutation = order
		}
		return r, nil
	case *FoolsGold:
		if !r.Forget {
			return foolsGoldAmong{r, some, n}, nil
		}
	case Guard:
		return guardAmong{r, some, n}, nil
	case Chain:
		c := slices.Clone(r)
		for i, stage := range c {
			if c[i], err = among(stage, some, n); err != nil {
				return nil, err
			}
			if _, buckets := pointed(stage).(Bucketing); buckets { // after which rows are nobody's
				break
			}
		}
		return c, nil
	}
	return rule, nil
}

// tell makes the verdict of all rows of that of those kept.
func (g Guard) tell(v, inner *Verdict, reasons []Reason, kept []int) {
	if v == nil {
		return
	}
	v.start(len(reasons))
	for i := range v.Clients {
		v.Clients[i] = ClientVerdict{Trimmed: math.NaN(), Distance: math.NaN(), Rejected: reasons[i]}
	}
	for k, c := range inner.Clients[:min(len(kept), len(inner.Clients))] {
		v.Clients[kept[k]] = c
	}
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
