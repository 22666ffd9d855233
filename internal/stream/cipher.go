package stream

import (
	"crypto/cipher"
	"math"
	"unsafe"
)

const (
	blockSize = 16 // bytes of an AES block
	rounds    = 14 // of AES-256

	// MaxBlocks is how many 16-byte blocks a stream holds.
	MaxBlocks = math.MaxUint64

	// chunk is how many blocks one call of an assembly kernel makes: 64 KiB,
	// some microseconds, because assembly cannot be preempted.
	chunk = 4096
)

// Cipher is an expanded key: what samplers that read many streams in bulk keep.
// The zero Cipher has no key; its Fill panics.
//
// The instruction set is chosen when the key is set: VAES on 512-bit registers
// at level kernel.AVX512, VAES on 256-bit ones or else AES-NI at kernel.AVX2, else
// the standard library.
type Cipher struct {
	path     path
	schedule [rounds + 1][blockSize]byte // unused by the standard library's path
	std      cipher.Block
}

// path is a way to make a keystream.
type path uint8

const (
	unkeyed path = iota
	standard
	aesni
	vaes256
	vaes512
)

// narrow forces AES-NI where VAES would do. Tests alone set it, to reach every
// path on one machine.
var narrow bool

// NewCipher returns k expanded.
func NewCipher(k *Key) *Cipher {
	c := new(Cipher)
	c.Reset(k)
	return c
}

// Reset sets the key. On amd64 with AES instructions it does not allocate.
func (c *Cipher) Reset(k *Key) {
	c.Erase()
	if c.path = pathOf(); c.path == standard {
		c.std = newStandard(k)
	} else {
		expand(k, &c.schedule)
	}
}

// Erase overwrites the expanded key. On the standard library's path it drops
// the reference to the schedule, which cannot be overwritten.
func (c *Cipher) Erase() {
	clear(c.schedule[:])
	c.std, c.path = nil, unkeyed
}

// Fill overwrites dst with the words of stream id that begin at the given
// block: dst[i] is words 2*block+i of the stream. It panics if that lies beyond
// MaxBlocks or the cipher has no key.
func (c *Cipher) Fill(dst []uint64, id, block uint64) {
	if len(dst) == 0 {
		return
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(dst))), 8*len(dst))
	whole := b[:len(b)&^(blockSize-1)]
	c.keystream(whole, id, block)
	if len(whole) < len(b) {
		c.half(b[len(whole):], id, block+uint64(len(whole)/blockSize))
	}
	fromLittleEndian(dst)
}

// half overwrites dst with the first bytes of one block.
func (c *Cipher) half(dst []byte, id, block uint64) {
	if c.path == standard {
		last := make([]byte, blockSize)
		c.keystream(last, id, block)
		copy(dst, last)
		clear(last)
		return
	}
	c.check(1, block)
	var last [blockSize]byte // stays on the stack: only assembly sees it
	c.path.blocks(&c.schedule, last[:], id, block)
	copy(dst, last[:])
	clear(last[:])
}

// check panics if n blocks cannot be read from the given one.
func (c *Cipher) check(n, block uint64) {
	if c.path == unkeyed {
		panic("stream: cipher without a key")
	}
	if block > MaxBlocks-n {
		panic("stream: past the last block of the stream")
	}
}

// keystream overwrites dst, whose length is a multiple of blockSize, with the
// blocks of stream id from the given one.
func (c *Cipher) keystream(dst []byte, id, block uint64) {
	n := uint64(len(dst) / blockSize)
	c.check(n, block)
	if c.path == standard {
		standardKeystream(c.std, dst, id, block)
		return
	}
	for n > 0 {
		m := min(n, chunk)
		c.path.blocks(&c.schedule, dst[:m*blockSize], id, block)
		dst, block, n = dst[m*blockSize:], block+m, n-m
	}
}
