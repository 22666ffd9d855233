package stream

import (
	"encoding/binary"
	"math/bits"
)

// Stream reads one keystream in order.
type Stream struct {
	cipher Cipher
	id     uint64
	next   uint64 // block after the buffer
	pos    int    // first unread byte of buf
	end    int    // bytes in buf
	buf    [512]byte
}

// New returns stream id of key k, at its first byte.
func New(k *Key, id uint64) *Stream {
	s := &Stream{id: id}
	s.cipher.Reset(k)
	return s
}

// Seek moves to the first byte of a block. Block MaxBlocks, the end, may be
// sought but not read.
func (s *Stream) Seek(block uint64) {
	clear(s.buf[:])
	s.next, s.pos, s.end = block, 0, 0
}

// Erase overwrites the buffer and the expanded key. The stream cannot be read
// afterwards.
func (s *Stream) Erase() {
	s.Seek(0)
	s.cipher.Erase()
}

// refill replaces an empty buffer.
func (s *Stream) refill() {
	n := min(uint64(len(s.buf)/blockSize), MaxBlocks-s.next)
	if n == 0 {
		panic("stream: past the last block of the stream")
	}
	s.end = int(n * blockSize)
	s.cipher.keystream(s.buf[:s.end], s.id, s.next)
	s.pos, s.next = 0, s.next+n
}

// drain moves buffered bytes to p and returns how many.
func (s *Stream) drain(p []byte) int {
	n := copy(p, s.buf[s.pos:s.end])
	s.pos += n
	return n
}

// Read fills p. It returns len(p) and no error, ever. It panics beyond
// MaxBlocks.
func (s *Stream) Read(p []byte) (int, error) {
	done := s.drain(p)
	if whole := (len(p) - done) &^ (len(s.buf) - 1); whole > 0 {
		s.cipher.keystream(p[done:done+whole], s.id, s.next)
		s.next += uint64(whole / blockSize)
		done += whole
	}
	for done < len(p) {
		s.refill()
		done += s.drain(p[done:])
	}
	return len(p), nil
}

// Fill overwrites dst with the next words of the stream: what Uint64 would
// return len(dst) times.
func (s *Stream) Fill(dst []uint64) {
	for len(dst) > 0 && s.pos < s.end {
		dst[0] = s.Uint64()
		dst = dst[1:]
	}
	if whole := len(dst) &^ (len(s.buf)/8 - 1); whole > 0 {
		s.cipher.Fill(dst[:whole], s.id, s.next)
		s.next += uint64(whole / 2)
		dst = dst[whole:]
	}
	for i := range dst {
		dst[i] = s.Uint64()
	}
}

// Uint64 returns the next 8 bytes as a little-endian word, uniform in
// [0, 2^64).
func (s *Stream) Uint64() uint64 {
	if s.pos == s.end {
		s.refill()
	}
	if s.end-s.pos < 8 { // only after a Read of an odd length
		var b [8]byte
		s.Read(b[:])
		return binary.LittleEndian.Uint64(b[:])
	}
	w := binary.LittleEndian.Uint64(s.buf[s.pos:])
	s.pos += 8
	return w
}

// Float64 returns a uniform multiple of 2^-53 in [0, 1), from one word. It is
// for decisions with a known resolution; noise is made from whole words.
func (s *Stream) Float64() float64 { return float64(s.Uint64()>>11) * 0x1p-53 }

// Uint64n returns a uniform integer in [0, n), exactly unbiased (Lemire, "Fast
// random integer generation in an interval", 2019). It panics if n is 0.
func (s *Stream) Uint64n(n uint64) uint64 {
	if n == 0 {
		panic("stream: Uint64n of 0")
	}
	hi, lo := bits.Mul64(s.Uint64(), n)
	if lo < n {
		for least := -n % n; lo < least; {
			hi, lo = bits.Mul64(s.Uint64(), n)
		}
	}
	return hi
}
