package aggregate

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Source is rows that are read a block of columns at a time. Its methods are called
// concurrently.
type Source interface {
	// Shape is the number of rows and of columns.
	Shape() (n, d int)
	// ReadColumns fills dst[i] with row i's values from column at on. Rows whose dst is
	// empty are not wanted.
	ReadColumns(dst [][]float32, at int) error
}

// ReaderSource is rows of little-endian float32, each in its reader from the first
// byte on: files, or [io.SectionReader]s of them.
type ReaderSource struct {
	Rows    []io.ReaderAt
	Columns int
}

// Shape implements [Source].
func (r ReaderSource) Shape() (n, d int) { return len(r.Rows), r.Columns }

// ReadColumns implements [Source].
func (r ReaderSource) ReadColumns(dst [][]float32, at int) error {
	for i, row := range dst {
		if len(row) == 0 {
			continue
		}
		raw := bytesOf(row)
		if n, err := r.Rows[i].ReadAt(raw, 4*int64(at)); n < len(raw) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("row %d: %w", i, err)
		}
		if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
			for j := range row {
				row[j] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*j:]))
			}
		}
	}
	return nil
}

// Stream aggregates rows that do not fit in memory. The rule is one of this package;
// emit is called with the result's values from column at on, which it must not keep,
// in order. Memory is O(n) for each of a few thousand columns and core, and n² for
// rules that take distances. These read the rows twice, iterating ones once for each
// step; the bits are those of Aggregate. A [CenteredClipping] keeps its momentum in
// memory; a [FoolsGold] with a history is refused.
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
	s := surveys.Get().(*survey)
	defer s.close()
	s.source, s.n0, s.n, s.d, s.named = rows, n, n, d, true
	s.block = powerBelow((1<<22)/n, 1<<10, unitColumns)
	s.order = s.order[:0]
	for i := range n {
		s.order = append(s.order, i)
	}
	if err := rule.(planned).plan(s, v); err != nil {
		return err
	}
	var whole []float32
	if s.end.keep != nil {
		whole = make([]float32, d)
	}
	if s.end.told != nil {
		s.counts()
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

// stream is Stream of a Guard: one more pass to look at the rows.
func (g guardAmong) stream(rows Source, emit func(at int, values []float32) error, v *Verdict) error {
	n, d := rows.Shape()
	if err := g.check(n); err != nil {
		return err
	}
	s := surveys.Get().(*survey)
	s.source, s.n0, s.n, s.d, s.verified = rows, n, n, d, true
	s.block = powerBelow((1<<22)/n, 1<<10, unitColumns)
	s.order = s.order[:0]
	for i := range n {
		s.order = append(s.order, i)
	}
	sums, err := s.total(2*n, func(s *survey, p *part) {
		sums := p.room(2 * s.n)
		for k, row := range p.rows {
			addSquares(&sums[k], row)
			if !kernel.AllFinite(row) {
				sums[s.n+k]++
			}
		}
	})
	s.close()
	if err != nil {
		return err
	}
	reasons := make([]Reason, n)
	for i := range reasons {
		reasons[i] = g.judge(sums[n+i] == 0, sums[i])
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
