package nn

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sotto-ml/sotto/internal/atomicfile"
)

// Tensor is a dense array in row-major order: the last index moves fastest.
type Tensor struct {
	Shape []int // empty for a scalar
	Data  []float32
}

// Safetensors is what a safetensors file holds: named tensors and free text.
// https://github.com/huggingface/safetensors describes the format.
//
// Reading is strict. A file is refused, with an error that names the tensor,
// unless its tensors tile the data without hole or overlap, each fills its
// shape, no key stands twice, and the header has at most 100 MB. Tensors of
// type F32 keep their bits, NaNs included; F64, F16 and BF16 are converted,
// and a finite value beyond float32 is an error. Other types are refused.
//
// Writing gives F32, sorted by name: the same content is the same bytes.
type Safetensors struct {
	Metadata map[string]string
	Tensors  map[string]Tensor
}

const (
	headerLimit = 100_000_000
	metadataKey = "__metadata__"
)

// ReadSafetensors reads the file name.
func ReadSafetensors(name string) (*Safetensors, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("nn: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("nn: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("nn: %s is not a regular file", name)
	}
	s, err := DecodeSafetensors(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, name)
	}
	return s, nil
}

// WriteSafetensors replaces the file name by the content of s, whole or not at
// all: it writes beside the file, syncs and renames.
func WriteSafetensors(name string, s *Safetensors) error {
	return writeFile(name, func(w io.Writer) error { return EncodeSafetensors(w, s) })
}

func writeFile(name string, write func(io.Writer) error) error {
	const perm fs.FileMode = 0o644
	if err := atomicfile.Write(name, perm, write); err != nil {
		return fmt.Errorf("nn: %w", err)
	}
	return nil
}

// EncodeSafetensors writes s to w. It returns an error if a tensor's data do
// not fill its shape or a name cannot stand in the format.
func EncodeSafetensors(w io.Writer, s *Safetensors) error {
	names := slices.Sorted(maps.Keys(s.Tensors))
	var header bytes.Buffer
	header.WriteByte('{')
	if len(s.Metadata) > 0 {
		if err := writeKey(&header, metadataKey); err != nil {
			return err
		}
		header.WriteByte('{')
		for i, key := range slices.Sorted(maps.Keys(s.Metadata)) {
			if i > 0 {
				header.WriteByte(',')
			}
			if err := errors.Join(writeKey(&header, key), writeString(&header, s.Metadata[key])); err != nil {
				return err
			}
		}
		header.WriteByte('}')
	}
	var at int64
	for _, name := range names {
		t := s.Tensors[name]
		if name == metadataKey {
			return fmt.Errorf("nn: safetensors: a tensor cannot be named %q", name)
		}
		count, err := elements(t.Shape)
		if err != nil {
			return fmt.Errorf("nn: safetensors: tensor %q: %w", name, err)
		}
		if count != int64(len(t.Data)) {
			return fmt.Errorf("nn: safetensors: tensor %q of shape %v has %d elements, want %d", name, t.Shape, len(t.Data), count)
		}
		if header.Len() > 1 {
			header.WriteByte(',')
		}
		if err := writeKey(&header, name); err != nil {
			return err
		}
		shape := strings.ReplaceAll(strings.Trim(fmt.Sprint(t.Shape), "[]"), " ", ",")
		fmt.Fprintf(&header, `{"dtype":"F32","shape":[%s],"data_offsets":[%d,%d]}`, shape, at, at+4*count)
		at += 4 * count
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 { // the data begin aligned
		header.WriteByte(' ')
	}
	if header.Len() > headerLimit {
		return fmt.Errorf("nn: safetensors: header of %d bytes, want at most %d", header.Len(), headerLimit)
	}
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(header.Len()))
	if _, err := w.Write(length[:]); err != nil {
		return err
	}
	if _, err := w.Write(header.Bytes()); err != nil {
		return err
	}
	buf := make([]byte, 0, 1<<16)
	for _, name := range names {
		for chunk := range slices.Chunk(s.Tensors[name].Data, cap(buf)/4) {
			buf = buf[:0]
			for _, x := range chunk {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
			}
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeKey(b *bytes.Buffer, key string) error {
	err := writeString(b, key)
	b.WriteByte(':')
	return err
}

func writeString(b *bytes.Buffer, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("nn: safetensors: %q is not UTF-8", s)
	}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	b.Truncate(b.Len() - 1) // the encoder's newline
	return err
}

// elements returns the product of shape.
func elements(shape []int) (int64, error) {
	n := int64(1)
	for _, dim := range shape {
		if dim < 0 {
			return 0, fmt.Errorf("shape %v has a negative size", shape)
		}
		if dim > 0 && n > math.MaxInt64/8/int64(dim) {
			return 0, fmt.Errorf("shape %v has more elements than a file can hold", shape)
		}
		n *= int64(dim)
	}
	return n, nil
}
