package aggregate

import (
	"fmt"
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Mean is the mean of the rows, or with Weights the weighted mean. It holds against
// nobody: one row moves it anywhere. Breakdown point 0; cost n d.
type Mean struct {
	Weights []float64 // at least 0 and finite, not all 0; one for each row, or none
}

// Aggregate implements [Rule].
func (r Mean) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := open("Mean", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r Mean) plan(s *survey, v *Verdict) error {
	total, err := weigh("Mean", r.Weights, s.n)
	if err != nil {
		return err
	}
	if err := s.canonical(); err != nil {
		return err
	}
	if r.Weights == nil && s.mix == nil { // the common case allocates nothing
		v.start(s.n)
		s.end.do, s.end.scale, s.end.mend = endMean, 1/float32(s.n), mendShares
		s.widen()
		return nil
	}
	weights := make([]float64, s.n)
	for k := range weights {
		weights[k] = 1 / total
		if r.Weights != nil {
			weights[k] = r.Weights[s.whose(k)] / total
		}
	}
	v.tell(s, weights, nil)
	s.combine(weights)
	return nil
}

// byColumns says whether a rule is one of those that work by columns.
func byColumns(r Rule) bool {
	switch r.(type) {
	case Mean, Median, TrimmedMean, Meamed, SignMajority, WeightedMedian, WeightedTrimmedMean:
		return true
	}
	return false
}

// whose is the caller's index of a row seen, or its own if it is nobody's.
func (s *survey) whose(k int) int {
	if s.named {
		return s.order[k]
	}
	return k
}

// endMean is the mean of all rows.
func endMean(s *survey, p *part) {
	p.shares = p.shares[:0]
	for range p.rows {
		p.shares = append(p.shares, s.end.scale)
	}
	kernel.WeightedRows(p.dst, p.rows, p.shares)
	p.sound = kernel.AllFinite(p.dst) // it would not be if a row were not
}

// mendShares makes sums that are not finite again: shares in float32 may add up to a little
// more than one, and take the greatest values beyond float32's.
func mendShares(s *survey, p *part) {
	for j, x := range p.dst {
		if x-x == 0 {
			continue
		}
		sum, total := 0.0, 0.0
		for k, row := range p.rows {
			share := float64(s.end.scale)
			if s.end.shares != nil {
				share = float64(s.end.shares[k])
			}
			if share != 0 {
				sum, total = sum+share*float64(row[j]), total+share
			}
		}
		if total > 1 && total < 1+1e-6 {
			sum /= total
		}
		p.dst[j] = float32(sum)
	}
}

// weigh is the sum of the weights of n rows.
func weigh(rule string, weights []float64, n int) (float64, error) {
	if weights == nil {
		return float64(n), nil
	}
	if len(weights) != n {
		return 0, fmt.Errorf("aggregate: %s.Weights has %d values for %d rows", rule, len(weights), n)
	}
	total := 0.0
	for i, w := range weights {
		if !(w >= 0) || math.IsInf(w, 0) {
			return 0, fmt.Errorf("aggregate: %s.Weights[%d] is %v, must be at least 0 and finite", rule, i, w)
		}
		total += w
	}
	if !(total > 0) || math.IsInf(total, 0) {
		return 0, fmt.Errorf("aggregate: %s.Weights sum to %v, must be positive and finite", rule, total)
	}
	return total, nil
}

// Median is the coordinate-wise median: of an even number the mean of the middle
// two. Breakdown point 1/2; cost n d. Liars within the honest rows' spread of each
// coordinate bias it. Infinities are values like others, unless they are the middle.
type Median struct{}

// Aggregate implements [Rule].
func (r Median) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := open("Median", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (Median) plan(s *survey, v *Verdict) error {
	s.ranks((s.n-1)/2, s.n/2+1, v)
	return nil
}

// Kappa is the robustness coefficient 2 (1 + F/(n-2F)), infinite unless n > 2F: at least
// n/2-F rows of any n-F are as far from their mean as the median is, or farther on that
// side. Allouah et al. 2023, table 1, have 4 (1 + F/(n-2F))².
func (Median) Kappa(n, f int) float64 {
	if f < 0 || n <= 2*f {
		return math.Inf(1)
	}
	return 2 * (1 + float64(f)/float64(n-2*f))
}

// TrimmedMean is, in each coordinate, the mean of what remains when the F least
// and the F greatest values are cut off (Yin et al. 2018). Breakdown point F/n; cost
// n d. Liars within the honest rows' spread of each coordinate bias it. Infinities are
// values like others, unless they remain.
type TrimmedMean struct {
	F int // of n rows, 2F < n
}

// Aggregate implements [Rule].
func (r TrimmedMean) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := open("TrimmedMean", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r TrimmedMean) plan(s *survey, v *Verdict) error {
	if err := faulty("TrimmedMean", r.F, s.n); err != nil {
		return err
	}
	if err := s.canonical(); err != nil { // the sum's last bits depend on the order
		return err
	}
	s.ranks(r.F, s.n-r.F, v)
	s.end.do = endTrimmed
	return nil
}

// Kappa is the robustness coefficient 6F/(n-2F) (1 + F/(n-2F)) (Allouah et al. 2023,
// table 1) with this rule's F, infinite unless f <= F and n > 2F.
func (r TrimmedMean) Kappa(n, f int) float64 {
	if f < 0 || f > r.F || n <= 2*r.F {
		return math.Inf(1)
	}
	x := float64(r.F) / float64(n-2*r.F)
	return 6 * x * (1 + x)
}

// ranks ends in the mean of the values of ranks lo to hi-1 of each column.
func (s *survey) ranks(lo, hi int, v *Verdict) {
	s.ordered, s.end.columns = s.mix == nil, true
	s.end.do, s.end.lo, s.end.hi, s.end.scale = endRanks, lo, hi, 1/float32(hi-lo)
	s.end.mend = func(s *survey, p *part) { mendRanks(p, p.dst, s.end.lo, s.end.hi) }
	s.askColumns(v)
}

func endRanks(s *survey, p *part) {
	s.look(p)
	finite := kernel.RankSum(p.dst, p.view, s.end.lo, s.end.hi, s.end.scale)
	switch {
	case s.end.told == nil:
	case s.end.hi-s.end.lo == 1:
		s.divide(p, p.view, p.dst, p.dst, s.end.lo, s.end.hi)
	default:
		s.countCut(p)
	}
	s.saw(p, finite)
}

// saw marks a block as sound if the unmixed rows were seen to be finite and the result is.
func (s *survey) saw(p *part, finite bool) {
	p.sound = finite && s.mix == nil && kernel.AllFinite(p.dst)
}

// mendRanks makes values that are not finite again, the means of ranks lo to hi-1.
func mendRanks(p *part, dst []float32, lo, hi int) {
	for j, x := range dst {
		if x-x != 0 {
			dst[j] = average(p.sortedColumn(j)[lo:hi])
		}
	}
}

// sortedColumn is the values of a column, ascending.
func (p *part) sortedColumn(j int) []float64 {
	p.column = p.column[:0]
	for _, row := range p.view {
		p.column = append(p.column, float64(row[j]))
	}
	slices.Sort(p.column)
	return p.column
}

func average(x []float64) float32 {
	sum := 0.0
	for _, y := range x {
		sum += y
	}
	return float32(sum / float64(len(x)))
}

func endTrimmed(s *survey, p *part) {
	s.look(p)
	if s.end.told != nil {
		s.countCut(p)
	}
	s.saw(p, kernel.TrimmedSum(p.dst, p.view, s.end.lo, s.end.scale))
}

// Meamed is, in each coordinate, the mean of the n-F values nearest to the median
// (Xie, Koyejo and Gupta 2018); of two equally near the lesser. Breakdown point F/n;
// cost n d. Liars within the honest rows' spread of each coordinate bias it. Which values
// are nearest is right where the median is within half of float32's range.
type Meamed struct {
	F int // of n rows, 2F < n
}

// Aggregate implements [Rule].
func (r Meamed) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := open("Meamed", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

// Kappa is the robustness coefficient 4F/(n-F) (1 + √(2F/(n-2F)))² with this rule's F,
// infinite unless f <= F and n > 2F.
//
// Let S be n-F values of variance V around their mean m, M those that are averaged, y the
// median. The means of M and S differ by a sum over at most F pairs, one value of M alone
// and one of S alone, divided by n-F. Each pair is within twice |s-y| <= |s-m| + |m-y|, as
// M's is nearer to y; the |s-m| sum to at most √(F(n-F)V), and |m-y| is bounded by
// [Median.Kappa].
func (r Meamed) Kappa(n, f int) float64 {
	if f < 0 || f > r.F || n <= 2*r.F {
		return math.Inf(1)
	}
	x := 1 + math.Sqrt(2*float64(r.F)/float64(n-2*r.F))
	return 4 * float64(r.F) / float64(n-r.F) * x * x
}

func (r Meamed) plan(s *survey, v *Verdict) error {
	if err := faulty("Meamed", r.F, s.n); err != nil {
		return err
	}
	s.around(s.n - r.F)
	s.askColumns(v)
	return nil
}

// around ends in the means of the m values nearest to the median.
func (s *survey) around(m int) {
	s.end.do, s.end.mend, s.end.lo, s.end.columns = endAround, mendAround, m, true
}

func mendAround(s *survey, p *part) {
	for j, x := range p.dst {
		if x-x == 0 {
			continue
		}
		sorted, n := p.sortedColumn(j), s.n
		median, lo := (sorted[(n-1)/2]+sorted[n/2])/2, 0
		for lo+s.end.lo < n && median-sorted[lo] > sorted[lo+s.end.lo]-median {
			lo++
		}
		p.dst[j] = average(sorted[lo : lo+s.end.lo])
	}
}

func endAround(s *survey, p *part) {
	s.look(p)
	if s.end.told != nil {
		s.countFar(p)
	}
	s.saw(p, kernel.MeanAround(p.dst, p.view, s.end.lo))
}

// SignMajority is, in each coordinate, Scale with the sign that more rows have, or 0
// if as many have the one as the other (Bernstein et al. 2019, signSGD with majority
// vote). Rows can only vote, not shout. Breakdown point 1/2 of the votes; it stops no
// liars who agree where honest rows do not. Cost n d.
type SignMajority struct {
	Scale float64 // of the step, positive and finite; 0 stands for 1
}

// Aggregate implements [Rule]. The verdict's Trimmed is the share of a row's
// coordinates that were outvoted.
func (r SignMajority) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := open("SignMajority", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r SignMajority) plan(s *survey, v *Verdict) error {
	if r.Scale == 0 {
		r.Scale = 1
	}
	if float32(r.Scale) <= 0 || !(r.Scale <= math.MaxFloat32) {
		return fmt.Errorf("aggregate: SignMajority.Scale is %v, must be positive and finite as a float32", r.Scale)
	}
	s.askColumns(v)
	s.end.do, s.end.scale, s.end.columns = endSigns, float32(r.Scale), true
	return nil
}

func endSigns(s *survey, p *part) {
	s.look(p)
	width := len(p.dst)
	p.votes, p.equal = zeros(p.votes, width), zeros(p.equal, width) // for and against
	inf, least := float32(math.Inf(1)), float32(math.SmallestNonzeroFloat32)
	from, to := p.bounds()
	for side, votes := range [][]int32{p.votes, p.equal} {
		lo, hi := least, inf
		if side == 1 {
			lo, hi = -inf, -least
		}
		for j := range from {
			from[j], to[j] = lo, hi
		}
		for _, row := range p.view {
			kernel.CountWithin(votes, row, from, to)
		}
	}
	for j, c := range p.votes {
		p.dst[j] = 0
		switch against := p.equal[j]; {
		case c > against:
			p.dst[j] = s.end.scale
		case c < against:
			p.dst[j] = -s.end.scale
		}
	}
	if s.end.told != nil {
		least, most := from, to // of those not outvoted
		for j, x := range p.dst {
			least[j], most[j] = -inf, inf
			switch {
			case x > 0:
				least[j] = 0
			case x < 0:
				most[j] = 0
			}
		}
		s.within(p, p.view, least, most)
		p.keys = sizedTo(p.keys, len(least))
		for j, n := range p.votes {
			p.keys[j] = keptUnit / int64(n)
		}
		for k, row := range p.view {
			p.kept[k] += kernel.SumWithin(p.keys, row, least, most)
		}
	}
}
