package mnist

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func idx(dims []uint32, data []byte) []byte {
	b := []byte{0, 0, 8, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, data...)
}

func TestReadIDX(t *testing.T) {
	data, n, err := readIDX(bytes.NewReader(idx([]uint32{2, 3, 1}, []byte("abcdef"))), 3, 1)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, "abcdef", string(data))
	for _, c := range []struct {
		name, want string
		file       []byte
	}{
		{"empty", "truncated in its header", nil},
		{"short header", "truncated in its header", []byte{0, 0, 8, 3, 0}},
		{"wrong type", "magic number", append([]byte{0, 0, 9, 3}, make([]byte, 20)...)},
		{"wrong rank", "magic number", append([]byte{0, 0, 8, 1}, make([]byte, 20)...)},
		{"wrong shape", "dimension 1 is 4, allowed is 3", idx([]uint32{1, 4, 1}, []byte("abcd"))},
		{"no items", "number of items is 0", idx([]uint32{0, 3, 1}, nil)},
		{"absurd count", "number of items is 4294967295", idx([]uint32{1<<32 - 1, 3, 1}, nil)},
		{"large count, little data", "truncated: 3 bytes of data", idx([]uint32{1 << 20, 3, 1}, []byte("abc"))},
		{"one byte short", "truncated: 5 bytes of data, the header says 6", idx([]uint32{2, 3, 1}, []byte("abcde"))},
		{"one byte more", "more data", idx([]uint32{2, 3, 1}, []byte("abcdefg"))},
	} {
		_, _, err := readIDX(bytes.NewReader(c.file), 3, 1)
		require.ErrorContains(t, err, c.want, c.name)
	}
}

func writeGz(t *testing.T, name string, data []byte) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, os.WriteFile(name, b.Bytes(), 0o644))
}

func TestLoadSet(t *testing.T) {
	dir := t.TempDir()
	images, labels := filepath.Join(dir, "a-images-idx3-ubyte.gz"), filepath.Join(dir, "a-labels-idx1-ubyte.gz")
	_, err := loadSet(dir, "a", 2)
	require.ErrorContains(t, err, images)
	pixels := make([]byte, 2*Side*Side)
	pixels[0], pixels[Side*Side] = 255, 51
	writeGz(t, images, idx([]uint32{2, Side, Side}, pixels))
	_, err = loadSet(dir, "a", 2)
	require.ErrorContains(t, err, labels)
	writeGz(t, labels, idx([]uint32{2}, []byte{7, 9}))
	s, err := loadSet(dir, "a", 2)
	require.NoError(t, err)
	require.Equal(t, []int{7, 9}, s.Labels)
	rows := s.Rows()
	require.Equal(t, []float32{1, 0.2}, []float32{rows[0][0], rows[1][0]})

	_, err = loadSet(dir, "a", 3)
	require.ErrorContains(t, err, "has 2 examples")
	writeGz(t, labels, idx([]uint32{2}, []byte{7, 10}))
	_, err = loadSet(dir, "a", 2)
	require.ErrorContains(t, err, "label 1 of a is 10")
	writeGz(t, labels, idx([]uint32{3}, []byte{7, 1, 1}))
	_, err = loadSet(dir, "a", 2)
	require.ErrorContains(t, err, "2 images and 3 labels")

	whole, err := os.ReadFile(images)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(images, whole[:len(whole)-6], 0o644))
	_, err = loadSet(dir, "a", 2)
	require.ErrorContains(t, err, images, "a gzip stream cut in its check sum")
	require.NoError(t, os.WriteFile(images, []byte("not gzip"), 0o644))
	_, err = loadSet(dir, "a", 2)
	require.ErrorContains(t, err, "no gzip file")
}

// TestWholeSet reads the real files, where they can be had.
func TestWholeSet(t *testing.T) {
	dir, err := Locate("")
	if err != nil {
		t.Skip(err)
	}
	train, test, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, []int{60000, 10000}, []int{train.Len(), test.Len()})
	// Facts of the published set: the first labels and the mean ink, 0.1307.
	require.Equal(t, []int{5, 0, 4, 1, 9, 2, 1, 3, 1, 4}, train.Labels[:10])
	require.Equal(t, []int{7, 2, 1, 0, 4, 1, 4, 9, 5, 9}, test.Labels[:10])
	sum := 0
	for _, img := range train.Images {
		for _, p := range img {
			sum += int(p)
		}
	}
	require.InDelta(t, 0.1307, float64(sum)/(60000*Side*Side*255), 5e-5)
}

func FuzzReadIDX(f *testing.F) {
	f.Add(idx([]uint32{2, 3, 1}, []byte("abcdef")))
	f.Add(idx([]uint32{1 << 20, 3, 1}, []byte("abc")))
	f.Add([]byte{0, 0, 8})
	f.Fuzz(func(t *testing.T, file []byte) {
		data, n, err := readIDX(bytes.NewReader(file), 3, 1)
		if err == nil && (len(data) != 3*n || len(file) != 16+len(data)) {
			t.Fatalf("%d items, %d bytes from a file of %d", n, len(data), len(file))
		}
		if err != nil && data != nil {
			t.Fatal("data beside an error")
		}
	})
}
