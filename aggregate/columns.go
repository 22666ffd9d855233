package aggregate

import (
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Mean is the mean of the rows, or with Weights the weighted mean. It holds against
// nobody: one row moves it anywhere.
type Mean struct {
	Weights []float64 // at least 0 and finite, not all 0; one for each row, or none
}

// Aggregate implements [Rule].
func (r Mean) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if err := check("Mean", dst, rows); err != nil {
		return nil, err
	}
	total := float64(len(rows))
	if r.Weights != nil {
		total = 0
		if len(r.Weights) != len(rows) {
			return nil, fmt.Errorf("aggregate: Mean.Weights has %d values for %d rows", len(r.Weights), len(rows))
		}
		for i, w := range r.Weights {
			if !(w >= 0) || math.IsInf(w, 0) {
				return nil, fmt.Errorf("aggregate: Mean.Weights[%d] is %v, must be at least 0 and finite", i, w)
			}
			total += w
		}
		if !(total > 0) || math.IsInf(total, 0) {
			return nil, fmt.Errorf("aggregate: Mean.Weights sum to %v, must be positive and finite", total)
		}
	}
	v.start(len(rows))
	dst = sized(dst, len(rows[0]))
	j := newJob(dst, rows, addWeighted)
	j.buffer = j.buffer[:0]
	for i := range rows {
		w := 1.0
		if r.Weights != nil {
			w = r.Weights[i]
		}
		j.buffer = append(j.buffer, float32(w/total))
		if v != nil {
			v.Clients[i].Weight = w / total
		}
	}
	j.weights = j.buffer
	j.start()
	return dst, nil
}

func addWeighted(j *job, p *part) { kernel.WeightedRows(p.dst, p.rows, j.weights) }

// combine is the weighted sum of rows.
func combine(dst []float32, rows [][]float32, weights []float32) []float32 {
	j := newJob(dst, rows, addWeighted)
	j.weights = weights
	j.start()
	return dst
}

// Median is the coordinate-wise median: of an even number the mean of the middle
// two. Breakdown point 1/2; cost n d.
type Median struct{}

// Aggregate implements [Rule].
func (Median) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	n := len(rows)
	return ranks("Median", dst, rows, (n-1)/2, n/2+1, v)
}

// Kappa is the robustness coefficient 4 (1 + F/(n-2F))² (Allouah et al. 2023, table
// 1), infinite unless n > 2F.
func (Median) Kappa(n, f int) float64 {
	if f < 0 || n <= 2*f {
		return math.Inf(1)
	}
	x := 1 + float64(f)/float64(n-2*f)
	return 4 * x * x
}

// TrimmedMean is, in each coordinate, the mean of what remains when the F least
// and the F greatest values are cut off (Yin et al. 2018). Breakdown point F/n; cost
// n d.
type TrimmedMean struct {
	F int // of n rows, 2F < n
}

// Aggregate implements [Rule].
func (r TrimmedMean) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if err := faulty("TrimmedMean", r.F, len(rows)); err != nil {
		return nil, err
	}
	return ranks("TrimmedMean", dst, rows, r.F, len(rows)-r.F, v)
}

// Kappa is the robustness coefficient 6F/(n-2F) (1 + F/(n-2F)) (Allouah et al. 2023,
// table 1), infinite unless n > 2F.
func (r TrimmedMean) Kappa(n, f int) float64 {
	if f < 0 || n <= 2*f {
		return math.Inf(1)
	}
	x := float64(f) / float64(n-2*f)
	return 6 * x * (1 + x)
}

// ranks is the mean of the values of ranks lo to hi-1 of each column.
func ranks(rule string, dst []float32, rows [][]float32, lo, hi int, v *Verdict) ([]float32, error) {
	if err := checkOrdered(rule, dst, rows); err != nil {
		return nil, err
	}
	if v != nil {
		trimmedBy(v, rows, lo, hi)
	}
	dst = sized(dst, len(rows[0]))
	j := newJob(dst, rows, sumRanks)
	j.lo, j.hi, j.scale = lo, hi, 1/float32(hi-lo)
	j.start()
	return dst, nil
}

func sumRanks(j *job, p *part) { kernel.RankSum(p.dst, p.rows, j.lo, j.hi, j.scale) }

// trimmedBy counts the coordinates in which each row is below rank lo or above rank
// hi-1.
func trimmedBy(v *Verdict, rows [][]float32, lo, hi int) {
	v.start(len(rows))
	d := len(rows[0])
	cut := make([]int, len(rows))
	least, most := make([]float32, blockColumns), make([]float32, blockColumns)
	views := make([][]float32, len(rows))
	for a := 0; a < d; a += blockColumns {
		b := min(a+blockColumns, d)
		for i, row := range rows {
			views[i] = row[a:b]
		}
		kernel.RankSum(least[:b-a], views, lo, lo+1, 1)
		kernel.RankSum(most[:b-a], views, hi-1, hi, 1)
		for i, row := range views {
			for k, x := range row {
				if x < least[k] || x > most[k] {
					cut[i]++
				}
			}
		}
	}
	kept := 0
	for _, c := range cut {
		kept += d - c
	}
	for i, c := range cut {
		if d > 0 {
			v.Clients[i].Trimmed = float64(c) / float64(d)
			v.Clients[i].Weight = float64(d-c) / float64(max(kept, 1))
		}
	}
}

// Meamed is, in each coordinate, the mean of the n-F values nearest to the median
// (Xie, Koyejo and Gupta 2018); of two equally near the lesser. Breakdown point F/n;
// cost n d.
type Meamed struct {
	F int // of n rows, 2F < n
}

// Aggregate implements [Rule].
func (r Meamed) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	if err := faulty("Meamed", r.F, len(rows)); err != nil {
		return nil, err
	}
	if err := check("Meamed", dst, rows); err != nil {
		return nil, err
	}
	v.start(len(rows))
	if v != nil {
		for i := range v.Clients {
			v.Clients[i].Weight = math.NaN()
		}
	}
	dst = sized(dst, len(rows[0]))
	j := newJob(dst, rows, aroundMedian)
	j.lo = len(rows) - r.F
	j.start()
	return dst, nil
}

func aroundMedian(j *job, p *part) { kernel.MeanAround(p.dst, p.rows, j.lo) }
