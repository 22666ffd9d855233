package aggregate

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/floats"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// dots are the inner products of the rows seen with each of some vectors.
func (s *survey) dots(rule string, with [][]float32) ([][]float64, error) {
	out := make([][]float64, len(with))
	for i, u := range with {
		if len(u) != s.d {
			return nil, fmt.Errorf("aggregate: %s.PowerStarts[%d] has %d values, must have as many as the rows, %d", rule, i, len(u), s.d)
		}
		size := math.Sqrt(kernel.SumSquares(u))
		if !(size > 0) || math.IsInf(size, 0) {
			return nil, fmt.Errorf("aggregate: %s.PowerStarts[%d] has norm %v, must be positive and finite", rule, i, size)
		}
		var err error
		if out[i], err = s.products(u); err != nil {
			return nil, err
		}
		floats.Scale(1/size, out[i])
	}
	return out, nil
}

// SMEA, smallest maximum eigenvalue averaging, is the mean of the n-F rows whose
// covariance has the least largest eigenvalue; of several such sets the one whose rows
// come first (Allouah et al. 2023, "On the privacy-robustness-utility trilemma"). All
// sets are tried, in exponential time. Breakdown point F/n; cost n² d and the search. Liars
// who add no more variance to any direction than honest rows have are averaged with them.
type SMEA struct {
	F int // of n rows, 2F < n
	// PowerStarts are directions: each set's eigenvalue is then estimated by one power
	// step from the next of them, as in ByzFL. There must be one for each set.
	PowerStarts [][]float32
}

// Aggregate implements [Rule]. The verdict's distances are those to the mean, squared.
func (r SMEA) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("SMEA", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r SMEA) plan(s *survey, v *Verdict) error {
	n := s.n
	if err := faulty("SMEA", r.F, n); err != nil {
		return err
	}
	k := n - r.F
	if r.PowerStarts != nil { // which belong to sets of the caller's rows
		s.sorted = true
	}
	d2, err := s.pairs()
	if err != nil {
		return err
	}
	dots, err := s.dots("SMEA", r.PowerStarts)
	if err != nil {
		return err
	}
	set := make([]int, k)
	for i := range set {
		set[i] = i
	}
	var best []int
	least := math.Inf(1)
	for tried := 0; ; tried++ {
		value := 0.0
		switch {
		case r.PowerStarts == nil:
			value = spread(d2, n, set)
		case tried >= len(dots):
			return fmt.Errorf("aggregate: SMEA.PowerStarts has %d directions, must have one for each of the sets of %d of %d rows", len(dots), k, n)
		default:
			a := make([]float64, n)
			mean := 0.0
			for _, i := range set {
				mean += dots[tried][i] / float64(k)
			}
			for _, i := range set {
				a[i] = dots[tried][i] - mean
			}
			value = math.Sqrt(max(-form(d2, a, a)/2, 0))
		}
		if value < least || best == nil {
			least, best = value, append(best[:0], set...)
		}
		if !next(set, n) {
			break
		}
	}
	mean := equalWeights(n, best)
	g := gram(d2, mean)
	distances := make([]float64, n)
	for i := range distances {
		distances[i] = g[i*n+i]
	}
	v.choose(s, best, distances)
	s.combine(mean)
	return nil
}

// Kappa is the robustness coefficient 4F/(n-F) (1 + F/(n-2F))² (Allouah et al. 2023,
// the trilemma) with this rule's F, infinite unless f <= F and n > 2F, or with PowerStarts,
// which may take another subset.
func (r SMEA) Kappa(n, f int) float64 {
	if f < 0 || f > r.F || n <= 2*r.F || r.PowerStarts != nil {
		return math.Inf(1)
	}
	x := 1 + float64(r.F)/float64(n-2*r.F)
	return 4 * float64(r.F) / float64(n-r.F) * x * x
}

// spread is the largest eigenvalue of the scatter of some of n points.
func spread(d2 []float64, n int, set []int) float64 {
	k := len(set)
	sub := make([]float64, k*k)
	for a, i := range set {
		for b, j := range set {
			sub[a*k+b] = d2[i*n+j]
		}
	}
	all := make([]int, k)
	for i := range all {
		all[i] = i
	}
	value, _ := top(gram(sub, equalWeights(k, all)), k)
	return value
}

// next makes of a set of indices below n the next in lexicographic order.
func next(set []int, n int) bool {
	k := len(set)
	for i := k - 1; i >= 0; i-- {
		if set[i] < n-k+i {
			set[i]++
			for j := i + 1; j < k; j++ {
				set[j] = set[j-1] + 1
			}
			return true
		}
	}
	return false
}

func equalWeights(n int, chosen []int) []float64 {
	weights := make([]float64, n)
	for _, k := range chosen {
		weights[k] = 1 / float64(len(chosen))
	}
	return weights
}

// slowSteps is how many steps of [CAF] for n rows go by its definition, in which a row
// counts for the greatest distance when its weight is gone. One far liar could else make
// the steps as small, and as many, as it liked; from here on each takes a row's weight.
// Of up to a hundred rows they take about a second.
func slowSteps(n int) int { return min(60_000, max(1<<24/(n*n), 1000)) }

// CAF, covariance-bound agnostic filter, lowers the weight of rows by how far they lie
// along the direction of greatest variance, until a weight of 2F is gone, and gives
// the weighted mean at which that variance was least (Allouah et al. 2025, "Towards
// trustworthy federated learning with untrusted participants"). Liars far out of the
// honest spread lose their weight first, those within it keep theirs, and honest rows may
// lose some of theirs beside them. Breakdown point F/n; cost n² d, and n² to n³ for
// each step, of which there are about n. By the definition there are the more the farther
// out liars are; after 60,000 steps of up to 16 rows, 2^24/n² of up to 129 and 1000 of more,
// rows whose weight is gone no longer count, and about n steps are left.
type CAF struct {
	F int // of n rows, 2F < n
	// PowerStarts are directions: each step's direction is then estimated by one power
	// step from the next of them, as in ByzFL, and all steps go by the definition.
	PowerStarts [][]float32
}

// Aggregate implements [Rule]. The verdict's distances are those along the direction
// of the step whose mean was taken.
func (r CAF) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("CAF", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r CAF) plan(s *survey, v *Verdict) error {
	n := s.n
	if err := faulty("CAF", r.F, n); err != nil {
		return err
	}
	d2, err := s.pairs()
	if err != nil {
		return err
	}
	dots, err := s.dots("CAF", r.PowerStarts)
	if err != nil {
		return err
	}
	c := slices.Repeat([]float64{1}, n)
	best, bestAt := equalWeights(n, nil), make([]float64, n)
	for i := range best {
		best[i] = 1 / float64(n)
	}
	least := math.Inf(1)
	for step := 0; floats.Sum(c) > float64(n-2*r.F); step++ {
		total := floats.Sum(c)
		p := make([]float64, n)
		floats.AddScaled(p, 1/total, c)
		var along []float64
		value := 0.0
		if r.PowerStarts == nil {
			value, along = principal(d2, p)
		} else {
			if step >= len(dots) {
				return fmt.Errorf("aggregate: CAF.PowerStarts has %d directions, must have one for each step", len(dots))
			}
			value, along = powerStep(d2, p, dots[step])
		}
		if value < least {
			least = value
			copy(best, p)
			copy(bestAt, along)
		}
		most, slow := 0.0, r.PowerStarts != nil || step < slowSteps(n)
		for i, x := range along {
			if slow || c[i] > 0 {
				most = max(most, x*x)
			}
		}
		if most == 0 { // all that are left are one point
			break
		}
		for i, x := range along {
			c[i] *= max(1-x*x/most, 0)
		}
	}
	for i, x := range bestAt {
		bestAt[i] = math.Abs(x)
	}
	v.tell(s, best, bestAt)
	s.combine(best)
	return nil
}

// principal is the largest eigenvalue of the covariance of points by weights p, and
// where the points lie along its eigenvector from the mean.
func principal(d2, p []float64) (value float64, along []float64) {
	n := len(p)
	g := gram(d2, p)
	scaled := make([]float64, n*n)
	root := make([]float64, n)
	for i, w := range p {
		root[i] = math.Sqrt(w)
	}
	for i := range n {
		for j := range n {
			scaled[i*n+j] = root[i] * root[j] * g[i*n+j]
		}
	}
	value, b := top(scaled, n)
	along = make([]float64, n)
	if value <= 0 {
		return 0, along
	}
	for i := range n {
		for j, x := range b {
			along[i] += root[j] * x * g[i*n+j]
		}
		along[i] /= math.Sqrt(value)
	}
	return value, along
}

// powerStep is the same by one power step from a direction, of which dots are the
// points' inner products.
func powerStep(d2, p, dots []float64) (value float64, along []float64) {
	n := len(p)
	mean := floats.Dot(p, dots)
	a := make([]float64, n) // the step is Σ a (x - μ), and Σ a = 0
	for i, w := range p {
		a[i] = w * (dots[i] - mean)
	}
	value = math.Sqrt(max(-form(d2, a, a)/2, 0))
	along = make([]float64, n)
	if value == 0 {
		return 0, along
	}
	shift := form(d2, p, a)
	for i := range n {
		along[i] = -(floats.Dot(d2[i*n:i*n+n], a) - shift) / 2 / value
	}
	return value, along
}

// DnC, divide and conquer, looks at Columns drawn at random, Iterations times, and
// drops the Filter F rows that lie farthest along the direction of greatest variance;
// it is the mean of the rows that no iteration dropped (Shejwalkar and Houmansadr
// 2021). Liars must agree on a direction to be seen. No breakdown point is proved for it as a
// rule; with more than F liars it has none. Cost n d and n² Columns.
type DnC struct {
	F          int     // of n rows, 2F < n
	Columns    int     // 0 stands for 10,000; all if there are fewer
	Iterations int     // 0 stands for 1
	Filter     float64 // how many times F are dropped; 0 stands for 1
	// Seed of the drawing, to be kept from the clients and another each time: who knows the
	// columns lies in the others. 0 draws one that nobody knows, so that results differ from
	// call to call where there are more columns than are drawn.
	Seed uint64
}

// Aggregate implements [Rule]. The verdict's distances are those along the last
// direction.
func (r DnC) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("DnC", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r DnC) plan(s *survey, v *Verdict) error {
	n := s.n
	if err := faulty("DnC", r.F, n); err != nil {
		return err
	}
	if r.Columns < 0 || r.Iterations < 0 {
		return fmt.Errorf("aggregate: DnC.Columns is %d and DnC.Iterations %d, must be at least 0", r.Columns, r.Iterations)
	}
	if r.Filter == 0 {
		r.Filter = 1
	}
	if !(r.Filter > 0) || !(r.Filter*float64(r.F) < float64(n)) {
		return fmt.Errorf("aggregate: DnC.Filter is %v for F = %d of %d rows, must be positive and leave a row", r.Filter, r.F, n)
	}
	dropped := int(r.Filter * float64(r.F))
	if r.Columns == 0 {
		r.Columns = 10_000
	}
	if err := s.canonical(); err != nil {
		return err
	}
	if r.Seed == 0 {
		var seed [8]byte
		crand.Read(seed[:])
		r.Seed = binary.LittleEndian.Uint64(seed[:])
	}
	rng := rand.New(rand.NewPCG(r.Seed, 0x646e63))
	kept := make([]bool, n)
	for i := range kept {
		kept[i] = true
	}
	distances := make([]float64, n)
	for range max(r.Iterations, 1) {
		some, err := s.columns(drawn(rng, s.d, min(r.Columns, s.d)))
		if err != nil {
			return err
		}
		d2 := make([]float64, n*n)
		kernel.SquaredDistances(d2, some)
		p := make([]float64, n)
		for i := range p {
			p[i] = 1 / float64(n)
		}
		_, along := principal(d2, p)
		for i, x := range along {
			distances[i] = math.Abs(x)
		}
		stay := nearest(distances, n-dropped)
		for i := range kept {
			_, ok := slices.BinarySearch(stay, i)
			kept[i] = kept[i] && ok
		}
	}
	var chosen []int
	for i, ok := range kept {
		if ok {
			chosen = append(chosen, i)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("aggregate: DnC dropped all %d rows in %d iterations", n, r.Iterations)
	}
	v.choose(s, chosen, distances)
	s.mean(chosen)
	return nil
}

// drawn are k of d columns at random, ascending (Floyd's algorithm).
func drawn(rng *rand.Rand, d, k int) []int {
	in := make(map[int]bool, k)
	for j := d - k; j < d; j++ {
		t := rng.IntN(j + 1)
		if in[t] {
			t = j
		}
		in[t] = true
	}
	out := make([]int, 0, k)
	for c := range in {
		out = append(out, c)
	}
	slices.Sort(out)
	return out
}
