package secagg

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
)

// mask is a keystream to add or subtract: little-endian 32-bit words of AES-256 in
// counter mode.
type mask struct {
	key stream.Key
	sub bool
}

// maskChunk is how many elements are masked at a time, so that they and the keystream
// stay in the first cache: 8 KiB each.
const maskChunk = 2048

// applyMasks adds all masks to y modulo 2^32, a chunk at a time, on all cores, and
// erases their keys.
func applyMasks(y []uint32, masks []mask) {
	ciphers := make([]stream.Cipher, len(masks))
	for i := range masks {
		ciphers[i].Reset(&masks[i].key)
		masks[i].key.Erase()
	}
	chunks := (len(y) + maskChunk - 1) / maskChunk
	var next atomic.Int64
	work := func() {
		var words [maskChunk / 2]uint64
		for {
			c := int(next.Add(1)) - 1
			if c >= chunks {
				clear(words[:])
				return
			}
			part := y[c*maskChunk : min(len(y), (c+1)*maskChunk)]
			w := words[:(len(part)+1)/2]
			for i := range ciphers {
				ciphers[i].Fill(w, 0, uint64(c)*(maskChunk/4))
				if masks[i].sub {
					kernel.SubWords(part, w)
				} else {
					kernel.AddWords(part, w)
				}
			}
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), chunks) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	for i := range ciphers {
		ciphers[i].Erase()
	}
}
