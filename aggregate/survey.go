package aggregate

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"runtime"
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
	terms  [][]term    // mix, sparse, less the common part
	common []term
	n      int // rows seen

	base    []float64 // squared distances of all pairs, unmixed
	lengths []float64 // squared norms, unmixed

	sorted   bool // order is canonical
	named    bool // each row seen is one client's, in order
	ordered  bool // values are only compared, so that infinities pass
	verified bool
	block    int

	// of the pass
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
	scratch []float32
	cut     []int
}

// term is one row's share in a mixture.
type term struct {
	row    int
	weight float32
}

// ending is what the last pass does to each column.
type ending struct {
	do     func(s *survey, p *part)
	lo, hi int
	scale  float32
	shares []float32  // of each unmixed row, and of extra
	share  float64    // of the weight, to trim
	keep   *[]float32 // where the result is kept
	told   *Verdict   // to be told of trimmed columns
}

// part is one core's view of a block of columns.
type part struct {
	at     int         // the first column
	rows   [][]float32 // unmixed, in their order, extra the last
	view   [][]float32 // as the rule sees them
	dst    []float32
	sums   []float64
	cut    []int
	unit   []float32 // results of a unit, if they are handed on
	from   int       // the first column of the unit
	sound  bool      // the block was seen to be finite
	loaded [][]float32
	mixed  [][]float32
	some   [][]float32
	shares []float32
	spare  [2][]float32
	votes  []int32
	keys   []int64
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

// open is a survey of rows in memory, checked to be of one shape.
func open(rule string, dst []float32, rows [][]float32) (*survey, error) {
	if err := shape(rule, dst, rows); err != nil {
		return nil, err
	}
	s := surveys.Get().(*survey)
	s.rows, s.n0, s.n, s.d = rows, len(rows), len(rows), len(rows[0])
	s.block = powerBelow((1<<17)/s.n0, 1<<12, 1<<14)
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
	s.rows, s.source, s.extra, s.mix, s.terms, s.common = nil, nil, nil, nil, nil, nil
	s.base, s.lengths, s.dst, s.sums, s.point, s.err = nil, nil, nil, nil, nil, nil
	s.sorted, s.ordered, s.verified = false, false, false
	s.end = ending{}
	s.do, s.merge = nil, nil
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
	p := parts.Get().(*part)
	defer p.put()
	tied := []int{0, s.n0} // bounds of runs of rows that are equal so far
	held := make([][]float32, s.n0)
	for a, width := 0, 64; a < s.d && len(tied) > 0; a, width = a+width, min(2*width, s.block) {
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
		p.loaded = fresh(p.loaded, s.n0, b-a)
		if err := s.source.ReadColumns(p.loaded, a); err != nil {
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
	p.view = p.view[:0]
	width := len(p.rows[0])
	p.mixed = fresh(p.mixed, s.n+1, width)
	base := p.mixed[s.n]
	if s.common != nil {
		p.sum(base, s.common, nil)
	}
	for k, terms := range s.terms {
		if s.common == nil && len(terms) == 1 && terms[0].weight == 1 {
			p.view = append(p.view, p.rows[terms[0].row])
			continue
		}
		if s.common == nil {
			p.sum(p.mixed[k], terms, nil)
		} else {
			p.sum(p.mixed[k], terms, base)
		}
		p.view = append(p.view, p.mixed[k])
	}
}

// sum is the weighted sum of rows, and base.
func (p *part) sum(dst []float32, terms []term, base []float32) {
	p.some, p.shares = p.some[:0], p.shares[:0]
	if base != nil {
		p.some, p.shares = append(p.some, base), append(p.shares, 1)
	}
	for _, t := range terms {
		p.some, p.shares = append(p.some, p.rows[t.row]), append(p.shares, t.weight)
	}
	kernel.WeightedRows(dst, p.some, p.shares)
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
	s.common, s.terms = nil, make([][]term, s.n)
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
	if saved+s.n >= plain {
		clear(usual)
	} else {
		for j, w := range usual {
			if w != 0 {
				s.common = append(s.common, term{j, float32(w)})
			}
		}
	}
	for k, row := range s.mix {
		for j, w := range row {
			if w != usual[j] {
				s.terms[k] = append(s.terms[k], term{j, float32(w - usual[j])})
			}
		}
	}
}

// pass runs do on all blocks of columns, and merge, if there is one, on each unit in
// order. It fails if rows hold what they must not.
func (s *survey) pass(do func(s *survey, p *part), merge func(s *survey, p *part) error) error {
	s.do, s.merge, s.err, s.turn = do, merge, nil, 0
	s.next.Store(0)
	cores := max(min(runtime.GOMAXPROCS(0), (s.d+unitColumns-1)/unitColumns), 1)
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

func (s *survey) run() {
	defer s.group.Done()
	p := parts.Get().(*part)
	defer p.put()
	for {
		unit := int(s.next.Add(1) - 1)
		a, end := unit*unitColumns, min((unit+1)*unitColumns, s.d)
		if a >= s.d {
			return
		}
		p.from, p.unit = a, p.unit[:0]
		p.sums = p.sums[:0]
		for ; a < end; a += s.block {
			b := min(a+s.block, end)
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

// sizedTo is a buffer of n values, whatever they are.
func sizedTo(x []float32, n int) []float32 { return slices.Grow(x[:0], n)[:n] }

// put gives a part back without what it points to.
func (p *part) put() {
	clear(p.rows)
	clear(p.view)
	clear(p.some)
	p.dst = nil
	parts.Put(p)
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

// lengthsOf are the squared norms of the rows seen.
func (s *survey) lengthsOf() ([]float64, error) {
	if s.lengths == nil {
		err := s.canonical()
		if err != nil {
			return nil, err
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
	if s.mix == nil && (s.extra == nil || share == 0) && !slices.ContainsFunc(weights, func(w float64) bool { return w != 0 }) {
		lengths, err := s.lengthsOf() // from 0
		return slices.Clone(lengths), err
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

// combine ends in a sum of the rows seen.
func (s *survey) combine(weights []float64) { s.blend(weights, 0) }

// blend ends in a sum of the rows seen and of extra.
func (s *survey) blend(weights []float64, share float64) {
	s.end.do, s.end.shares = endCombine, s.shares(weights, share)
	if s.verified && s.source == nil {
		s.block = unitColumns // rows are read once, and need not stay in the cache
	}
}

func endCombine(s *survey, p *part) { kernel.WeightedRows(p.dst, p.rows, s.end.shares) }

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
	aside := dst != nil && !s.verified
	if aside { // what is wrong must be seen before dst is written
		s.scratch = sizedTo(s.scratch, s.d)
		s.dst = s.scratch
	}
	var merge func(s *survey, p *part) error
	if s.end.told != nil {
		s.cut, merge = append(s.cut[:0], make([]int, s.n)...), mergeCut
	}
	if err := s.pass(s.end.do, merge); err != nil {
		return nil, err
	}
	if aside {
		copy(dst, s.dst)
	}
	s.settle(out)
	return out, nil
}

func mergeCut(s *survey, p *part) error {
	s.addCut(p)
	return nil
}

// settle keeps what the plan said to keep.
func (s *survey) settle(out []float32) {
	if s.end.keep != nil {
		*s.end.keep = slices.Clone(out)
	}
	if s.end.told != nil {
		s.tellTrimmed()
	}
}
