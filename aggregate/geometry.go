package aggregate

import (
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// lengthsOf are the squared norms of the rows seen.
func (s *survey) lengthsOf() ([]float64, error) {
	if s.lengths == nil {
		err := s.canonical()
		if err != nil {
			return nil, err
		}
		if s.source == nil { // each row is read once, and need not stay in the cache
			block := s.block
			s.block = unitColumns
			defer func() { s.block = block }()
		}
		s.lengths, err = s.total(s.n0, func(s *survey, p *part) {
			sums := p.room(s.n0)
			for k, row := range p.rows[:s.n0] {
				sums[k] += kernel.SumSquares(row)
			}
			p.sound = finite(sums)
		})
		if err != nil {
			return nil, err
		}
	}
	if s.mix == nil {
		return s.lengths, nil
	}
	if err := s.survey(); err != nil {
		return nil, err
	}
	out := make([]float64, s.n)
	for k, w := range s.mix {
		for j, x := range w {
			if x != 0 {
				out[k] += x * s.lengths[j]
			}
		}
	}
	for k, x := range s.form() {
		if k%(s.n+1) == 0 {
			out[k/(s.n+1)] = max(out[k/(s.n+1)]-x/2, 0)
		}
	}
	return out, nil
}

// shortRow is the length up to which distances are taken in float64: the float32
// rounding of longer rows averages out, but rules that filter step by step magnify that
// of a few coordinates.
const shortRow = 256

func squaredDistance(x, y []float32) (sum float64) {
	for j, a := range x {
		d := float64(a) - float64(y[j])
		sum += d * d
	}
	return sum
}

// survey takes the distances of the unmixed rows.
func (s *survey) survey() (err error) {
	if s.base == nil {
		if err := s.canonical(); err != nil {
			return err
		}
		s.base, err = s.total(s.n0*s.n0, func(s *survey, p *part) {
			sums := p.room(s.n0 * s.n0)
			if s.d > shortRow {
				kernel.SquaredDistances(sums, p.rows[:s.n0])
				p.sound = s.n0 > 1 && finite(sums)
				return
			}
			for i, x := range p.rows[:s.n0] {
				for j, y := range p.rows[:i] {
					d2 := squaredDistance(x, y)
					sums[i*s.n0+j], sums[j*s.n0+i] = d2, d2
				}
			}
		})
	}
	return err
}

// distances are the squared distances of all pairs of rows seen, row-major. Those of
// mixtures follow from the distances of what they are mixed of: points with
// barycentric coordinates a and b are -½ (a-b)ᵀD(a-b) apart, squared.
func (s *survey) distances() ([]float64, error) {
	if err := s.survey(); err != nil {
		return nil, err
	}
	if s.mix == nil {
		return s.base, nil
	}
	if s.scaled() {
		if _, err := s.lengthsOf(); err != nil {
			return nil, err
		}
	}
	m := s.form()
	out := make([]float64, s.n*s.n)
	for a := range s.n {
		for b := range a {
			d2 := max(m[a*s.n+b]-m[a*s.n+a]/2-m[b*s.n+b]/2, 0)
			out[a*s.n+b], out[b*s.n+a] = d2, d2
		}
	}
	return out, nil
}

// origin is the barycentric coordinate of 0 in a mixture.
func origin(weights []float64) float64 {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	if math.Abs(1-sum) < 1e-12 {
		return 0
	}
	return 1 - sum
}

// scaled says whether weights of a mixture do not sum to 1.
func (s *survey) scaled() bool {
	for _, w := range s.mix {
		if origin(w) != 0 {
			return true
		}
	}
	return false
}

// form is aᵀDb of all pairs of mixtures, D the distances of the unmixed rows and,
// where a mixture is scaled, of 0.
func (s *survey) form() []float64 {
	n := s.n0
	m := make([]float64, s.n*s.n)
	half := make([]float64, n+1) // aᵀD
	for a, wa := range s.mix {
		clear(half)
		oa := origin(wa)
		for i, x := range wa {
			if x == 0 {
				continue
			}
			for j, d := range s.base[i*n : i*n+n] {
				half[j] += x * d
			}
			if s.lengths != nil {
				half[n] += x * s.lengths[i]
			}
		}
		if oa != 0 {
			for j, d := range s.lengths {
				half[j] += oa * d
			}
		}
		for b, wb := range s.mix {
			sum := 0.0
			for j, x := range wb {
				if x != 0 {
					sum += x * half[j]
				}
			}
			if ob := origin(wb); ob != 0 {
				sum += ob * half[n]
			}
			m[a*s.n+b] = sum
		}
	}
	for a := range s.n { // symmetric to the last bit
		for b := range a {
			x := (m[a*s.n+b] + m[b*s.n+a]) / 2
			m[a*s.n+b], m[b*s.n+a] = x, x
		}
	}
	return m
}

// distancesTo are the squared distances of the rows seen to a sum of them, by
// weights, and of extra, by its share.
func (s *survey) distancesTo(weights []float64, share float64) ([]float64, error) {
	none := !slices.ContainsFunc(weights, func(w float64) bool { return w != 0 })
	if s.mix == nil && (s.extra == nil || share == 0) && none {
		lengths, err := s.lengthsOf() // from 0
		return slices.Clone(lengths), err
	}
	if s.extra != nil && share == 1 && none {
		return s.total(s.n, func(s *survey, p *part) {
			s.look(p)
			kernel.DistancesTo(p.room(s.n), p.view, p.rows[s.n0])
		})
	}
	s.end.shares = s.shares(weights, share)
	return s.total(s.n, func(s *survey, p *part) {
		s.look(p)
		kernel.DistancesTo(p.room(s.n), p.view, p.blend(s.end.shares))
	})
}

// shares are the float32 weights of the unmixed rows, and extra's.
func (s *survey) shares(weights []float64, share float64) []float32 {
	var shares []float32
	for _, w := range s.unmixed(weights) {
		shares = append(shares, float32(w))
	}
	if s.extra != nil {
		shares = append(shares, float32(share))
	}
	return shares
}

// blend is the sum of the unmixed rows by shares.
func (p *part) blend(shares []float32) []float32 {
	p.spare[0] = sizedTo(p.spare[0], len(p.rows[0]))
	kernel.WeightedRows(p.spare[0], p.rows, shares)
	return p.spare[0]
}

// products are the inner products of the rows seen with a vector.
func (s *survey) products(with []float32) ([]float64, error) {
	s.point = with
	return s.total(s.n, func(s *survey, p *part) {
		s.look(p)
		sums := p.room(s.n)
		for k, row := range p.view {
			sums[k] += kernel.Dot(row, s.point[p.at:p.at+len(row)])
		}
	})
}

// columns are some columns, ascending, of the rows seen.
func (s *survey) columns(some []int) ([][]float32, error) {
	out := fresh(nil, s.n, len(some))
	err := s.pass(func(s *survey, p *part) {
		s.look(p)
		lo, _ := slices.BinarySearch(some, p.at)
		for c := lo; c < len(some) && some[c] < p.at+len(p.view[0]); c++ {
			for k, row := range p.view {
				out[k][c] = row[some[c]-p.at]
			}
		}
	}, nil)
	return out, err
}
