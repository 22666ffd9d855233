package he

import (
	"math"
	"slices"
)

// affine is a sparse matrix in compressed rows: row r has the entries
// start[r] to start[r+1] of col and val, columns ascending.
type affine struct {
	rows, cols int
	start      []int32
	col        []int32
	val        []float64
}

// newAffine builds a matrix from the entries that row(r, put) puts; columns may come
// in any order and twice (they add up). Zeros are left out.
func newAffine(rows, cols int, row func(r int, put func(c int, v float64))) *affine {
	a := &affine{rows: rows, cols: cols, start: make([]int32, 1, rows+1)}
	sum := make([]float64, cols)
	seen := make([]bool, cols)
	var touched []int32
	for r := range rows {
		touched = touched[:0]
		row(r, func(c int, v float64) {
			if !seen[c] {
				seen[c] = true
				touched = append(touched, int32(c))
			}
			sum[c] += v
		})
		slices.Sort(touched)
		for _, c := range touched {
			if sum[c] != 0 {
				a.col, a.val = append(a.col, c), append(a.val, sum[c])
			}
			sum[c], seen[c] = 0, false
		}
		a.start = append(a.start, int32(len(a.col)))
	}
	return a
}

// identity is the n×n identity.
func identity(n int) *affine {
	return newAffine(n, n, func(r int, put func(int, float64)) { put(r, 1) })
}

// row gives row r's columns and values.
func (a *affine) row(r int) ([]int32, []float64) {
	return a.col[a.start[r]:a.start[r+1]], a.val[a.start[r]:a.start[r+1]]
}

// widest is the largest number of entries in a row.
func (a *affine) widest() int {
	w := 0
	for r := range a.rows {
		w = max(w, int(a.start[r+1]-a.start[r]))
	}
	return w
}

// times is the product a·b.
func (a *affine) times(b *affine) *affine {
	return newAffine(a.rows, b.cols, func(r int, put func(int, float64)) {
		cols, vals := a.row(r)
		for i, c := range cols {
			bc, bv := b.row(int(c))
			for j, v := range bv {
				put(int(bc[j]), vals[i]*v)
			}
		}
	})
}

// plus is the sum a+b.
func (a *affine) plus(b *affine) *affine {
	return newAffine(a.rows, a.cols, func(r int, put func(int, float64)) {
		for _, m := range []*affine{a, b} {
			cols, vals := m.row(r)
			for i, c := range cols {
				put(int(c), vals[i])
			}
		}
	})
}

// apply adds a·x to dst.
func (a *affine) apply(dst, x []float64) {
	for r := range a.rows {
		cols, vals := a.row(r)
		var sum float64
		for i, c := range cols {
			sum += vals[i] * x[c]
		}
		dst[r] += sum
	}
}

// scaled is a times k.
func (a *affine) scaled(k float64) *affine {
	b := *a
	b.val = make([]float64, len(a.val))
	for i, v := range a.val {
		b.val[i] = k * v
	}
	return &b
}

// biggest is the largest absolute entry.
func (a *affine) biggest() float64 {
	m := 0.
	for _, v := range a.val {
		m = max(m, math.Abs(v))
	}
	return m
}

// expression is a value that is affine in the values of earlier stages:
// Σ parts[i]·value(i) + bias, value 0 being the model's input.
type expression struct {
	parts map[int]*affine
	bias  []float64
}

// through is the expression m·e + bias; nil stands for no bias.
func (e expression) through(m *affine, bias []float64) expression {
	out := expression{parts: map[int]*affine{}, bias: make([]float64, m.rows)}
	for i, p := range e.parts {
		out.parts[i] = m.times(p)
	}
	m.apply(out.bias, e.bias)
	for r, b := range bias {
		out.bias[r] += b
	}
	return out
}

// plus is the sum of two expressions of one shape.
func (e expression) plus(f expression) expression {
	out := expression{parts: map[int]*affine{}, bias: slices.Clone(e.bias)}
	for i, p := range e.parts {
		out.parts[i] = p
	}
	for i, p := range f.parts {
		if q := out.parts[i]; q != nil {
			p = q.plus(p)
		}
		out.parts[i] = p
	}
	for r, b := range f.bias {
		out.bias[r] += b
	}
	return out
}

// eval computes the expression from the values.
func (e expression) eval(values [][]float64) []float64 {
	out := slices.Clone(e.bias)
	for _, i := range e.sources() {
		e.parts[i].apply(out, values[i])
	}
	return out
}

// sources lists the values read, ascending.
func (e expression) sources() []int {
	var s []int
	for i := range e.parts {
		s = append(s, i)
	}
	slices.Sort(s)
	return s
}
