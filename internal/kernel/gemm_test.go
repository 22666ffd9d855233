package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// fma32 is the fused multiply-add of float32. The product of two float32 is
// exact in float64; the float64 sum is rounded to odd where it is inexact, so
// that rounding it once more to float32 is the rounding of the exact value
// (Boldo and Melquiond 2008, theorem 3: 53 >= 24+2).
func fma32(x, y, z float32) float32 {
	p, c := float64(x)*float64(y), float64(z)
	s := p + c
	if math.IsNaN(s) || math.IsInf(s, 0) {
		return float32(s)
	}
	// Knuth's two-sum: err is exactly p + c - s.
	v := s - p
	err := (p - (s - v)) + (c - v)
	if err != 0 && math.Float64bits(s)&1 == 0 {
		if (err > 0) == (s > 0) {
			s = math.Float64frombits(math.Float64bits(s) + 1)
		} else {
			s = math.Float64frombits(math.Float64bits(s) - 1)
		}
	}
	return float32(s)
}

// mulAdd is one step of a chain at the level in use.
func mulAdd(x, y, z float32) float32 {
	if Current() == Generic {
		return z + float32(x*y)
	}
	return fma32(x, y, z)
}

// chain is the reference of every product: rows of length k, an element apart
// in x by xs and in y by ys, multiplied and added in order.
func chain(k int, x []float32, xs int, y []float32, ys int) float32 {
	var t float32
	for p := range k {
		t = mulAdd(x[p*xs], y[p*ys], t)
	}
	return t
}

// gemmReference is what GEMM promises, element by element.
func gemmReference(op Op, m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, add bool) {
	ars, acs, brs, bcs := lda, 1, ldb, 1
	if op == TN {
		ars, acs = 1, lda
	}
	if op == NT {
		brs, bcs = 1, ldb
	}
	for i := range m {
		for j := range n {
			t := c[i*ldc+j]
			if k == 0 && !add {
				t = 0
			}
			count, length := blocks(k)
			for block := range count {
				p := block * length
				s := chain(min(length, k-p), a[i*ars+p*acs:], acs, b[j*bcs+p*brs:], brs)
				if block == 0 && !add {
					t = s
				} else {
					t += s
				}
			}
			c[i*ldc+j] = t
		}
	}
}

func runsReference(m, n int, a []float32, lda int, b []float32, ldb int, ends []int, sum []int64, ldsum int) {
	start := 0
	for _, end := range ends {
		for i := range m {
			for j := range n {
				if end > start {
					sum[i*ldsum+j] += int64(math.RoundToEven(float64(chain(end-start, a[start*lda+i:], lda, b[start*ldb+j:], ldb))))
				}
			}
		}
		start = end
	}
}

// everyLevel runs a test at every level of this machine, by name.
func everyLevel(t *testing.T, test func(t *testing.T)) {
	for _, level := range Levels() {
		t.Run(level.String(), func(t *testing.T) {
			defer Use(level)()
			test(t)
		})
	}
}

// normals returns n draws of N(0,1).
func normals(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// edges returns n draws, many of them at the edges of float32.
func edges(r *rand.Rand, n int) []float32 {
	special := []float32{
		0, float32(math.Copysign(0, -1)), 1, -1,
		math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 1e-39, -3e-40,
		0x1p-126, 0x1p-63, 0x1.fffffep-64, math.MaxFloat32, -math.MaxFloat32,
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
	}
	x := normals(r, n)
	for i := range x {
		switch r.IntN(24) {
		case 0:
			x[i] = special[r.IntN(len(special))]
		case 1:
			x[i] = special[r.IntN(11)]
		}
	}
	return x
}

// same reports whether x and y have the same bits, or are both NaN.
func same(x, y float32) bool {
	return math.Float32bits(x) == math.Float32bits(y) || x != x && y != y
}

// A guarded matrix lies between guard zones, at a misaligned start, and its
// rows are followed by guards where the stride is longer than the row.
const guardWord = 0x7fc0dead

type guarded struct {
	all  []float32
	x    []float32 // the matrix
	rows int
	cols int
	ld   int
}

func newGuarded(rows, cols, ld, offset int) *guarded {
	const zone = 70 // floats, more than a tile is wide
	size := 0
	if rows > 0 && cols > 0 {
		size = (rows-1)*ld + cols
	}
	g := &guarded{all: make([]float32, zone+offset+size+zone), rows: rows, cols: cols, ld: ld}
	for i := range g.all {
		g.all[i] = math.Float32frombits(guardWord)
	}
	g.x = g.all[zone+offset : zone+offset+size : zone+offset+size]
	return g
}

func (g *guarded) set(at func(i, j int) float32) *guarded {
	for i := range g.rows {
		for j := range g.cols {
			g.x[i*g.ld+j] = at(i, j)
		}
	}
	return g
}

func (g *guarded) fill(x []float32) *guarded {
	return g.set(func(i, j int) float32 { return x[i*g.cols+j] })
}

// intact reports whether every float outside the matrix is still a guard.
func (g *guarded) intact() bool {
	start := int(uintptr(unsafe.Pointer(unsafe.SliceData(g.x)))-uintptr(unsafe.Pointer(unsafe.SliceData(g.all)))) / 4
	for i, v := range g.all {
		at := i - start
		inside := len(g.x) > 0 && at >= 0 && at < len(g.x) && at%g.ld < g.cols
		if !inside && math.Float32bits(v) != guardWord {
			return false
		}
	}
	return true
}

func TestFMA32(t *testing.T) {
	// Against big floats, on operands whose float64 sum often falls on a tie of
	// float32, where rounding twice goes wrong.
	r := rand.New(rand.NewPCG(1, 1))
	double := 0
	for range 20000 {
		d := float32(r.IntN(1<<6)) * 0x1p-22
		x, y := 1+d, 0.5*(1-d) // x·y = (1-d²)/2, just below half an ulp of z
		z := float32(r.IntN(1<<23) + 1<<23)
		if r.IntN(4) == 0 {
			x, y, z = float32(r.NormFloat64()), float32(r.NormFloat64()), float32(r.NormFloat64())
		}
		if r.IntN(2) == 0 {
			z = -z
		}
		exact := new(big.Float).SetPrec(400).Mul(big.NewFloat(float64(x)), big.NewFloat(float64(y)))
		exact.Add(exact, big.NewFloat(float64(z)))
		want, _ := exact.Float32()
		require.Equal(t, want, fma32(x, y, z))
		if float32(float64(x)*float64(y)+float64(z)) != want {
			double++
		}
	}
	require.Positive(t, double, "no case where rounding twice differs")
}

func TestGEMMEqualsReference(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(2, 2))
		sizes := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65}
		depths := []int{0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 25, 64, 65, 255, 256, 257, 300}
		cases := 1500
		if testing.Short() {
			cases = 150
		}
		for range cases {
			m, n, k := sizes[r.IntN(len(sizes))], sizes[r.IntN(len(sizes))], depths[r.IntN(len(depths))]
			checkGEMM(t, r, Op(r.IntN(3)), m, n, k, r.IntN(2) == 0, r.IntN(4) == 0)
		}
		for _, n := range []int{1, 8, 10, 16, 17, 32, 48, 64, 65, 130} { // every tile height
			for m := range 28 {
				checkGEMM(t, r, Op(r.IntN(3)), m, n, 5, r.IntN(2) == 0, false)
			}
		}
	})
}

// checkGEMM compares one product with the reference to the last bit.
func checkGEMM(t *testing.T, r *rand.Rand, op Op, m, n, k int, add, edge bool) {
	t.Helper()
	draw := normals
	if edge {
		draw = edges
	}
	ar, ac, br, bc := m, k, k, n
	if op == TN {
		ar, ac = k, m
	}
	if op == NT {
		br, bc = n, k
	}
	pad := func() int { return []int{0, 0, 1, 7, 16}[r.IntN(5)] }
	a := newGuarded(ar, ac, max(1, ac+pad()), r.IntN(16)).fill(draw(r, ar*ac))
	b := newGuarded(br, bc, max(1, bc+pad()), r.IntN(16)).fill(draw(r, br*bc))
	dirty := draw(r, m*n)
	if !add {
		for i := range dirty {
			dirty[i] = float32(math.NaN())
		}
	}
	c := newGuarded(m, n, max(1, n+pad()), r.IntN(16)).fill(dirty)
	want := newGuarded(m, n, c.ld, 0).fill(dirty)
	gemmReference(op, m, n, k, a.x, a.ld, b.x, b.ld, want.x, want.ld, add)
	GEMM(op, m, n, k, a.x, a.ld, b.x, b.ld, c.x, c.ld, add)
	for i := range m {
		for j := range n {
			if got, want := c.x[i*c.ld+j], want.x[i*c.ld+j]; !same(got, want) {
				t.Fatalf("%v m=%d n=%d k=%d lda=%d ldb=%d ldc=%d add=%v: c[%d][%d] = %x, want %x", op, m, n, k, a.ld, b.ld, c.ld, add, i, j, got, want)
			}
		}
	}
	require.True(t, a.intact() && b.intact() && c.intact(), "%v m=%d n=%d k=%d wrote outside c", op, m, n, k)
}

// Matrices that are packed, cut in sweeps of rows and in several calls, against
// the reference at a sample of elements.
func TestGEMMLargeEqualsReference(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(10, 10))
		for _, c := range []struct{ m, n, k, lda, ldb int }{
			{400, 130, 300, 0, 0},
			{780, 70, 40, 0, 0},
			{1300, 20, 600, 0, 0}, // several calls for one panel
			{61, 90, 512, 512, 256},
			{391, 75, 256, 512, 1024}, // rows that collide
			{25, 1024, 5, 256, 1024},
			{5, 512, 513, 1024, 1024},
		} {
			for _, op := range []Op{NN, NT, TN} {
				ar, ac, br, bc := c.m, c.k, c.k, c.n
				if op == TN {
					ar, ac = ac, ar
				}
				if op == NT {
					br, bc = bc, br
				}
				lda, ldb, ldc := max(c.lda, ac), max(c.ldb, bc), c.n+3
				a, b := normals(r, ar*lda), normals(r, br*ldb)
				c0 := normals(r, c.m*ldc)
				got := append([]float32(nil), c0...)
				GEMM(op, c.m, c.n, c.k, a, lda, b, ldb, got, ldc, true)
				for range 1500 {
					i, j := r.IntN(c.m), r.IntN(c.n)
					ai, bj := i*lda, j
					if op == TN {
						ai = i
					}
					if op == NT {
						bj = j * ldb
					}
					want := []float32{c0[i*ldc+j]}
					gemmReference(op, 1, 1, c.k, a[ai:], lda, b[bj:], ldb, want, 1, true)
					if !same(got[i*ldc+j], want[0]) {
						t.Fatalf("%v %+v: c[%d][%d] = %x, want %x", op, c, i, j, got[i*ldc+j], want[0])
					}
				}
				for i := range c.m {
					require.Equal(t, c0[i*ldc+c.n:(i+1)*ldc], got[i*ldc+c.n:(i+1)*ldc], "behind row %d", i)
				}
			}
		}
	})
}
