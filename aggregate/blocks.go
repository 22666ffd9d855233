package aggregate

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// blockColumns is how many columns are done at a time.
const blockColumns = 1 << 14

// job runs a function over all blocks of columns, on all cores. Jobs are pooled,
// so that a call allocates nothing but its first time.
type job struct {
	do      func(j *job, part *part)
	dst     []float32
	rows    [][]float32
	lo, hi  int
	scale   float32
	weights []float32
	buffer  []float32 // kept between calls
	next    atomic.Int64
	group   sync.WaitGroup
	work    func()
}

// part is one core's view of a block.
type part struct {
	dst  []float32
	rows [][]float32
	at   int // of the block's first column
}

var (
	jobs  = sync.Pool{New: func() any { j := new(job); j.work = j.run; return j }}
	parts = sync.Pool{New: func() any { return new(part) }}
)

// run takes blocks until there are none.
func (j *job) run() {
	p := parts.Get().(*part)
	for {
		a := int(j.next.Add(1)-1) * blockColumns
		if a >= len(j.dst) {
			break
		}
		b := min(a+blockColumns, len(j.dst))
		p.at, p.dst, p.rows = a, j.dst[a:b:b], p.rows[:0]
		for _, row := range j.rows {
			p.rows = append(p.rows, row[a:b:b])
		}
		j.do(j, p)
	}
	clear(p.rows)
	p.dst = nil
	parts.Put(p)
	j.group.Done()
}

// start runs the job on as many cores as there are blocks.
func (j *job) start() {
	j.next.Store(0)
	cores := min(runtime.GOMAXPROCS(0), (len(j.dst)+blockColumns-1)/blockColumns)
	j.group.Add(max(cores, 1))
	for range cores - 1 {
		go j.work()
	}
	j.run()
	j.group.Wait()
	j.dst, j.rows, j.weights = nil, nil, nil
	jobs.Put(j)
}

func newJob(dst []float32, rows [][]float32, do func(j *job, p *part)) *job {
	j := jobs.Get().(*job)
	j.dst, j.rows, j.do = dst, rows, do
	return j
}
