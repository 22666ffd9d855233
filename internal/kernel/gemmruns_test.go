package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// runsCase draws operands whose runs' sums have fractions, ties and large
// values, within the range that GEMMRuns promises.
func runsCase(r *rand.Rand, m, n, k, lda, ldb int) (a, b []float32) {
	a, b = normals(r, max(0, (k-1)*lda+m)), normals(r, max(0, (k-1)*ldb+n))
	switch r.IntN(3) {
	case 0: // ties: odd multiples of a half
		for i := range a {
			a[i] = float32(r.IntN(9)-4) * 0.5
		}
		for i := range b {
			b[i] = float32(r.IntN(5) - 2)
		}
	case 1: // large: |a·b| < 2^41 in a run of at most 2^9 rows
		for i := range a {
			a[i] = float32((r.Float64()*2 - 1) * math.Ldexp(1, r.IntN(41)))
		}
		for i := range b {
			b[i] = float32(r.Float64()*2 - 1)
		}
	case 2:
		for i := range a {
			a[i] *= 50
		}
	}
	return a, b
}

// cut cuts k rows in random runs, empty ones among them.
func cut(r *rand.Rand, k int) (ends []int) {
	mean := []int{1, 8, 32, 128, 500}[r.IntN(5)]
	for at := 0; at < k; {
		at = min(k, at+r.IntN(2*mean+1))
		ends = append(ends, at)
		if r.IntN(5) == 0 {
			ends = append(ends, at)
		}
	}
	if len(ends) == 0 || r.IntN(3) == 0 {
		ends = append(ends, k)
	}
	return ends
}

func TestGEMMRunsEqualsReference(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 3))
		sizes := []int{0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 13, 15, 16, 17, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65}
		depths := []int{0, 1, 2, 3, 31, 32, 64, 100, 383, 384, 385, 700}
		cases := 700
		if testing.Short() {
			cases = 60
		}
		for range cases {
			checkRuns(t, r, sizes[r.IntN(len(sizes))], sizes[r.IntN(len(sizes))], depths[r.IntN(len(depths))])
		}
		for _, n := range []int{1, 8, 9, 16, 17, 32, 33, 48, 49, 64} { // every tile height
			for m := range 28 {
				checkRuns(t, r, m, n, 40)
			}
		}
		checkRuns(t, r, 100, 70, 500)
	})
}

func checkRuns(t *testing.T, r *rand.Rand, m, n, k int) {
	t.Helper()
	lda, ldb, ldsum := max(1, m+r.IntN(3)*5), max(1, n+r.IntN(3)*5), max(1, n+r.IntN(2)*3)
	a, b := runsCase(r, m, n, k, lda, ldb)
	ends := cut(r, k)
	const zone = 70
	size := max(0, (m-1)*ldsum+n)
	all := make([]int64, zone+size+zone)
	for i := range all {
		all[i] = int64(r.Uint64()) // sums wrap like any int64
	}
	want := append([]int64(nil), all...)
	runsReference(m, n, a, lda, b, ldb, ends, want[zone:zone+size], ldsum)
	GEMMRuns(m, n, a, lda, b, ldb, ends, all[zone:zone+size], ldsum)
	for i := range all {
		if all[i] != want[i] {
			t.Fatalf("m=%d n=%d k=%d lda=%d ldb=%d ldsum=%d ends=%v: sum[%d] = %d, want %d", m, n, k, lda, ldb, ldsum, ends, i-zone, all[i], want[i])
		}
	}
}

// Any grouping of whole runs into calls, and any cut of the rows and columns
// of sum, gives the same integers.
func TestGEMMRunsGrouping(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(4, 4))
		for range 60 {
			m, n, k := 1+r.IntN(40), 1+r.IntN(140), 1+r.IntN(900)
			a, b := runsCase(r, m, n, k, m, n)
			ends := cut(r, k)
			whole := make([]int64, m*n)
			GEMMRuns(m, n, a, m, b, n, ends, whole, n)

			calls := make([]int64, m*n)
			for from := 0; from < len(ends); {
				to := min(len(ends), from+1+r.IntN(6))
				start := 0
				if from > 0 {
					start = ends[from-1]
				}
				part := make([]int, 0, to-from)
				for _, end := range ends[from:to] {
					part = append(part, end-start)
				}
				GEMMRuns(m, n, a[start*m:], m, b[start*n:], n, part, calls, n)
				from = to
			}
			require.Equal(t, whole, calls, "grouped into calls")

			tiles := make([]int64, m*n)
			mi, nj := r.IntN(m+1), r.IntN(n+1)
			for _, i := range [][2]int{{0, mi}, {mi, m}} {
				for _, j := range [][2]int{{0, nj}, {nj, n}} {
					if i[0] < i[1] && j[0] < j[1] {
						GEMMRuns(i[1]-i[0], j[1]-j[0], a[i[0]:], m, b[j[0]:], n, ends, tiles[i[0]*n+j[0]:], n)
					}
				}
			}
			require.Equal(t, whole, tiles, "cut in tiles")
		}
	})
}

// A row of zero weights adds exactly nothing, wherever it stands in its run.
func TestGEMMRunsZeroRows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 5))
		const m, n, k = 9, 37, 50
		a, b := runsCase(r, m, n, k, m, n)
		want := make([]int64, m*n)
		GEMMRuns(m, n, a, m, b, n, []int{20, k}, want, n)
		var a2, b2 []float32
		for p := range k {
			a2 = append(append(a2, make([]float32, m)...), a[p*m:(p+1)*m]...)
			b2 = append(append(b2, normals(r, n)...), b[p*n:(p+1)*n]...)
		}
		got := make([]int64, m*n)
		GEMMRuns(m, n, a2, m, b2, n, []int{40, 2 * k}, got, n)
		require.Equal(t, want, got)
	})
}

// Sums that are not promised (NaN, Inf, above 2^51) must not fault or write
// elsewhere.
func TestGEMMRunsOutOfRange(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(6, 6))
		const m, n, k = 13, 70, 500
		a, b := edges(r, k*m), edges(r, k*n)
		sum := make([]int64, m*n+20)
		GEMMRuns(m, n, a, m, b, n, []int{3, 40, k}, sum[10:10+m*n], n)
		for i := range 10 {
			require.Zero(t, sum[i])
			require.Zero(t, sum[10+m*n+i])
		}
		sum = make([]int64, 1)
		huge := float32(0x1.8p50)
		GEMMRuns(1, 1, []float32{huge, 0.5, -huge}, 1, []float32{1, 1, 1}, 1, []int{1, 2, 3}, sum, 1)
		require.Zero(t, sum[0])
	})
}

func TestGEMMRunsPanics(t *testing.T) {
	x := make([]float32, 12)
	s := make([]int64, 12)
	require.PanicsWithValue(t, "kernel: ends of runs decrease", func() { GEMMRuns(2, 2, x, 2, x, 2, []int{3, 2}, s, 2) })
	require.PanicsWithValue(t, "kernel: ends of runs decrease", func() { GEMMRuns(2, 2, x, 2, x, 2, []int{-1}, s, 2) })
	require.PanicsWithValue(t, "kernel: matrix slice too short", func() { GEMMRuns(2, 2, x, 2, x, 2, []int{7}, s, 2) })
	require.PanicsWithValue(t, "kernel: matrix slice too short", func() { GEMMRuns(2, 2, x, 2, x, 2, []int{2}, s[:3], 2) })
	require.PanicsWithValue(t, "kernel: stride below row length", func() { GEMMRuns(2, 2, x, 1, x, 2, []int{2}, s, 2) })
	shared := unsafe.Slice((*float32)(unsafe.Pointer(&s[0])), 24)
	require.PanicsWithValue(t, "kernel: GEMMRuns output overlaps an input", func() { GEMMRuns(2, 2, shared[4:], 2, x, 2, []int{2}, s, 2) })
	require.NotPanics(t, func() { GEMMRuns(2, 2, shared[8:], 2, x, 2, []int{2}, s, 2) })
	require.PanicsWithValue(t, "kernel: negative matrix size", func() { GEMMRuns(-2, 2, x, 2, x, 2, []int{2}, s, 2) })
}

func TestGEMMRunsAllocatesNothing(t *testing.T) {
	if underRace {
		t.Skip("the race detector empties pools")
	}
	everyLevel(t, func(t *testing.T) {
		const m, n, k = 20, 100, 600
		a, b, sum := make([]float32, k*m), make([]float32, k*n), make([]int64, m*n)
		ends := []int{30, 60, 500, k}
		require.Zero(t, allocs(func() { GEMMRuns(m, n, a, m, b, n, ends, sum, n) }))
	})
}

func FuzzGEMMRuns(f *testing.F) {
	f.Add(uint64(1), uint8(6), uint8(64), uint16(256))
	f.Add(uint64(2), uint8(1), uint8(1), uint16(0))
	f.Add(uint64(3), uint8(33), uint8(9), uint16(385))
	f.Fuzz(func(t *testing.T, seed uint64, m, n uint8, k uint16) {
		r := rand.New(rand.NewPCG(seed, 0))
		for _, level := range Levels() {
			restore := Use(level)
			checkRuns(t, r, int(m%70), int(n%140), int(k%800))
			restore()
		}
	})
}

// Sums that are packed, cut in sweeps of rows and in several calls, against
// the reference at a sample of elements.
func TestGEMMRunsLargeEqualsReference(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 11))
		for _, c := range []struct{ m, n, k, lda, ldb int }{
			{400, 130, 300, 0, 0},
			{391, 75, 700, 512, 1024}, // rows that collide
			{50, 200, 256, 256, 256},
			{2000, 17, 64, 0, 0},
		} {
			lda, ldb := max(c.lda, c.m), max(c.ldb, c.n)
			a, b := runsCase(r, c.m, c.n, c.k, lda, ldb)
			ends := cut(r, c.k)
			got := make([]int64, c.m*c.n)
			GEMMRuns(c.m, c.n, a, lda, b, ldb, ends, got, c.n)
			for range 3000 {
				i, j := r.IntN(c.m), r.IntN(c.n)
				want := make([]int64, 1)
				runsReference(1, 1, a[i:], lda, b[j:], ldb, ends, want, 1)
				if got[i*c.n+j] != want[0] {
					t.Fatalf("%+v ends=%v: sum[%d][%d] = %d, want %d", c, ends, i, j, got[i*c.n+j], want[0])
				}
			}
		}
	})
}
