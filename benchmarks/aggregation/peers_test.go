package aggregation_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

var python = flag.String("python", "", "a Python that has numpy, scipy and torch: BenchmarkRules times its peers with it, in turns with its own rules")

// peers is a Python process that computes the rules with the library calls of ByzFL's
// two back ends.
type peers struct {
	in  io.Writer
	out *bufio.Reader
}

// startPeers starts the process. It has one core, an allocator that keeps what is
// freed, and OpenBLAS's choice of kernels.
func startPeers(b *testing.B) *peers {
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
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	return &peers{in, bufio.NewReader(out)}
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
			seconds, reason := p.ask(b, "%s %s %d", backend, rule, f)
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
