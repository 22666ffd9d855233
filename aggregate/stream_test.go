package aggregate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// watched is a source that knows how wide the blocks were.
type watched struct {
	Source
	mutex  sync.Mutex
	widths map[int]bool
}

func (w *watched) ReadColumns(dst [][]float32, at int) error {
	w.mutex.Lock()
	w.widths[len(dst[0])] = true
	w.mutex.Unlock()
	return w.Source.ReadColumns(dst, at)
}

// TestStreamedBlocks: the bits are those of rows in memory however little memory there is for
// blocks, and so however wide they are and however many cores run.
func TestStreamedBlocks(t *testing.T) {
	const n, d = 40, 100_001 // four units
	rows := someRows(22, n, d)
	for i, row := range rows { // so that the order of sums shows in the last bits
		row[0] = 1e3 + float32(i)
		for j := range row[d/2:] {
			row[j] *= 1e-4
		}
	}
	full := budget
	defer func() { budget = full }()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for name, rule := range everyRule(2) {
		if name == "foolsgold" || name == "smea" { // which need memory, and time
			continue
		}
		var before, after Verdict
		want, err := fit(rule(), n, d).Aggregate(nil, rows, &before)
		require.NoError(t, err, name)
		widths := map[int]bool{}
		for _, c := range []struct{ cores, budget int }{{2, full}, {4, n * 5000}, {4, n * 2300}, {4, 0}} {
			runtime.GOMAXPROCS(c.cores)
			budget = c.budget
			got := streamed(t, fit(rule(), n, d), &watched{Source: sourceOf(rows), widths: widths}, &after)
			require.True(t, slices.Equal(want, got), "%s %+v", name, c)
			require.Equal(t, fmt.Sprint(before), fmt.Sprint(after), "%s %+v", name, c)
		}
		require.Contains(t, widths, 1<<10, name)
		require.Contains(t, widths, 1<<15, name)
	}
}

// TestStreamedBounds: a norm that is at a guard's bound in memory is so in the least blocks.
func TestStreamedBounds(t *testing.T) {
	const n, d = 9, 10_000
	rows := someRows(23, n, d)
	defer func(of int) { budget = of }(budget)
	budget = 0
	for i, row := range rows {
		norm := math.Sqrt(squaredNorm(row))
		for most, want := range map[float64]Reason{norm: Kept, math.Nextafter(norm, 0): NormTooLarge} {
			var v Verdict
			streamed(t, Guard{MaxNorm: most, Rule: func(int) Rule { return Median{} }}, sourceOf(append(rows[:n:n], make([]float32, d))), &v)
			require.Equal(t, want, v.Clients[i].Rejected)
		}
	}
}

// TestStreamShare: the parts of all cores are within the budget, apart from each other and large
// enough, and few cores have as long blocks as there is use for.
func TestStreamShare(t *testing.T) {
	for _, n := range []int{1, 2, 9, 100, 1000, 1024} {
		k, all, most := new(desk), make([]float64, n*n+n), 96<<20/8
		for _, mixtures := range []int{0, n, n + 1} {
			for _, sums := range []int{0, n, n*n + n} {
				for _, block := range []int{1 << 10, sumColumns} {
					for _, d := range []int{1, 1000, 1 << 22} {
						for _, cores := range []int{1, 2, 3, 16, 32, 128} {
							s := &survey{n0: n, n: n, d: d, block: block, desk: k}
							s.mixtures, s.sums = slices.Repeat([][]kernel.Term{make([]kernel.Term, n/2)}, mixtures), all[:sums]
							got := s.share(cores)
							name := fmt.Sprintf("n=%d mixtures=%d sums=%d block=%d d=%d cores=%d: %d of %d columns", n, mixtures, sums, block, d, cores, got, s.width)
							require.LessOrEqual(t, len(k.memory), most, name)
							lists := got * mixtures * (n / 2) * 3 / 2 // float64s that the kernel takes
							require.LessOrEqual(t, got*(sums+(n+mixtures)*min(s.width, d)/2)+lists, most, name)
							if len(k.memory) > most/2 { // or it might be outgrown, and be there yet
								require.Equal(t, most, len(k.memory), name)
							}
							require.True(t, got >= 1 && got <= cores, name)
							require.GreaterOrEqual(t, s.width, block, name)
							if cores <= 2 {
								require.Equal(t, cores, got, name)
								require.Equal(t, max(block, powerBelow((1<<22)/n, 1<<10, unitColumns)), s.width, name)
							}
							if cores <= 16 && mixtures == 0 && sums <= n && block < sumColumns {
								require.Equal(t, cores, got, name)
							}
							end := uintptr(unsafe.Pointer(&k.memory[0]))
							for range got {
								p := k.next()
								if sums > 0 {
									require.GreaterOrEqual(t, cap(p.sums), sums, name)
									at := uintptr(unsafe.Pointer(&p.sums[:1][0]))
									require.GreaterOrEqual(t, at, end, name)
									end = at + 8*uintptr(cap(p.sums))
								}
								at := uintptr(unsafe.Pointer(&p.pool[0]))
								require.GreaterOrEqual(t, at, end, name)
								end = at + 4*uintptr(len(p.pool))
								p.carve(nil, n, mixtures, min(s.width, d)) // panics if there is no room
								p.carve(nil, 0, n, min(s.width, d))
							}
							require.LessOrEqual(t, end, uintptr(unsafe.Pointer(&k.memory[0]))+8*uintptr(len(k.memory)), name)
						}
					}
				}
			}
		}
	}
}

// slowRows are rows that take a while to read, so that all cores read at once.
type slowRows struct{ n, d int }

func (z slowRows) Shape() (n, d int) { return z.n, z.d }

func (slowRows) ReadColumns([][]float32, int) error {
	time.Sleep(time.Millisecond)
	return nil
}

// TestStreamMemory: what a Stream of 1,000 rows allocates does not grow with the cores without
// bound.
func TestStreamMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's pools drop what they hold")
	}
	const n = 1000
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, c := range []struct {
		cores, units int
		rule         Rule
		most         uint64 // MB
	}{{2, 32, Mean{}, 40}, {32, 32, Mean{}, 110}, {32, 3, Chain{NNM{200}, Mean{}}, 300}} {
		runtime.GOMAXPROCS(c.cores)
		runtime.GC() // and what pools hold goes
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, Stream(c.rule, slowRows{n, c.units * unitColumns}, func(int, []float32) error { return nil }, nil))
		runtime.ReadMemStats(&after)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)/1e6, c.most, "%d cores, %T", c.cores, c.rule)
	}
}

// plainReader is a reader of only that method.
type plainReader struct{ io.ReaderAt }

// failing is a reader that fails from a place on.
type failing struct {
	io.ReaderAt
	from int64
}

var errDisk = errors.New("disk")

func (r failing) ReadAt(raw []byte, at int64) (int, error) {
	if at+int64(len(raw)) > r.from {
		return 0, errDisk
	}
	return r.ReaderAt.ReadAt(raw, at)
}

// claiming is a source that makes an error of the rows that are wanted.
type claiming struct {
	Source
	claim func(wanted []int) error
}

func (c claiming) ReadColumns(dst [][]float32, at int) error {
	var wanted []int
	for i, row := range dst {
		if len(row) > 0 {
			wanted = append(wanted, i)
		}
	}
	if err := c.claim(wanted); err != nil {
		return err
	}
	return c.Source.ReadColumns(dst, at)
}

func none(int, []float32) error { return nil }

// TestStreamedLengths: rows that are too short or too long are refused by a guard as rows in
// memory are, however they end, and fail a rule without one.
func TestStreamedLengths(t *testing.T) {
	const n, d = 11, 70_001
	rows := someRows(31, n, d)
	defer func(of int) { budget = of }(budget)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for _, budget = range []int{budget, 0} {
		for _, lengths := range [][2]int{{0, 0}, {0, 1}, {4, 4*d + 1}, {4 * 1024, 4*d + 4}, {4*40_000 + 3, 4 * 32768}, {4*d - 1, 8 * d}, {4*d - 4, 4*d + 3}} {
			source, wrong := sourceOf(rows), map[int]int{2: lengths[0], 7: lengths[1]}
			for i, length := range wrong {
				raw := append(slices.Clone(bytesOf(rows[i])), bytesOf(rows[i])...)[:length]
				source.Rows[i] = plainReader{bytes.NewReader(raw)}
			}
			memory := slices.Clone(rows)
			memory[2], memory[7] = rows[2][:d-1], rows[7][:d-2]
			for _, fail := range []bool{false, true} {
				guard := Guard{F: 3, Fail: fail, Rule: func(f int) Rule { require.Equal(t, 1, f); return Chain{NNM{f}, TrimmedMean{f}} }}
				var before, after Verdict
				want, expected := guard.Aggregate(nil, memory, &before)
				var got []float32
				err := Stream(guard, source, func(_ int, values []float32) error { got = append(got, values...); return nil }, &after)
				require.Equal(t, expected, err)
				require.Equal(t, fail, err != nil)
				require.True(t, slices.Equal(want, got), "%v", lengths)
				require.Equal(t, fmt.Sprint(before), fmt.Sprint(after), "%v", lengths)
				if fail {
					require.EqualError(t, err, "aggregate: rows [2 7] are refused, row 2 as wrong length")
				}
			}
			for i, length := range wrong {
				some := ReaderSource{Rows: slices.Clone(source.Rows), Columns: d}
				some.Rows[9-i] = bytes.NewReader(bytesOf(rows[9-i])) // the other one
				err := Stream(Krum{F: 1}, some, none, nil)
				require.ErrorContains(t, err, fmt.Sprintf("row %d has %d bytes, must have %d, 4 for each of %d columns", i, length, 4*d, d))
				var wrong *LengthError
				require.ErrorAs(t, err, &wrong)
				require.Equal(t, &LengthError{Row: i, Has: int64(length), Need: 4 * d}, wrong)
			}
		}
	}
}

// TestStreamedFaults: a guard takes no other error for a row's fault, nor one that cannot be
// right, and rows that a source names keep their index in guards within guards.
func TestStreamedFaults(t *testing.T) {
	const n, d = 7, 40_000
	rows := someRows(32, n, d)
	guard := func(rule Rule) Guard { return Guard{F: 2, Rule: func(int) Rule { return rule }} }
	for _, from := range []int64{0, 4 * 35_000, 4 * d} {
		source := sourceOf(rows)
		source.Rows[1] = bytes.NewReader(nil) // and one of a wrong length besides
		source.Rows[3] = failing{source.Rows[3], from}
		require.ErrorIs(t, Stream(guard(Median{}), source, none, nil), errDisk, "from byte %d", from)
	}
	short := func(row int) error { return &LengthError{Row: row, Has: 4, Need: 4 * d} }
	for name, claim := range map[string]func([]int) error{
		"a disk too, once": func(wanted []int) error {
			if !slices.Contains(wanted, 1) {
				return nil
			}
			return errors.Join(short(1), fmt.Errorf("row 2: %w", errDisk))
		},
		"none":              func([]int) error { return errors.Join(fmt.Errorf("row 2: %w", errDisk)) },
		"beyond the rows":   func([]int) error { return fmt.Errorf("%w %w", short(n), errDisk) },
		"no row":            func([]int) error { return errors.Join(short(n), short(-1)) },
		"again and again":   func([]int) error { return short(2) },
		"one and no row":    func([]int) error { return errors.Join(short(1), short(-1)) },
		"one that is known": func(wanted []int) error { return fmt.Errorf("%w and %w", short(wanted[0]), short(0)) },
	} {
		require.Error(t, Stream(guard(Median{}), claiming{sourceOf(rows), claim}, none, nil), name)
	}

	// One at a time, however wrapped; row 1 by the outer guard, and row 4, which changes
	// afterwards, by the inner one.
	calls := 0
	source := claiming{sourceOf(rows), func(wanted []int) error {
		calls++
		switch {
		case slices.Contains(wanted, 1):
			return fmt.Errorf("source: %w", short(1))
		case calls > 3 && slices.Contains(wanted, 4): // two units, and one again
			return errors.Join(short(4))
		}
		return nil
	}}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var v Verdict
	got := streamed(t, guard(guard(Chain{NNM{1}, Median{}})), source, &v)
	want, err := Chain{NNM{1}, Median{}}.Aggregate(nil, [][]float32{rows[0], rows[2], rows[3], rows[5], rows[6]}, nil)
	require.NoError(t, err)
	require.True(t, slices.Equal(want, got))
	for i, c := range v.Clients {
		require.Equal(t, i == 1 || i == 4, c.Rejected == WrongLength, "row %d", i)
	}
}
