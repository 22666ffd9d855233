package aggregate

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// then is a pre-aggregation by itself: followed by the mean.
func then(rule string, p mixing, dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart(rule, dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, p.plan(s, v))
}

// thenMean is the plan of a pre-aggregation by itself.
func thenMean(p mixing, s *survey, v *Verdict) error {
	weights, err := p.mixture(s, v)
	if err != nil {
		return err
	}
	s.apply(weights)
	return Mean{}.plan(s, nil)
}

// mixed makes the rows of a pre-aggregation.
func mixed(rule string, p mixing, dst, rows [][]float32, v *Verdict) ([][]float32, error) {
	s, err := open(rule, nil, rows)
	if err != nil {
		return nil, err
	}
	defer s.close()
	weights, err := p.mixture(s, v)
	if err != nil {
		return nil, err
	}
	s.apply(weights)
	if !s.verified { // dst is written when all rows have been seen
		if err := s.pass(func(*survey, *part) {}, nil); err != nil {
			return nil, err
		}
	}
	_, buckets := p.(Bucketing)
	dst = fresh(dst, s.n, s.d)
	for _, row := range dst {
		overlap(row, rows)
	}
	err = s.pass(func(s *survey, p *part) {
		s.look(p)
		for k, row := range p.view {
			if !buckets {
				k = s.order[k]
			}
			out := dst[k][p.at:][:len(row)]
			copy(out, row)
			if !kernel.AllFinite(out) {
				saturate(out) // a mean of the greatest values that rounding took beyond them
			}
		}
	}, nil)
	if err != nil {
		return nil, err
	}
	return dst, nil
}

// saturate puts infinities back to the greatest value.
func saturate(x []float32) {
	for j, v := range x {
		x[j] = min(max(v, -math.MaxFloat32), math.MaxFloat32)
	}
}

// fresh is a matrix of n rows of d, in dst's rows where those are large enough.
func fresh(dst [][]float32, n, d int) [][]float32 {
	for len(dst) < n {
		dst = append(dst, nil)
	}
	dst = dst[:n]
	for i, row := range dst {
		if cap(row) < d {
			dst[i] = make([]float32, d)
		} else {
			dst[i] = row[:d]
		}
	}
	return dst
}

// NNM, nearest-neighbour mixing, replaces each row by the mean of its n-F nearest,
// itself among them (Allouah et al. 2023). It brings any robust rule's κ to order F/n, and
// by itself stops only rows that are far from all others: a liar's own row still becomes the
// mean of its neighbours. Cost n² d.
type NNM struct {
	F int // of n rows, F < n
}

// Aggregate implements [Rule]: mixing and the mean.
func (r NNM) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return then("NNM", r, dst, rows, v)
}

// Mix implements [PreAggregation]. The verdict's weights are the rows' shares of all
// mixtures.
func (r NNM) Mix(dst, rows [][]float32, v *Verdict) ([][]float32, error) {
	return mixed("NNM", r, dst, rows, v)
}

func (r NNM) plan(s *survey, v *Verdict) error { return thenMean(r, s, v) }

func (r NNM) mixture(s *survey, v *Verdict) ([][]float64, error) {
	n := s.n
	if r.F < 0 || r.F >= n {
		return nil, fmt.Errorf("aggregate: NNM.F is %d of %d rows, must be at least 0 and less than that", r.F, n)
	}
	d2, err := s.pairs()
	if err != nil {
		return nil, err
	}
	weights, shares := make([][]float64, n), make([]float64, n)
	for k := range n {
		w := make([]float64, n)
		for _, j := range nearest(d2[k*n:(k+1)*n], n-r.F) {
			w[j] = 1 / float64(n-r.F)
			shares[j] += w[j] / float64(n)
		}
		weights[k] = w
	}
	v.tell(s, shares, nil)
	return weights, nil
}

// Bucketing shuffles the rows and takes means of Size at a time, the last of what
// is left (Karimireddy, He and Jaggi 2022). F liars spoil at most F of the buckets,
// so that the rule after it must bear F of fewer rows. Cost n d.
type Bucketing struct {
	Size        int    // of a bucket, at least 1
	Seed        uint64 // of the shuffle, public; another each time, so that nobody stays with the same
	Permutation []int  // the shuffle itself, instead of Seed
}

// Aggregate implements [Rule]: mixing and the mean.
func (r Bucketing) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return then("Bucketing", r, dst, rows, v)
}

// Mix implements [PreAggregation].
func (r Bucketing) Mix(dst, rows [][]float32, v *Verdict) ([][]float32, error) {
	return mixed("Bucketing", r, dst, rows, v)
}

func (r Bucketing) plan(s *survey, v *Verdict) error { return thenMean(r, s, v) }

func (r Bucketing) mixture(s *survey, v *Verdict) ([][]float64, error) {
	n := s.n
	if r.Size < 1 {
		return nil, fmt.Errorf("aggregate: Bucketing.Size is %d, must be at least 1", r.Size)
	}
	order := r.Permutation
	if order == nil {
		order = rand.New(rand.NewPCG(r.Seed, 0)).Perm(n)
	}
	if err := permutes(order, n); err != nil {
		return nil, err
	}
	at := make([]int, n) // of each of the caller's rows among those seen
	for k := range n {
		at[s.whose(k)] = k
	}
	s.named = false
	v.start(n)
	weights := make([][]float64, (n+r.Size-1)/r.Size)
	for b := range weights {
		bucket := order[b*r.Size : min((b+1)*r.Size, n)]
		weights[b] = make([]float64, n)
		for _, i := range bucket {
			weights[b][at[i]] = 1 / float64(len(bucket))
			if v != nil {
				v.Clients[i].Weight = 1 / float64(len(bucket)*len(weights))
			}
		}
	}
	return weights, nil
}

// permutes returns an error unless order is a permutation of n rows.
func permutes(order []int, n int) error {
	seen := make([]bool, n)
	for _, i := range order {
		if len(order) != n || i < 0 || i >= n || seen[i] {
			return fmt.Errorf("aggregate: Bucketing.Permutation %v is not one of %d rows", order, n)
		}
		seen[i] = true
	}
	if len(order) != n {
		return fmt.Errorf("aggregate: Bucketing.Permutation %v is not one of %d rows", order, n)
	}
	return nil
}

// Clipping scales rows down to a norm of at most Norm. By itself it is the
// norm-bounded mean (Sun et al. 2019): a liar moves that by Norm/n at most.
// Cost n d.
type Clipping struct {
	Norm float64 // at least 0 and finite
}

// Aggregate implements [Rule]: clipping and the mean.
func (r Clipping) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return then("Clipping", r, dst, rows, v)
}

// Mix implements [PreAggregation]. The verdict's distances are the norms.
func (r Clipping) Mix(dst, rows [][]float32, v *Verdict) ([][]float32, error) {
	return mixed("Clipping", r, dst, rows, v)
}

func (r Clipping) plan(s *survey, v *Verdict) error { return thenMean(r, s, v) }

func (r Clipping) mixture(s *survey, v *Verdict) ([][]float64, error) {
	if !(r.Norm >= 0) || math.IsInf(r.Norm, 0) {
		return nil, fmt.Errorf("aggregate: Clipping.Norm is %v, must be at least 0 and finite", r.Norm)
	}
	lengths, err := s.lengthsOf()
	if err != nil {
		return nil, err
	}
	return s.clipped(lengths, r.Norm, v), nil
}

// clipped are weights that scale rows to norms of at most most.
func (s *survey) clipped(lengths []float64, most float64, v *Verdict) [][]float64 {
	weights := make([][]float64, s.n)
	v.start(s.n)
	for k, x := range lengths {
		w := make([]float64, s.n)
		w[k] = 1
		norm := math.Sqrt(x)
		if norm > most {
			w[k] = most / norm
		}
		if v != nil {
			c := &v.Clients[s.whose(k)]
			c.Distance, c.Weight = norm, w[k]/float64(s.n)
		}
		weights[k] = w
	}
	return weights
}

// ARC, adaptive robust clipping, clips the floor(2F(n-F)/n) rows of greatest norm to
// the norm of the next (Allouah et al. 2025). It bounds how long liars' rows are by honest
// ones, not where they point. Cost n d.
type ARC struct {
	F int // of n rows, F <= n
}

// Aggregate implements [Rule]: clipping and the mean.
func (r ARC) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return then("ARC", r, dst, rows, v)
}

// Mix implements [PreAggregation]. The verdict's distances are the norms.
func (r ARC) Mix(dst, rows [][]float32, v *Verdict) ([][]float32, error) {
	return mixed("ARC", r, dst, rows, v)
}

func (r ARC) plan(s *survey, v *Verdict) error { return thenMean(r, s, v) }

func (r ARC) mixture(s *survey, v *Verdict) ([][]float64, error) {
	n := s.n
	if r.F < 0 || r.F > n {
		return nil, fmt.Errorf("aggregate: ARC.F is %d of %d rows, must be at least 0 and at most that", r.F, n)
	}
	lengths, err := s.lengthsOf()
	if err != nil {
		return nil, err
	}
	kept := nearest(lengths, n-2*r.F*(n-r.F)/n)
	most := 0.0
	for _, k := range kept {
		most = max(most, lengths[k])
	}
	if len(kept) == 0 {
		most = math.Inf(1)
	}
	return s.clipped(lengths, math.Sqrt(most), v), nil
}
