package aggregate

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// GeometricMedian is the point of least mean distance to the rows, by Weiszfeld's
// iteration from the coordinate-wise median with distances smoothed from below
// (Pillutla, Kakade and Harchaoui 2022), until a step is no longer than 10^-5 of the
// median distance, at most 200 steps. Breakdown point 1/2; cost n d for each step.
type GeometricMedian struct {
	Smoothing float64 // the least distance, positive and finite; 0 stands for 1e-6
}

// Aggregate implements [Rule]. The verdict's distances are those to the point before
// the last step, its weights those of the last step.
func (r GeometricMedian) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if r.Smoothing == 0 {
		r.Smoothing = 1e-6
	}
	return weiszfeld("GeometricMedian", dst, rows, v, r.Smoothing, 200, true)
}

// Weiszfeld is that iteration for a fixed number of steps from 0 on, as ByzFL has it
// with 3.
type Weiszfeld struct {
	Smoothing float64 // the least distance, positive and finite
	Steps     int     // at least 0
}

// Aggregate implements [Rule]. The verdict is as [GeometricMedian]'s.
func (r Weiszfeld) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	return weiszfeld("Weiszfeld", dst, rows, v, r.Smoothing, r.Steps, false)
}

func weiszfeld(rule string, dst []float32, rows [][]float32, v *Verdict, smoothing float64, steps int, converge bool) ([]float32, error) {
	if !(smoothing > 0) || math.IsInf(smoothing, 0) {
		return nil, fmt.Errorf("aggregate: %s.Smoothing is %v, must be positive and finite", rule, smoothing)
	}
	if steps < 0 {
		return nil, fmt.Errorf("aggregate: %s.Steps is %d, must be at least 0", rule, steps)
	}
	if err := check(rule, dst, rows); err != nil {
		return nil, err
	}
	overlap(dst, rows)
	n, d := len(rows), len(rows[0])
	point := make([]float32, d)
	weights, distances := make([]float32, n), make([]float64, n)
	if converge {
		var err error
		if point, err = (Median{}).Aggregate(point, rows, nil); err != nil {
			return nil, err
		}
	}
	before := make([]float32, d)
	for range steps {
		distancesTo(distances, rows, point)
		total := 0.0
		for i, x := range distances {
			distances[i] = math.Sqrt(x)
			total += 1 / max(smoothing, distances[i])
		}
		for i, x := range distances {
			weights[i] = float32(1 / max(smoothing, x) / total)
		}
		point, before = before, point
		combine(point, rows, weights)
		if converge {
			moved := make([]float64, 1)
			distancesTo(moved, [][]float32{before}, point)
			if math.Sqrt(moved[0]) <= 1e-5*middle(distances) {
				break
			}
		}
	}
	v.start(n)
	if v != nil {
		for i := range v.Clients {
			v.Clients[i].Weight, v.Clients[i].Distance = float64(weights[i]), distances[i]
		}
	}
	if dst == nil {
		return point, nil
	}
	copy(dst, point)
	return dst, nil
}

// middle is the median of some numbers.
func middle(x []float64) float64 {
	sorted := slices.Sorted(slices.Values(x))
	return sorted[len(sorted)/2]
}

// Kappa is the robustness coefficient 4 (1 + F/(n-2F))² of the exact geometric median
// (Allouah et al. 2023, table 1), infinite unless n > 2F.
func (GeometricMedian) Kappa(n, f int) float64 { return Median{}.Kappa(n, f) }

// distancesTo writes the squared distances of the rows to a point, on all cores.
func distancesTo(dst []float64, rows [][]float32, point []float32) {
	d := len(point)
	const width = 1 << 16
	groups := d/width + 1
	sums := make([]float64, groups*len(rows))
	var group sync.WaitGroup
	for g := range groups {
		group.Go(func() {
			a, b := g*width, min((g+1)*width, d)
			views := make([][]float32, len(rows))
			for i, row := range rows {
				views[i] = row[a:b]
			}
			kernel.DistancesTo(sums[g*len(rows):(g+1)*len(rows)], views, point[a:b])
		})
	}
	group.Wait()
	clear(dst)
	for i, x := range sums {
		dst[i%len(rows)] += x
	}
}

// CenteredClipping moves its momentum towards the rows, no row pulling harder than
// Tau (Karimireddy, He and Jaggi 2021). Momentum is kept between calls: use one
// value, by its pointer, for one series of rounds, one call at a time. Cost n d for
// each step.
type CenteredClipping struct {
	Tau      float64   // at least 0 and finite
	Steps    int       // at least 1
	Momentum []float32 // 0 if nil
}

// Aggregate implements [Rule]. The verdict's distances are those to the point before
// the last step.
func (r *CenteredClipping) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if !(r.Tau >= 0) || math.IsInf(r.Tau, 0) {
		return nil, fmt.Errorf("aggregate: CenteredClipping.Tau is %v, must be at least 0 and finite", r.Tau)
	}
	if r.Steps < 1 {
		return nil, fmt.Errorf("aggregate: CenteredClipping.Steps is %d, must be at least 1", r.Steps)
	}
	if err := check("CenteredClipping", dst, rows); err != nil {
		return nil, err
	}
	overlap(dst, rows)
	n, d := len(rows), len(rows[0])
	point := make([]float32, d)
	if r.Momentum != nil {
		if len(r.Momentum) != d {
			return nil, fmt.Errorf("aggregate: CenteredClipping.Momentum has %d values, must have as many as the rows, %d", len(r.Momentum), d)
		}
		copy(point, r.Momentum)
	}
	weights, distances := make([]float32, n+1), make([]float64, n)
	all := append(append(make([][]float32, 0, n+1), rows...), nil)
	before := make([]float32, d)
	for range r.Steps {
		distancesTo(distances, rows, point)
		kept := 1.0 // the point's own share
		for i, x := range distances {
			distances[i] = math.Sqrt(x)
			w := 1 / float64(n)
			if distances[i] > r.Tau {
				w *= r.Tau / distances[i]
			}
			weights[i] = float32(w)
			kept -= w
		}
		copy(before, point)
		weights[n], all[n] = float32(kept), before
		combine(point, all, weights)
	}
	v.start(n)
	if v != nil {
		for i := range v.Clients {
			v.Clients[i].Weight, v.Clients[i].Distance = float64(weights[i]), distances[i]
		}
	}
	r.Momentum = point
	if dst == nil {
		dst = make([]float32, d)
	}
	copy(dst, point)
	return dst, nil
}

// MinimumDiameter is the mean of the n-F rows whose greatest distance is least, the
// first such set in lexicographic order (El Mhamdi, Guerraoui and Rouault 2018). The
// sets are searched by branch and bound, which may take exponential time.
type MinimumDiameter struct {
	F int // of n rows, 2F < n
}

// Aggregate implements [Rule].
func (r MinimumDiameter) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	n := len(rows)
	if err := faulty("MinimumDiameter", r.F, n); err != nil {
		return nil, err
	}
	if err := check("MinimumDiameter", dst, rows); err != nil {
		return nil, err
	}
	overlap(dst, rows)
	d2 := squared(rows)
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
	far := make([]float64, n) // to the farthest of the set
	for i := range far {
		for _, k := range best {
			far[i] = max(far[i], math.Sqrt(d2[i*n+k]))
		}
	}
	v.choose(n, best, far)
	return meanOf(dst, rows, best), nil
}
