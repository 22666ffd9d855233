package aggregate

import (
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// count has the last pass count for a verdict of shares that differ by column.
func (s *survey) count(v *Verdict) {
	v.start(s.n)
	s.end.told = v
}

// counts makes room for what is told of columns.
func (s *survey) counts() {
	s.cut, s.kept = append(s.cut[:0], make([]int, s.n)...), append(s.kept[:0], make([]float64, s.n)...)
}

func mergeCut(s *survey, p *part) error {
	s.addCut(p)
	return nil
}

// countCut counts the coordinates in which each row is below rank lo or above rank
// hi-1, and shares each column among the others.
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

// tally makes room for the counts and shares of a unit at its first block.
func (s *survey) tally(p *part) {
	if p.at == p.from {
		p.cut = append(p.cut[:0], make([]int, s.n)...)
		p.kept = append(p.kept[:0], make([]int64, s.n)...)
	}
}

// within counts the coordinates in which each row is below least or above most, and in p.votes
// the other rows of each column.
func (s *survey) within(p *part, rows [][]float32, least, most []float32) {
	s.tally(p)
	p.votes = zeros(p.votes, len(least))
	p.outside = sizedTo(p.outside, len(rows))
	for k, row := range rows {
		p.outside[k] = kernel.CountWithin(p.votes, row, least, most)
		p.cut[k] += p.outside[k]
	}
}

// zeros is a buffer of n zeros.
func zeros[T any](x []T, n int) []T {
	x = sizedTo(x, n)
	clear(x)
	return x
}

// divide shares each column among the hi-lo rows of ranks lo to hi-1, of which least and most
// are the first and the last, and counts the coordinates in which rows are not between them.
// Equal rows share what falls to them.
func (s *survey) divide(p *part, rows [][]float32, least, most []float32, lo, hi int) {
	s.within(p, rows, least, most)
	each := keptUnit / int64(hi-lo)
	ties := false
	for _, n := range p.votes {
		ties = ties || int(n) != hi-lo
	}
	for k := range rows {
		p.kept[k] += int64(len(least)-p.outside[k]) * each
	}
	if ties {
		inf := float32(math.Inf(1))
		s.shareTies(p, rows, least, most, least, -inf, lo, each)
		s.shareTies(p, rows, least, most, most, inf, len(rows)-hi, each)
	}
}

// shareTies corrects what divide gave to rows that equal one of the bounds: of c such rows,
// b+c-cut count, where b are beyond it and cut are cut off there.
func (s *survey) shareTies(p *part, rows [][]float32, least, most, bound []float32, beyond float32, cut int, each int64) {
	n := len(bound)
	p.infinite, p.votes, p.equal, p.keys = sizedTo(p.infinite, n), zeros(p.votes, n), zeros(p.equal, n), sizedTo(p.keys, n)
	for j := range p.infinite {
		p.infinite[j] = beyond
	}
	from, to := p.infinite, bound
	if beyond > 0 {
		from, to = to, from
	}
	for _, row := range rows {
		kernel.CountWithin(p.votes, row, from, to)
		kernel.CountWithin(p.equal, row, bound, bound)
	}
	more, any := p.keys, false // than each
	for j, c := range p.equal {
		more[j] = 0
		switch {
		case c == 0: // of distances least is 0, which none may be
		case least[j] != most[j]:
			more[j] = each*int64(int(p.votes[j])-cut)/int64(c) - each
		case beyond < 0: // once
			more[j] = keptUnit/int64(c) - each
		}
		any = any || more[j] != 0
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
// s.end.lo nearest, and shares each column among the others.
func (s *survey) countFar(p *part) {
	median, most := p.bounds()
	lo, hi := (s.n-1)/2, s.n/2+1
	kernel.RankSum(median, p.view, lo, hi, 1/float32(hi-lo))
	p.apart = fresh(p.apart, s.n, len(median))
	for k, row := range p.view {
		apart := p.apart[k]
		for j, x := range row[:len(apart)] {
			apart[j] = float32(math.Abs(float64(x - median[j])))
		}
	}
	kernel.RankSum(most, p.apart, s.end.lo-1, s.end.lo, 1)
	clear(median)
	s.divide(p, p.apart, median, most, 0, s.end.lo)
}
