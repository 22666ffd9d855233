package kernel

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The rows of a batch are permuted, the batch is split, the columns are cut and
// placed elsewhere, strides change: no bit of any element does.
func TestGEMMBatchInvariance(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		rounds := 25
		if testing.Short() {
			rounds = 6
		}
		r := rand.New(rand.NewPCG(7, 7))
		for _, op := range []Op{NN, NT, TN} {
			for range rounds {
				m, n, k := 1+r.IntN(90), 1+r.IntN(200), 1+r.IntN(700)
				a, b := normals(r, m*k), normals(r, k*n) // op(a) m×k, op(b) k×n
				want := multiply(op, r, m, n, k, a, b, 0)
				for range 3 {
					m2, n2 := 1+r.IntN(100), 1+r.IntN(220)
					rows, cols := make([]int, m2), make([]int, n2) // of op(a), op(b), some twice
					a2, b2 := make([]float32, m2*k), make([]float32, k*n2)
					for i := range rows {
						rows[i] = r.IntN(m)
						copy(a2[i*k:(i+1)*k], a[rows[i]*k:(rows[i]+1)*k])
					}
					for j := range cols {
						cols[j] = r.IntN(n)
						for p := range k {
							b2[p*n2+j] = b[p*n+cols[j]]
						}
					}
					got := multiply(op, r, m2, n2, k, a2, b2, r.IntN(9))
					for i := range rows {
						for j := range cols {
							x, y := got[i*n2+j], want[rows[i]*n+cols[j]]
							if math.Float32bits(x) != math.Float32bits(y) {
								t.Fatalf("%v k=%d: element (%d,%d) of %d×%d is %x, as element (%d,%d) of %d×%d it was %x", op, k, i, j, m2, n2, x, rows[i], cols[j], m, n, y)
							}
						}
					}
				}
			}
		}
	})
}

// multiply lays a and b out for op at a stride longer by pad, and multiplies.
func multiply(op Op, r *rand.Rand, m, n, k int, a, b []float32, pad int) []float32 {
	la := newGuarded(m, k, k+pad, r.IntN(16)).fill(a)
	lb := newGuarded(k, n, n+pad, r.IntN(16)).fill(b)
	switch op {
	case TN:
		la = newGuarded(k, m, m+pad, r.IntN(16)).set(func(i, j int) float32 { return a[j*k+i] })
	case NT:
		lb = newGuarded(n, k, k+pad, r.IntN(16)).set(func(i, j int) float32 { return b[j*n+i] })
	}
	c := make([]float32, m*n)
	GEMM(op, m, n, k, la.x, la.ld, lb.x, lb.ld, c, n, false)
	return c
}

// The three ops are one product; and the two vector levels have one order of
// operations.
func TestGEMMOpsAndVectorLevelsAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for range 40 {
		m, n, k := 1+r.IntN(70), 1+r.IntN(150), 1+r.IntN(600)
		a, b := edges(r, m*k), edges(r, k*n)
		var vector []float32
		for _, level := range Levels() {
			restore := Use(level)
			nn := multiply(NN, r, m, n, k, a, b, 0)
			for _, op := range []Op{NT, TN} {
				requireSame(t, nn, multiply(op, r, m, n, k, a, b, 0))
			}
			restore()
			if level > Generic {
				if vector != nil {
					requireSame(t, vector, nn)
				}
				vector = nn
			}
		}
	}
}

func requireSame(t *testing.T, want, got []float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		if !same(want[i], got[i]) {
			t.Fatalf("element %d: %x, want %x", i, got[i], want[i])
		}
	}
}

func TestGEMMPanics(t *testing.T) {
	x, c := make([]float32, 12), make([]float32, 12)
	for _, test := range []struct {
		want string
		call func()
	}{
		{"kernel: negative matrix size", func() { GEMM(NN, 2, -1, 2, x, 2, x, 2, c, 2, false) }},
		{"kernel: stride below row length", func() { GEMM(NN, 2, 2, 3, x, 2, x, 2, c, 2, false) }},
		{"kernel: stride below row length", func() { GEMM(NT, 2, 2, 3, x, 3, x, 2, c, 2, false) }},
		{"kernel: stride below row length", func() { GEMM(TN, 3, 2, 2, x, 2, x, 2, c, 2, false) }},
		{"kernel: matrix slice too short", func() { GEMM(NN, 4, 2, 3, x[:11], 3, x, 2, c, 2, false) }},
		{"kernel: matrix slice too short", func() { GEMM(NN, 2, 2, 3, x, 3, x[:5], 2, c, 2, false) }},
		{"kernel: matrix slice too short", func() { GEMM(NN, 2, 2, 3, x, 3, x, 2, c[:3], 2, false) }},
		{"kernel: GEMM output overlaps an input", func() { GEMM(NN, 2, 2, 2, x, 2, c, 2, x[3:], 2, false) }},
		{"kernel: GEMM output overlaps an input", func() { GEMM(NN, 2, 2, 2, c, 2, x[3:], 2, x, 2, false) }},
		{"kernel: unknown GEMM op", func() { GEMM(9, 2, 2, 2, x, 2, x, 2, c, 2, false) }},
	} {
		require.PanicsWithValue(t, test.want, test.call)
	}
	// Matrices side by side in one slice do not overlap, however long the slice
	// that is passed.
	require.NotPanics(t, func() { GEMM(NN, 2, 2, 2, x, 2, x[4:], 2, x[8:], 2, false) })
	require.NotPanics(t, func() { GEMM(NN, 2, 2, 2, x[4:], 2, x[8:], 2, x, 2, false) })
}

// allocs counts a call's allocations once its scratch is in its pool.
func allocs(f func()) float64 {
	f()
	return testing.AllocsPerRun(20, f)
}

func TestGEMMAllocatesNothing(t *testing.T) {
	if underRace {
		t.Skip("the race detector empties pools")
	}
	everyLevel(t, func(t *testing.T) {
		const m, n, k = 40, 100, 300
		a, b, c := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n)
		for _, op := range []Op{NN, NT, TN} {
			lda, ldb := k, n
			if op == TN {
				lda = m
			}
			if op == NT {
				ldb = k
			}
			require.Zero(t, allocs(func() { GEMM(op, m, n, k, a, lda, b, ldb, c, n, false) }), op)
		}
	})
}

// Goroutines that share the pools and the inputs do not disturb each other.
func TestGEMMConcurrent(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		const m, n, k = 40, 100, 300
		r := rand.New(rand.NewPCG(12, 12))
		a, b := normals(r, m*k), normals(r, k*n)
		ends := []int{20, 90, k}
		want, wantSum := make([]float32, m*n), make([]int64, m*n)
		GEMM(NT, m, n, k, a, k, b, k, want, n, false)
		GEMMRuns(m, n, a, m, b, n, ends, wantSum, n)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 5 {
					c, sum := make([]float32, m*n), make([]int64, m*n)
					GEMM(NT, m, n, k, a, k, b, k, c, n, false)
					GEMMRuns(m, n, a, m, b, n, ends, sum, n)
					assert.Equal(t, want, c)
					assert.Equal(t, wantSum, sum)
				}
			})
		}
		group.Wait()
	})
}

func FuzzGEMM(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint8(6), uint8(64), uint16(256))
	f.Add(uint64(2), uint8(1), uint8(1), uint8(17), uint16(7))
	f.Add(uint64(3), uint8(2), uint8(13), uint8(130), uint16(515))
	f.Fuzz(func(t *testing.T, seed uint64, op, m, n uint8, k uint16) {
		r := rand.New(rand.NewPCG(seed, 0))
		for _, level := range Levels() {
			restore := Use(level)
			checkGEMM(t, r, Op(op%3), int(m%70), int(n%140), int(k%600), seed%2 == 0, seed%3 == 0)
			restore()
		}
	})
}
