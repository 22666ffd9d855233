package aggregate

import (
	"fmt"
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// GeometricMedian is the point of least mean distance to the rows, by Weiszfeld's
// iteration from the coordinate-wise median with distances smoothed from below
// (Pillutla, Kakade and Harchaoui 2022). It stops when the point moves by no more than
// 10^-5 of the median distance, by the bound Σ|Δwᵢ|‖xᵢ-z‖, or after 200 steps. Breakdown
// point 1/2; cost n d for each step.
type GeometricMedian struct {
	Smoothing float64 // the least distance, positive and finite; 0 stands for 1e-6
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
	if r.Smoothing == 0 {
		r.Smoothing = 1e-6
	}
	if err := smooth("GeometricMedian", r.Smoothing); err != nil {
		return err
	}
	if err := s.canonical(); err != nil {
		return err
	}
	distances, err := s.total(s.n, func(s *survey, p *part) {
		s.look(p)
		p.spare[0] = sizedTo(p.spare[0], len(p.rows[0]))
		kernel.RankSum(p.spare[0], p.view, (s.n-1)/2, s.n/2+1, 1/float32(s.n/2+1-(s.n-1)/2))
		kernel.DistancesTo(p.room(s.n), p.view, p.spare[0])
	})
	if err != nil {
		return err
	}
	roots(distances)
	weights := pull(distances, r.Smoothing)
	for range 200 {
		if distances, err = s.distancesTo(weights, 0); err != nil {
			return err
		}
		roots(distances)
		before := weights
		weights = pull(distances, r.Smoothing)
		moved := 0.0
		for k, w := range weights {
			moved += math.Abs(w-before[k]) * distances[k]
		}
		if moved <= 1e-5*middle(distances) {
			break
		}
	}
	v.tell(s, weights, distances)
	s.combine(weights)
	return nil
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
// with 3. The fewer the steps, the more a distant liar moves it.
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
// each step. A round's liars move it by at most Tau Steps F/n, and again in each round.
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
		kept := 1.0 // the point's own share
		pulls := make([]float64, s.n)
		for k, x := range distances {
			pulls[k] = 1 / float64(s.n)
			if x > r.Tau {
				pulls[k] *= r.Tau / x
			}
			kept -= pulls[k]
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
