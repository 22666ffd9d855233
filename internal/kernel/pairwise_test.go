package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func exactDistance(x, y []float32) (s float64) {
	for i, v := range x {
		d := float64(v) - float64(y[i])
		s += d * d
	}
	return s
}

const distanceBound = 135 * 0x1p-24

var pairwiseLengths = append(vectorLengths(), 2*pairwiseLen-1, 3*pairwiseLen+17)

func TestSquaredDistances(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(31, 1))
		check := func(n, d int) {
			rows := guardedRows(r, n, d, normals) // guards are NaN: reading one shows
			for i := range rows {
				for k := range rows[i] {
					rows[i][k] += 100 // nearly parallel: cancellation would show
				}
			}
			const zone = 9
			all := make([]float64, n*n+2*zone)
			for i := range all {
				all[i] = -7
			}
			dst := all[zone : zone+n*n]
			for i := range dst {
				dst[i] = 0
			}
			SquaredDistances(dst, rows)
			for i := range zone {
				require.Equal(t, []float64{-7, -7}, []float64{all[i], all[zone+n*n+i]}, "wrote outside dst")
			}
			to := make([]float64, n)
			for j := range rows {
				clear(to)
				DistancesTo(to, rows, rows[j])
				for i := range rows {
					want := exactDistance(rows[i], rows[j])
					require.InDelta(t, want, dst[i*n+j], distanceBound*want, "n=%d d=%d", n, d)
					require.Equal(t, dst[j*n+i], dst[i*n+j], "n=%d d=%d", n, d)
					require.Equal(t, to[i], dst[i*n+j], "n=%d d=%d", n, d)
				}
			}
		}
		for _, d := range pairwiseLengths {
			check(2+r.IntN(7), d)
		}
		for n := range 34 {
			check(n, 1+r.IntN(80))
		}
		check(101, 40)
		check(131, 17) // three bands of columns, the last not whole
	})
}

// An element depends on its two rows alone.
func TestSquaredDistancesPermutation(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(32, 1))
		for _, n := range []int{3, 9, 26} {
			const d = 2*pairwiseLen + 77
			rows := guardedRows(r, n, d, func(r *rand.Rand, n int) []float32 { return wide(r, n, -30, 30) })
			want := make([]float64, n*n)
			SquaredDistances(want, rows)
			order := r.Perm(n)[:2+r.IntN(n-1)]
			some := make([][]float32, len(order))
			for i, p := range order {
				some[i] = rows[p]
			}
			got := make([]float64, len(order)*len(order))
			SquaredDistances(got, some)
			for i, p := range order {
				for j, q := range order {
					require.Equal(t, want[p*n+q], got[i*len(order)+j])
				}
			}
			// In blocks of coordinates, added to what dst holds.
			blocks := make([]float64, n*n)
			for first := 0; first < d; first += pairwiseLen {
				part := make([][]float32, n)
				for i := range part {
					part[i] = rows[i][first:min(d, first+pairwiseLen)]
				}
				SquaredDistances(blocks, part)
			}
			require.Equal(t, want, blocks)
		}
	})
}

func TestSquaredDistancesExtremes(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		const tiny, huge = math.SmallestNonzeroFloat32, math.MaxFloat32
		nan, inf := float32(math.NaN()), float32(math.Inf(1))
		r := rand.New(rand.NewPCG(33, 1))
		for _, d := range []int{1, 15, 16, 40, 1024, 1500} {
			fill := func(v float32) []float32 { return slices.Repeat([]float32{v}, d) }
			rows := [][]float32{fill(0), fill(tiny), fill(huge), fill(-huge), fill(1), fill(1), fill(1e-20)}
			n := len(rows)
			dst := make([]float64, n*n)
			SquaredDistances(dst, rows)
			for i := range rows {
				for j := range rows {
					want := exactDistance(rows[i], rows[j])
					require.InDelta(t, want, dst[i*n+j], distanceBound*want, "%d %d", i, j)
				}
			}
			require.Zero(t, dst[4*n+5])
			at := r.IntN(d)
			for _, bad := range []float32{nan, inf, -inf} {
				rows[1][at] = bad
				rows[6][at] = bad
				clear(dst)
				SquaredDistances(dst, rows)
				for i := range rows {
					for j := range rows {
						switch s := dst[i*n+j]; {
						case i == j:
							require.Zero(t, s)
						case i == 1 && j == 6 || i == 6 && j == 1:
							require.True(t, s != s)
						case i == 1 || j == 1 || i == 6 || j == 6:
							require.True(t, s != s || s > huge, "%d %d: %g", i, j, s)
						default:
							require.False(t, s != s || s-s != 0)
						}
					}
				}
			}
		}
	})
}

// TestSquaredDistancesOwn has one pair of four rows, and then of eight, whose distance is
// out of the range of a float32 sum.
func TestSquaredDistancesOwn(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(34, 1))
		for _, n := range []int{4, 5, 8} {
			for a := range n {
				for b := range a {
					const d = 70
					rows := make([][]float32, n)
					for i := range rows {
						rows[i] = normals(r, d)
					}
					rows[a] = slices.Clone(rows[b])
					at := r.IntN(d)
					rows[a][at], rows[b][at] = 0x1p-60, 0
					dst := make([]float64, n*n)
					SquaredDistances(dst, rows)
					for i := range rows {
						for j := range rows {
							want := exactDistance(rows[i], rows[j])
							require.InDelta(t, want, dst[i*n+j], distanceBound*want, "n=%d, near %d and %d: %d %d", n, a, b, i, j)
						}
					}
				}
			}
		}
	})
}

func TestDistancesAddUp(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		dst := []float64{5, 7, 7, 5}
		SquaredDistances(dst, [][]float32{{1, 2}, {4, 6}})
		require.Equal(t, []float64{5, 32, 32, 5}, dst)
		to := []float64{1, 2}
		DistancesTo(to, [][]float32{{1, 2}, {4, 6}}, []float32{1, 2})
		require.Equal(t, []float64{1, 27}, to)
	})
}

func TestWeightedRows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(34, 1))
		for _, columns := range append(vectorLengths(), 4096, 9000) {
			n := r.IntN(40)
			rows, w := guardedRows(r, n, columns, finiteEdges), normals(r, n)
			dst, intact := guardedVector(columns, r.IntN(16))
			copy(dst, edges(r, columns)) // dirty
			want, first := make([]float32, columns), true
			for i, row := range rows {
				if r.IntN(3) == 0 {
					w[i] = 0
					if columns > 0 {
						row[r.IntN(columns)] = float32(math.NaN())
					}
					continue
				}
				for j, x := range row {
					if p := w[i] * x; first {
						want[j] = p
					} else {
						want[j] += p
					}
				}
				first = false
			}
			WeightedRows(dst, rows, w)
			require.True(t, intact(), "n=%d columns=%d", n, columns)
			for j := range dst {
				require.Equal(t, math.Float32bits(want[j]), math.Float32bits(dst[j]), "n=%d columns=%d column %d", n, columns, j)
			}
			if n > 0 { // in place
				i := r.IntN(n)
				WeightedRows(rows[i], rows, w)
				for j := range want {
					require.Equal(t, math.Float32bits(want[j]), math.Float32bits(rows[i][j]), "n=%d columns=%d column %d", n, columns, j)
				}
			}
		}
	})
}

func TestMixRows(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(36, 1))
		for _, columns := range append(vectorLengths(), 300, 2500) {
			checkMixRows(t, r, r.IntN(20), 1+r.IntN(20), columns)
		}
	})
}

// checkMixRows mixes m times from n rows and earlier mixtures, and compares with plain sums.
func checkMixRows(t *testing.T, r *rand.Rand, n, m, columns int) {
	rows := guardedRows(r, n, columns, finiteEdges)
	dst, want, mixtures := make([][]float32, m), make([][]float32, m), make([][]Term, m)
	var intact []func() bool
	for k := range dst {
		var ok func() bool
		dst[k], ok = guardedVector(columns, r.IntN(16))
		copy(dst[k], edges(r, columns)) // dirty
		intact, want[k] = append(intact, ok), make([]float32, columns)
		for range r.IntN(9) {
			if n+k > 0 {
				mixtures[k] = append(mixtures[k], Term{r.IntN(n + k), float32(r.NormFloat64())})
			}
		}
		for i, term := range mixtures[k] {
			for j, x := range mixed(want, rows, term.Row) {
				if p := float32(term.Weight * x); i == 0 {
					want[k][j] = p
				} else {
					want[k][j] += p
				}
			}
		}
	}
	MixRows(dst, rows, mixtures)
	for k := range dst {
		require.True(t, intact[k](), "columns=%d", columns)
		for j, x := range dst[k] {
			if w := want[k][j]; w == w || x == x { // of NaNs any
				require.Equal(t, math.Float32bits(w), math.Float32bits(x), "columns=%d mixture %d column %d", columns, k, j)
			}
		}
	}
}

func TestPairwisePanics(t *testing.T) {
	x := make([]float32, 40)
	for _, test := range []struct {
		want string
		call func()
	}{
		{"kernel: matrix slice of wrong length", func() { SquaredDistances(make([]float64, 3), [][]float32{x, x}) }},
		{"kernel: lengths differ", func() { SquaredDistances(make([]float64, 4), [][]float32{x, x[1:]}) }},
		{"kernel: lengths differ", func() { DistancesTo(make([]float64, 1), [][]float32{x, x}, x) }},
		{"kernel: lengths differ", func() { DistancesTo(make([]float64, 2), [][]float32{x, x}, x[1:]) }},
		{"kernel: lengths differ", func() { WeightedRows(x[:4], [][]float32{x[8:12]}, x[:2]) }},
		{"kernel: lengths differ", func() { WeightedRows(x[:4], [][]float32{x[8:13]}, x[:1]) }},
		{"kernel: lengths differ", func() { MixRows([][]float32{x[:4]}, nil, nil) }},
		{"kernel: lengths differ", func() { MixRows([][]float32{x[:4], x[8:11]}, nil, make([][]Term, 2)) }},
		{"kernel: lengths differ", func() { MixRows([][]float32{x[:4]}, [][]float32{x[8:11]}, [][]Term{{{0, 1}}}) }},
		{"kernel: row out of range", func() { MixRows([][]float32{x[:4]}, [][]float32{x[8:12]}, [][]Term{{{1, 1}}}) }},
		{"kernel: row out of range", func() { MixRows([][]float32{x[:4]}, [][]float32{x[8:12]}, [][]Term{{{-1, 1}}}) }},
		{"kernel: output overlaps an input", func() { MixRows([][]float32{x[:4]}, [][]float32{x[3:7]}, [][]Term{{}}) }},
		{"kernel: output overlaps an input", func() { MixRows([][]float32{x[:4], x[3:7]}, nil, make([][]Term, 2)) }},
		{"kernel: partial overlap", func() { WeightedRows(x[:4], [][]float32{x[2:6]}, x[:1]) }},
	} {
		require.PanicsWithValue(t, test.want, test.call)
	}
}

func TestPairwiseAllocatesNothing(t *testing.T) {
	if underRace {
		t.Skip("the race detector empties pools")
	}
	everyLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(35, 1))
		const n = 11
		rows, dst := guardedRows(r, n, 2000, normals), make([]float64, n*n)
		w, sum := normals(r, n), make([]float32, 2000)
		mix, terms := [][]float32{make([]float32, 2000)}, [][]Term{{{0, 1}, {3, 2}}}
		require.Zero(t, allocs(func() {
			SquaredDistances(dst, rows)
			DistancesTo(dst[:n], rows, rows[0])
			WeightedRows(sum, rows, w)
			MixRows(mix, rows, terms)
		}))
	})
}

func FuzzMixRows(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint8(3), uint16(17))
	f.Add(uint64(2), uint8(14), uint8(14), uint16(1024))
	f.Add(uint64(3), uint8(33), uint8(1), uint16(1))
	f.Fuzz(func(t *testing.T, seed uint64, n, m uint8, columns uint16) {
		everyLevel(t, func(t *testing.T) {
			checkMixRows(t, rand.New(rand.NewPCG(seed, 1)), int(n)%40, int(m)%40+1, int(columns)%3000)
		})
	})
}

func FuzzPairwise(f *testing.F) {
	f.Add(uint64(1), uint8(2), uint16(1), int8(0), uint8(1))
	f.Add(uint64(2), uint8(9), uint16(1025), int8(-120), uint8(90))
	f.Add(uint64(3), uint8(5), uint16(130), int8(100), uint8(24))
	f.Add(uint64(4), uint8(17), uint16(65), int8(-50), uint8(4))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, d uint16, lo int8, span uint8) {
		r := rand.New(rand.NewPCG(seed, 8))
		low := min(int(lo), 120)
		rows := guardedRows(r, int(n)%20, int(d)%3000, func(r *rand.Rand, n int) []float32 {
			return wide(r, n, low, min(low+int(span), 124))
		})
		for _, level := range Levels() {
			restore := Use(level)
			dst := make([]float64, len(rows)*len(rows))
			SquaredDistances(dst, rows)
			restore()
			for i := range rows {
				for j := range rows {
					want := exactDistance(rows[i], rows[j])
					require.InDelta(t, want, dst[i*len(rows)+j], distanceBound*want, level)
				}
			}
		}
	})
}
