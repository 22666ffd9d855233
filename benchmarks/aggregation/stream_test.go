package aggregation_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/sotto-ml/sotto/aggregate"
)

// BenchmarkStream aggregates files of a million columns each, beside reading the same
// files in the same blocks: of-read is by the second, and peak-MiB what the process
// took from the system by the end.
func BenchmarkStream(b *testing.B) {
	n, d := 1000, 1_000_000
	if testing.Short() {
		n, d = 50, 100_000
	}
	source := files(b, n, d)
	for _, c := range []struct {
		name string
		rule aggregate.Rule
	}{
		{"Mean", aggregate.Mean{}}, {"Median", aggregate.Median{}}, {"TrimmedMean", aggregate.TrimmedMean{F: n / 5}},
		{"ARC", aggregate.ARC{F: n / 5}}, {"MultiKrum", aggregate.MultiKrum{F: n / 5}},
	} {
		b.Run(fmt.Sprintf("rule=%s/n=%d/d=%d", c.name, n, d), func(b *testing.B) {
			var reading, aggregating time.Duration
			for b.Loop() {
				start := time.Now()
				read(b, source)
				reading += time.Since(start)
				start = time.Now()
				if err := aggregate.Stream(c.rule, source, func(int, []float32) error { return nil }, nil); err != nil {
					b.Fatal(err)
				}
				aggregating += time.Since(start)
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(aggregating.Seconds()/float64(b.N), "s")
			b.ReportMetric(reading.Seconds()/aggregating.Seconds(), "of-read")
			b.ReportMetric(float64(m.Sys)/(1<<20), "peak-MiB")
		})
	}
}

// read reads all rows, in blocks, on all cores.
func read(b *testing.B, source aggregate.ReaderSource) {
	const width = 4096
	cores := runtime.GOMAXPROCS(0)
	done := make(chan error)
	for c := range cores {
		go func() {
			block := make([][]float32, len(source.Rows))
			for i := range block {
				block[i] = make([]float32, width)
			}
			var err error
			for at := c * width; at+width <= source.Columns && err == nil; at += cores * width {
				err = source.ReadColumns(block, at)
			}
			done <- err
		}()
	}
	for range cores {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// files are n rows of normal values on disk.
func files(b *testing.B, n, d int) aggregate.ReaderSource {
	dir := b.TempDir()
	rng := rand.New(rand.NewPCG(1, 1))
	values := make([]float32, d)
	source := aggregate.ReaderSource{Columns: d, Rows: make([]io.ReaderAt, n)}
	for j := range values {
		values[j] = float32(rng.NormFloat64())
	}
	for i := range n {
		for k := 0; k < d; k += 97 {
			values[k] = float32(rng.NormFloat64())
		}
		raw, err := binary.Append(nil, binary.LittleEndian, values)
		if err != nil {
			b.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			b.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { file.Close() })
		source.Rows[i] = file
	}
	return source
}
