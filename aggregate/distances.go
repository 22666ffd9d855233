package aggregate

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// squared are the squared distances of all pairs of rows, row-major. Columns are
// cut by their number alone, and the parts added in order.
func squared(rows [][]float32) []float64 {
	n, d := len(rows), len(rows[0])
	groups := min(8, d/(1<<16)+1)
	width := (d/groups + 1023) / 1024 * 1024
	width = max(width, 1024)
	sums := make([][]float64, groups)
	var group sync.WaitGroup
	for g := range groups {
		group.Go(func() {
			sums[g] = make([]float64, n*n)
			a, b := min(g*width, d), min((g+1)*width, d)
			if g == groups-1 {
				b = d
			}
			views := make([][]float32, n)
			for ; a < b; a += blockColumns { // short calls can be preempted between
				for i, row := range rows {
					views[i] = row[a:min(a+blockColumns, b)]
				}
				kernel.SquaredDistances(sums[g], views)
			}
		})
	}
	group.Wait()
	for _, s := range sums[1:] {
		for i, x := range s {
			sums[0][i] += x
		}
	}
	return sums[0]
}

// nearest are the k rows with the least keys, ties going to the lower index.
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

// equal is equal weights of some of n rows, summing to 1.
func equal(n int, chosen []int) []float32 {
	weights := make([]float32, n)
	for _, i := range chosen {
		weights[i] = 1 / float32(len(chosen))
	}
	return weights
}

// meanOf is the mean of some rows.
func meanOf(dst []float32, rows [][]float32, chosen []int) []float32 {
	return combine(sized(dst, len(rows[0])), rows, equal(len(rows), chosen))
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
func (v *Verdict) choose(n int, chosen []int, distances []float64) {
	if v == nil {
		return
	}
	v.start(n)
	for i := range v.Clients {
		v.Clients[i] = ClientVerdict{Trimmed: math.NaN(), Distance: distances[i], Rejected: Outvoted}
	}
	for _, i := range chosen {
		v.Clients[i].Weight, v.Clients[i].Rejected = 1/float64(len(chosen)), Kept
	}
}

// Krum is the row whose sum of squared distances to its nearest others is least,
// the first on a tie (Blanchard et al. 2017). Breakdown point about F/n; cost n² d.
type Krum struct {
	F int // of n rows, 2F < n
	// Neighbors is to how many nearest others: 0 stands for n-F-1, as in ByzFL; the
	// first paper has n-F-2.
	Neighbors int
}

// Aggregate implements [Rule]. The verdict's distances are the mean squared ones.
func (r Krum) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return krum("Krum", dst, rows, r.F, r.Neighbors, 1, v)
}

// Kappa is the robustness coefficient 6 (1 + F/(n-2F)) (Allouah et al. 2023, table
// 1), infinite unless n > 2F.
func (Krum) Kappa(n, f int) float64 {
	if f < 0 || n <= 2*f {
		return math.Inf(1)
	}
	return 6 * (1 + float64(f)/float64(n-2*f))
}

// MultiKrum is the mean of the rows of least [Krum] scores.
type MultiKrum struct {
	F         int // of n rows, 2F < n
	Neighbors int // as Krum's
	Chosen    int // how many rows; 0 stands for n-F
}

// Aggregate implements [Rule]. The verdict's distances are the mean squared ones.
func (r MultiKrum) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	chosen := r.Chosen
	if chosen == 0 {
		chosen = max(len(rows)-r.F, 1)
	}
	return krum("MultiKrum", dst, rows, r.F, r.Neighbors, chosen, v)
}

func krum(rule string, dst []float32, rows [][]float32, f, neighbors, chosen int, v *Verdict) ([]float32, error) {
	n := len(rows)
	if err := faulty(rule, f, n); err != nil {
		return nil, err
	}
	if neighbors == 0 {
		neighbors = max(n-f-1, 1)
	}
	if neighbors < 1 || neighbors >= n && n > 1 {
		return nil, fmt.Errorf("aggregate: %s.Neighbors is %d of %d rows, must be at least 1 and less than that", rule, neighbors, n)
	}
	if chosen < 1 || chosen > n {
		return nil, fmt.Errorf("aggregate: %s.Chosen is %d of %d rows, must be at least 1 and at most that", rule, chosen, n)
	}
	if err := checkOrdered(rule, dst, rows); err != nil {
		return nil, err
	}
	overlap(dst, rows)
	d2 := squared(rows)
	for i, x := range d2 {
		if x != x { // of two infinite rows
			d2[i] = math.Inf(1)
		}
	}
	scores, others := make([]float64, n), make([]float64, 0, n)
	for i := range scores {
		others = others[:0]
		for j := range n {
			if j != i {
				others = append(others, d2[i*n+j])
			}
		}
		slices.Sort(others)
		for _, x := range others[:min(neighbors, len(others))] {
			scores[i] += x
		}
		scores[i] /= float64(neighbors)
	}
	kept := nearest(scores, chosen)
	v.choose(n, kept, scores)
	return meanOf(dst, rows, kept), nil
}

// MoNNA is the mean of the n-F rows nearest to one that is trusted, itself among
// them (Farhadkhani et al. 2023). Cost n d.
type MoNNA struct {
	F       int // of n rows, 2F < n
	Trusted int // index of the trusted row
}

// Aggregate implements [Rule]. The verdict's distances are those to the trusted row.
func (r MoNNA) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if err := faulty("MoNNA", r.F, len(rows)); err != nil {
		return nil, err
	}
	if r.Trusted < 0 || r.Trusted >= len(rows) {
		return nil, fmt.Errorf("aggregate: MoNNA.Trusted is %d of %d rows, must be the index of one", r.Trusted, len(rows))
	}
	if err := check("MoNNA", dst, rows); err != nil {
		return nil, err
	}
	overlap(dst, rows)
	distances := make([]float64, len(rows))
	kernel.DistancesTo(distances, rows, rows[r.Trusted])
	for i, x := range distances {
		distances[i] = math.Sqrt(x)
	}
	kept := nearest(distances, len(rows)-r.F)
	v.choose(len(rows), kept, distances)
	return meanOf(dst, rows, kept), nil
}
