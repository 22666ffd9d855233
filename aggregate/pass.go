package aggregate

import (
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// part is one core's view of a block of columns.
type part struct {
	at       int         // the first column
	rows     [][]float32 // unmixed, in their order, extra the last
	view     [][]float32 // as the rule sees them
	dst      []float32
	sums     []float64
	cut      []int
	kept     []int64 // sums of the rows' shares of columns, in keptUnit
	outside  []int
	equal    []int32
	counted  []int32 // of the rows that equal a bound
	above    []int32
	infinite []float32
	apart    [][]float32 // distances from the median
	unit     []float32   // results of a unit, if they are handed on
	from     int         // the first column of the unit
	sound    bool        // the block was seen to be finite, and the result if it is the last pass
	loaded   [][]float32
	mixed    [][]float32 // of pool
	pool     []float32   // of rows as they are mixed, after those that are read
	shares   []float32
	spare    [2][]float32
	votes    []int32
	keys     []int64
	column   []float64
}

// pass runs do on all blocks of columns, and merge, if there is one, on each unit in
// order. It fails if rows hold what they must not.
func (s *survey) pass(do func(s *survey, p *part), merge func(s *survey, p *part) error) error {
	s.do, s.merge, s.err, s.turn = do, merge, nil, 0
	s.next.Store(0)
	cores := s.cores()
	s.width = s.block
	if s.source != nil {
		cores = s.share(cores)
	}
	s.group.Add(cores)
	for range cores - 1 {
		go s.work()
	}
	s.run()
	s.group.Wait()
	if s.err == nil {
		s.verified = true
	}
	return s.err
}

// cores is how many there are units for.
func (s *survey) cores() int {
	return max(min(runtime.GOMAXPROCS(0), (s.d+unitColumns-1)/unitColumns), 1)
}

func (s *survey) run() {
	defer s.group.Done()
	var p *part
	if s.source != nil {
		p = s.desk.next()
	} else {
		p = parts.Get().(*part)
		defer p.put()
	}
	units := (s.d + unitColumns - 1) / unitColumns
	for {
		unit := int(s.next.Add(1) - 1)
		if unit >= units {
			return
		}
		if s.merge == nil && s.verified { // a pass before ended there: that is in the cache yet
			unit = units - 1 - unit
		}
		a, end := unit*unitColumns, min((unit+1)*unitColumns, s.d)
		p.from, p.unit = a, p.unit[:0]
		p.sums = p.sums[:0]
		for ; a < end; a += s.width {
			b := min(a+s.width, end)
			if err := s.load(p, a, b); err != nil {
				s.fail(err)
				return
			}
			if s.dst != nil {
				p.dst = s.dst[a:b:b]
			}
			p.sound = false
			s.do(s, p)
			if !s.verified && !p.sound {
				if err := s.verify(p); err != nil {
					s.fail(err)
					return
				}
			}
			if s.final && !p.sound {
				if err := s.mend(p); err != nil {
					s.fail(err)
					return
				}
			}
		}
		if s.merge != nil && !s.inTurn(unit, p) {
			return
		}
	}
}

// inTurn merges a unit after those before it.
func (s *survey) inTurn(unit int, p *part) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for s.turn != unit && s.err == nil {
		s.turned.Wait()
	}
	if s.err != nil {
		return false
	}
	if s.err = s.merge(s, p); s.err != nil {
		s.next.Store(math.MaxInt32)
	}
	s.turn++
	s.turned.Broadcast()
	return s.err == nil
}

func (s *survey) fail(err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.next.Store(math.MaxInt32)
	s.turned.Broadcast()
}

// finite says whether all sums are, and so what was summed.
func finite(sums []float64) bool {
	for _, x := range sums {
		if x-x != 0 {
			return false
		}
	}
	return true
}

// verify checks a block, which is in the cache by now.
func (s *survey) verify(p *part) error {
	for k, row := range p.rows[:s.n0] {
		if kernel.AllFinite(row) {
			continue
		}
		for j, x := range row {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) && !s.ordered {
				return fmt.Errorf("aggregate: row %d holds %v at column %d, must be finite; see Guard", s.order[k], x, p.at+j)
			}
		}
	}
	return nil
}

// mend makes results that are not finite again, in float64 if the ending says how: sums in
// float32 may overflow where their means do not.
func (s *survey) mend(p *part) error {
	if kernel.AllFinite(p.dst) {
		return nil
	}
	if s.end.mend != nil {
		s.end.mend(s, p)
	}
	if j := notFinite(p.dst); j >= 0 {
		return fmt.Errorf("aggregate: the result is %v at column %d: the rows that count hold infinities, or values too great for their mean in float32", p.dst[j], p.at+j)
	}
	return nil
}

// notFinite is the first place of a value that is not, or -1.
func notFinite(x []float32) int { return slices.IndexFunc(x, func(v float32) bool { return v-v != 0 }) }

// sizedTo is a buffer of n values, whatever they are.
func sizedTo[T any](x []T, n int) []T { return slices.Grow(x[:0], n)[:n] }

// zeros is a buffer of n zeros.
func zeros[T any](x []T, n int) []T {
	x = sizedTo(x, n)
	clear(x)
	return x
}

// put gives a part back without what it points to.
func (p *part) put() {
	p.forget()
	parts.Put(p)
}

func (p *part) forget() {
	clear(p.rows)
	clear(p.view)
	p.dst = nil
}

// total takes sums of n values over all columns.
func (s *survey) total(n int, do func(s *survey, p *part)) ([]float64, error) {
	sums := make([]float64, n)
	s.sums = sums
	err := s.pass(do, addSums)
	s.sums = nil
	return sums, err
}

func addSums(s *survey, p *part) error {
	for i, x := range p.sums {
		s.sums[i] += x
	}
	return nil
}

// room is the part's sums, zero at the start of a unit.
func (p *part) room(n int) []float64 {
	if len(p.sums) < n {
		p.sums = slices.Grow(p.sums[:0], n)[:n]
		clear(p.sums)
	}
	return p.sums
}
