package aggregate

import (
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// askColumns has the last pass count for a verdict of shares that differ by column.
func (s *survey) askColumns(v *Verdict) {
	v.start(s.n)
	s.end.told = v
}

// roomForCounts makes room for what is told of columns.
func (s *survey) roomForCounts() {
	s.cut, s.kept = zeros(s.cut, s.n), zeros(s.kept, s.n)
}

func mergeCut(s *survey, p *part) error {
	s.addCut(p)
	return nil
}

// countCut divides each column among the rows of ranks lo to hi-1.
func (s *survey) countCut(p *part) {
	least, most := p.bounds()
	kernel.RankBounds(least, most, p.view, s.end.lo, s.end.hi)
	s.divide(p, p.view, least, most, s.end.lo, s.end.hi)
}

// bounds is room for two values of each column.
func (p *part) bounds() (least, most []float32) {
	for i := range p.spare {
		p.spare[i] = sizedTo(p.spare[i], len(p.view[0]))
	}
	return p.spare[0], p.spare[1]
}

// keptUnit is the whole of a column in the integers that shares of it are counted in: sums of
// those are exact, in whatever blocks and order.
const keptUnit = 1 << 40

// beginUnit makes room for the counts and shares of a unit at its first block.
func (s *survey) beginUnit(p *part) {
	if p.at == p.from {
		p.cut, p.kept = zeros(p.cut, s.n), zeros(p.kept, s.n)
	}
}

// within counts the coordinates in which each row is below least or above most, and in p.votes
// the other rows of each column.
func (s *survey) within(p *part, rows [][]float32, least, most []float32) {
	s.beginUnit(p)
	p.votes = zeros(p.votes, len(least))
	p.outside = sizedTo(p.outside, len(rows))
	for k, row := range rows {
		p.outside[k] = kernel.CountWithin(p.votes, row, least, most)
		p.cut[k] += p.outside[k]
	}
}

// divide shares each column among the hi-lo rows of ranks lo to hi-1, of which least and most
// are the first and the last, and counts the coordinates in which rows are not between them.
// Equal rows share what falls to them.
func (s *survey) divide(p *part, rows [][]float32, least, most []float32, lo, hi int) {
	if !s.divideEvenly(p, rows, least, most, hi-lo) {
		return
	}
	// Where b rows are below least and c equal it, b+c-lo of these count, or all that do.
	n := len(least)
	p.infinite, p.counted = sizedTo(p.infinite, n), zeros(p.counted, n)
	fill := func(x float64) {
		for j := range p.infinite {
			p.infinite[j] = float32(x)
		}
	}
	fill(math.Inf(-1))
	for _, row := range rows {
		kernel.CountWithin(p.counted, row, p.infinite, least)
	}
	for j, c := range p.counted {
		p.counted[j] = int32(min(int(c), hi) - lo)
	}
	s.give(p, rows, least, hi-lo)
	if slices.Equal(least, most) {
		return
	}
	p.counted = zeros(p.counted, n)
	fill(math.Inf(1))
	for _, row := range rows {
		kernel.CountWithin(p.counted, row, most, p.infinite)
	}
	for j, c := range p.counted {
		if p.counted[j] = c - int32(len(rows)-hi); least[j] == most[j] { // given already
			p.counted[j] = -1
		}
	}
	s.give(p, rows, most, hi-lo)
}

// divideEvenly gives each row that is between least and most a part of the column of count, and
// says whether in some columns there are more or fewer.
func (s *survey) divideEvenly(p *part, rows [][]float32, least, most []float32, count int) (uneven bool) {
	s.within(p, rows, least, most)
	for k := range rows {
		p.kept[k] += int64(len(least)-p.outside[k]) * (keptUnit / int64(count))
	}
	return slices.ContainsFunc(p.votes, func(n int32) bool { return int(n) != count })
}

// give puts right what divideEvenly gave to the rows that equal a bound: p.counted of them
// count, in columns where that is not negative.
func (s *survey) give(p *part, rows [][]float32, bound []float32, count int) {
	p.equal, p.keys = zeros(p.equal, len(bound)), zeros(p.keys, len(bound))
	for _, row := range rows {
		kernel.CountWithin(p.equal, row, bound, bound)
	}
	more, any := p.keys, false
	for j, c := range p.equal {
		if c > 0 && p.counted[j] >= 0 {
			more[j] = keptUnit/int64(count)*int64(p.counted[j])/int64(c) - keptUnit/int64(count)
			any = any || more[j] != 0
		}
	}
	for k := 0; any && k < len(rows); k++ {
		p.kept[k] += kernel.SumWithin(more, rows[k], bound, bound)
	}
}

// addCut adds a unit's counts and shares.
func (s *survey) addCut(p *part) {
	for k, c := range p.cut {
		s.cut[k] += c
		s.kept[k] += float64(p.kept[k]) / keptUnit
	}
}

// tellTrimmed makes the verdict of the counts and shares. Of mixtures it tells the clients'
// shares alone.
func (s *survey) tellTrimmed() {
	if s.d == 0 {
		return
	}
	for k := range s.kept {
		s.kept[k] /= float64(s.d)
	}
	for k, w := range s.unmixed(s.kept) {
		client := &s.end.told.Clients[s.order[k]]
		client.weigh(w)
		if s.mix == nil {
			client.Trimmed = float64(s.cut[k]) / float64(s.d)
		}
	}
}

// countFar counts the coordinates in which each row is farther from the median than the
// s.end.lo nearest, and shares each column among those. Of two equally far the lesser is
// nearer.
func (s *survey) countFar(p *part) {
	median, most := p.bounds()
	width, m := len(median), s.end.lo
	lo, hi := (s.n-1)/2, s.n/2+1
	kernel.RankSum(median, p.view, lo, hi, 1/float32(hi-lo))
	p.apart = fresh(p.apart, s.n, width)
	for k, row := range p.view {
		apart := p.apart[k]
		for j, x := range row[:width] {
			apart[j] = float32(math.Abs(float64(x - median[j])))
		}
	}
	kernel.RankSum(most, p.apart, m-1, m, 1)
	for k, row := range p.view { // on which side, too
		apart := p.apart[k]
		for j, x := range row[:width] {
			apart[j] = x - median[j]
		}
	}
	least := median
	for j, x := range most {
		least[j] = -x
	}
	if !s.divideEvenly(p, p.apart, least, most, m) {
		return
	}
	p.counted, p.above = zeros(p.counted, width), zeros(p.above, width)
	for _, row := range p.apart {
		kernel.CountWithin(p.counted, row, least, least)
		kernel.CountWithin(p.above, row, most, most)
	}
	for j, below := range p.counted {
		left := int32(m) - (p.votes[j] - below - p.above[j]) // for those as far as the bounds
		if most[j] == 0 {
			p.counted[j], p.above[j] = int32(m), -1 // of all that equal the median
			continue
		}
		p.counted[j] = min(below, left)
		p.above[j] = left - p.counted[j]
	}
	s.give(p, p.apart, least, m)
	copy(p.counted, p.above)
	s.give(p, p.apart, most, m)
}
