package aggregate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// then is a pre-aggregation by itself: followed by the mean.
func then(p PreAggregation, dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	mixed, err := p.Mix(nil, rows, v)
	if err != nil {
		return nil, err
	}
	return Mean{}.Aggregate(dst, mixed, nil)
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
// itself among them (Allouah et al. 2023). It brings any robust rule's κ to order F/n.
// Cost n² d.
type NNM struct {
	F int // of n rows, F < n
}

// Aggregate implements [Rule]: mixing and the mean.
func (r NNM) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return then(r, dst, rows, v)
}

// Mix implements [PreAggregation].
func (r NNM) Mix(dst, rows [][]float32, v *Verdict) ([][]float32, error) {
	n := len(rows)
	if r.F < 0 || r.F >= n {
		return nil, fmt.Errorf("aggregate: NNM.F is %d of %d rows, must be at least 0 and less than that", r.F, n)
	}
	if err := check("NNM", nil, rows); err != nil {
		return nil, err
	}
	dst = fresh(dst, n, len(rows[0]))
	for _, row := range dst {
		overlap(row, rows)
	}
	d2 := squared(rows)
	v.start(n)
	if v != nil {
		for i := range v.Clients {
			v.Clients[i].Weight = 0
		}
	}
	weights := make([][]float32, n)
	for i := range n {
		near := nearest(d2[i*n:(i+1)*n], n-r.F)
		weights[i] = equal(n, near)
		if v != nil {
			for _, k := range near {
				v.Clients[k].Weight += 1 / float64(len(near)) / float64(n)
			}
		}
	}
	mix(dst, rows, weights)
	return dst, nil
}

// mix writes to each row of dst the sum of rows by its weights, a block of columns
// at a time for all of dst, so that rows are read from memory once.
func mix(dst, rows [][]float32, weights [][]float32) {
	const width = 1 << 12
	d := len(rows[0])
	var next atomic.Int64
	var group sync.WaitGroup
	for range max(min(runtime.GOMAXPROCS(0), (d+width-1)/width), 1) {
		group.Go(func() {
			views := make([][]float32, len(rows))
			for a := int(next.Add(1)-1) * width; a < d; a = int(next.Add(1)-1) * width {
				b := min(a+width, d)
				for i, row := range rows {
					views[i] = row[a:b]
				}
				for i, row := range dst {
					kernel.WeightedRows(row[a:b], views, weights[i])
				}
			}
		})
	}
	group.Wait()
}

// Bucketing shuffles the rows and takes means of Size at a time, the last of what
// is left (Karimireddy, He and Jaggi 2022). F liars spoil at most F of the buckets.
type Bucketing struct {
	Size        int    // of a bucket, at least 1
	Seed        uint64 // of the shuffle, public
	Permutation []int  // the shuffle itself, instead of Seed
}

// Aggregate implements [Rule]: mixing and the mean.
func (r Bucketing) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return then(r, dst, rows, v)
}

// Mix implements [PreAggregation].
func (r Bucketing) Mix(dst, rows [][]float32, v *Verdict) ([][]float32, error) {
	n := len(rows)
	if r.Size < 1 {
		return nil, fmt.Errorf("aggregate: Bucketing.Size is %d, must be at least 1", r.Size)
	}
	order := r.Permutation
	if order == nil {
		order = rand.New(rand.NewPCG(r.Seed, 0)).Perm(n)
	}
	seen := make([]bool, n)
	for _, i := range order {
		if len(order) != n || i < 0 || i >= n || seen[i] {
			return nil, fmt.Errorf("aggregate: Bucketing.Permutation %v is not one of %d rows", order, n)
		}
		seen[i] = true
	}
	if err := check("Bucketing", nil, rows); err != nil {
		return nil, err
	}
	v.start(n)
	dst = fresh(dst, (n+r.Size-1)/r.Size, len(rows[0]))
	weights := make([][]float32, len(dst))
	for k, row := range dst {
		overlap(row, rows)
		weights[k] = equal(n, order[k*r.Size:min((k+1)*r.Size, n)])
	}
	mix(dst, rows, weights)
	return dst, nil
}

// Clipping scales rows down to a norm of at most Norm.
type Clipping struct {
	Norm float64 // at least 0 and finite
}

// Aggregate implements [Rule]: clipping and the mean.
func (r Clipping) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return then(r, dst, rows, v)
}

// Mix implements [PreAggregation]. The verdict's distances are the norms.
func (r Clipping) Mix(dst, rows [][]float32, v *Verdict) ([][]float32, error) {
	if !(r.Norm >= 0) || math.IsInf(r.Norm, 0) {
		return nil, fmt.Errorf("aggregate: Clipping.Norm is %v, must be at least 0 and finite", r.Norm)
	}
	if err := check("Clipping", nil, rows); err != nil {
		return nil, err
	}
	return clip(dst, rows, norms(rows), r.Norm, v), nil
}

func norms(rows [][]float32) []float64 {
	out := make([]float64, len(rows))
	for i, row := range rows {
		out[i] = math.Sqrt(kernel.SumSquares(row))
	}
	return out
}

func clip(dst, rows [][]float32, norms []float64, most float64, v *Verdict) [][]float32 {
	dst = fresh(dst, len(rows), len(rows[0]))
	v.start(len(rows))
	for i, row := range rows {
		overlap(dst[i], rows)
		if norms[i] > most {
			kernel.Scale(dst[i], float32(most/norms[i]), row)
		} else {
			copy(dst[i], row)
		}
		if v != nil {
			v.Clients[i].Distance = norms[i]
		}
	}
	return dst
}

// ARC, adaptive robust clipping, clips the floor(2F(n-F)/n) rows of greatest norm to
// the norm of the next (Allouah et al. 2025).
type ARC struct {
	F int // of n rows, F <= n
}

// Aggregate implements [Rule]: clipping and the mean.
func (r ARC) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return then(r, dst, rows, v)
}

// Mix implements [PreAggregation]. The verdict's distances are the norms.
func (r ARC) Mix(dst, rows [][]float32, v *Verdict) ([][]float32, error) {
	n := len(rows)
	if r.F < 0 || r.F > n {
		return nil, fmt.Errorf("aggregate: ARC.F is %d of %d rows, must be at least 0 and at most that", r.F, n)
	}
	if err := check("ARC", nil, rows); err != nil {
		return nil, err
	}
	sizes := norms(rows)
	clipped := 2 * r.F * (n - r.F) / n
	kept := nearest(sizes, n-clipped)
	most := 0.0
	for _, i := range kept {
		most = max(most, sizes[i])
	}
	if len(kept) == 0 {
		most = math.Inf(1)
	}
	return clip(dst, rows, sizes, most, v), nil
}
