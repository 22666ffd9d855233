package aggregate

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// GeometricMedian is the point of least mean distance to the rows, by Weiszfeld's
// iteration from the coordinate-wise median with distances smoothed from below
// (Pillutla, Kakade and Harchaoui 2022). A row that is very near is tested itself: it is the
// result if the other rows' unit pulls add up to no more than its own, but for a mean of
// 10^-5, and is left by the step of Vardi and Zhang (2000) if not. It stops when the mean unit pull on the point is at
// most 10^-5, by the bound Σ|Δwᵢ|‖xᵢ-z‖ times the mean of 1/‖xᵢ-z‖, or after 200 steps; the
// mean distance is then within 2·10^-5 of the least, of which it is a share. Breakdown
// point 1/2; cost n d for each step. Liars who all pull one way bias it, by up to about the
// honest rows' spread for as many as there may be.
type GeometricMedian struct {
	// Smoothing is the least distance, positive and finite; 0 stands for 10^-6 of the median
	// distance to the coordinate-wise median.
	Smoothing float64
}

// Aggregate implements [Rule]. The verdict's distances are those to the point before
// the last step, its weights those of the last step.
func (r GeometricMedian) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("GeometricMedian", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r GeometricMedian) plan(s *survey, v *Verdict) error {
	if r.Smoothing != 0 {
		if err := smooth("GeometricMedian", r.Smoothing); err != nil {
			return err
		}
	}
	if err := s.canonical(); err != nil {
		return err
	}
	distances, err := s.total(s.n, func(s *survey, p *part) {
		s.look(p)
		p.spare[0] = sizedTo(p.spare[0], len(p.rows[0]))
		lo, hi := (s.n-1)/2, s.n/2+1
		kernel.RankSum(p.spare[0], p.view, lo, hi, 1/float32(hi-lo))
		if !kernel.AllFinite(p.spare[0]) {
			mendRanks(p, p.spare[0], lo, hi)
		}
		kernel.DistancesTo(p.room(s.n), p.view, p.spare[0])
	})
	if err != nil {
		return err
	}
	roots(distances)
	smoothing := r.Smoothing
	if smoothing == 0 {
		smoothing = max(1e-6*middle(distances), math.SmallestNonzeroFloat32)
	}
	var weights []float64
	tested := make([]bool, s.n)
	for range 200 {
		if k := least(distances); r.Smoothing == 0 && !tested[k] && dominant(distances, k, smoothing) {
			tested[k] = true
			left, err := s.leave(k, smoothing)
			if err != nil {
				return err
			}
			if left.stays {
				weights, distances = left.row, left.from
				break
			}
			if distances[k] <= smoothing || !farther(left.distances, distances) {
				weights, distances = left.weights, left.distances
			}
		}
		before := weights
		weights = pull(distances, smoothing)
		if before != nil {
			moved, near := 0.0, 0.0
			for k, w := range weights {
				moved += math.Abs(w-before[k]) * distances[k]
				near += 1 / max(smoothing, distances[k]) / float64(s.n)
			}
			if moved*near <= enough {
				break
			}
		}
		if distances, err = s.distancesTo(weights, 0); err != nil {
			return err
		}
		roots(distances)
	}
	v.tell(s, weights, distances)
	s.combine(weights)
	return nil
}

// enough is the mean unit pull at which the geometric median is found.
const enough = 1e-5

// farther says whether a point's distances to the rows sum to more than another's by more
// than their rounding. No distance differs by more than the points are apart, whatever the
// rounding of that to a far row is.
func farther(x, y []float64) bool {
	apart := math.Inf(1)
	for i := range x {
		apart = min(apart, x[i]+y[i])
	}
	sum, rounding := 0.0, 0.0
	for i := range x {
		sum += min(max(x[i]-y[i], -apart), apart)
		rounding += min(kernelError/2*(x[i]+y[i]), apart)
	}
	return sum > rounding
}

func least(x []float64) int {
	k := 0
	for i, y := range x {
		if y < x[k] {
			k = i
		}
	}
	return k
}

// dominant says whether the nearest row, k, with those about as near, is at the point or
// pulls harder than all others.
func dominant(distances []float64, k int, smoothing float64) bool {
	if distances[k] <= smoothing {
		return true
	}
	if distances[k] > middle(distances)/100 {
		return false
	}
	near, far := 0.0, 0.0
	for _, x := range distances {
		if x <= 2*distances[k] {
			near += 1 / x
		} else {
			far += 1 / x
		}
	}
	return near > far
}

// departure is a step from a row.
type departure struct {
	stays              bool      // the row is the geometric median
	row, from          []float64 // weights that are the row, and the distances to it
	weights, distances []float64 // after the step
}

// leave is the step from row k, and from the rows that are no farther from it than the
// smoothing.
func (s *survey) leave(k int, smoothing float64) (d departure, err error) {
	unit := make([]float64, s.n)
	unit[k] = 1
	if d.from, err = s.distancesTo(unit, 0); err != nil {
		return d, err
	}
	roots(d.from)
	for i := range d.from { // a sum of mixtures rounds otherwise than a mixture
		if i == k || s.alike(i, k) {
			d.from[i] = 0
		}
	}
	d.row, d.weights = make([]float64, s.n), make([]float64, s.n)
	own, total := 0.0, 0.0 // unit pulls at the row, and the rest's weight
	for i, x := range d.from {
		if x <= smoothing {
			d.row[i] = 1
			own++
		} else {
			d.weights[i] = 1 / x
			total += 1 / x
		}
	}
	floats.Scale(1/own, d.row)
	if total == 0 {
		d.stays = true
		return d, nil
	}
	floats.Scale(1/total, d.weights)
	away, err := s.distancesTo(d.weights, 0)
	if err != nil {
		return d, err
	}
	others := math.Sqrt(away[k]) * total
	if d.stays = others-own <= enough*float64(s.n); d.stays {
		return d, nil
	}
	floats.Scale(1-own/others, d.weights)
	floats.AddScaled(d.weights, own/others, d.row)
	if d.distances, err = s.distancesTo(d.weights, 0); err != nil {
		return d, err
	}
	roots(d.distances)
	return d, nil
}

// alike says whether two rows seen are one mixture.
func (s *survey) alike(i, k int) bool {
	if s.mix == nil {
		return false
	}
	return floats.Distance(s.mix[i], s.mix[k], 1) < 1e-12
}

// Kappa is the robustness coefficient 4 (1 + F/(n-2F))² of the exact geometric median
// (Allouah et al. 2023, table 1), infinite unless n > 2F.
func (GeometricMedian) Kappa(n, f int) float64 {
	if f < 0 || n <= 2*f {
		return math.Inf(1)
	}
	x := 1 + float64(f)/float64(n-2*f)
	return 4 * x * x
}

// Weiszfeld is that iteration for a fixed number of steps from 0 on, as ByzFL has it
// with 3. The fewer the steps, the more a distant liar moves it. Breakdown point 1/2 for as
// many steps as it takes, none for few. Cost n d for each step.
type Weiszfeld struct {
	Smoothing float64 // the least distance, positive and finite
	Steps     int     // at least 0
}

// Aggregate implements [Rule]. The verdict is as [GeometricMedian]'s.
func (r Weiszfeld) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("Weiszfeld", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r Weiszfeld) plan(s *survey, v *Verdict) error {
	if err := smooth("Weiszfeld", r.Smoothing); err != nil {
		return err
	}
	if r.Steps < 0 {
		return fmt.Errorf("aggregate: Weiszfeld.Steps is %d, must be at least 0", r.Steps)
	}
	if err := s.canonical(); err != nil {
		return err
	}
	weights, distances := make([]float64, s.n), []float64(nil)
	for range r.Steps {
		var err error
		if distances, err = s.distancesTo(weights, 0); err != nil {
			return err
		}
		roots(distances)
		weights = pull(distances, r.Smoothing)
	}
	v.tell(s, weights, distances)
	s.combine(weights)
	return nil
}

func smooth(rule string, smoothing float64) error {
	if !(smoothing > 0) || math.IsInf(smoothing, 0) {
		return fmt.Errorf("aggregate: %s.Smoothing is %v, must be positive and finite", rule, smoothing)
	}
	return nil
}

// pull is Weiszfeld's weights.
func pull(distances []float64, smoothing float64) []float64 {
	weights, total := make([]float64, len(distances)), 0.0
	for k, x := range distances {
		weights[k] = 1 / max(smoothing, x)
		total += weights[k]
	}
	for k := range weights {
		weights[k] /= total
	}
	return weights
}

// middle is the median of some numbers, the upper of two.
func middle(x []float64) float64 {
	sorted := slices.Sorted(slices.Values(x))
	return sorted[len(sorted)/2]
}

// CenteredClipping moves its momentum towards the rows, no row pulling harder than
// Tau (Karimireddy, He and Jaggi 2021). Momentum is kept between calls: use one
// value, by its pointer, for one series of rounds, one call at a time. Cost n d for
// each step. A round's liars move it by at most Tau Steps F/n, and again in each round:
// no number of them moves it farther at once, and any more than none at all in the end, if
// honest rows do not pull it back.
type CenteredClipping struct {
	Tau      float64   // at least 0 and finite
	Steps    int       // at least 1
	Momentum []float32 // 0 if nil; a call sets it to a vector of this value's own, which the next overwrites

	own []float32
}

// Aggregate implements [Rule]. The verdict's distances are those to the point before
// the last step, its weights the rows' shares of the result.
func (r *CenteredClipping) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := apart("CenteredClipping", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r *CenteredClipping) plan(s *survey, v *Verdict) error {
	if !(r.Tau >= 0) || math.IsInf(r.Tau, 0) {
		return fmt.Errorf("aggregate: CenteredClipping.Tau is %v, must be at least 0 and finite", r.Tau)
	}
	if r.Steps < 1 {
		return fmt.Errorf("aggregate: CenteredClipping.Steps is %d, must be at least 1", r.Steps)
	}
	if r.Momentum != nil && len(r.Momentum) != s.d {
		return fmt.Errorf("aggregate: CenteredClipping.Momentum has %d values, must have as many as the rows, %d", len(r.Momentum), s.d)
	}
	if !kernel.AllFinite(r.Momentum) {
		j := notFinite(r.Momentum)
		return fmt.Errorf("aggregate: CenteredClipping.Momentum holds %v at column %d, must be finite", r.Momentum[j], j)
	}
	if err := s.canonical(); err != nil {
		return err
	}
	s.extra = r.Momentum
	weights, share, distances := make([]float64, s.n), 1.0, []float64(nil)
	for range r.Steps {
		var err error
		if distances, err = s.distancesTo(weights, share); err != nil {
			return err
		}
		roots(distances)
		kept := 0.0 // the point's own share, exactly 0 if no row is clipped
		pulls := make([]float64, s.n)
		for k, x := range distances {
			pulls[k] = 1 / float64(s.n)
			if x > r.Tau {
				kept += pulls[k] * (1 - r.Tau/x)
				pulls[k] *= r.Tau / x
			}
		}
		share *= kept
		for k, w := range pulls {
			weights[k] = kept*weights[k] + w
		}
	}
	v.tell(s, weights, distances)
	s.blend(weights, share)
	s.end.keep = r
	return nil
}
