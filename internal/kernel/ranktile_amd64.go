//go:build !purego

package kernel

import (
	"math"
	"sync"
	"unsafe"
)

// networkSizes are the numbers of rows that there are sorting networks for.
var networkSizes = [...]int{
	2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32,
	36, 40, 44, 48, 50, 52, 56, 60, 64,
}

const maxNetwork = 64

// networkOf is the size of the network for n rows.
func networkOf(n int) int {
	for _, size := range networkSizes {
		if size >= n {
			return size
		}
	}
	panic("kernel: no network")
}

// runsOf cuts rows in runs, a power of two in number, and if that is more than
// one, of a size that merge takes.
func runsOf(n int) (network, runs int) {
	if n <= maxNetwork {
		return networkOf(n), 1
	}
	runs = 2
	for runs*maxNetwork < n {
		runs *= 2
	}
	network = 40
	for runs*network < n {
		network += 8
	}
	return network, runs
}

const (
	rankTileLen  = 4096                // bytes of a row in a tile, at most
	rankSpillLen = 4096                // bytes of room for a network's spilled values
	rankBurstLen = 256                 // that networks fetch of a row
	rankPastLen  = rankBurstLen/32 - 1 // rows past the last, that networks fetch too
	rankGroupLen = 4 << 10             // bytes of sorted columns at a time, of one run of rows
	rankMergeLen = 32 << 10            // of more: each run takes its turn of a group
)

// A rankTile walks over the rows in tiles of columns, for networks that read a
// vector of every row at a time.
type rankTile struct {
	level        Level
	bytes, lanes int // of a vector
	network      int
	runs         int
	vectors      int // of a tile
	input        [][]float32
	halves       [][]float32      // room for input
	low          int              // rows of padding below
	rows         []unsafe.Pointer // of a tile, with padding, run after run
	memory       []byte
	start        int       // of what is aligned in memory
	tail         []float32 // the last columns, fewer than a vector
	out          [16]float32
	ends         [2][16]int32             // the least and the greatest keys of sorted columns, by lane
	below, above [rankTileLen / 4]float32 // padding
}

var rankTiles = sync.Pool{New: func() any {
	s := new(rankTile)
	for i := range s.below {
		s.below[i], s.above[i] = math.Float32frombits(math.MaxUint32), math.Float32frombits(math.MaxInt32)
	}
	return s
}}

// done forgets the rows and gives s back.
func (s *rankTile) done() {
	clear(s.rows)
	clear(s.halves)
	s.input = nil
	rankTiles.Put(s)
}

// begin makes ready for rows, with low rows of padding below them and the rest
// of runs times network above, as those that are nil.
func (s *rankTile) begin(rows [][]float32, low, network, runs int) {
	s.level, s.bytes, s.lanes = current, 64, 16
	if s.level == AVX2 {
		s.bytes, s.lanes = 32, 8
	}
	s.input, s.low, s.network, s.runs = rows, low, network, runs
	s.vectors = rankTileLen / s.bytes
	for i := range s.ends[0] {
		s.ends[0][i], s.ends[1][i] = math.MaxInt32, math.MinInt32
	}
	if total := network*runs + rankPastLen; cap(s.rows) < total {
		s.rows = make([]unsafe.Pointer, total)
	} else {
		s.rows = s.rows[:total]
	}
	s.grow(0)
}

// grow makes room for size bytes of work, aligned to a cache line.
func (s *rankTile) grow(size int) {
	if need := rankSpillLen + size + 64; len(s.memory) < need {
		s.memory = make([]byte, need)
		s.start = int(-uintptr(unsafe.Pointer(&s.memory[0])) & 63)
	}
}

func (s *rankTile) spill() unsafe.Pointer { return unsafe.Pointer(&s.memory[s.start]) }

func (s *rankTile) work() unsafe.Pointer { return unsafe.Pointer(&s.memory[s.start+rankSpillLen]) }

// room is how many vectors of stride bytes are worked on together: so few that the
// first cache has room for the rows' next lines too. If the rows are several runs it is a
// burst, or a half or a quarter of one and so on: large networks fetch the next burst, and
// all other runs are sorted before a run reads it. It makes room for them.
func (s *rankTile) room(stride int) (group int) {
	group = max(1, rankGroupLen/stride)
	if s.runs > 1 {
		group = rankBurstLen / s.bytes
		for group > 1 && group*stride > rankMergeLen {
			group /= 2
		}
	}
	s.grow(group * stride)
	return group
}

// each calls f for each tile: its vectors, where the results go and the first
// column. The last columns, if fewer than a vector, are a tile of one vector of
// their own. dst may be nil, out is then too.
func (s *rankTile) each(dst []float32, f func(vectors int, out []float32, column int)) {
	columns := len(s.input[0])
	vectors := columns / s.lanes
	for v := 0; v < vectors; v += s.vectors {
		count := min(s.vectors, vectors-v)
		s.point(v * s.bytes)
		var out []float32
		if dst != nil {
			out = dst[v*s.lanes : (v+count)*s.lanes]
		}
		f(count, out, v*s.lanes)
	}
	column := vectors * s.lanes
	if column == columns {
		return
	}
	if need := len(s.input) * s.lanes; cap(s.tail) < need {
		s.tail = make([]float32, need)
	}
	s.point(0)
	for i, row := range s.input {
		if row == nil {
			continue
		}
		tail := s.tail[i*s.lanes : (i+1)*s.lanes]
		clear(tail[copy(tail, row[column:]):])
		s.rows[s.low+i] = unsafe.Pointer(&tail[0])
	}
	f(1, s.out[:s.lanes], column)
	if dst != nil {
		copy(dst[column:], s.out[:])
	}
}

// point points rows at their elements from byte offset on.
func (s *rankTile) point(offset int) {
	for i := range s.rows {
		switch k := i - s.low; {
		case k < 0:
			s.rows[i] = unsafe.Pointer(&s.below)
		case k < len(s.input) && s.input[k] != nil:
			s.rows[i] = unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.input[k])), offset)
		default:
			s.rows[i] = unsafe.Pointer(&s.above)
		}
	}
}

// sortRun sorts count vectors, from vector v of the tile on, of a run.
func (s *rankTile) sortRun(run, v, count int, out unsafe.Pointer, stride int) {
	sortRows(s.level, s.network, &s.rows[run*s.network], v*s.bytes, count, out, stride, s.spill())
}

// bound takes account of count vectors of rows sorted columns from base on.
func (s *rankTile) bound(base unsafe.Pointer, stride, count, rows int) {
	boundKeys(s.level, base, stride, count, 0, (rows-1)*s.bytes, unsafe.Pointer(&s.ends))
}

// finite says whether all columns were sorted and hold finite values alone.
func (s *rankTile) finite() bool {
	for i := range s.lanes {
		if s.ends[0][i] > s.ends[1][i] || s.ends[0][i] < rankKey(-math.MaxFloat32) || s.ends[1][i] > rankKey(math.MaxFloat32) {
			return false
		}
	}
	return true
}
