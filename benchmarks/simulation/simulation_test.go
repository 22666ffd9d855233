package simulation_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/federated"
	"github.com/sotto-ml/sotto/internal/clients"
)

const records = 60000

// data is as large as MNIST, with as many blank pixels.
func data(n int) *clients.Data {
	r := rand.New(rand.NewPCG(1, 1))
	draw := func(n int) (rows [][]float32, labels []int) {
		flat := make([]float32, n*784)
		for i := range flat {
			flat[i] = max(0, r.Float32()*5-4)
		}
		for i := range n {
			rows, labels = append(rows, flat[i*784:(i+1)*784]), append(labels, r.IntN(10))
		}
		return rows, labels
	}
	d := &clients.Data{}
	d.Train, d.TrainLabels = draw(n)
	d.Test, d.TestLabels = draw(10)
	return d
}

// free is a ledger that grants all.
type free struct{}

func (free) Reserve(string, accounting.Relation, accounting.Event, float64) error { return nil }
func (free) Settle(string, accounting.Event, float64) error                       { return nil }

// spent is time on the clock and on all cores, in seconds.
type spent struct{ wall, cpu float64 }

// since is what was spent since a start.
func since(start time.Time, before float64) spent {
	return spent{time.Since(start).Seconds(), cpu() - before}
}

// bare trains all clients once, without federation.
func bare(learners []*clients.Learner, params []float32, parts [][]int, round int) spent {
	start, before := time.Now(), cpu()
	var next atomic.Int64
	var group sync.WaitGroup
	for _, l := range learners {
		group.Go(func() {
			for {
				c := int(next.Add(1)) - 1
				if c >= len(parts) {
					return
				}
				l.Learn(params, parts[c], round, uint64(c), false, nil)
			}
		})
	}
	group.Wait()
	return since(start, before)
}

// resident is the memory that the process holds, in bytes.
func resident() float64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
			if rest, ok := bytes.CutPrefix(s.Bytes(), []byte("VmRSS:")); ok {
				kib, err := strconv.ParseFloat(string(bytes.TrimSpace(bytes.TrimSuffix(rest, []byte("kB")))), 64)
				if err == nil {
					return kib * 1024
				}
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}

// peak watches the memory until it is told to stop, and returns the most there was
// beyond what there was at first.
func peak() (stop func() float64) {
	debug.FreeOSMemory()
	first := resident()
	most := first
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				most = max(most, resident())
			}
		}
	}()
	return func() float64 {
		close(done)
		<-ended
		return max(most, resident()) - first
	}
}

// measure runs rounds, with a bare pass after each if asked for.
func measure(b *testing.B, d *clients.Data, model string, n, rounds int, private, compare bool) (federation, without []spent, memory float64) {
	local := clients.Local{Epochs: 1, Batch: 20, Rate: 0.05}
	start, err := clients.NewModel(model, 1)
	require.NoError(b, err)
	run := clients.Run{
		Plan: federated.Plan{Rounds: rounds, Strategy: federated.FedAvg{}, Selection: federated.All{}},
		Data: d, Model: model, Local: local, Parts: clients.Gamma(d.TrainLabels, n, 1, 1), Seed: 1, EvalEvery: rounds + 1,
	}
	if private {
		run.Plan.Privacy = federated.Central{ClipNorm: 1, NoiseMultiplier: 1, Population: n, Relation: accounting.AddRemove, Delta: 1e-5}
		run.Ledger = free{}
	}
	var learners []*clients.Learner
	for range runtime.GOMAXPROCS(0) {
		l, err := clients.NewLearner(d, model, local)
		require.NoError(b, err)
		learners = append(learners, l)
	}
	stop := func() float64 { return 0 }
	if !compare {
		stop = peak()
	}
	var begun time.Time
	var before float64
	run.Watch = func(x clients.Round) error {
		took := since(begun, before)
		if x.Participants != n {
			return fmt.Errorf("round %d had %d clients, must have %d", x.Number, x.Participants, n)
		}
		// The first round also waits for the clients to join, the last tests the model.
		if x.Number > 1 && x.Number < rounds {
			federation = append(federation, took)
			if compare {
				without = append(without, bare(learners, start.Params(), run.Parts, x.Number))
			}
		} else if compare && x.Number == 1 {
			bare(learners, start.Params(), run.Parts, x.Number)
		}
		begun, before = time.Now(), cpu()
		return nil
	}
	_, err = run.Do(context.Background())
	require.NoError(b, err)
	return federation, without, stop()
}

func BenchmarkRounds(b *testing.B) {
	size, rounds := records, 11
	if testing.Short() {
		size, rounds = 2000, 4
	}
	d := data(size)
	for _, c := range []struct {
		model   string
		clients int
		private bool
	}{{"cnn", 1000, false}, {"cnn", 1000, true}, {"mlp", 1000, false}, {"linear", 1000, false}, {"cnn", 100, false}} {
		n := min(c.clients, size/20)
		b.Run(fmt.Sprintf("model=%s/clients=%d/private=%v", c.model, c.clients, c.private), func(b *testing.B) {
			var ratio, work, ours, theirs []float64
			for b.Loop() {
				with, without, _ := measure(b, d, c.model, n, rounds, c.private, true)
				for i := range with {
					ratio, work = append(ratio, with[i].wall/without[i].wall), append(work, with[i].cpu/without[i].cpu)
					ours, theirs = append(ours, float64(n)/with[i].wall), append(theirs, float64(n)/without[i].wall)
				}
			}
			b.ReportMetric(100*(median(ratio)-1), "overhead-%")
			b.ReportMetric(100*(median(work)-1), "cpu-overhead-%")
			b.ReportMetric(median(ours), "updates/s")
			b.ReportMetric(median(theirs), "bare-updates/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func BenchmarkMemory(b *testing.B) {
	size := records
	if testing.Short() {
		size = 2000
	}
	d := data(size)
	for _, c := range []struct {
		clients int
		private bool
	}{{1000, false}, {10000, false}, {10000, true}} {
		n := min(c.clients, size/2)
		b.Run(fmt.Sprintf("model=cnn/clients=%d/private=%v", c.clients, c.private), func(b *testing.B) {
			var memory, ours []float64
			for b.Loop() {
				with, _, m := measure(b, d, "cnn", n, 4, c.private, false)
				memory = append(memory, m/1e6)
				for _, s := range with {
					ours = append(ours, float64(n)/s.wall)
				}
			}
			b.ReportMetric(slices.Max(memory), "peak-MB")
			b.ReportMetric(median(ours), "updates/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}
