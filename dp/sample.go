package dp

import (
	"math"
	"math/bits"

	"github.com/sotto-ml/sotto/internal/stream"
)

// sampler makes the draw of a step: which records, and in which run each. It is
// a function of the key, the step and public sizes.
//
// A record is drawn if k independent fair coins all fall on 1, and a uniform
// 64-bit number lies below T = ⌊Rate·2^(64+k)⌋: with probability exactly
// T/2^(64+k), which is at most Rate. (Less sampling is less privacy loss: see
// the package doc.) k is the most that keeps Rate·2^k below 1, up to maxCoins, so
// that few records need a number. The coins come from the step's first stream,
// a bit each; the numbers come from the second, and after them, in the order of
// the records, the run of each record drawn, uniform without bias.
type sampler struct {
	cipher    *stream.Cipher
	all       bool // Rate is 1
	coins     int
	threshold uint64
	records   int
	runs      runs

	bulk  [512]uint64
	extra words

	drawn  []int   // records, ascending
	run    []int32 // of each
	starts []int   // of each run, while sorting
	order  []int   // the draw: records by run, ascending in each
	ends   []int   // exclusive end of each run in order
	tally  tally
}

// maxCoins is the most coins: beyond, they cost more than they save.
const maxCoins = 8

func newSampler(key *stream.Key, records int, rate float64, r runs) *sampler {
	s := &sampler{cipher: stream.NewCipher(key), records: records, runs: r}
	if rate == 1 {
		s.all = true
	} else {
		_, exp := math.Frexp(rate) // rate in [2^(exp-1), 2^exp)
		s.coins = min(-exp, maxCoins)
		s.threshold = uint64(math.Ldexp(rate, 64+s.coins)) // Ldexp is exact, the conversion rounds down
	}
	s.extra.cipher = s.cipher
	s.starts, s.ends = make([]int, r.count), make([]int, r.count)
	return s
}

// draw makes the draw of a step. Slices of the former one are reused.
func (s *sampler) draw(step int) {
	s.extra.reset(2*uint64(step) + 1)
	s.drawn = s.drawn[:0]
	if s.all {
		for i := range s.records {
			s.drawn = append(s.drawn, i)
		}
	} else {
		s.scan(2 * uint64(step))
	}
	s.assign()
	s.arrange()
}

// scan draws the records: first those whose coins fall on 1, then those of them
// whose number is small. Loops that end by chance are dear, so there is but one.
func (s *sampler) scan(id uint64) {
	// Words come two to a block of the stream.
	block, groups := uint64(0), len(s.bulk)/(s.coins+1)&^1
	left := s.bulk[:groups] // the records of each group that are left
	planes := s.bulk[groups : groups*(s.coins+1)]
	for first := 0; first < s.records; first += 64 * groups {
		s.cipher.Fill(planes, id, block)
		block += uint64(len(planes) / 2)
		for i := range left {
			left[i] = ^uint64(0)
		}
		for p := 0; p < len(planes); p += groups {
			for i, w := range planes[p:][:len(left)] {
				left[i] &= w
			}
		}
		if some := s.records - first; some < 64*groups {
			left = left[:(some+63)/64]
			left[len(left)-1] &= ^uint64(0) >> (-some & 63)
		}
		for i, w := range left {
			for ; w != 0; w &= w - 1 {
				s.drawn = append(s.drawn, first+64*i+bits.TrailingZeros64(w))
			}
		}
	}
	kept := 0
	for at := 0; at < len(s.drawn); {
		some := s.extra.some(len(s.drawn) - at)
		for i, number := range some {
			_, less := bits.Sub64(number, s.threshold, 0)
			s.drawn[kept] = s.drawn[at+i]
			kept += int(less)
		}
		at += len(some)
	}
	s.drawn = s.drawn[:kept]
}

// assign draws the run of each record.
func (s *sampler) assign() {
	s.run = s.run[:0]
	for range s.drawn {
		s.run = append(s.run, int32(s.extra.below(uint64(s.runs.count))))
	}
}

// arrange sorts the draw by run, keeping the order in each, and drops what is
// beyond the limit of a run.
func (s *sampler) arrange() {
	clear(s.ends)
	dropped := 0
	for i, r := range s.run {
		if s.ends[r] == s.runs.limit {
			s.run[i] = -1
			dropped++
			continue
		}
		s.ends[r]++
	}
	total := 0
	for r, n := range s.ends {
		s.starts[r] = total
		total += n
		s.ends[r] = total
	}
	if cap(s.order) < total {
		s.order = make([]int, total, total+total/4+runLength)
	}
	s.order = s.order[:total]
	for i, r := range s.run {
		if r >= 0 {
			s.order[s.starts[r]] = s.drawn[i]
			s.starts[r]++
		}
	}
	s.tally = tally{dropped: dropped}
}

// words reads one stream in order.
type words struct {
	cipher    *stream.Cipher
	id, block uint64
	buf       [64]uint64
	pos       int
}

func (w *words) reset(id uint64) { w.id, w.block, w.pos = id, 0, len(w.buf) }

func (w *words) next() uint64 { return w.some(1)[0] }

// some returns the next words, at least one and at most n, until the next call.
func (w *words) some(n int) []uint64 {
	if w.pos == len(w.buf) {
		w.cipher.Fill(w.buf[:], w.id, w.block)
		w.block += uint64(len(w.buf) / 2)
		w.pos = 0
	}
	out := w.buf[w.pos:min(w.pos+n, len(w.buf))]
	w.pos += len(out)
	return out
}

// below is uniform in [0, n), without bias (Lemire 2019, "Fast random integer
// generation in an interval").
func (w *words) below(n uint64) uint64 {
	hi, lo := bits.Mul64(w.next(), n)
	if lo < n {
		for least := -n % n; lo < least; {
			hi, lo = bits.Mul64(w.next(), n)
		}
	}
	return hi
}

// erase overwrites the keys and what was drawn.
func (s *sampler) erase() {
	s.cipher.Erase()
	clear(s.bulk[:])
	clear(s.extra.buf[:])
	clear(s.drawn[:cap(s.drawn)])
	clear(s.run[:cap(s.run)])
	clear(s.order[:cap(s.order)])
}
