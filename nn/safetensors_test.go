package nn

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSafetensorsFromPython reads files of testdata/safetensors.py, and writes
// the same bytes as that script.
func TestSafetensorsFromPython(t *testing.T) {
	s, err := ReadSafetensors("testdata/types.safetensors")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"format": "pt", "né": "\"quoted\" <&>\n"}, s.Metadata)
	raw, err := os.ReadFile("testdata/types.json")
	require.NoError(t, err)
	var want map[string]struct {
		Shape []int
		Data  []float64
	}
	require.NoError(t, json.Unmarshal(raw, &want))
	require.Len(t, want, 6)
	require.Len(t, s.Tensors, len(want))
	for name, w := range want {
		got := s.Tensors[name]
		require.Equal(t, fmt.Sprint(w.Shape), fmt.Sprint(got.Shape), name)
		require.Len(t, got.Data, len(w.Data), name)
		for i := range w.Data {
			require.Equal(t, math.Float32bits(float32(w.Data[i])), math.Float32bits(got.Data[i]), "%s[%d]", name, i)
		}
	}

	golden, err := os.ReadFile("testdata/sorted.safetensors")
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, EncodeSafetensors(&out, s))
	require.Equal(t, golden, out.Bytes())
}

// file builds the bytes of a file from a header and data.
func file(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for i := range data {
		b = append(b, byte(i))
	}
	return b
}

func decode(b []byte) (*Safetensors, error) {
	return DecodeSafetensors(bytes.NewReader(b), int64(len(b)))
}

var badHeaders = []struct {
	header string
	data   int
	want   string
}{
	{``, 0, "does not begin"},
	{` {}`, 0, "does not begin"},
	{`[]`, 0, "does not begin"},
	{`{`, 0, "unexpected EOF"},
	{`{}x`, 0, "goes on"},
	{`{}{}`, 0, "goes on"},
	{"{}\n", 0, "goes on"},
	{"{\"\xff\":1}", 0, "not UTF-8"},
	{`{}`, 1, "end at byte 0 of 1"},
	{`{"a":1}`, 0, `tensor "a": found 1`},
	{`{"a":{}}`, 0, `tensor "a" lacks`},
	{`{"a":{"dtype":"F32","shape":[]}}`, 0, `tensor "a" lacks`},
	{`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}}`, 4, `unknown field "x"`},
	{`{"a":{"dtype":"F32","dtype":"F32","data_offsets":[0,4]}}`, 4, `key "dtype" stands twice`},
	{`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}`, 8, `key "a" stands twice`},
	{`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"\u0061":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}`, 8, `key "a" stands twice`},
	{`{"__metadata__":{"k":"v","k":"w"}}`, 0, `key "k" stands twice`},
	{`{"__metadata__":{"k":1}}`, 0, "found 1"},
	{`{"__metadata__":{"k":{}}}`, 0, "found {"},
	{`{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}`, 8, `tensor "a" is of type "I64"`},
	{`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4, `tensor "a" of shape [2] and type F32 has 4 bytes, want 8`},
	{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}`, 8, "has 8 bytes, want 4"},
	{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}`, 4, "lies at bytes 0 to 8 of 4"},
	{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4, "lies at bytes 4 to 0"},
	{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8, "leaves a hole from 0"},
	{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 8, "end at byte 4 of 8"},
	{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4, `tensor "b" begins at byte 0, inside`},
	{`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8, `tensor "b" begins at byte 4, inside`},
	{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, 12, `tensor "b" begins at byte 8 and leaves a hole`},
	{`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}`, 4, "3 offsets"},
	{`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4, "-1 is not a whole number"},
	{`{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}`, 4, "1.0 is not a whole number"},
	{`{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}`, 4, "1e0 is not a whole number"},
	{`{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}`, 4, "found 1 of type string"},
	{`{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}}`, 4, "9223372036854775808 is not a whole number"},
	{`{"a":{"dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,4]}}`, 4, `tensor "a": shape`},
	{`{"a":{"dtype":"F32","shape":[2305843009213693952,8],"data_offsets":[0,0]}}`, 0, `tensor "a": shape`},
	{`{"a":{"dtype":"F32","shape":[1,],"data_offsets":[0,4]}}`, 4, "invalid"},
	{`{"a":null}`, 0, `tensor "a"`},
}

func TestSafetensorsRefusals(t *testing.T) {
	for _, c := range badHeaders {
		_, err := decode(file(c.header, c.data))
		require.ErrorContains(t, err, c.want, c.header)
		require.ErrorContains(t, err, "nn: safetensors: ")
	}
	for n := range 8 {
		_, err := decode(make([]byte, n))
		require.ErrorContains(t, err, "want at least the 8")
	}
	_, err := decode(file("{}", 0)[:9])
	require.ErrorContains(t, err, "header of 2 bytes in a file of 9")
	_, err = decode(binary.LittleEndian.AppendUint64(nil, 100_000_001))
	require.ErrorContains(t, err, "want at most 100000000")
	_, err = decode(binary.LittleEndian.AppendUint64(nil, math.MaxUint64))
	require.ErrorContains(t, err, "want at most 100000000")

	big := file(`{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}`, 0)
	_, err = decode(binary.LittleEndian.AppendUint64(big, math.Float64bits(-1e39)))
	require.ErrorContains(t, err, `tensor "a": element 0 is -1e+39, beyond float32`)
	_, err = decode(binary.LittleEndian.AppendUint64(big, math.Float64bits(math.Inf(1))))
	require.NoError(t, err)

	// A reader that holds less than it said.
	golden, err := os.ReadFile("testdata/types.safetensors")
	require.NoError(t, err)
	for n := range golden {
		_, err := DecodeSafetensors(bytes.NewReader(golden[:n]), int64(len(golden)))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, n)
		_, err = decode(golden[:n])
		require.Error(t, err, n)
	}
	_, err = decode(append(slices.Clone(golden), 0))
	require.Error(t, err)
	_, err = ReadSafetensors("testdata/none.safetensors")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = ReadSafetensors("testdata")
	require.ErrorContains(t, err, "not a regular file")
}

func TestSafetensorsOddButGood(t *testing.T) {
	s, err := decode(file(`{}`, 0))
	require.NoError(t, err)
	require.Empty(t, s.Tensors)
	// Order in the header is free; empty tensors may share a place.
	s, err = decode(file(`{"b":{"shape":[1],"data_offsets":[0,4],"dtype":"F32"},"z":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},"y":{"dtype":"F16","shape":[0,7],"data_offsets":[8,8]}}  `, 8))
	require.NoError(t, err)
	require.Len(t, s.Tensors, 4)
	require.Equal(t, []float32{math.Float32frombits(0x03020100)}, s.Tensors["b"].Data)
	require.Equal(t, math.Float32frombits(0x07060000), s.Tensors["a"].Data[1])
}

// TestHalfExhaustively compares with the definition (-1)^s 2^(e-15) 1.f.
func TestHalfExhaustively(t *testing.T) {
	for h := range 1 << 16 {
		got := float64(fromHalf(uint16(h)))
		e, f := h>>10&31, float64(h&1023)
		want := math.Ldexp(1+f/1024, e-15)
		switch {
		case e == 0:
			want = math.Ldexp(f, -24)
		case e == 31 && f == 0:
			want = math.Inf(1)
		case e == 31:
			want = math.NaN()
		}
		if math.IsNaN(want) {
			require.True(t, math.IsNaN(got), h)
			continue
		}
		if h>>15 == 1 {
			want = -want
		}
		require.Equal(t, math.Float64bits(want), math.Float64bits(got), h)
	}
}

func TestSafetensorsDataAreAligned(t *testing.T) {
	for n := range 9 {
		var out bytes.Buffer
		require.NoError(t, EncodeSafetensors(&out, &Safetensors{Tensors: map[string]Tensor{strings.Repeat("n", n): {Data: []float32{1}}}}))
		require.Zero(t, binary.LittleEndian.Uint64(out.Bytes())%8, n)
		s, err := decode(out.Bytes())
		require.NoError(t, err)
		require.Equal(t, []float32{1}, s.Tensors[strings.Repeat("n", n)].Data)
	}
}

func TestSafetensorsWriteRefusals(t *testing.T) {
	for want, s := range map[string]*Safetensors{
		`tensor "a" of shape [2] has 1 elements, want 2`: {Tensors: map[string]Tensor{"a": {Shape: []int{2}, Data: make([]float32, 1)}}},
		`tensor "a": shape [-1] has a negative size`:     {Tensors: map[string]Tensor{"a": {Shape: []int{-1}}}},
		`cannot be named "__metadata__"`:                 {Tensors: map[string]Tensor{"__metadata__": {Shape: []int{0}}}},
		`"\xff" is not UTF-8`:                            {Tensors: map[string]Tensor{"\xff": {Shape: []int{0}}}},
		`"\xfe" is not UTF-8`:                            {Metadata: map[string]string{"k": "\xfe"}},
	} {
		var out bytes.Buffer
		require.ErrorContains(t, EncodeSafetensors(&out, s), want)
		require.Zero(t, out.Len())
	}
}

// failAfter fails the write that would pass n bytes.
type failAfter struct{ n int }

var errFull = errors.New("disk full")

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestSafetensorsFileIsWholeOrUntouched(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "model.safetensors")
	s := &Safetensors{Tensors: map[string]Tensor{"a": {Shape: []int{3}, Data: []float32{1, 2, float32(math.NaN())}}}}
	require.NoError(t, WriteSafetensors(name, s))
	before, err := os.ReadFile(name)
	require.NoError(t, err)

	bad := &Safetensors{Tensors: map[string]Tensor{"a": {Shape: []int{4}}}}
	require.ErrorContains(t, WriteSafetensors(name, bad), "is unchanged")
	after, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, before, after)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)

	require.Error(t, WriteSafetensors(filepath.Join(dir, "none", "x"), s))
	for n := range len(before) {
		require.ErrorIs(t, EncodeSafetensors(&failAfter{n}, s), errFull, n)
	}
}

func FuzzSafetensors(f *testing.F) {
	for _, c := range badHeaders {
		f.Add(file(c.header, c.data))
	}
	for _, name := range []string{"types", "sorted"} {
		b, err := os.ReadFile("testdata/" + name + ".safetensors")
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decode(data)
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "nn: safetensors: "), err)
			return
		}
		var once, twice bytes.Buffer
		require.NoError(t, EncodeSafetensors(&once, s))
		again, err := decode(once.Bytes())
		require.NoError(t, err)
		require.NoError(t, EncodeSafetensors(&twice, again))
		require.Equal(t, once.Bytes(), twice.Bytes())
	})
}
