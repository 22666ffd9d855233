package aggregate

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// A rule of this package is planned and then carried out. Planning may look at the
// rows in passes over their columns, for distances or norms, and ends with what is to
// be done to each column; a last pass does it. The same plan serves rows in memory
// and rows that are read a block at a time.
type planned interface {
	Rule
	plan(s *survey, v *Verdict) error
}

// mixing is a planned pre-aggregation: weights that make new rows of the old.
type mixing interface {
	PreAggregation
	planned
	mixture(s *survey, v *Verdict) ([][]float64, error)
}

// unitColumns are what one core does at a time. Sums over columns are taken by unit
// and then over units in order, so that they do not depend on the cores.
const unitColumns = 1 << 15

// survey is the rows as a rule sees them: in an order that depends on what they hold
// alone, and mixed by the stages before. Surveys are pooled, so that a call allocates
// nothing but its first time.
type survey struct {
	rows   [][]float32 // in memory, or
	source Source      // not
	n0, d  int
	order  []int       // of the rows, by what they hold
	extra  []float32   // one more row, after the others, that only points may have a share in
	mix    [][]float64 // weights of the rows in their order, or nil if each is itself
	seen   []int       // for each row seen its place in mixtures, or -1-i for row i itself
	n      int         // rows seen

	mixtures [][]kernel.Term // mix, sparse, less a common part, which is the first if there is one

	base    []float64 // squared distances of all pairs, unmixed
	lengths []float64 // squared norms, unmixed

	sorted   bool  // order is canonical
	tied     []int // bounds of runs of equal rows, if they are not in memory
	named    bool  // each row seen is one client's, in order
	ordered  bool  // values are only compared, so that infinities pass
	verified bool
	final    bool   // the pass that makes the result
	block    int    // columns of a block, the least of rows that are read
	desk     *desk  // of rows that are read
	refused  []bool // of these, for their length; nil if that fails the pass

	// of the pass
	width  int // columns of a block
	do     func(s *survey, p *part)
	merge  func(s *survey, p *part) error
	dst    []float32
	sums   []float64
	point  []float32 // a vector that rows are compared with
	next   atomic.Int64
	turn   int
	err    error
	mutex  sync.Mutex
	turned *sync.Cond
	group  sync.WaitGroup
	work   func()

	end     ending
	weights []float64 // of each row seen, in each column
	given   []float64 // the same, before those of equal rows are put in order
	scratch []float32
	cut     []int
	kept    []float64
}

// ending is what the last pass does to each column.
type ending struct {
	do      func(s *survey, p *part)
	mend    func(s *survey, p *part) // makes values of dst again that are not finite
	lo, hi  int
	scale   float32
	shares  []float32         // of each unmixed row, and of extra
	given   []float32         // shares, before those of equal rows are put in order
	all     bool              // no share is zero
	share   float64           // of the weight, to trim
	columns bool              // shares differ by column
	keep    *CenteredClipping // whose momentum is the result
	told    *Verdict          // to be told of trimmed columns
}

var (
	surveys = sync.Pool{New: func() any {
		s := new(survey)
		s.turned = sync.NewCond(&s.mutex)
		s.work = s.run
		return s
	}}
	parts = sync.Pool{New: func() any { return new(part) }}
)

// open is a survey of rows in memory, checked to be of one shape. It panics if dst overlaps
// one of them but is none.
func open(rule string, dst []float32, rows [][]float32) (*survey, error) {
	if err := shape(rule, dst, rows); err != nil {
		return nil, err
	}
	for _, row := range rows {
		if overlaps(dst, row) && &dst[0] != &row[0] {
			panic("aggregate: dst overlaps a row in part")
		}
	}
	s := surveys.Get().(*survey)
	s.rows, s.n0, s.n, s.d = rows, len(rows), len(rows), len(rows[0])
	s.block = powerBelow((1<<17)/s.n0, 1<<10, 1<<14)
	s.named = true
	s.order = s.order[:0]
	for i := range rows {
		s.order = append(s.order, i)
	}
	return s, nil
}

// powerBelow is the greatest power of two up to x, between lo and hi.
func powerBelow(x, lo, hi int) int {
	p := lo
	for 2*p <= min(x, hi) {
		p *= 2
	}
	return p
}

// close gives the survey back.
func (s *survey) close() {
	s.rows, s.source, s.extra, s.mix, s.seen, s.mixtures = nil, nil, nil, nil, nil, nil
	s.base, s.lengths, s.dst, s.sums, s.point, s.err = nil, nil, nil, nil, nil, nil
	s.sorted, s.ordered, s.verified, s.final = false, false, false, false
	s.end, s.tied = ending{}, nil
	s.do, s.merge, s.refused = nil, nil, nil
	if s.desk != nil {
		s.desk.close()
		s.desk = nil
	}
	surveys.Put(s)
}

// canonical puts the rows in an order that depends on what they hold alone: that of
// their columns from the first on. Sums over rows then have the same bits for any
// order of the clients.
func (s *survey) canonical() error {
	if s.sorted || s.mix != nil {
		return nil
	}
	s.sorted = true
	if s.source != nil {
		return s.canonicalRead()
	}
	slices.SortFunc(s.order, func(i, j int) int { return compare(s.rows[i], s.rows[j]) })
	return nil
}

// canonicalRead reads columns only until all rows differ.
func (s *survey) canonicalRead() error {
	s.share(s.cores())
	p := s.desk.next()
	tied := []int{0, s.n0} // bounds of runs of rows that are equal so far
	held := make([][]float32, s.n0)
	for a, width := 0, min(64, s.width); a < s.d && len(tied) > 0; a, width = a+width, min(2*width, s.width) {
		if err := s.load(p, a, min(a+width, s.d)); err != nil {
			return err
		}
		for k, i := range s.order {
			held[i] = p.rows[k]
		}
		var still []int
		for r := 0; r < len(tied); r += 2 {
			run := s.order[tied[r]:tied[r+1]]
			slices.SortFunc(run, func(i, j int) int { return compare(held[i], held[j]) })
			for lo := 0; lo < len(run); {
				hi := lo + 1
				for hi < len(run) && compare(held[run[lo]], held[run[hi]]) == 0 {
					hi++
				}
				if hi-lo > 1 {
					still = append(still, tied[r]+lo, tied[r]+hi)
				}
				lo = hi
			}
		}
		tied = still
	}
	s.tied = tied
	return nil
}

// compare orders rows by the bits of their values.
func compare(x, y []float32) int {
	const chunk = 1 << 10
	for a := 0; a < len(x); a += chunk {
		b := min(a+chunk, len(x))
		if bytes.Equal(bytesOf(x[a:b]), bytesOf(y[a:b])) {
			continue
		}
		for k := a; k < b; k++ {
			if c := cmp.Compare(math.Float32bits(x[k]), math.Float32bits(y[k])); c != 0 {
				return c
			}
		}
	}
	return 0
}

// settleTies puts what belongs to rows that are equal in ascending order, so that sums have the
// same bits whichever of them it belonged to.
func settleTies[F float32 | float64](s *survey, x []F) {
	equal := func(k int) bool {
		if s.source == nil {
			return compare(s.rows[s.order[k-1]], s.rows[s.order[k]]) == 0
		}
		for r := 0; r < len(s.tied); r += 2 {
			if s.tied[r] < k && k < s.tied[r+1] {
				return true
			}
		}
		return false
	}
	if !s.sorted || !slices.ContainsFunc(x, func(y F) bool { return y != x[0] }) {
		return
	}
	lo := 0
	for k := 1; k <= len(x); k++ {
		if k == len(x) || !equal(k) {
			slices.Sort(x[lo:k])
			lo = k
		}
	}
}

// bytesOf is the memory of a row.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// load makes the views of columns a to b-1.
func (s *survey) load(p *part, a, b int) error {
	p.at, p.rows = a, p.rows[:0]
	if s.source == nil {
		for _, i := range s.order {
			p.rows = append(p.rows, s.rows[i][a:b:b])
		}
	} else {
		p.loaded = p.carve(p.loaded, 0, s.n0, b-a)
		if err := s.fetch(p.loaded, a); err != nil {
			return fmt.Errorf("aggregate: columns %d to %d: %w", a, b-1, err)
		}
		for _, i := range s.order {
			p.rows = append(p.rows, p.loaded[i])
		}
	}
	if s.extra != nil {
		p.rows = append(p.rows, s.extra[a:b:b])
	}
	return nil
}

// look makes the rows as the rule sees them.
func (s *survey) look(p *part) {
	if s.mix == nil {
		p.view = append(p.view[:0], p.rows[:s.n0]...)
		return
	}
	width, first := len(p.rows[0]), 0
	if s.source != nil {
		first = s.n0 // after what was read
	} else {
		p.pool = sizedTo(p.pool, len(s.mixtures)*stride(width))
	}
	p.mixed = p.carve(p.mixed, first, len(s.mixtures), width)
	kernel.MixRows(p.mixed, p.rows[:s.n0], s.mixtures)
	p.view = p.view[:0]
	for _, k := range s.seen {
		if k < 0 {
			p.view = append(p.view, p.rows[-1-k])
		} else {
			p.view = append(p.view, p.mixed[k])
		}
	}
}

// apply mixes what is seen.
func (s *survey) apply(weights [][]float64) {
	if s.mix != nil {
		for k, w := range weights {
			weights[k] = s.unmixed(w)
		}
	}
	s.mix, s.n = weights, len(weights)
	s.sparse()
}

// unmixed is the weights of the unmixed rows in a sum of those seen.
func (s *survey) unmixed(weights []float64) []float64 {
	if s.mix == nil {
		return weights
	}
	out := make([]float64, s.n0)
	for k, w := range weights {
		if w != 0 {
			for j, x := range s.mix[k] {
				out[j] += w * x
			}
		}
	}
	return out
}

// sparse lists what each mixture holds. Where most mixtures hold a row by the same
// weight, as neighbours in nearest-neighbour mixing do, it goes to a common part, and
// the mixtures list what they differ by.
func (s *survey) sparse() {
	usual := make([]float64, s.n0)
	column := make([]float64, s.n)
	plain, saved := 0, 0
	for j := range s.n0 {
		for k := range column {
			column[k] = s.mix[k][j]
		}
		slices.Sort(column)
		usual[j] = column[s.n/2]
		for _, w := range column {
			if w != 0 {
				plain++
			}
			if w != usual[j] {
				saved++
			}
		}
		if usual[j] != 0 {
			saved++
		}
	}
	s.mixtures, s.seen = nil, nil
	var base []kernel.Term
	if saved+s.n >= plain {
		clear(usual)
	} else {
		for j, w := range usual {
			if w != 0 {
				base = append(base, kernel.Term{Row: j, Weight: single(w)})
			}
		}
		s.mixtures = append(s.mixtures, base)
	}
	for _, row := range s.mix {
		var terms []kernel.Term
		if base != nil {
			terms = append(terms, kernel.Term{Row: s.n0, Weight: 1})
		}
		for j, w := range row {
			if w != usual[j] {
				terms = append(terms, kernel.Term{Row: j, Weight: single(w - usual[j])})
			}
		}
		if base == nil && len(terms) == 1 && terms[0].Weight == 1 {
			s.seen = append(s.seen, -1-terms[0].Row)
			continue
		}
		s.seen = append(s.seen, len(s.mixtures))
		s.mixtures = append(s.mixtures, terms)
	}
}

// combine ends in a sum of the rows seen.
func (s *survey) combine(weights []float64) { s.blend(weights, 0) }

// blend ends in a sum of the rows seen and of extra.
func (s *survey) blend(weights []float64, share float64) {
	s.end.do, s.end.shares, s.end.mend = endCombine, s.shares(weights, share), mendShares
	s.end.given = slices.Clone(s.end.shares[:s.n0])
	settleTies(s, s.end.shares[:s.n0])
	s.end.all = !slices.Contains(s.end.shares, 0)
	if s.verified || s.end.all {
		s.widen()
	}
}

func endCombine(s *survey, p *part) {
	kernel.WeightedRows(p.dst, p.rows, s.end.shares)
	p.sound = s.end.all && kernel.AllFinite(p.dst) // it would not be if a row were not
}

// widen makes the last pass's blocks long: rows are read once, and need not stay in the
// cache.
func (s *survey) widen() {
	if s.source == nil {
		s.block = unitColumns
	}
}

// mean ends in the mean of some of the rows seen.
func (s *survey) mean(chosen []int) { s.combine(equalWeights(s.n, chosen)) }

// finish carries the plan out, with rows in memory, and closes the survey.
func (s *survey) finish(dst []float32, err error) ([]float32, error) {
	defer s.close()
	if err != nil {
		return nil, err
	}
	out := sized(dst, s.d)
	s.dst = out
	aside := dst != nil
	if aside { // what is wrong must be seen before dst is written
		s.scratch = sizedTo(s.scratch, s.d)
		s.dst = s.scratch
	}
	var merge func(s *survey, p *part) error
	if s.end.told != nil {
		s.roomForCounts()
		merge = mergeCut
	}
	s.final = true
	if err := s.pass(s.end.do, merge); err != nil {
		return nil, err
	}
	if aside {
		copy(dst, s.dst)
	}
	s.settle(out)
	return out, nil
}

// settle keeps what the plan said to keep.
func (s *survey) settle(out []float32) {
	if s.end.keep != nil {
		s.end.keep.own = append(s.end.keep.own[:0], out...)
		s.end.keep.Momentum = s.end.keep.own
	}
	if s.end.told != nil {
		s.tellTrimmed()
	}
}
