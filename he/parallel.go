package he

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// A workerPanic is what a goroutine of parallel panicked with, and where.
type workerPanic struct {
	value any
	at    string
}

// Error implements error, for the runtime to print it.
func (p *workerPanic) Error() string { return fmt.Sprintf("%v, at %s", p.value, p.at) }

// parallel calls f with single indices from 0 to n on all cores. If f panics, parallel
// does, in the caller's goroutine, where it can be recovered from, once no f runs any more.
func parallel(n int, f func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		f(0, n)
		return
	}
	var next atomic.Int64
	var group sync.WaitGroup
	var panicked atomic.Pointer[workerPanic]
	for range workers {
		group.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					panicked.CompareAndSwap(nil, &workerPanic{v, panicPlace()})
					next.Store(math.MaxInt32)
				}
			}()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i, i+1)
			}
		})
	}
	group.Wait()
	if p := panicked.Load(); p != nil {
		panic(p)
	}
}
