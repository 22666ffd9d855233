package federated

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// Vectors travel and rest as: a magic of 8 bytes, numbers of 8 bytes, vectors (a length
// of 8 bytes and float32s), byte strings (a length and bytes), all little-endian, and
// the SHA-256 of all that. A vector that is nil and one that is empty are the same.

type encoder []byte

func (e *encoder) number(x uint64) { *e = binary.LittleEndian.AppendUint64(*e, x) }
func (e *encoder) float(x float64) { e.number(math.Float64bits(x)) }
func (e *encoder) vector(x []float32) {
	e.number(uint64(len(x)))
	for _, v := range x {
		*e = binary.LittleEndian.AppendUint32(*e, math.Float32bits(v))
	}
}
func (e *encoder) bytes(x []byte) {
	e.number(uint64(len(x)))
	*e = append(*e, x...)
}

// seal appends the hash, and returns it as the digest of the whole.
func (e *encoder) seal() ([]byte, Digest) {
	h := sha256.Sum256(*e)
	return append(*e, h[:]...), h
}

type decoder struct {
	rest []byte
	err  error
}

// openSealed checks magic and hash.
func openSealed(data []byte, magic string) (*decoder, Digest, error) {
	n := len(data) - sha256.Size
	if n < len(magic) || string(data[:len(magic)]) != magic {
		return nil, Digest{}, fmt.Errorf("federated: data is not of the kind %q", magic)
	}
	h := Digest(sha256.Sum256(data[:n]))
	if h != Digest(data[n:]) {
		return nil, h, fmt.Errorf("federated: data of the kind %q is damaged: its hash differs", magic)
	}
	return &decoder{rest: data[len(magic):n]}, h, nil
}

func (d *decoder) number() uint64 {
	if len(d.rest) < 8 {
		d.fail()
		return 0
	}
	x := binary.LittleEndian.Uint64(d.rest)
	d.rest = d.rest[8:]
	return x
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = fmt.Errorf("federated: data ends early, or is longer than it says")
	}
	d.rest = nil
}

func (d *decoder) float() float64 { return math.Float64frombits(d.number()) }

// integer reads a number from 0 to 2^53.
func (d *decoder) integer() int {
	x := d.number()
	if x > 1<<53 {
		d.fail()
		return 0
	}
	return int(x)
}

func (d *decoder) vector() []float32 {
	n := d.number()
	if n > uint64(len(d.rest)/4) {
		d.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(d.rest[4*i:]))
	}
	d.rest = d.rest[4*n:]
	return out
}

func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	out := append([]byte(nil), d.rest[:n]...)
	d.rest = d.rest[n:]
	return out
}

func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail()
	}
	return d.err
}

const (
	updateMagic = "sottoFU1"
	taskMagic   = "sottoFT1"
	serverMagic = "sottoFM1"
	sumMagic    = "sottoFS1"
)

func (u *Update) encode() ([]byte, Digest) {
	e := encoder(make([]byte, 0, len(updateMagic)+64+4*(len(u.Delta)+len(u.Control))+len(u.Packed)+sha256.Size))
	e = append(e, updateMagic...)
	e.vector(u.Delta)
	e.float(u.Weight)
	e.number(uint64(u.Steps))
	e.vector(u.Control)
	e.bytes(u.Packed)
	return e.seal()
}

// MarshalBinary gives the update as it may travel.
func (u *Update) MarshalBinary() ([]byte, error) {
	data, _ := u.encode()
	return data, nil
}

// UnmarshalBinary reads what MarshalBinary gave. Values are not checked.
func (u *Update) UnmarshalBinary(data []byte) error {
	d, _, err := openSealed(data, updateMagic)
	if err != nil {
		return err
	}
	got := Update{Delta: d.vector(), Weight: d.float(), Steps: d.integer(), Control: d.vector(), Packed: d.bytes()}
	if err := d.end(); err != nil {
		return err
	}
	*u = got
	return nil
}

// MarshalBinary gives the task as it may travel.
func (t Task) MarshalBinary() ([]byte, error) {
	e := encoder(taskMagic)
	for _, x := range []int{t.Round, t.Attempt, t.Version, t.Counted} {
		e.number(uint64(x))
	}
	e.vector(t.Params)
	e.float(t.Proximal)
	e.vector(t.Control)
	data, _ := e.seal()
	return data, nil
}

// UnmarshalBinary reads what MarshalBinary gave. Values are not checked.
func (t *Task) UnmarshalBinary(data []byte) error {
	d, _, err := openSealed(data, taskMagic)
	if err != nil {
		return err
	}
	got := Task{Round: d.integer(), Attempt: d.integer(), Version: d.integer(), Counted: d.integer(), Params: d.vector(), Proximal: d.float(), Control: d.vector()}
	if err := d.end(); err != nil {
		return err
	}
	*t = got
	return nil
}

func (s *server) encode() ([]byte, Digest) {
	e := encoder(serverMagic)
	for _, v := range [][]float32{s.params, s.first, s.second, s.control, s.trend} {
		e.vector(v)
	}
	e.float(s.clip)
	e.float(s.score)
	e.number(uint64(s.accepted))
	return e.seal()
}

func decodeServer(data []byte) (*server, Digest, error) {
	d, h, err := openSealed(data, serverMagic)
	if err != nil {
		return nil, h, err
	}
	s := &server{params: d.vector(), first: d.vector(), second: d.vector(), control: d.vector(), trend: d.vector(), clip: d.float(), score: d.float(), accepted: d.integer()}
	return s, h, d.end()
}

func encodeSum(x []uint32, survivors int) ([]byte, Digest) {
	e := encoder(sumMagic)
	e.number(uint64(survivors))
	e.number(uint64(len(x)))
	for _, v := range x {
		e = binary.LittleEndian.AppendUint32(e, v)
	}
	return e.seal()
}

func decodeSum(data []byte) (x []uint32, survivors int, err error) {
	d, _, err := openSealed(data, sumMagic)
	if err != nil {
		return nil, 0, err
	}
	survivors = d.integer()
	n := d.number()
	if n > uint64(len(d.rest)/4) {
		d.fail()
		return nil, 0, d.err
	}
	x = make([]uint32, n)
	for i := range x {
		x[i] = binary.LittleEndian.Uint32(d.rest[4*i:])
	}
	d.rest = d.rest[4*n:]
	return x, survivors, d.end()
}
