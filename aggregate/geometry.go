package aggregate

import (
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// sumColumns is how many columns a sum of products in float32 covers, as in the kernels,
// before it is added to a float64. Blocks are at least as wide in passes that take such
// sums, which then do not depend on how rows are cut.
const sumColumns = 4096

// addSquares adds a part of a row's squared norm.
func addSquares(sum *float64, row []float32) {
	for len(row) > 0 {
		n := min(len(row), sumColumns)
		*sum += kernel.SumSquares(row[:n])
		row = row[n:]
	}
}

// addDot adds a part of an inner product.
func addDot(sum *float64, x, y []float32) {
	for len(x) > 0 {
		n := min(len(x), sumColumns)
		*sum += kernel.Dot(x[:n], y[:n])
		x, y = x[n:], y[n:]
	}
}

// squaredNorm is the squared norm of a row in memory, as lengthsOf has it.
func squaredNorm(row []float32) (sum float64) {
	for len(row) > 0 {
		n, unit := min(len(row), unitColumns), 0.0
		addSquares(&unit, row[:n])
		sum += unit
		row = row[n:]
	}
	return sum
}

// wide makes blocks wide enough for addSquares and addDot, and, if the rows are each read
// once and need not stay in the cache, as long as they come. It returns what undoes that.
func (s *survey) wide(once bool) func() {
	block := s.block
	if s.block = max(s.block, sumColumns); once && s.source == nil {
		s.block = unitColumns
	}
	return func() { s.block = block }
}

// Relative errors of the kernels' sums of squares and of squared distances are at most
// kernelError. Squared distances that follow from them by algebra are taken if its terms are so
// much greater than the result, at most, that its relative error is below 2^-7; else what is
// mixed is mixed and measured.
const (
	kernelError = 135 * 0x1p-24
	algebraic   = 0x1p-7 / kernelError
)

// lengthsOf are the squared norms of the rows seen. Those of mixtures are measured, as what
// is clipped by them must be within its bound, unless each is a row that is scaled.
func (s *survey) lengthsOf() ([]float64, error) {
	if s.mix == nil {
		return s.unmixedLengths()
	}
	for _, w := range s.mix {
		parts := 0
		for _, x := range w {
			if x != 0 {
				parts++
			}
		}
		if parts > 1 {
			return s.mixedLengths()
		}
	}
	lengths, err := s.unmixedLengths()
	if err != nil {
		return nil, err
	}
	out := make([]float64, s.n)
	for k, w := range s.mix {
		for j, x := range w {
			if x != 0 {
				out[k] = x * x * lengths[j]
			}
		}
	}
	return out, nil
}

// unmixedLengths are the squared norms of the unmixed rows.
func (s *survey) unmixedLengths() ([]float64, error) {
	if s.lengths == nil {
		err := s.canonical()
		if err != nil {
			return nil, err
		}
		restore := s.wide(true)
		s.lengths, err = s.total(s.n0, func(s *survey, p *part) {
			sums := p.room(s.n0)
			for k, row := range p.rows[:s.n0] {
				addSquares(&sums[k], row)
			}
			p.sound = finite(sums)
		})
		if restore(); err != nil {
			s.lengths = nil
			return nil, err
		}
	}
	return s.lengths, nil
}

// mixedLengths are the squared norms of the rows as they are mixed.
func (s *survey) mixedLengths() ([]float64, error) {
	defer s.wide(false)()
	return s.total(s.n, func(s *survey, p *part) {
		s.look(p)
		sums := p.room(s.n)
		for k, row := range p.view {
			addSquares(&sums[k], row)
		}
	})
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
			s.addDistances(sums, p.rows[:s.n0])
			p.sound = s.d > shortRow && s.n0 > 1 && finite(sums)
		})
	}
	return err
}

// addDistances adds a part of the squared distances of all pairs of rows.
func (s *survey) addDistances(sums []float64, rows [][]float32) {
	if s.d > shortRow {
		kernel.SquaredDistances(sums, rows)
		return
	}
	n := len(rows)
	for i, x := range rows {
		for j, y := range rows[:i] {
			d2 := squaredDistance(x, y)
			sums[i*n+j], sums[j*n+i] = d2, d2
		}
	}
}

// mixedDistances are the squared distances of the rows as they are mixed.
func (s *survey) mixedDistances() ([]float64, error) {
	return s.total(s.n*s.n, func(s *survey, p *part) {
		s.look(p)
		s.addDistances(p.room(s.n*s.n), p.view)
	})
}

// distances are the squared distances of all pairs of rows seen, row-major. Those of
// mixtures follow from the distances of what they are mixed of: points with
// barycentric coordinates a and b are -½ (a-b)ᵀD(a-b) apart, squared. Mixtures that are
// scaled, which have a coordinate at 0 too, may be near to each other and made of rows that
// are very far: their distances are taken so where each is exact to 2^-7.
func (s *survey) distances() ([]float64, error) {
	if err := s.survey(); err != nil {
		return nil, err
	}
	if s.mix == nil {
		return s.base, nil
	}
	scaled := s.scaled()
	if scaled {
		if _, err := s.unmixedLengths(); err != nil {
			return nil, err
		}
	}
	m := s.form()
	out := make([]float64, s.n*s.n)
	center := 0
	if scaled {
		center = s.center()
	}
	for a := range s.n {
		for b := range a {
			d2 := max(m[a*s.n+b]-m[a*s.n+a]/2-m[b*s.n+b]/2, 0)
			if scaled {
				direct, terms, exact := s.between(a, b, center)
				if exact {
					d2 = max(direct, 0)
				} else {
					rounding := 0x1p-40 * (m[a*s.n+b] + m[a*s.n+a]/2 + m[b*s.n+b]/2)
					terms = max(terms, rounding/kernelError)
				}
				if terms > 0 && !(terms <= algebraic*d2) {
					return s.mixedDistances()
				}
			}
			out[a*s.n+b], out[b*s.n+a] = d2, d2
		}
	}
	return out, nil
}

// center is the row whose median squared distance is least.
func (s *survey) center() int {
	best, least := 0, math.Inf(1)
	for i := range s.n0 {
		if x := middle(s.base[i*s.n0 : (i+1)*s.n0]); x < least {
			best, least = i, x
		}
	}
	return best
}

// between is -½ cᵀDc, where c is what the mixtures a and b differ by and D is as in form,
// and the sum of its terms' sizes, ½ |c|ᵀD|c|. If c has many coordinates only a bound of the
// latter is worked out: as D[i][j] is at most twice D[i][k] + D[j][k], it is at most 2
// Σ|c[i]| Σ|c[i]|D[i][k], whatever row k is.
func (s *survey) between(a, b, k int) (d2, terms float64, exact bool) {
	const few = 8
	var at [few]int
	var c [few]float64
	n, count := s.n0, 0
	sum, size, toCenter, zero := 0.0, 0.0, 0.0, origin(s.mix[a])-origin(s.mix[b])
	for i, x := range s.mix[a] {
		x -= s.mix[b][i]
		if x == 0 {
			continue
		}
		if count < few {
			at[count], c[count] = i, x
		}
		count++
		sum += x
		size += math.Abs(x)
		toCenter += math.Abs(x) * s.base[i*n+k]
	}
	if zero != 0 {
		zero = -sum // to the last bit
	}
	if count > few {
		return 0, 2 * (size + math.Abs(zero)) * (toCenter + math.Abs(zero)*s.lengths[k]), false
	}
	for i := range count {
		for j := range i {
			x := c[i] * c[j] * s.base[at[i]*n+at[j]]
			d2 -= x
			terms += math.Abs(x)
		}
		x := c[i] * zero * s.lengths[at[i]]
		d2 -= x
		terms += math.Abs(x)
	}
	return d2, terms, true
}

// cosines are those of all pairs of the rows seen, 0 with a row whose norm is below 2^-126,
// and lengths the rows' squared norms. They follow from the norms and distances of the rows after each is
// scaled by a power of two to a norm of about 1 to 2, so that how far norms differ takes
// nothing from them.
func (s *survey) cosines() (alike, lengths []float64, err error) {
	if lengths, err = s.lengthsOf(); err != nil {
		return nil, nil, err
	}
	n := s.n
	scaled := make([][]float64, n)
	for k := range n {
		size := math.Sqrt(lengths[k])
		_, e := math.Frexp(size)
		scale := math.Ldexp(1, 1-e)
		if size < 0x1p-126 {
			scale = 0
		}
		scaled[k] = make([]float64, s.n0)
		if s.mix == nil {
			scaled[k][k] = scale
			continue
		}
		for j, w := range s.mix[k] {
			scaled[k][j] = w * scale
		}
	}
	mix, seen, mixtures := s.mix, s.seen, s.mixtures
	s.mix = scaled
	s.sparse()
	restore := s.wide(false)
	sums, err := s.total(n*n+n, func(s *survey, p *part) {
		s.look(p)
		sums := p.room(n*n + n)
		s.addDistances(sums[:n*n], p.view)
		for k, row := range p.view {
			addSquares(&sums[n*n+k], row)
		}
	})
	restore()
	if s.mix, s.seen, s.mixtures = mix, seen, mixtures; err != nil {
		return nil, nil, err
	}
	d2, squares := sums[:n*n], sums[n*n:]
	for i, x2 := range squares {
		for j, y2 := range squares {
			c := 0.0
			if x2 > 0 && y2 > 0 {
				c = max(min((x2+y2-d2[i*n+j])/(2*math.Sqrt(x2)*math.Sqrt(y2)), 1), -1)
			}
			d2[i*n+j] = c
		}
	}
	return d2, lengths, nil
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
		shares = append(shares, single(w))
	}
	if s.extra != nil {
		shares = append(shares, single(share))
	}
	return shares
}

// single is a weight in float32, where its relative rounding error is at most 2^-24 or it
// is less than it was: what is scaled to a bound stays within it.
func single(w float64) float32 {
	x := float32(w)
	if math.Abs(float64(x)) < 0x1p-126 && math.Abs(float64(x)) > math.Abs(w) {
		x = math.Float32frombits(math.Float32bits(x) - 1)
	}
	return x
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
	defer s.wide(s.mix == nil)()
	return s.total(s.n, func(s *survey, p *part) {
		s.look(p)
		sums := p.room(s.n)
		for k, row := range p.view {
			addDot(&sums[k], row, s.point[p.at:p.at+len(row)])
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
