package aggregate

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// desk is what the cores have to read rows to. It is a survey's until that is closed.
type desk struct {
	parts  []*part
	taken  atomic.Int32
	memory []float64 // of the parts' rows and sums
}

var desks = sync.Pool{New: func() any { return new(desk) }}

// budget is how many float64s all cores' buffers take together, a variable for tests.
var budget = 96 << 20 / 8

// share gives each of up to so many cores its part of the budget for the pass, sets the
// columns of a block, and returns how many cores there are parts for. The bits do not depend
// on it, as sums in float32 end within the least block.
func (s *survey) share(cores int) int {
	const line = 8 // float64s of a cache line
	rows, sums := s.n0+len(s.mixtures), (len(s.sums)+line-1)&^(line-1)
	lists := 0 // of the kernel that mixes: a pointer and a weight for each term
	for _, terms := range s.mixtures {
		lists += 3 * len(terms)
	}
	lists /= 2
	size := 0 // of a core's part
	for ; ; cores-- {
		fitting := (budget/cores-lists-sums)*2/rows - stagger
		s.width = powerBelow(min((1<<22)/s.n0, fitting), s.block, unitColumns)
		size = sums + rows*stride(min(s.width, s.d))/2
		if cores == 1 || cores*(size+lists) <= budget {
			break
		}
	}
	k := s.desk
	if need := cores * size; len(k.memory) < need {
		for _, p := range k.parts {
			p.sums, p.pool, p.loaded, p.mixed = nil, nil, nil, nil
		}
		if k.memory = nil; need > budget/2 { // else what is outgrown would come on top of it
			need = max(need, budget)
		}
		k.memory = make([]float64, need)
	}
	for len(k.parts) < cores {
		k.parts = append(k.parts, new(part))
	}
	for c, p := range k.parts[:cores] {
		memory := k.memory[c*size : (c+1)*size]
		p.sums, p.pool = memory[:0:sums], singles(memory[sums:])
	}
	k.taken.Store(0)
	return cores
}

// next is the part of one more core.
func (k *desk) next() *part { return k.parts[k.taken.Add(1)-1] }

func (k *desk) close() {
	for _, p := range k.parts {
		p.forget()
	}
	desks.Put(k)
}

// stride is how far rows of a block are apart. Those that start at one offset of their pages
// would collide in the first cache.
func stride(width int) int { return (width+15)&^15 + stagger }

const stagger = 5 * 16

// carve is n rows in the part's pool, after others of the same width.
func (p *part) carve(dst [][]float32, after, n, width int) [][]float32 {
	dst = dst[:0]
	for k := after; k < after+n; k++ {
		dst = append(dst, p.pool[k*stride(width):][:width:width])
	}
	return dst
}

// singles is the memory of x as float32s.
func singles(x []float64) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), 2*len(x))
}
