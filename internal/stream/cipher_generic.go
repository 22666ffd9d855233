package stream

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/bits"
)

// littleEndian says whether words lie in memory in the keystream's order.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

func fromLittleEndian(dst []uint64) {
	if littleEndian {
		return
	}
	for i, w := range dst {
		dst[i] = bits.ReverseBytes64(w)
	}
}

func newStandard(k *Key) cipher.Block {
	b, err := aes.NewCipher(k[:])
	if err != nil {
		panic("stream: AES refused a key of 32 bytes")
	}
	return b
}

// standardKeystream is the reference of every other path.
func standardKeystream(b cipher.Block, dst []byte, id, block uint64) {
	var iv [blockSize]byte
	binary.BigEndian.PutUint64(iv[:8], id)
	binary.BigEndian.PutUint64(iv[8:], block)
	clear(dst)
	cipher.NewCTR(b, iv[:]).XORKeyStream(dst, dst)
}
