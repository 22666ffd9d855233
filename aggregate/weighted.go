package aggregate

import (
	"fmt"
	"math"
	"slices"
)

// WeightedMedian is, in each coordinate, the value below and above which lies at most
// half of the weight: of two such the mean, as it is with equal weights. It serves
// clients of unequal size; a liar counts by its weight, so weights must be bounded.
// Breakdown point half of the weight; cost n log n d.
type WeightedMedian struct {
	Weights []float64 // at least 0 and finite, not all 0; one for each row
}

// Aggregate implements [Rule].
func (r WeightedMedian) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := open("WeightedMedian", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r WeightedMedian) plan(s *survey, v *Verdict) error {
	return s.trimWeights("WeightedMedian", r.Weights, 0.5, v)
}

// WeightedTrimmedMean is, in each coordinate, the weighted mean of what remains when
// Share of the weight is cut off from the least values and as much from the greatest;
// of a value on the boundary the part within counts; within 1e-9 of a half Share is the
// median. With equal weights and a Share of F/n it is [TrimmedMean]. Breakdown point Share
// of the weight; cost n log n d.
type WeightedTrimmedMean struct {
	Weights []float64 // at least 0 and finite, not all 0; one for each row
	Share   float64   // at least 0, less than 0.5
}

// Aggregate implements [Rule].
func (r WeightedTrimmedMean) Aggregate(dst []float32, rows [][]float32, v *Verdict) ([]float32, error) {
	s, err := open("WeightedTrimmedMean", dst, rows)
	if err != nil {
		return nil, err
	}
	return s.finish(dst, r.plan(s, v))
}

func (r WeightedTrimmedMean) plan(s *survey, v *Verdict) error {
	if !(r.Share >= 0) || r.Share >= 0.5 {
		return fmt.Errorf("aggregate: WeightedTrimmedMean.Share is %v, must be at least 0 and less than 0.5", r.Share)
	}
	return s.trimWeights("WeightedTrimmedMean", r.Weights, r.Share, v)
}

// trimWeights ends in the weighted mean between two shares of the weight.
func (s *survey) trimWeights(rule string, weights []float64, share float64, v *Verdict) error {
	if weights == nil {
		return fmt.Errorf("aggregate: %s.Weights is missing", rule)
	}
	total, err := weigh(rule, weights, s.n)
	if err != nil {
		return err
	}
	if err := s.canonical(); err != nil {
		return err
	}
	s.askColumns(v)
	s.weights = slices.Grow(s.weights[:0], s.n)[:s.n]
	for k := range s.weights {
		s.weights[k] = weights[s.whose(k)] / total
	}
	s.given = append(s.given[:0], s.weights...)
	if s.mix == nil {
		settleTies(s, s.weights)
	}
	if 0.5-share < nearHalf {
		share = 0.5
	}
	s.end.do, s.end.share, s.end.columns = endWeighted, share, true
	return nil
}

// nearHalf is how little may be left on either side of the median before nothing is: no less
// than what [endWeighted] forgives in all intervals of weight.
const nearHalf = 1e-9

func endWeighted(s *survey, p *part) {
	s.look(p)
	lo, hi := s.end.share, 1-s.end.share
	const slack = 1e-12 // sums of weights round
	told := s.end.told != nil
	if told {
		s.beginUnit(p)
		p.column = sizedTo(p.column, s.n)
	}
	for j := range p.dst {
		p.keys = p.keys[:0]
		for k, row := range p.view { // in the order of the values, then of the rows
			b := int32(math.Float32bits(row[j]))
			p.keys = append(p.keys, int64(b^int32(uint32(b>>31)>>1))<<32|int64(k))
		}
		slices.Sort(p.keys)
		below, sum, mass := 0.0, 0.0, 0.0
		for _, key := range p.keys {
			k := int(key & math.MaxUint32)
			above := below + s.weights[k]
			in := min(above, hi) - max(below, lo)
			switch {
			case lo < 0.5:
			case s.weights[k] > 0 && below <= lo+slack && above >= lo-slack: // its interval of weight holds the half
				in = 1
			default:
				in = 0
			}
			if in <= slack {
				in = 0
			} else {
				sum, mass = sum+in*float64(p.view[k][j]), mass+in
			}
			if told {
				p.column[k] = in
			}
			below = above
		}
		p.dst[j] = float32(sum / mass)
		if told {
			s.tellWeighted(p, j, mass)
		}
	}
}

// tellWeighted counts what rows had of a column, p.column, whose keys are in order: what
// falls to equal values is divided by the clients' weights.
func (s *survey) tellWeighted(p *part, j int, mass float64) {
	for lo := 0; lo < len(p.keys); {
		hi, in, weight := lo, 0.0, 0.0
		value := p.view[int(p.keys[lo]&math.MaxUint32)][j]
		for ; hi < len(p.keys); hi++ {
			k := int(p.keys[hi] & math.MaxUint32)
			if p.view[k][j] != value {
				break
			}
			in, weight = in+p.column[k], weight+s.given[k]
		}
		for ; lo < hi; lo++ {
			k := int(p.keys[lo] & math.MaxUint32)
			share := 0.0
			if in > 0 {
				share = in / mass * s.given[k] / weight
			}
			if p.kept[k] += int64(share * keptUnit); share == 0 {
				p.cut[k]++
			}
		}
	}
}
