package aggregate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Source is rows that are read a block of columns at a time. Its methods are called
// concurrently.
type Source interface {
	// Shape is the number of rows and of columns.
	Shape() (n, d int)
	// ReadColumns fills dst[i] with row i's values from column at on. Rows whose dst is
	// empty are not wanted. Of rows that are too short or too long the error is a
	// [*LengthError], or several by [errors.Join], which a [Guard] takes for these rows'
	// fault: it then asks for the others again. Any other error fails the whole.
	ReadColumns(dst [][]float32, at int) error
}

// LengthError is a [Source]'s error for a row of another length than its shape says.
type LengthError struct {
	Row       int   // its index in the source
	Has, Need int64 // bytes, 4 for each value
}

// Error names the row, what it has and what is needed.
func (e *LengthError) Error() string {
	return fmt.Sprintf("row %d has %d bytes, must have %d, 4 for each of %d columns", e.Row, e.Has, e.Need, e.Need/4)
}

// ReaderSource is rows of little-endian float32, each in its reader from the first
// byte on and nothing after them: files, or [io.SectionReader]s of them. A row that is too
// short is met where it ends, one that is too long with the last column.
type ReaderSource struct {
	Rows    []io.ReaderAt
	Columns int
}

// Shape implements [Source].
func (r ReaderSource) Shape() (n, d int) { return len(r.Rows), r.Columns }

// ReadColumns implements [Source].
func (r ReaderSource) ReadColumns(dst [][]float32, at int) error {
	var wrong []error
	var beyond [1]byte
	for i, row := range dst {
		if len(row) == 0 {
			continue
		}
		raw := bytesOf(row)
		right, err := holds(r.Rows[i], raw, at)
		if right && at+len(row) == r.Columns {
			var more bool
			more, err = holds(r.Rows[i], beyond[:], r.Columns)
			right = !more
		}
		if err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
		if !right {
			wrong = append(wrong, &LengthError{i, size(r.Rows[i]), 4 * int64(r.Columns)})
			continue
		}
		if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
			for j := range row {
				row[j] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*j:]))
			}
		}
	}
	return errors.Join(wrong...)
}

// holds fills raw from a column on, or says that the row ends before.
func holds(row io.ReaderAt, raw []byte, column int) (bool, error) {
	n, err := row.ReadAt(raw, 4*int64(column))
	if n == len(raw) {
		return true, nil
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return false, err
}

// size is how many bytes there are, found by reading single ones.
func size(row io.ReaderAt) int64 {
	one := make([]byte, 1)
	ends := func(at int) bool {
		n, _ := row.ReadAt(one, int64(at))
		return n == 0
	}
	most := 1
	for most < math.MaxInt/2 && !ends(most) {
		most *= 2
	}
	return int64(sort.Search(most, ends))
}

// Stream aggregates rows that do not fit in memory. The rule is one of this package;
// emit is called with the result's values from column at on, which it must not keep,
// in order. Rules that take distances read the rows twice, iterating ones once for each
// step; the bits are those of Aggregate, for any number of cores. A [CenteredClipping] keeps
// its momentum in memory; a [FoolsGold] with a history is refused.
//
// Buffers take up to 16 MiB for each core, twice that if rows are mixed and 8 n² bytes more
// if distances are taken, but 96 MiB together: with many cores blocks are shorter, down to
// 1024 columns (4096 for norms), and then fewer cores run. Beside them there are less than
// 2 MiB for each core (for verdicts of [Meamed] and [Bulyan], also at the end of a chain, as
// much as for the rows) and, for rules that mix rows or take distances, some matrices of n²
// float64s, two of them for each core that mixes: with 1,000 rows less than 300 MB in all.
//
// What was emitted is whole only if Stream returns no error: write to a temporary
// file.
func Stream(rule Rule, rows Source, emit func(at int, values []float32) error, v *Verdict) error {
	n, d := rows.Shape()
	if n < 1 || n > maxRows || d < 0 {
		return fmt.Errorf("aggregate: a source of %d rows of %d columns, must be 1 to %d rows", n, d, maxRows)
	}
	rule = pointed(rule)
	switch r := rule.(type) {
	case Guard:
		return guardAmong{r, nil, n}.stream(rows, emit, v)
	case guardAmong:
		return r.stream(rows, emit, v)
	case Chain:
		if err := r.check(); err != nil {
			return err
		}
		if !r.planned() {
			return fmt.Errorf("aggregate: Stream of a Chain with stages that are not of this package, or a Guard, which must stand around it")
		}
	case planned:
	default:
		return fmt.Errorf("aggregate: Stream of %T, which is not a rule of this package", rule)
	}
	s := read(rows)
	defer s.close()
	s.named = true
	if err := rule.(planned).plan(s, v); err != nil {
		return err
	}
	var whole []float32
	if s.end.keep != nil {
		whole = make([]float32, d)
	}
	if s.end.told != nil {
		s.roomForCounts()
	}
	s.final = true
	err := s.pass(func(s *survey, p *part) {
		if len(p.unit) == 0 {
			p.unit = sizedTo(p.unit, min(unitColumns, s.d-p.from))
		}
		p.dst = p.unit[p.at-p.from:][:len(p.rows[0])]
		s.end.do(s, p)
	}, func(s *survey, p *part) error {
		if s.end.told != nil {
			s.addCut(p)
		}
		if whole != nil {
			copy(whole[p.from:], p.unit)
		}
		return emit(p.from, p.unit)
	})
	if err != nil {
		return err
	}
	s.settle(whole)
	return nil
}

// read is a survey of rows that are read.
func read(rows Source) *survey {
	s := surveys.Get().(*survey)
	n, d := rows.Shape()
	s.source, s.n0, s.n, s.d, s.desk = rows, n, n, d, desks.Get().(*desk)
	s.block = 1 << 10
	s.order = s.order[:0]
	for i := range n {
		s.order = append(s.order, i)
	}
	return s
}

// stream is Stream of a Guard: one more pass to look at the rows.
func (g guardAmong) stream(rows Source, emit func(at int, values []float32) error, v *Verdict) error {
	n, _ := rows.Shape()
	if err := g.check(n); err != nil {
		return err
	}
	s := read(rows)
	s.verified = true
	s.refused = make([]bool, n)
	s.wide(true)
	sums, err := s.total(2*n, func(s *survey, p *part) {
		sums := p.room(2 * s.n)
		for k, row := range p.rows {
			addSquares(&sums[k], row)
			if !kernel.AllFinite(row) {
				sums[s.n+k]++
			}
		}
	})
	wrong := s.refused
	s.close()
	if err != nil {
		return err
	}
	reasons := make([]Reason, n)
	for i := range reasons {
		reasons[i] = g.judge(sums[n+i] == 0, sums[i])
		if wrong[i] {
			reasons[i] = WrongLength
		}
	}
	sub, rule, err := g.sift(reasons)
	if err != nil {
		return err
	}
	var inner *Verdict
	if v != nil {
		inner = new(Verdict)
	}
	if err := Stream(rule, subset{rows, sub}, emit, inner); err != nil {
		return err
	}
	g.tell(v, inner, reasons, sub)
	return nil
}

// fetch reads columns. A pass that refuses rows goes on without those whose length is wrong,
// and leaves what is in their dst.
func (s *survey) fetch(dst [][]float32, at int) error {
	if s.refused == nil {
		return s.source.ReadColumns(dst, at)
	}
	for {
		wanted := slices.Clone(dst)
		s.mutex.Lock()
		for i, refused := range s.refused {
			if refused {
				wanted[i] = nil
			}
		}
		s.mutex.Unlock()
		err := s.source.ReadColumns(wanted, at)
		if err == nil || !s.refuse(err, wanted) {
			return err
		}
	}
}

// refuse refuses the rows that the error says are of a wrong length, if it says nothing else.
func (s *survey) refuse(err error, wanted [][]float32) bool {
	rows, all := wrongRows(err)
	if !all {
		return false
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, row := range rows {
		i := place(s.source, row)
		if i < 0 || i >= len(wanted) || wanted[i] == nil {
			return false
		}
		s.refused[i] = true
	}
	return true
}

// wrongRows are the rows of the LengthErrors that an error wraps, and whether it wraps nothing
// but these.
func wrongRows(err error) (rows []int, all bool) {
	switch e := err.(type) {
	case *LengthError:
		return []int{e.Row}, true
	case interface{ Unwrap() error }:
		return wrongRows(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			some, only := wrongRows(part)
			if !only {
				return nil, false
			}
			rows = append(rows, some...)
		}
		return rows, len(rows) > 0
	}
	return nil, false
}

// place is where among a source's rows one is that a LengthError names, which is the index in the
// outermost source, or -1.
func place(source Source, row int) int {
	if u, ok := source.(subset); ok {
		return slices.Index(u.some, place(u.Source, row))
	}
	return row
}

// subset is some rows of a source.
type subset struct {
	Source
	some []int
}

func (u subset) Shape() (n, d int) {
	_, d = u.Source.Shape()
	return len(u.some), d
}

func (u subset) ReadColumns(dst [][]float32, at int) error {
	n, _ := u.Source.Shape()
	all := make([][]float32, n)
	for k, i := range u.some {
		all[i] = dst[k]
	}
	return u.Source.ReadColumns(all, at)
}
