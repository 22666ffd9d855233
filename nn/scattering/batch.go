package scattering

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Batch writes to dst[i] the features of images[i], on all cores, and returns
// dst. A nil dst, or a nil dst[i], allocates. The features of an image are the
// bits that Apply gives, whatever its neighbours and GOMAXPROCS.
//
// It panics if dst is not nil and has another length than images, if an image
// or a dst[i] has the wrong length, or if dst[i] overlaps images[i]. No dst[i]
// may overlap any other image or dst either; that is not checked.
func (t *Transform) Batch(dst, images [][]float32) [][]float32 {
	n := t.Len()
	if dst == nil {
		dst = make([][]float32, len(images))
		all := make([]float32, len(images)*n)
		for i := range dst {
			dst[i] = all[i*n : (i+1)*n : (i+1)*n]
		}
	}
	if len(dst) != len(images) {
		panic("scattering: dst and images differ in length")
	}
	for i, image := range images {
		if dst[i] == nil {
			dst[i] = make([]float32, n)
		}
		t.check(dst[i], image)
	}
	blocks := (len(images) + lanes - 1) / lanes
	workers := min(runtime.GOMAXPROCS(0), blocks)
	if workers <= 1 {
		s := t.take()
		for b := range blocks {
			t.run(s, dst, images, b)
		}
		t.put(s)
		return dst
	}
	t.share(dst, images, blocks, workers)
	return dst
}

// share runs the blocks on as many goroutines as there are workers.
func (t *Transform) share(dst, images [][]float32, blocks, workers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			s := t.take()
			for b := int(next.Add(1)) - 1; b < blocks; b = int(next.Add(1)) - 1 {
				t.run(s, dst, images, b)
			}
			t.put(s)
		})
	}
	wg.Wait()
}

// run transforms block b of the images.
func (t *Transform) run(s *scratch, dst, images [][]float32, b int) {
	n := copy(s.images[:], images[b*lanes:])
	copy(s.outputs[:], dst[b*lanes:])
	t.block(s, n)
}

// take returns working memory that no other goroutine uses.
func (t *Transform) take() *scratch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		s := t.free[n-1]
		t.free = t.free[:n-1]
		return s
	}
	return newScratch(t)
}

// put hands working memory back, with no hold on the caller's slices.
func (t *Transform) put(s *scratch) {
	clear(s.images[:])
	clear(s.outputs[:])
	t.mu.Lock()
	t.free = append(t.free, s)
	t.mu.Unlock()
}
