package he

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/tuneinsight/lattigo/v5/ring"
)

// Every message begins with a header of 48 bytes: the format's name, its version, the
// message's kind, 6 zero bytes, the program's digest. All that follows has a length that
// the schema and, for batches, a count determine, so that a reader never allocates by
// what a message claims.
const (
	formatName    = "sottohe\n"
	formatVersion = 1
)

type messageKind uint8

const (
	kindKeys messageKind = iota + 1
	kindQuery
	kindAnswer
	kindSecret
	kindProgram
)

func (k messageKind) String() string {
	return [...]string{"?", "evaluation keys", "query", "answer", "secret key", "program"}[k]
}

const headerSize = 48

func header(kind messageKind, digest Digest) []byte {
	h := append([]byte(formatName), formatVersion, byte(kind), 0, 0, 0, 0, 0, 0)
	return append(h, digest[:]...)
}

// ErrOtherProgram says that a message was made for another program.
var ErrOtherProgram = errors.New("he: message is for another program")

// readHeader reads and checks a header. Of a program's own file the digest is returned.
func readHeader(r io.Reader, kind messageKind, want Digest) (Digest, error) {
	var h [headerSize]byte
	var got Digest
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return got, fmt.Errorf("he: %s: header: %w", kind, noEOF(err))
	}
	copy(got[:], h[16:])
	switch {
	case string(h[:8]) != formatName:
		return got, fmt.Errorf("he: %s: not a message of this package", kind)
	case h[8] != formatVersion:
		return got, fmt.Errorf("he: %s: format version is %d, this version reads %d", kind, h[8], formatVersion)
	case messageKind(h[9]) < kindKeys || messageKind(h[9]) > kindProgram:
		return got, fmt.Errorf("he: %s: message is of unknown kind %d", kind, h[9])
	case messageKind(h[9]) != kind:
		return got, fmt.Errorf("he: want %s, message holds %s", kind, messageKind(h[9]))
	case [6]byte(h[10:16]) != [6]byte{}:
		return got, fmt.Errorf("he: %s: reserved bytes of the header are not zero", kind)
	case kind != kindProgram && got != want:
		return got, fmt.Errorf("%w: %s for program %.16s…, this is %.16s…", ErrOtherProgram, kind, got, want)
	}
	return got, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// counter counts what passes through a writer and remembers its first error.
type counter struct {
	w   *bufio.Writer
	n   int64
	err error
}

func newCounter(w io.Writer) *counter { return &counter{w: bufio.NewWriterSize(w, 1<<16)} }

func (c *counter) write(b []byte) {
	if c.err == nil {
		var n int
		n, c.err = c.w.Write(b)
		c.n += int64(n)
	}
}

func (c *counter) finish() (int64, error) {
	if c.err == nil {
		c.err = c.w.Flush()
	}
	return c.n, c.err
}

// packedSize is the bytes of a residue polynomial modulo q: as many bits a coefficient
// as q has.
func packedSize(n int, q uint64) int { return n / 8 * bits.Len64(q) }

// pack appends the coefficients' bits, least first.
func pack(dst []byte, coeffs []uint64, q uint64) []byte {
	width := bits.Len64(q)
	var low, high uint64 // 128 bits, so that 63 waiting ones and 64 more fit
	have := 0
	for _, c := range coeffs {
		low |= c << have
		if have > 0 {
			high |= c >> (64 - have)
		}
		if have += width; have >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, low)
			low, high = high, 0
			have -= 64
		}
	}
	for ; have > 0; have -= 8 {
		dst = append(dst, byte(low))
		low >>= 8
	}
	return dst
}

// unpack reads len(coeffs) residues modulo q. It returns an error if one is not below q.
func unpack(coeffs []uint64, src []byte, q uint64) error {
	width := bits.Len64(q)
	mask := uint64(1)<<width - 1
	var low, high uint64
	have := 0
	for i := range coeffs {
		if have < width {
			var w uint64
			n := 64
			if len(src) >= 8 {
				w = binary.LittleEndian.Uint64(src)
				src = src[8:]
			} else {
				n = 8 * len(src)
				for j, b := range src {
					w |= uint64(b) << (8 * j)
				}
				src = nil
			}
			low |= w << have
			if have > 0 {
				high = w >> (64 - have)
			}
			have += n
		}
		c := low & mask
		if c >= q {
			return fmt.Errorf("coefficient %d is %d, must be below the modulus %d", i, c, q)
		}
		coeffs[i] = c
		low = low>>width | high<<(64-width)
		high >>= width
		have -= width
	}
	return nil
}

func (c *counter) poly(p ring.Poly, primes []uint64) {
	for i, q := range primes {
		if c.err != nil {
			return
		}
		c.write(pack(nil, p.Coeffs[i], q))
	}
}

// polyReader reads residue polynomials through one buffer.
type polyReader struct {
	r   io.Reader
	n   int64
	buf []byte
}

func (r *polyReader) read(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.n += int64(n)
	return noEOF(err)
}

func (r *polyReader) poly(p ring.Poly, primes []uint64) error {
	for i, q := range primes {
		size := packedSize(len(p.Coeffs[i]), q)
		if cap(r.buf) < size {
			r.buf = make([]byte, size)
		}
		if err := r.read(r.buf[:size]); err != nil {
			return err
		}
		if err := unpack(p.Coeffs[i], r.buf[:size], q); err != nil {
			return err
		}
	}
	return nil
}

// end refuses what follows a message's last byte.
func (r *polyReader) end() error {
	var b [1]byte
	switch n, err := io.ReadFull(r.r, b[:]); {
	case n > 0:
		return errors.New("bytes follow the message")
	case err != io.EOF:
		return err
	}
	return nil
}
