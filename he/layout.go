package he

import (
	"math/bits"
	"slices"

	"github.com/sotto-ml/sotto/nn"
)

// layout says where a value's elements lie among a ciphertext's slots: element e at
// pos[e], pos[e]+period, pos[e]+2·period and so on. What lies elsewhere is unknown.
type layout struct {
	period int
	pos    []int32
	grid   *grid
}

// grid is a layout of images: element (c, y, x) lies at origin[c] + y·dy + x·dx.
type grid struct {
	shape  nn.Shape
	origin []int
	dy, dx int
}

// inOrder is the layout in which element e lies at e, with the given period.
func inOrder(n, period int) layout {
	l := layout{period: period, pos: make([]int32, n)}
	for e := range l.pos {
		l.pos[e] = int32(e)
	}
	return l
}

// power is the least power of two that is not below n.
func power(n int) int { return 1 << bits.Len(uint(max(n, 1)-1)) }

// plain is an image's elements in order, with a channel's rows next to each other and
// each channel from a multiple of a power of two.
func plain(shape nn.Shape, slots int) (layout, bool) {
	block := power(shape[1] * shape[2])
	g := &grid{shape: shape, dy: shape[2], dx: 1}
	for c := range shape[0] {
		g.origin = append(g.origin, c*block)
	}
	return g.layout(slots)
}

// strided places the image shape on every stride-th place of g's grid, filling first
// the blocks of g's channels and then the places between.
func (g *grid) strided(shape nn.Shape, stride, slots int) (layout, bool) {
	out := &grid{shape: shape, dy: g.dy * stride, dx: g.dx * stride}
	block := slots
	if len(g.origin) > 1 {
		block = g.origin[1] - g.origin[0]
	} else {
		block = power(g.shape[1] * g.shape[2] * g.dx)
	}
	if block <= 0 {
		return layout{}, false
	}
	blocks := slots / block
	for c := range shape[0] {
		phase := c / blocks
		if phase >= stride*stride {
			return layout{}, false
		}
		out.origin = append(out.origin, c%blocks*block+phase/stride*g.dy+phase%stride*g.dx)
	}
	return out.layout(slots)
}

// layout lists the positions, and whether they fit and none stands twice.
func (g *grid) layout(slots int) (layout, bool) {
	l := layout{period: slots, grid: g}
	seen := make([]bool, slots)
	for c := range g.shape[0] {
		for y := range g.shape[1] {
			for x := range g.shape[2] {
				p := g.origin[c] + y*g.dy + x*g.dx
				if p >= slots || seen[p] {
					return layout{}, false
				}
				seen[p] = true
				l.pos = append(l.pos, int32(p))
			}
		}
	}
	return l, true
}

// transform is a plan for one sparse matrix between two layouts: a sum of slot-wise
// products of the rotated input with diagonals, then folds: after each, the content is
// added to itself rotated by it.
type transform struct {
	diagonals []int // rotations of the input, ascending, below the input's period
	folds     []int
	to        layout
	// entry gives for matrix entry (row, col) the slot that it is put on and the
	// rotation, modulo the input's period; it repeats with the given period.
	entry  func(row, col int) (slot, rotation int)
	repeat int
}

// collect fills in the diagonals that hold an entry.
func (t *transform) collect(m *affine, period int) {
	used := make([]bool, period)
	for r := range m.rows {
		cols, _ := m.row(r)
		for _, c := range cols {
			_, d := t.entry(r, int(c))
			used[d] = true
		}
	}
	for d, u := range used {
		if u {
			t.diagonals = append(t.diagonals, d)
		}
	}
	if len(t.diagonals) == 0 { // a matrix of zeros
		t.diagonals = []int{0}
	}
}

// tiled spreads row r over the slots r modulo a power of two m, so that m diagonals hold
// a dense matrix, and folds what lies m apart, within the input's period. With last, the
// folds are left out: the decoder takes the mean over these slots itself.
func tiled(m *affine, from layout, last bool) (transform, bool) {
	width := power(m.rows)
	if width > from.period {
		return transform{}, false
	}
	t := transform{to: inOrder(m.rows, width), repeat: from.period}
	t.entry = func(row, col int) (int, int) {
		p := int(from.pos[col])
		d := (p - row) & (width - 1)
		return (p - d) & (from.period - 1), d
	}
	t.collect(m, from.period)
	if !last {
		for f := width; f < from.period; f *= 2 {
			t.folds = append(t.folds, f)
		}
	}
	return t, true
}

// split gives each of the input's copies some of the rows: fewer diagonals than tiled,
// but the output lies in pieces and without copies.
func split(m *affine, from layout, slots int) (transform, bool) {
	copies := slots / from.period
	if copies < 2 {
		return transform{}, false
	}
	width := power((m.rows + copies - 1) / copies)
	if width >= from.period {
		return transform{}, false
	}
	t := transform{to: layout{period: slots, pos: make([]int32, m.rows)}, repeat: slots}
	for r := range t.to.pos {
		t.to.pos[r] = int32(r/width*from.period + r%width)
	}
	t.entry = func(row, col int) (int, int) {
		p := int(from.pos[col])
		d := (p - row) & (width - 1)
		return row/width*from.period + (p-d)&(from.period-1), d
	}
	t.collect(m, from.period)
	for f := width; f < from.period; f *= 2 {
		t.folds = append(t.folds, f)
	}
	return t, true
}

// direct takes each element by its own rotation to where it goes: best for matrices
// with few diagonals, such as convolutions between layouts of images.
func direct(m *affine, from, to layout) (transform, bool) {
	if to.period < from.period {
		return transform{}, false
	}
	t := transform{to: to, repeat: to.period}
	t.entry = func(row, col int) (int, int) {
		return int(to.pos[row]), (int(from.pos[col]) - int(to.pos[row])) & (from.period - 1)
	}
	t.collect(m, from.period)
	return t, true
}

// vectors lists the diagonals' values over all slots.
func (t *transform) vectors(m *affine, slots int) map[int][]float64 {
	out := map[int][]float64{}
	for _, d := range t.diagonals {
		out[d] = make([]float64, slots)
	}
	for r := range m.rows {
		cols, vals := m.row(r)
		for i, c := range cols {
			s, d := t.entry(r, int(c))
			for ; s < slots; s += t.repeat {
				out[d][s] += vals[i]
			}
		}
	}
	return out
}

// taps is a plan for the first layer: the client sends the inputs that the rows read,
// already gathered, so that products with plaintexts and a few folds suffice. Tap t
// holds at slot s input index[t][s modulo period].
type taps struct {
	index [][]int32 // -1: zero
	folds []int
	to    layout
}

// gather plans taps with each row's entries on the given number of places (a power of
// two), or none if they do not fit.
func gather(m *affine, to layout, places, slots int) (taps, bool) {
	if to.period*places > slots {
		return taps{}, false
	}
	n := (m.widest() + places - 1) / places
	t := taps{to: to, index: make([][]int32, max(n, 1))}
	for i := range t.index {
		t.index[i] = slices.Repeat([]int32{-1}, to.period*places)
	}
	for r := range m.rows {
		cols, _ := m.row(r)
		for i, c := range cols {
			t.index[i/places][i%places*to.period+int(to.pos[r])] = c
		}
	}
	for f := to.period; f < to.period*places; f *= 2 {
		t.folds = append(t.folds, f)
	}
	return t, true
}

// vectors lists the taps' weights over all slots.
func (t *taps) vectors(m *affine, slots int) [][]float64 {
	period := len(t.index[0])
	places := period / t.to.period
	out := make([][]float64, len(t.index))
	for i := range out {
		out[i] = make([]float64, slots)
	}
	for r := range m.rows {
		_, vals := m.row(r)
		for i, v := range vals {
			for s := i%places*t.to.period + int(t.to.pos[r]); s < slots; s += period {
				out[i/places][s] = v
			}
		}
	}
	return out
}
