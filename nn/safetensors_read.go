package nn

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// stored is a tensor as the header describes it.
type stored struct {
	name       string
	dtype      string
	shape      []int
	start, end int64 // bytes from the data's beginning
	seen       int   // fields read
}

// DecodeSafetensors reads size bytes from r.
func DecodeSafetensors(r io.ReaderAt, size int64) (*Safetensors, error) {
	var length [8]byte
	if size < 8 {
		return nil, fmt.Errorf("nn: safetensors: %d bytes, want at least the 8 of the header's length", max(size, 0))
	}
	if err := readFull(r, length[:], 0); err != nil {
		return nil, fmt.Errorf("nn: safetensors: header's length: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > headerLimit {
		return nil, fmt.Errorf("nn: safetensors: header of %d bytes, want at most %d", n, headerLimit)
	}
	if int64(n) > size-8 {
		return nil, fmt.Errorf("nn: safetensors: header of %d bytes in a file of %d", n, size)
	}
	header := make([]byte, n)
	if err := readFull(r, header, 8); err != nil {
		return nil, fmt.Errorf("nn: safetensors: header: %w", err)
	}
	metadata, tensors, err := parseHeader(header)
	if err != nil {
		return nil, fmt.Errorf("nn: safetensors: %w", err)
	}
	if err := checkLayout(tensors, size-8-int64(n)); err != nil {
		return nil, fmt.Errorf("nn: safetensors: %w", err)
	}
	s := &Safetensors{Metadata: metadata, Tensors: make(map[string]Tensor, len(tensors))}
	for _, t := range tensors {
		data, err := readTensor(r, t, 8+int64(n))
		if err != nil {
			return nil, fmt.Errorf("nn: safetensors: tensor %q: %w", t.name, err)
		}
		s.Tensors[t.name] = Tensor{Shape: t.shape, Data: data}
	}
	return s, nil
}

func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// checkLayout reports the first tensor that does not fill its shape, or leaves
// a hole or an overlap in the size bytes of data. It sorts tensors by place.
func checkLayout(tensors []stored, size int64) error {
	slices.SortFunc(tensors, func(a, b stored) int {
		if a.start != b.start {
			return int(min(max(a.start-b.start, -1), 1))
		}
		if a.end != b.end {
			return int(min(max(a.end-b.end, -1), 1))
		}
		return strings.Compare(a.name, b.name)
	})
	var at int64
	for _, t := range tensors {
		width, ok := widths[t.dtype]
		if !ok {
			return fmt.Errorf("tensor %q is of type %q, want F32, F64, F16 or BF16", t.name, t.dtype)
		}
		count, err := elements(t.shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.name, err)
		}
		switch {
		case t.end < t.start || t.end > size:
			return fmt.Errorf("tensor %q lies at bytes %d to %d of %d", t.name, t.start, t.end, size)
		case t.end-t.start != count*width:
			return fmt.Errorf("tensor %q of shape %v and type %s has %d bytes, want %d", t.name, t.shape, t.dtype, t.end-t.start, count*width)
		case t.start < at:
			return fmt.Errorf("tensor %q begins at byte %d, inside the one before, which ends at %d", t.name, t.start, at)
		case t.start > at:
			return fmt.Errorf("tensor %q begins at byte %d and leaves a hole from %d", t.name, t.start, at)
		}
		at = t.end
	}
	if at != size {
		return fmt.Errorf("tensors end at byte %d of %d", at, size)
	}
	return nil
}

var widths = map[string]int64{"F64": 8, "F32": 4, "F16": 2, "BF16": 2}

// readTensor converts t, whose bytes are known to lie inside the file.
func readTensor(r io.ReaderAt, t stored, base int64) ([]float32, error) {
	width := widths[t.dtype]
	data := make([]float32, 0, (t.end-t.start)/width)
	buf := make([]byte, min(1<<16, t.end-t.start))
	for at := t.start; at < t.end; {
		b := buf[:min(int64(len(buf)), t.end-at)]
		if err := readFull(r, b, base+at); err != nil {
			return nil, err
		}
		at += int64(len(b))
		for ; len(b) > 0; b = b[width:] {
			switch t.dtype {
			case "F32":
				data = append(data, math.Float32frombits(binary.LittleEndian.Uint32(b)))
			case "F64":
				x := math.Float64frombits(binary.LittleEndian.Uint64(b))
				y := float32(x)
				if math.IsInf(float64(y), 0) && !math.IsInf(x, 0) {
					return nil, fmt.Errorf("element %d is %v, beyond float32", len(data), x)
				}
				data = append(data, y)
			case "BF16":
				data = append(data, math.Float32frombits(uint32(binary.LittleEndian.Uint16(b))<<16))
			case "F16":
				data = append(data, fromHalf(binary.LittleEndian.Uint16(b)))
			}
		}
	}
	return data, nil
}

// fromHalf converts an IEEE 754 binary16, exactly.
func fromHalf(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exp {
	case 0: // zero or subnormal: frac·2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// parseHeader reads the JSON header. encoding/json's maps would keep the last
// of two equal keys, so it walks the tokens.
func parseHeader(header []byte) (map[string]string, []stored, error) {
	if !utf8.Valid(header) {
		return nil, nil, errors.New("header is not UTF-8")
	}
	if len(header) == 0 || header[0] != '{' {
		return nil, nil, errors.New("header does not begin with '{'")
	}
	d := json.NewDecoder(bytes.NewReader(header))
	d.UseNumber()
	metadata := map[string]string{}
	var tensors []stored
	err := walkObject(d, func(key string) error {
		if key == metadataKey {
			return walkObject(d, func(key string) error {
				value, err := token[string](d)
				metadata[key] = value
				return err
			})
		}
		t := stored{name: key}
		err := walkObject(d, func(field string) error { return t.parseField(d, field) })
		if err != nil {
			return fmt.Errorf("tensor %q: %w", key, err)
		}
		if t.seen != 3 {
			return fmt.Errorf("tensor %q lacks a field, want dtype, shape and data_offsets", key)
		}
		tensors = append(tensors, t)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	if rest := bytes.TrimLeft(header[d.InputOffset():], " "); len(rest) > 0 {
		return nil, nil, fmt.Errorf("header goes on after its object at byte %d", d.InputOffset())
	}
	return metadata, tensors, nil
}

func (t *stored) parseField(d *json.Decoder, field string) (err error) {
	t.seen++
	switch field {
	case "dtype":
		t.dtype, err = token[string](d)
	case "shape":
		err = walkSizes(d, func(size int64) error {
			if size > math.MaxInt {
				return fmt.Errorf("size %d is beyond this machine", size)
			}
			t.shape = append(t.shape, int(size))
			return nil
		})
	case "data_offsets":
		var at []int64
		err = walkSizes(d, func(size int64) error { at = append(at, size); return nil })
		if err == nil && len(at) != 2 {
			err = fmt.Errorf("%d offsets, want begin and end", len(at))
		}
		if err == nil {
			t.start, t.end = at[0], at[1]
		}
	default:
		return fmt.Errorf("unknown field %q", field)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

// walkObject reads an object and calls value, which must read one value, after
// each key.
func walkObject(d *json.Decoder, value func(key string) error) error {
	if err := delim(d, '{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := token[string](d)
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %q stands twice", key)
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return delim(d, '}')
}

// walkSizes reads an array of whole numbers of at least 0.
func walkSizes(d *json.Decoder, value func(int64) error) error {
	if err := delim(d, '['); err != nil {
		return err
	}
	for d.More() {
		number, err := token[json.Number](d)
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(number.String(), 10, 63)
		if err != nil {
			return fmt.Errorf("%s is not a whole number from 0 to 2^63-1", number)
		}
		if err := value(int64(size)); err != nil {
			return err
		}
	}
	return delim(d, ']')
}

func delim(d *json.Decoder, want json.Delim) error {
	got, err := token[json.Delim](d)
	if err == nil && got != want {
		return fmt.Errorf("found %q at byte %d, want %q", got, d.InputOffset(), want)
	}
	return err
}

func token[T any](d *json.Decoder) (T, error) {
	var zero T
	raw, err := d.Token()
	if errors.Is(err, io.EOF) {
		return zero, io.ErrUnexpectedEOF
	}
	if err != nil {
		return zero, err
	}
	got, ok := raw.(T)
	if !ok {
		return zero, fmt.Errorf("found %v of type %T at byte %d, want %T", raw, raw, d.InputOffset(), zero)
	}
	return got, nil
}
