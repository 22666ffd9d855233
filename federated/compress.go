package federated

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Compression makes updates shorter on the wire: [Quantized] or [TopK]. Clients pack
// with [Protect]; the server unpacks.
type Compression interface {
	check() error
	// pack may add what it leaves out to residual, which it reads first.
	pack(x, residual []float32, random *rand.Rand) []byte
	unpack(data []byte, d int) ([]float32, error)
	feedback() bool
}

// Quantized sends each element as 8 bits: the nearest multiples of 1/127 of the largest
// magnitude among its 1024 neighbours, up or down by chance so that the mean is right
// (Alistarh et al. 2017, "QSGD"). A quarter of the size.
type Quantized struct{}

// TopK sends the Share of the elements that are largest, and adds what it leaves out to
// the client's next update (Stich, Cordonnier and Jaggi 2018, "Sparsified SGD with
// memory").
type TopK struct {
	Share float64 // in (0, 1]
}

const (
	quantizedTag   = 1
	topKTag        = 2
	quantizedBlock = 1024
)

func (Quantized) check() error { return nil }
func (c TopK) check() error {
	if !(c.Share > 0 && c.Share <= 1) {
		return fmt.Errorf("federated: TopK.Share is %v, must be in (0, 1]", c.Share)
	}
	return nil
}

func (Quantized) feedback() bool { return false }
func (TopK) feedback() bool      { return true }

func (Quantized) pack(x, _ []float32, random *rand.Rand) []byte {
	out := append(make([]byte, 0, 5+len(x)+4*(len(x)/quantizedBlock+1)), quantizedTag)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(x)))
	for part := range slices.Chunk(x, quantizedBlock) {
		top := float32(0)
		for _, v := range part {
			top = max(top, float32(math.Abs(float64(v))))
		}
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(top))
		for _, v := range part {
			q := 0.0
			if top > 0 {
				q = math.Floor(float64(v)/float64(top)*127 + random.Float64())
			}
			out = append(out, byte(int8(min(max(q, -127), 127))))
		}
	}
	return out
}

func (Quantized) unpack(data []byte, d int) ([]float32, error) {
	rest, err := packedHead(data, quantizedTag, d)
	if err != nil {
		return nil, err
	}
	if want := d + 4*((d+quantizedBlock-1)/quantizedBlock); len(rest) != want {
		return nil, fmt.Errorf("a quantised update has %d bytes, must have %d", len(rest), want)
	}
	out := make([]float32, d)
	for part := range slices.Chunk(out, quantizedBlock) {
		top := math.Float32frombits(binary.LittleEndian.Uint32(rest))
		if !(top >= 0) || math.IsInf(float64(top), 0) {
			return nil, fmt.Errorf("a quantised update has a scale of %v, must be finite and at least 0", top)
		}
		rest = rest[4:]
		for j := range part {
			part[j] = float32(float64(int8(rest[j])) * float64(top) / 127)
		}
		rest = rest[len(part):]
	}
	if !kernel.AllFinite(out) { // -128/127 of the largest float32
		return nil, errors.New("a quantised update holds an infinity")
	}
	return out, nil
}

func packedHead(data []byte, tag byte, d int) ([]byte, error) {
	if len(data) < 5 || data[0] != tag {
		return nil, fmt.Errorf("a packed update of %d bytes is not of the plan's kind", len(data))
	}
	if n := binary.LittleEndian.Uint32(data[1:]); uint64(n) != uint64(d) {
		return nil, fmt.Errorf("a packed update has %d elements, must have %d", n, d)
	}
	return data[5:], nil
}

// kept is how many elements are sent.
func (c TopK) kept(d int) int { return min(d, int(math.Ceil(c.Share*float64(d)))) }

func (c TopK) pack(x, residual []float32, _ *rand.Rand) []byte {
	for j, v := range x {
		residual[j] += v
	}
	k := c.kept(len(x))
	least, ties := kthLargest(residual, k)
	out := append(make([]byte, 0, 5+8*k), topKTag)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(x)))
	for j, v := range residual {
		switch m := magnitude(v); {
		case m < least:
			continue
		case m == least:
			if ties == 0 {
				continue
			}
			ties--
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(j))
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		residual[j] = 0
	}
	return out
}

// magnitude is |x| as a number that is ordered as |x| is.
func magnitude(x float32) uint32 { return math.Float32bits(x) &^ (1 << 31) }

// kthLargest returns the k-th largest magnitude of x, and how many of those that are
// equal to it are among the k largest. It counts by the upper half of the bits, and
// sorts only those that share the k-th's.
func kthLargest(x []float32, k int) (least uint32, ties int) {
	const shift = 15
	count := make([]int, 1<<(31-shift))
	for _, v := range x {
		count[magnitude(v)>>shift]++
	}
	bin, above := len(count)-1, 0
	for above+count[bin] < k {
		above += count[bin]
		bin--
	}
	same := make([]uint32, 0, count[bin])
	for _, v := range x {
		if m := magnitude(v); m>>shift == uint32(bin) {
			same = append(same, m)
		}
	}
	slices.Sort(same)
	least = same[len(same)-(k-above)]
	for _, m := range same {
		if m > least {
			above++
		}
	}
	return least, k - above
}

func (c TopK) unpack(data []byte, d int) ([]float32, error) {
	rest, err := packedHead(data, topKTag, d)
	if err != nil {
		return nil, err
	}
	if len(rest) != 8*c.kept(d) {
		return nil, fmt.Errorf("a sparse update has %d bytes, must have %d", len(rest), 8*c.kept(d))
	}
	out := make([]float32, d)
	last := int64(-1)
	for ; len(rest) > 0; rest = rest[8:] {
		j := int64(binary.LittleEndian.Uint32(rest))
		if j <= last || j >= int64(d) {
			return nil, fmt.Errorf("a sparse update has element %d after %d, must rise and be below %d", j, last, d)
		}
		out[j], last = math.Float32frombits(binary.LittleEndian.Uint32(rest[4:])), j
	}
	return out, nil
}
