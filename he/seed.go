package he

import (
	"encoding/binary"

	"github.com/sotto-ml/sotto/internal/stream"
)

// seedSize is the bytes of a seed.
const seedSize = 32

// expander reads the public random half of ciphertexts and keys: AES-256-CTR under a
// public seed, as the Kyber submission's "90s" variant expands its matrix. The seed
// says nothing of any secret; it must only be fresh, which the operating system's
// randomness sees to.
type expander struct {
	cipher *stream.Cipher
	id     uint64
	block  uint64
	words  []uint64
}

// expand reads stream id of the seed.
func expand(seed *[seedSize]byte, id uint64) *expander {
	key := stream.Key(*seed)
	return &expander{cipher: stream.NewCipher(&key), id: id}
}

// Read implements io.Reader. len(p) is a multiple of 16, as lattigo's samplers ask.
func (e *expander) Read(p []byte) (int, error) {
	if len(p)%16 != 0 {
		panic("he: seed is read in blocks of 16 bytes")
	}
	if cap(e.words) < len(p)/8 {
		e.words = make([]uint64, len(p)/8)
	}
	w := e.words[:len(p)/8]
	e.cipher.Fill(w, e.id, e.block)
	e.block += uint64(len(p) / 16)
	for i, v := range w {
		binary.LittleEndian.PutUint64(p[8*i:], v)
	}
	return len(p), nil
}
