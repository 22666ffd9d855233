package aggregate

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// FLTrust weighs rows by the cosine of their angle to Root, the update that the server
// made from data of its own, those beyond a right angle not at all, and scales each
// to Root's norm (Cao et al. 2021). If none is within a right angle the result is 0.
// It holds against any number of liars, as far as the server's data stands for the
// clients'. Rows whose norm is less than 2^-126 of Root's count as rows of zeros do, not at
// all. Cost n d.
type FLTrust struct {
	Root []float32 // of the rows' length, not 0
}

// Aggregate implements [Rule]. The verdict's distances are the cosines.
func (r FLTrust) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("FLTrust", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r FLTrust) plan(s *survey, v *Verdict) error {
	if len(r.Root) != s.d {
		return fmt.Errorf("aggregate: FLTrust.Root has %d values, must have as many as the rows, %d", len(r.Root), s.d)
	}
	size := math.Sqrt(kernel.SumSquares(r.Root))
	if !(size > 0) || math.IsInf(size, 0) {
		return fmt.Errorf("aggregate: FLTrust.Root has norm %v, must be positive and finite", size)
	}
	lengths, err := s.lengthsOf()
	if err != nil {
		return err
	}
	root, scale := r.Root, 1.0
	if size < 0x1p-20 || size > 0x1p20 { // so that products with small rows do not underflow
		_, e := math.Frexp(size)
		scale = math.Ldexp(1, min(-e, 126))
		root = make([]float32, s.d)
		kernel.Scale(root, float32(scale), r.Root)
	}
	products, err := s.products(root)
	if err != nil {
		return err
	}
	weights, cosines, total := make([]float64, s.n), make([]float64, s.n), 0.0
	for k, x := range products {
		if norm := math.Sqrt(lengths[k]); size/norm < 0x1p126 { // and float32 holds the row's share
			cosines[k] = max(min(x/norm/(size*scale), 1), -1)
			weights[k] = max(cosines[k], 0)
			total += weights[k]
		}
	}
	for k, w := range weights {
		if w > 0 {
			weights[k] = w / total
		}
	}
	v.tell(s, weights, cosines)
	for k, w := range weights {
		if w > 0 {
			weights[k] = w * size / math.Sqrt(lengths[k])
		}
	}
	s.combine(weights)
	return nil
}

// FoolsGold lowers the weight of rows that are alike, as those of many clients of one
// attacker are, by their cosines over all rounds (Fung, Yoon and Beschastnikh 2020,
// algorithm 1, with all features of one importance; the weights are then divided by their sum,
// where the paper adds all rows by theirs). Honest clients must differ from
// each other more than liars do; a single liar is not stopped. Use one value, by its
// pointer, for one series of rounds. Cost n² d.
type FoolsGold struct {
	Confidence float64 // of the logit, positive and finite; 0 stands for 1
	Forget     bool    // keep no history: this round's rows alone count
	// History is the sums of each client's rows so far, no greater than float32's greatest; nil
	// at first. A call that succeeds sets it to rows in memory of this value's own; one that
	// fails leaves it. Those rows are as they were until the call after next: clone what is to
	// last longer. Rows from elsewhere, as of a checkpoint, are never written.
	History [][]float32

	self *FoolsGold   // whose own is; a copy has none
	own  [2][]float32 // of n rows each, taking turns
	last int          // that was written
}

// Aggregate implements [Rule]. The verdict's distances are the greatest cosines to
// another row, after pardoning, or 0 if those are negative.
func (r *FoolsGold) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("FoolsGold", dst, rows)
	if err != nil {
		return nil, err
	}
	if r.Forget {
		return s.finish(dst, r.plan(s, v))
	}
	if r.History != nil {
		if err := r.fits(s.n, s.d); err != nil {
			s.close()
			return nil, err
		}
	}
	return r.remember(s, nil, s.n, dst, v)
}

// fits returns an error unless the history is finite and of n rows of d.
func (r *FoolsGold) fits(n, d int) error {
	if len(r.History) != n {
		return fmt.Errorf("aggregate: FoolsGold.History has another shape than the %d rows of %d: it has %d rows", n, d, len(r.History))
	}
	for i, row := range r.History {
		if len(row) != d {
			return fmt.Errorf("aggregate: FoolsGold.History has another shape than the %d rows of %d: row %d has %d values", n, d, i, len(row))
		}
		if j := notFinite(row); j >= 0 {
			return fmt.Errorf("aggregate: FoolsGold.History holds %v in row %d at column %d, must be finite", row[j], i, j)
		}
	}
	return nil
}

// remember carries the rule out for some of n clients, nil for all, with a history.
func (r *FoolsGold) remember(s *survey, some []int, n int, dst []float32, v *Verdict) ([]float32, error) {
	next := r.spare(s, n, dst)
	sums := next
	if some != nil {
		sums = make([][]float32, 0, s.n)
		for _, i := range some {
			sums = append(sums, next[i])
		}
	}
	err := s.pass(func(s *survey, p *part) {
		for k, row := range p.rows {
			sum := sums[k][p.at:][:len(row)]
			copy(sum, row)
			if r.History == nil {
				continue
			}
			i := k
			if some != nil {
				i = some[k]
			}
			kernel.Add(sum, r.History[i][p.at:][:len(row)])
			if !kernel.AllFinite(sum) { // if the row is not, the pass fails
				saturate(sum)
			}
		}
	}, nil)
	if err != nil {
		s.close()
		return nil, err
	}
	h, err := open("FoolsGold", nil, sums)
	if err != nil {
		s.close()
		return nil, err
	}
	defer h.close()
	h.sorted, h.verified = true, true
	alike, _, err := h.cosines()
	if err != nil {
		s.close()
		return nil, err
	}
	s.sorted = true // in the history's order, which is the clients'
	out, err := s.finish(dst, r.weigh(s, alike, v))
	if err != nil {
		return nil, err
	}
	for i, k := 0, 0; i < n; i++ {
		switch {
		case some == nil || k < len(some) && some[k] == i:
			k++
		case r.History == nil:
			clear(next[i])
		default:
			copy(next[i], r.History[i])
		}
	}
	r.History, r.last = next, 1-r.last
	return out, nil
}

// spare is room for the history of n clients, in memory of the value's own that holds neither
// the history there is nor anything of the call's.
func (r *FoolsGold) spare(s *survey, n int, dst []float32) [][]float32 {
	holds := func(memory []float32, rows ...[]float32) bool {
		return slices.ContainsFunc(rows, func(row []float32) bool { return overlaps(memory, row) })
	}
	if r.self != r {
		r.self, r.own = r, [2][]float32{}
	}
	turn := 1 - r.last
	own := r.own[turn]
	if len(own) != n*s.d || holds(own, r.History...) || holds(own, s.rows...) || holds(own, dst) {
		own = make([]float32, n*s.d)
		r.own[turn] = own
	}
	next := make([][]float32, n)
	for i := range next {
		next[i] = own[i*s.d : (i+1)*s.d : (i+1)*s.d]
	}
	return next
}

// foolsGoldAmong is a FoolsGold for some of n clients.
type foolsGoldAmong struct {
	*FoolsGold
	some []int
	n    int
}

// Aggregate implements [Rule].
func (r foolsGoldAmong) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("FoolsGold", dst, rows)
	if err != nil {
		return nil, err
	}
	if r.History != nil {
		if err := r.fits(r.n, s.d); err != nil {
			s.close()
			return nil, err
		}
	}
	return r.remember(s, r.some, r.n, dst, v)
}

func (r *FoolsGold) plan(s *survey, v *Verdict) error {
	if !r.Forget {
		return fmt.Errorf("aggregate: FoolsGold with a history stands alone and in memory; see Forget")
	}
	alike, _, err := s.cosines()
	if err != nil {
		return err
	}
	return r.weigh(s, alike, v)
}

func (r *FoolsGold) weigh(s *survey, alike []float64, v *Verdict) error {
	confidence := r.Confidence
	if confidence == 0 {
		confidence = 1
	}
	if !(confidence > 0) || math.IsInf(confidence, 0) {
		return fmt.Errorf("aggregate: FoolsGold.Confidence is %v, must be positive and finite", confidence)
	}
	n := s.n
	most := func(i int) float64 { // at least 0: the authors set a row's cosine to itself to that
		m := 0.0
		for j := range n {
			if j != i {
				m = max(m, alike[i*n+j])
			}
		}
		return m
	}
	greatest := make([]float64, n)
	for i := range n {
		greatest[i] = most(i)
	}
	for i := range n { // pardon rows that are less alike than the other
		for j := range n {
			if i != j && greatest[j] > greatest[i] {
				alike[i*n+j] *= greatest[i] / greatest[j]
			}
		}
	}
	weights, seen, top := make([]float64, n), make([]float64, n), 0.0
	for i := range n {
		seen[i] = most(i)
		weights[i] = 1 - seen[i]
		top = max(top, weights[i])
	}
	total := 0.0
	for i, w := range weights {
		if top > 0 {
			w /= top
		}
		switch { // the logit, cut to [0, 1]
		case w >= 1:
			w = 1
		case w > 0:
			w = min(max(confidence*(math.Log(w/(1-w))+0.5), 0), 1)
		}
		weights[i] = w
		total += w
	}
	if total > 0 {
		for i := range weights {
			weights[i] /= total
		}
	}
	v.tell(s, weights, seen)
	s.combine(weights)
	return nil
}

// FLAME keeps the cluster that first holds more than half of the rows when rows are
// joined by their cosines, nearest first, which is what HDBSCAN leaves of a least
// cluster size of n/2+1; it clips those kept to the median norm of all rows and takes
// their mean (Nguyen et al. 2022). The cosines are of the rows, which are updates; the paper's
// are of the models after them. The noise that the paper then adds against
// backdoors is the caller's, in proportion to [FLAME.Bound]. Liars fewer than half
// whose direction honest rows share are kept. Cost n² d.
type FLAME struct{}

// Aggregate implements [Rule]. The verdict's distances are the norms.
func (r FLAME) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("FLAME", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

// Bound is the norm that FLAME clips to, of a verdict that it made.
func (FLAME) Bound(v *Verdict) float64 {
	var norms []float64
	for _, c := range v.Clients {
		if c.Rejected == Kept || c.Rejected == Outvoted { // not those that a Guard refused
			norms = append(norms, c.Distance)
		}
	}
	return halfway(norms)
}

// halfway is the median, of an even number the mean of the middle two.
func halfway(x []float64) float64 {
	sorted := slices.Sorted(slices.Values(x))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (r FLAME) plan(s *survey, v *Verdict) error {
	alike, lengths, err := s.cosines()
	if err != nil {
		return err
	}
	n := s.n
	kept := majority(alike, n)
	norms := make([]float64, n)
	for k, x := range lengths {
		norms[k] = math.Sqrt(x)
	}
	bound := halfway(norms)
	v.choose(s, kept, norms)
	weights := make([]float64, n)
	for _, k := range kept {
		weights[k] = 1 / float64(len(kept))
		if norms[k] > bound {
			weights[k] *= bound / norms[k]
		}
	}
	s.combine(weights)
	return nil
}

// majority joins points by single linkage until a cluster holds more than half.
func majority(alike []float64, n int) []int {
	type edge struct {
		i, j int
		near float64
	}
	var edges []edge
	for i := range n {
		for j := range i {
			edges = append(edges, edge{i, j, alike[i*n+j]})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(b.near, a.near) })
	cluster := make([]int, n)
	for i := range cluster {
		cluster[i] = i
	}
	size := slices.Repeat([]int{1}, n)
	for e := 0; e < len(edges); {
		for near := edges[e].near; e < len(edges) && edges[e].near == near; e++ { // equal ones at once
			a, b := cluster[edges[e].i], cluster[edges[e].j]
			if a == b {
				continue
			}
			for k, c := range cluster {
				if c == b {
					cluster[k] = a
				}
			}
			size[a] += size[b]
		}
		for c, held := range size {
			if held > n/2 && slices.Contains(cluster, c) {
				var out []int
				for k, x := range cluster {
					if x == c {
						out = append(out, k)
					}
				}
				return out
			}
		}
	}
	return []int{0}
}
