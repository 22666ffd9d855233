package he

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// parallel calls f with single indices from 0 to n on all cores.
func parallel(n int, f func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		f(0, n)
		return
	}
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
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
}
