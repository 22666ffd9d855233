package aggregation_test

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/sotto-ml/sotto/aggregate"
)

var python = flag.String("python", "", "a Python that has numpy, scipy and torch: BenchmarkRules times its peers with it, in turns with its own rules")

// peers is a Python process that computes the rules with the library calls of ByzFL's
// two back ends.
type peers struct {
	in  io.Writer
	out *bufio.Reader
}

// startPeers starts the process, with one thread and an allocator that keeps what is
// freed; OpenBLAS chooses its kernels. stop ends it.
func startPeers(b *testing.B) (p *peers, stop func()) {
	if runtime.GOMAXPROCS(0) > 1 {
		b.Fatal("-python compares one core: it needs -cpu 1")
	}
	cmd := exec.Command(*python, "testdata/peers.py")
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1",
		"MALLOC_MMAP_MAX_=0", "MALLOC_TRIM_THRESHOLD_=1000000000000", "MALLOC_TOP_PAD_=268435456")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return &peers{in, bufio.NewReader(out)}, func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	}
}

// agree fails if a back end's results are not a rule's.
func (p *peers) agree(b *testing.B, name string, rule aggregate.Rule, f, n int) {
	const d = 300
	rows, dir := clients(n, d), b.TempDir()
	var bytes []byte
	for _, row := range rows {
		for _, x := range row {
			bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(x))
		}
	}
	in, out := filepath.Join(dir, "rows"), filepath.Join(dir, "result")
	if err := os.WriteFile(in, bytes, 0o600); err != nil {
		b.Fatal(err)
	}
	want, err := rule.Aggregate(nil, rows, nil)
	if err != nil {
		b.Fatal(err)
	}
	p.ask(b, "load %s %d %d", in, n, d)
	for _, backend := range []string{"numpy", "torch"} {
		if _, reason := p.ask(b, "save %s %s %d %s", backend, name, f, out); reason != "" {
			b.Fatal(reason)
		}
		got, err := os.ReadFile(out)
		if err != nil {
			b.Fatal(err)
		}
		if len(got) != 4*d {
			b.Fatalf("%s in %s returned %d bytes, want %d", name, backend, len(got), 4*d)
		}
		for j := range want {
			x := math.Float32frombits(binary.LittleEndian.Uint32(got[4*j:]))
			if math.Abs(float64(x-want[j])) > 1e-5 {
				b.Fatalf("%s in %s is %g at column %d, sotto's %g", name, backend, x, j, want[j])
			}
		}
	}
}

// ask sends a line and returns the seconds of its answer, or why there are none.
func (p *peers) ask(b *testing.B, format string, args ...any) (float64, string) {
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		b.Fatal(err)
	}
	answer, err := p.out.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	answer = strings.TrimSpace(answer)
	seconds, err := strconv.ParseFloat(answer, 64)
	if err != nil {
		return 0, answer
	}
	return seconds, ""
}

// faster calls both back ends twice, since a first call takes its memory from the
// system, and returns the name of the one that was faster then.
func (p *peers) faster(b *testing.B, rule string, f int) string {
	best, least := "", math.Inf(1)
	for _, backend := range []string{"numpy", "torch"} {
		for range 2 {
			seconds, reason := p.ask(b, "call %s %s %d", backend, rule, f)
			if reason != "" {
				b.Logf("%s has no %s: %s", backend, rule, reason)
				break
			}
			if seconds < least {
				best, least = backend, seconds
			}
		}
	}
	if best == "" {
		b.Fatalf("neither back end computes %s", rule)
	}
	return best
}
