package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// sortedColumn gathers and sorts a column in the documented order.
func sortedColumn(rows [][]float32, j int) []float32 {
	column := make([]float32, len(rows))
	for i, row := range rows {
		column[i] = row[j]
	}
	slices.SortFunc(column, func(x, y float32) int {
		switch nx, ny := x != x, y != y; {
		case nx || ny:
			return nanClass(x) - nanClass(y)
		case x < y || x == y && math.Signbit(float64(x)) && !math.Signbit(float64(y)):
			return -1
		case math.Float32bits(x) == math.Float32bits(y):
			return 0
		}
		return 1
	})
	return column
}

// nanClass is -1 and 1 for NaNs of negative and positive sign, 0 for numbers.
func nanClass(x float32) int {
	switch {
	case x == x:
		return 0
	case math.Signbit(float64(x)):
		return -1
	}
	return 1
}

func wantRankSum(column []float32, lo, hi int, scale float32) float32 {
	var chains [4]float32
	for i, x := range column[lo:hi] {
		if i < 4 {
			chains[i] = x
		} else {
			chains[i%4] += x
		}
	}
	switch hi - lo {
	case 1:
		return chains[0] * scale
	case 2:
		return (chains[0] + chains[1]) * scale
	case 3:
		return ((chains[0] + chains[1]) + chains[2]) * scale
	}
	return ((chains[0] + chains[1]) + (chains[2] + chains[3])) * scale
}

// wantTrimmedSum is TrimmedSum as it is defined, on two sorted halves of a column.
func wantTrimmedSum(a, b []float32, cut int, scale float32) float32 {
	var chains [4]float32
	order := func(x, y float32) (lesser, greater float32) {
		if rankKey(x) < rankKey(y) {
			return x, y
		}
		return y, x
	}
	for k := range cut {
		_, greater := order(a[k], b[cut-1-k])
		lesser, _ := order(a[len(a)-cut+k], b[len(b)-1-k])
		chains[0] += greater
		chains[1] += lesser
	}
	for _, x := range a[cut : len(a)-cut] {
		chains[2] += x
	}
	for _, x := range b[cut : len(b)-cut] {
		chains[3] += x
	}
	return ((chains[0] + chains[1]) + (chains[2] + chains[3])) * scale
}

// wantMeanAround chooses the m nearest values one by one, from the definition.
func wantMeanAround(column []float32, m int) float32 {
	n := len(column)
	median := column[n/2]
	if n%2 == 0 {
		median = (column[n/2-1] + column[n/2]) * 0.5
	}
	ranks := make([]int, n)
	for r := range ranks {
		ranks[r] = r
	}
	// Among equal distances lesser values come first, but of equal values those
	// nearer the middle: that keeps the chosen ranks together.
	distance := func(r int) float64 {
		if r < n/2 {
			return float64(median - column[r])
		}
		return float64(column[r] - median)
	}
	below := func(r int) bool { return r < n/2 }
	slices.SortStableFunc(ranks, func(a, b int) int {
		switch da, db := distance(a), distance(b); {
		case da < db:
			return -1
		case da > db:
			return 1
		case below(a) != below(b):
			if below(a) {
				return -1
			}
			return 1
		case below(a):
			return b - a
		}
		return a - b
	})
	var sums [2]float32
	for c := range m {
		for _, r := range ranks[:m] {
			if r%m == c {
				sums[min(1, max(0, c-(n-m)+1))] += column[r]
			}
		}
	}
	return (sums[0] + sums[1]) / float32(m)
}

// guardedRows returns n misaligned rows, filled by draw, between guards.
func guardedRows(r *rand.Rand, n, columns int, draw func(r *rand.Rand, n int) []float32) [][]float32 {
	rows := make([][]float32, n)
	for i := range rows {
		rows[i], _ = guardedVector(columns, r.IntN(16))
		copy(rows[i], draw(r, columns))
	}
	return rows
}

func cloneRows(rows [][]float32) [][]float32 {
	c := make([][]float32, len(rows))
	for i := range rows {
		c[i] = slices.Clone(rows[i])
	}
	return c
}

// finiteEdges are edges without NaN and infinities, and so small in number that
// columns hold equal values and equal distances.
func finiteEdges(r *rand.Rand, n int) []float32 {
	x := edges(r, n)
	for i, v := range x {
		switch {
		case v-v != 0 || math.Abs(float64(v)) > 1e30:
			x[i] = float32(r.IntN(3) - 1)
		case r.IntN(3) == 0:
			x[i] = float32(r.IntN(9) - 4)
		}
	}
	return x
}

// checkRanksOf compares the kernels with the definitions on rows of every
// float32, in some ranges of ranks.
func checkRanksOf(t *testing.T, r *rand.Rand, n, columns int) {
	t.Helper()
	rows := guardedRows(r, n, columns, edges)
	kept := cloneRows(rows)
	sorted := make([][]float32, columns)
	for j := range sorted {
		sorted[j] = sortedColumn(rows, j)
	}
	a, b := r.IntN(n), r.IntN(n)
	f := r.IntN((n + 1) / 2)
	for _, ranks := range [][2]int{
		{(n - 1) / 2, n/2 + 1}, {f, n - f}, {0, n}, {min(a, b), max(a, b) + 1}, {a, a + 1}, {a, min(n, a+2)}, {a, min(n, a+3)},
	} {
		lo, hi := ranks[0], ranks[1]
		dst, intact := guardedVector(columns, r.IntN(16))
		scale := []float32{1, 0.5, -3, 1 / float32(hi-lo)}[r.IntN(4)]
		RankSum(dst, rows, lo, hi, scale)
		require.True(t, intact(), "n=%d columns=%d: wrote outside dst", n, columns)
		for j := range dst {
			if want := wantRankSum(sorted[j], lo, hi, scale); !same(dst[j], want) {
				t.Fatalf("n=%d columns=%d ranks %d to %d column %d: %g, want %g", n, columns, lo, hi, j, dst[j], want)
			}
		}
	}
	for _, ranks := range [][2]int{{(n - 1) / 2, n/2 + 1}, {f, n - f}, {a, a + 1}, {0, n}} {
		least, intact := guardedVector(columns, r.IntN(16))
		most, intact2 := guardedVector(columns, r.IntN(16))
		RankBounds(least, most, rows, ranks[0], ranks[1])
		require.True(t, intact() && intact2(), "n=%d columns=%d: wrote outside", n, columns)
		for j := range least {
			if !same(least[j], sorted[j][ranks[0]]) || !same(most[j], sorted[j][ranks[1]-1]) {
				t.Fatalf("n=%d columns=%d ranks %v column %d: %g and %g", n, columns, ranks, j, least[j], most[j])
			}
		}
	}
	for _, cut := range []int{min(1, n/4), r.IntN(n/4 + 1), n / 5, n / 4} {
		dst, intact := guardedVector(columns, r.IntN(16))
		TrimmedSum(dst, rows, cut, 0.5)
		require.True(t, intact(), "n=%d columns=%d: wrote outside dst", n, columns)
		for j := range dst {
			want := wantRankSum(sorted[j], cut, n-cut, 0.5)
			if n >= fewestHalved && cut > 0 {
				want = wantTrimmedSum(sortedColumn(rows[:(n+1)/2], j), sortedColumn(rows[(n+1)/2:], j), cut, 0.5)
			}
			if !same(dst[j], want) {
				t.Fatalf("n=%d columns=%d cut %d column %d: %g, want %g", n, columns, cut, j, dst[j], want)
			}
		}
	}
	ld := columns + r.IntN(20)
	m := newGuarded(n, columns, ld, r.IntN(16))
	SortColumns(m.x, ld, rows)
	require.True(t, m.intact(), "n=%d columns=%d: wrote outside dst", n, columns)
	for j := range columns {
		for i := range n {
			if got, want := m.x[i*ld+j], sorted[j][i]; !same(got, want) {
				t.Fatalf("n=%d columns=%d column %d rank %d: %g, want %g", n, columns, j, i, got, want)
			}
		}
	}
	for i := range rows {
		for j := range columns {
			require.Equal(t, math.Float32bits(kept[i][j]), math.Float32bits(rows[i][j]), "a row changed")
		}
		copy(rows[i], finiteEdges(r, columns))
	}
	for _, m := range []int{n, n - f, 1 + r.IntN(n), 1} {
		dst, intact := guardedVector(columns, r.IntN(16))
		MeanAround(dst, rows, m)
		require.True(t, intact(), "n=%d columns=%d: wrote outside dst", n, columns)
		for j := range dst {
			if want := wantMeanAround(sortedColumn(rows, j), m); !same(dst[j], want) {
				t.Fatalf("n=%d columns=%d m=%d column %d: %g, want %g", n, columns, m, j, dst[j], want)
			}
		}
	}
}

func TestRanks(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 1))
		for n := 1; n <= 130; n++ {
			checkRanksOf(t, r, n, 1+r.IntN(65))
		}
		for _, n := range []int{159, 160, 161, 192, 193, 200, 256, 257, 400, 513, 1000, 1023, 1024} {
			checkRanksOf(t, r, n, 1+r.IntN(20))
		}
		for columns := range 66 {
			checkRanksOf(t, r, 1+r.IntN(12), columns)
		}
		for _, columns := range []int{1023, 1024, 1025} {
			checkRanksOf(t, r, 2+r.IntN(9), columns)
		}
		for _, n := range []int{33, 50, 100, 150} { // networks that fetch by bursts, over tiles
			checkRanksOf(t, r, n, 1023+r.IntN(3))
			checkRanksOf(t, r, n, 2049+r.IntN(70))
		}
	})
}

// What is in neither cut is what RankSum adds up: of integers both sums are exact.
func TestTrimmedSumIsRankSum(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(26, 1))
		for _, n := range []int{4, 9, 25, 33, 100, 127, 131, 300, 1000} {
			rows := guardedRows(r, n, 50, func(r *rand.Rand, n int) []float32 {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(r.IntN(2000) - 1000)
				}
				return x
			})
			for _, cut := range []int{1, n / 5, n / 4, n/2 - 1} {
				want, got := make([]float32, 50), make([]float32, 50)
				RankSum(want, rows, cut, n-cut, 0.5)
				TrimmedSum(got, rows, cut, 0.5)
				require.Equal(t, want, got, "n=%d cut=%d", n, cut)
			}
		}
	})
}

// The order of the rows plays no part, nor where blocks of columns are cut.
func TestRanksPermutation(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(22, 1))
		for _, n := range []int{2, 7, 25, 40, 64, 65, 100, 150, 300} {
			const columns = 300
			rows := guardedRows(r, n, columns, finiteEdges)
			f := n / 5
			results := func(rows [][]float32, cut int) (all [3][]float32) {
				for k := range all {
					all[k] = make([]float32, columns)
					for _, part := range [][2]int{{0, cut}, {cut, columns}} {
						some := make([][]float32, n)
						for i := range some {
							some[i] = rows[i][part[0]:part[1]]
						}
						dst := all[k][part[0]:part[1]]
						switch k {
						case 0:
							RankSum(dst, some, (n-1)/2, n/2+1, 0.5)
						case 1:
							RankSum(dst, some, f, n-f, 1/float32(n-2*f))
						case 2:
							MeanAround(dst, some, n-f)
						}
					}
				}
				return all
			}
			want := results(rows, 0)
			for range 3 {
				shuffled := slices.Clone(rows)
				r.Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				got := results(shuffled, r.IntN(columns))
				for k := range want {
					for j := range want[k] {
						require.Equal(t, math.Float32bits(want[k][j]), math.Float32bits(got[k][j]), "n=%d", n)
					}
				}
			}
		}
	})
}

func TestRanksInPlace(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(23, 1))
		for _, n := range []int{1, 3, 10, 30, 80, 200} {
			rows := guardedRows(r, n, 333, finiteEdges)
			for range 2 {
				want := make([]float32, 333)
				i := r.IntN(n)
				RankBounds(want, make([]float32, 333), rows, n/4, n-n/4)
				again := cloneRows(rows)
				RankBounds(again[i], make([]float32, 333), again, n/4, n-n/4)
				require.Equal(t, want, again[i], "n=%d", n)
				RankSum(want, rows, n/4, n-n/4, 1)
				again = cloneRows(rows)
				RankSum(again[i], again, n/4, n-n/4, 1)
				require.Equal(t, want, again[i], "n=%d", n)
				TrimmedSum(want, rows, n/4, 1)
				again = cloneRows(rows)
				TrimmedSum(again[i], again, n/4, 1)
				require.Equal(t, want, again[i], "n=%d", n)
				MeanAround(want, rows, n-n/4)
				again = cloneRows(rows)
				MeanAround(again[i], again, n-n/4)
				require.Equal(t, want, again[i], "n=%d", n)
			}
		}
	})
}

func TestRanksAllocateNothing(t *testing.T) {
	if underRace {
		t.Skip("the race detector empties pools")
	}
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(24, 1))
		for _, n := range []int{3, 25, 100, 300} {
			rows, dst := guardedRows(r, n, 200, normals), make([]float32, 200)
			all := make([]float32, n*200)
			require.Zero(t, allocs(func() {
				RankSum(dst, rows, (n-1)/2, n/2+1, 0.5)
				RankSum(dst, rows, n/4, n-n/4, 1)
				TrimmedSum(dst, rows, n/4, 1)
				MeanAround(dst, rows, n-n/4)
				SortColumns(all, 200, rows)
				RankBounds(dst, all[:200], rows, n/4, n-n/4)
			}), "n=%d", n)
		}
	})
}

func TestRanksConcurrent(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(25, 1))
		rows := guardedRows(r, 70, 500, normals)
		want := make([]float32, 500)
		RankSum(want, rows, 10, 60, 1)
		results := make(chan []float32)
		for range 4 {
			go func() {
				dst := make([]float32, 500)
				for range 5 {
					RankSum(dst, rows, 10, 60, 1)
				}
				results <- dst
			}()
		}
		for range 4 {
			require.Equal(t, want, <-results)
		}
	})
}

func TestRanksPanic(t *testing.T) {
	x := make([]float32, 40)
	rows := [][]float32{x[:4], x[4:8], x[8:12]}
	for _, test := range []struct {
		want string
		call func()
	}{
		{"kernel: number of rows out of range", func() { RankSum(x[:4], nil, 0, 1, 1) }},
		{"kernel: number of rows out of range", func() { RankSum(nil, make([][]float32, 1025), 0, 1, 1) }},
		{"kernel: number of rows out of range", func() { MeanAround(x[:4], nil, 1) }},
		{"kernel: number of rows out of range", func() { SortColumns(x, 4, nil) }},
		{"kernel: number of rows out of range", func() { SortColumns(x, 4, make([][]float32, 1025)) }},
		{"kernel: lengths differ", func() { RankSum(x[20:23], rows, 0, 1, 1) }},
		{"kernel: lengths differ", func() { MeanAround(x[20:24], [][]float32{x[:4], x[:3]}, 1) }},
		{"kernel: lengths differ", func() { SortColumns(x[20:], 4, [][]float32{x[:4], x[:3]}) }},
		{"kernel: ranks out of range", func() { RankSum(x[20:24], rows, -1, 1, 1) }},
		{"kernel: ranks out of range", func() { RankSum(x[20:24], rows, 1, 1, 1) }},
		{"kernel: ranks out of range", func() { RankSum(x[20:24], rows, 0, 4, 1) }},
		{"kernel: ranks out of range", func() { MeanAround(x[20:24], rows, 0) }},
		{"kernel: ranks out of range", func() { RankBounds(x[20:24], x[24:28], rows, 1, 4) }},
		{"kernel: number of rows out of range", func() { RankBounds(x[20:24], x[24:28], nil, 0, 1) }},
		{"kernel: lengths differ", func() { RankBounds(x[20:24], x[24:27], rows, 0, 1) }},
		{"kernel: partial overlap", func() { RankBounds(x[20:24], x[10:14], rows, 0, 1) }},
		{"kernel: output overlaps an input", func() { RankBounds(x[20:24], x[23:27], rows, 0, 1) }},
		{"kernel: ranks out of range", func() { MeanAround(x[20:24], rows, 4) }},
		{"kernel: partial overlap", func() { RankSum(x[2:6], rows, 0, 1, 1) }},
		{"kernel: number of rows out of range", func() { TrimmedSum(x[:4], make([][]float32, 1025), 1, 1) }},
		{"kernel: lengths differ", func() { TrimmedSum(x[20:24], append(slices.Repeat(rows, 6), x[:3]), 1, 1) }},
		{"kernel: ranks out of range", func() { TrimmedSum(x[20:24], rows, -1, 1) }},
		{"kernel: ranks out of range", func() { TrimmedSum(x[20:24], rows, 2, 1) }},
		{"kernel: partial overlap", func() { TrimmedSum(x[2:6], slices.Repeat(rows, 6), 1, 1) }},
		{"kernel: partial overlap", func() { MeanAround(x[10:14], rows, 1) }},
		{"kernel: stride below row length", func() { SortColumns(x[20:], 3, rows) }},
		{"kernel: matrix slice too short", func() { SortColumns(x[20:31], 4, rows) }},
		{"kernel: output overlaps an input", func() { SortColumns(x[11:], 4, rows) }},
		{"kernel: output overlaps an input", func() { SortColumns(x, 4, rows) }},
	} {
		require.PanicsWithValue(t, test.want, test.call)
	}
	require.NotPanics(t, func() {
		RankSum(nil, make([][]float32, 5), 0, 1, 1)
		SortColumns(x[12:], 4, rows)
	})
}

// FuzzRanks compares the kernels with the definitions, and the levels with each
// other, on rows of raw bits.
func FuzzRanks(f *testing.F) {
	for i, n := range []uint16{1, 2, 9, 16, 25, 33, 64, 65, 100, 129, 300} {
		f.Add(uint64(i), n, uint8(7*i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, columns uint8) {
		r := rand.New(rand.NewPCG(seed, 7))
		for _, level := range Levels() {
			t.Run(fmt.Sprint(level), func(t *testing.T) {
				defer Use(level)()
				checkRanksOf(t, r, 1+int(n)%400, int(columns)%100)
			})
		}
	})
}

// TestRanksSeeFinite puts one value that is not finite, or the greatest that is, at every
// place of the rows in turn. Where columns are sorted, finite ones must be seen to be.
func TestRanksSeeFinite(t *testing.T) {
	notFinite := []float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.Float32frombits(0xffc00001),
		math.Float32frombits(math.MaxInt32), math.Float32frombits(math.MaxUint32)}
	finite := []float32{math.MaxFloat32, -math.MaxFloat32}
	for _, level := range Levels() {
		defer Use(level)()
		for _, n := range []int{2, 5, 10, 25, 33, 50, 64, 65, 100, 129, 200, 301} {
			const columns = 87 // whole vectors and a part of one
			r := rand.New(rand.NewPCG(9, uint64(n)))
			rows := guardedRows(r, n, columns, finiteEdges)
			dst := make([]float32, columns)
			calls := map[string]func() bool{
				"median":  func() bool { return RankSum(dst, rows, (n-1)/2, n/2+1, 1) },
				"rank":    func() bool { return RankSum(dst, rows, n-1, n, 1) },
				"trimmed": func() bool { return TrimmedSum(dst, rows, (n-1)/5, 1) },
				"around":  func() bool { return MeanAround(dst, rows, n-n/5) },
			}
			sorts := map[string]bool{"median": n > maxNetworkRows, "trimmed": n >= 5, "around": true}
			for name, call := range calls {
				if level != Generic && sorts[name] {
					require.True(t, call(), "%s of %d rows on %v", name, n, level)
				}
				for k := range 300 {
					i, j := r.IntN(n), r.IntN(columns)
					if k < 2*n {
						i = k / 2
					}
					was, bad := rows[i][j], notFinite[k%len(notFinite)]
					rows[i][j] = bad
					require.False(t, call(), "%s of %d rows on %v, %v at %d, %d", name, n, level, bad, i, j)
					if rows[i][j] = finite[k%2]; level != Generic && sorts[name] {
						require.True(t, call(), "%s of %d rows on %v, %v at %d, %d", name, n, level, rows[i][j], i, j)
					}
					rows[i][j] = was
				}
			}
		}
	}
}

// maxNetworkRows is up to how many rows a median needs no sorted columns.
const maxNetworkRows = 64
