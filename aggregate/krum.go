package aggregate

import (
	"fmt"
	"math"
	"slices"
)

// nearest are the k rows with the least keys, ties going to the lower index,
// ascending.
func nearest(keys []float64, k int) []int {
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case keys[a] < keys[b]:
			return -1
		case keys[a] > keys[b]:
			return 1
		}
		return 0
	})
	order = order[:k]
	slices.Sort(order)
	return order
}

// Krum is the row whose sum of squared distances to its nearest others is least; on a
// tie the one whose values come first (Blanchard et al. 2017). Breakdown point about
// F/n; cost n² d. The one row that wins may be a liar's who stays near the others. Rows with
// infinities are far from all others; they do not win unless there are too many.
type Krum struct {
	F int // of n rows, 2F < n
	// Neighbors is to how many nearest others: 0 stands for n-F-1, as in ByzFL; the
	// first paper has n-F-2.
	Neighbors int
}

// Aggregate implements [Rule]. The verdict's distances are the mean squared ones.
func (r Krum) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("Krum", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r Krum) plan(s *survey, v *Verdict) error {
	return s.krum("Krum", r.F, r.Neighbors, 1, v)
}

// Kappa is the robustness coefficient of [MultiKrum.Kappa], which for n-F-1 neighbours is
// below the 6 (1 + F/(n-2F)) of Allouah et al. 2023, table 1; for fewer it may be above.
func (r Krum) Kappa(n, f int) float64 {
	return MultiKrum{F: r.F, Neighbors: r.Neighbors, Chosen: 1}.Kappa(n, f)
}

// MultiKrum is the mean of the rows of least [Krum] scores. Breakdown point about F/n;
// cost n² d. Liars who stay as near to the others as honest rows do are averaged with them.
type MultiKrum struct {
	F         int // of n rows, 2F < n
	Neighbors int // as Krum's
	Chosen    int // how many rows; 0 stands for n-F
}

// Aggregate implements [Rule]. The verdict's distances are the mean squared ones.
func (r MultiKrum) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("MultiKrum", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r MultiKrum) plan(s *survey, v *Verdict) error {
	chosen := r.Chosen
	if chosen == 0 {
		chosen = max(s.n-r.F, 1)
	}
	return s.krum("MultiKrum", r.F, r.Neighbors, chosen, v)
}

// Kappa is the robustness coefficient (n-F)/(k+1-F) (1 + √(2k/(n-F-1)))² with this rule's F
// and k neighbours: (3+2√2) (1 + F/(n-2F)) for k = n-F-1. It is infinite unless f <= F,
// n > 2F, F <= k <= n-F-1 and at most n-F rows are chosen.
//
// The argument is that of Allouah et al. 2023 for Krum. Let S be n-F rows of variance V
// around their mean m. The sum of squared distances from a row of S to its k nearest is
// on average at most k/(n-F-1) of that to the others in S, 2(n-F)V; the chosen rows, no more
// than there are in S, have the least such sums. Of a chosen row x and its k nearest at
// least k+1-F are in S; for such a y, |x-m|² <= (1+a)|x-y|² + (1+1/a)|y-m|². The mean over y,
// then over the chosen x, bounds the mean of |x-m|², and so the square of their mean's
// distance to m; the best a gives the coefficient.
func (r MultiKrum) Kappa(n, f int) float64 {
	k := r.Neighbors
	if k == 0 {
		k = max(n-r.F-1, 1)
	}
	if f < 0 || f > r.F || n <= 2*r.F || k < r.F || k > max(n-r.F-1, 1) || r.Chosen > n-r.F {
		return math.Inf(1)
	}
	if n-r.F == 1 {
		return 0 // of one row it is that row
	}
	a := 1 + math.Sqrt(2*float64(k)/float64(n-r.F-1))
	return float64(n-r.F) / float64(k+1-r.F) * a * a
}

// apart is open for rules that look at whole rows, whose dst is none of them.
func apart(rule string, dst []float32, rows [][]float32) (*survey, error) {
	s, err := open(rule, dst, rows)
	if err != nil {
		return nil, err
	}
	overlap(dst, rows)
	return s, nil
}

// pairs are the distances of the rows in their order.
func (s *survey) pairs() ([]float64, error) {
	if err := s.canonical(); err != nil {
		return nil, err
	}
	return s.distances()
}

func (s *survey) krum(rule string, f, neighbors, chosen int, v *Verdict) error {
	if err := faulty(rule, f, s.n); err != nil {
		return err
	}
	if neighbors == 0 {
		neighbors = max(s.n-f-1, 1)
	}
	if neighbors < 1 || neighbors >= s.n && s.n > 1 {
		return fmt.Errorf("aggregate: %s.Neighbors is %d of %d rows, must be at least 1 and less than that", rule, neighbors, s.n)
	}
	if chosen < 1 || chosen > s.n {
		return fmt.Errorf("aggregate: %s.Chosen is %d of %d rows, must be at least 1 and at most that", rule, chosen, s.n)
	}
	s.ordered = s.mix == nil
	d2, err := s.pairs()
	if err != nil {
		return err
	}
	all := make([]int, s.n)
	for k := range all {
		all[k] = k
	}
	scores := krumScores(d2, s.n, all, neighbors)
	kept := nearest(scores, chosen)
	v.choose(s, kept, scores)
	s.mean(kept)
	return nil
}

// krumScores are the mean squared distances of some of n rows to their nearest of
// those.
func krumScores(d2 []float64, n int, some []int, neighbors int) []float64 {
	scores, others := make([]float64, len(some)), make([]float64, 0, len(some))
	for k, i := range some {
		others = others[:0]
		for _, j := range some {
			if x := d2[i*n+j]; j != i && x == x {
				others = append(others, x)
			} else if j != i { // of two infinite rows
				others = append(others, math.Inf(1))
			}
		}
		slices.Sort(others)
		for _, x := range others[:min(neighbors, len(others))] {
			scores[k] += x
		}
		scores[k] /= float64(neighbors)
	}
	return scores
}

// Bulyan chooses n-2F rows one by one, each the [Krum] of the m left with m-F-2 neighbours, the
// first Krum paper's number (at least 1), not Krum's default here, and then takes
// in each coordinate the mean of the n-4F values nearest to their median (El Mhamdi,
// Guerraoui and Rouault 2018). It stops liars who hide a large error in one coordinate
// among many, not those within the honest rows' spread of each. Breakdown point F/n; cost
// n² d, and n³ log n for the choice.
type Bulyan struct {
	F int // of n rows, 4F + 3 <= n
}

// Aggregate implements [Rule]. The verdict's distances are the mean squared ones when
// the row was chosen, or of the last choice.
func (r Bulyan) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("Bulyan", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r Bulyan) plan(s *survey, v *Verdict) error {
	n := s.n
	if r.F < 0 || n < 4*r.F+3 {
		return fmt.Errorf("aggregate: Bulyan.F is %d of %d rows, must be at least 0 and at most (n-3)/4", r.F, n)
	}
	d2, err := s.pairs()
	if err != nil {
		return err
	}
	var chosen []int
	left, at := make([]int, n), make([]float64, n)
	for k := range left {
		left[k] = k
	}
	for len(chosen) < n-2*r.F {
		scores := krumScores(d2, n, left, max(len(left)-r.F-2, 1))
		for k, i := range left {
			at[i] = scores[k]
		}
		best := nearest(scores, 1)[0]
		chosen = append(chosen, left[best])
		left = slices.Delete(left, best, best+1)
	}
	slices.Sort(chosen)
	v.choose(s, chosen, at)
	only := make([][]float64, len(chosen))
	for k, i := range chosen {
		only[k] = make([]float64, n)
		only[k][i] = 1
	}
	s.apply(only)
	s.around(n - 4*r.F)
	s.end.told = v
	return nil
}

// MoNNA is the mean of the n-F rows nearest to one that is trusted, itself among
// them (Farhadkhani et al. 2023). It is as good as the trusted row: no number of liars
// takes it farther from that than the farthest of the n-F nearest, so it breaks down if
// the trusted row does, or with more than F liars. Liars near to it are averaged. Cost n d.
type MoNNA struct {
	F       int // of n rows, 2F < n
	Trusted int // index of the trusted row
}

// Aggregate implements [Rule]. The verdict's distances are those to the trusted row.
func (r MoNNA) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("MoNNA", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r MoNNA) plan(s *survey, v *Verdict) error {
	if err := faulty("MoNNA", r.F, s.n); err != nil {
		return err
	}
	if r.Trusted < 0 || r.Trusted >= s.n {
		return fmt.Errorf("aggregate: MoNNA.Trusted is %d of %d rows, must be the index of one", r.Trusted, s.n)
	}
	if err := s.canonical(); err != nil {
		return err
	}
	trusted := make([]float64, s.n)
	for k := range trusted {
		if s.whose(k) == r.Trusted {
			trusted[k] = 1
		}
	}
	distances, err := s.distancesTo(trusted, 0)
	if err != nil {
		return err
	}
	roots(distances)
	kept := nearest(distances, s.n-r.F)
	v.choose(s, kept, distances)
	s.mean(kept)
	return nil
}

func roots(x []float64) {
	for i, y := range x {
		x[i] = math.Sqrt(y)
	}
}

// MinimumDiameter is the mean of the n-F rows whose greatest distance is least; of
// several such sets the one whose rows come first (El Mhamdi, Guerraoui and Rouault
// 2018). The sets are searched by branch and bound, which may take exponential time.
// Breakdown point F/n; cost n² d and the search. Liars no farther from the others than
// honest rows are from each other are averaged with them.
type MinimumDiameter struct {
	F int // of n rows, 2F < n
}

// Aggregate implements [Rule]. The verdict's distances are to the farthest of the set.
func (r MinimumDiameter) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("MinimumDiameter", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

// Kappa is the robustness coefficient 8F²/(n-F) with this rule's F, infinite unless f <=
// F and n > 2F.
//
// Let S be n-F rows of variance V around their mean, M the set that is chosen. The means
// of M and S differ by a sum over at most F pairs, one row of M alone and one of S alone,
// divided by n-F. Either row is within a diameter of any row of both sets, M's is no more than that
// of S, and the square of that is at most 2(n-F)V.
func (r MinimumDiameter) Kappa(n, f int) float64 {
	if f < 0 || f > r.F || n <= 2*r.F {
		return math.Inf(1)
	}
	return 8 * float64(r.F) * float64(r.F) / float64(n-r.F)
}

func (r MinimumDiameter) plan(s *survey, v *Verdict) error {
	n := s.n
	if err := faulty("MinimumDiameter", r.F, n); err != nil {
		return err
	}
	d2, err := s.pairs()
	if err != nil {
		return err
	}
	var best []int
	least := math.Inf(1)
	chosen := make([]int, 0, n)
	var grow func(from int, diameter float64)
	grow = func(from int, diameter float64) {
		if len(chosen) == n-r.F {
			if diameter < least || best == nil {
				least, best = diameter, append(best[:0], chosen...)
			}
			return
		}
		for i := from; i <= n-(n-r.F-len(chosen)); i++ {
			wider := diameter
			for _, k := range chosen {
				wider = max(wider, d2[k*n+i])
			}
			if wider >= least && best != nil {
				continue
			}
			chosen = append(chosen, i)
			grow(i+1, wider)
			chosen = chosen[:len(chosen)-1]
		}
	}
	grow(0, 0)
	far := make([]float64, n)
	for i := range far {
		for _, k := range best {
			far[i] = max(far[i], math.Sqrt(d2[i*n+k]))
		}
	}
	v.choose(s, best, far)
	s.mean(best)
	return nil
}
