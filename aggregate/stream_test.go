package aggregate

import (
	"fmt"
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
							lists := got * mixtures * (n / 2) * 4 // and more, of float64s that the kernel takes
							if got > 2 {
								require.LessOrEqual(t, got*(sums+(n+mixtures)*min(s.width, d)/2)+lists, most, name)
							}
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
