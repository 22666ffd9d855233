package secagg

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/sotto-ml/sotto/internal/stream"
)

// inTurns times functions in turns and gives the median seconds of each.
func inTurns(b *testing.B, fs ...func()) []float64 {
	b.Helper()
	all := make([][]float64, len(fs))
	for round := range 9 {
		for i, f := range fs {
			start := time.Now()
			f()
			if round > 0 {
				all[i] = append(all[i], time.Since(start).Seconds())
			}
		}
	}
	out := make([]float64, len(fs))
	for i, s := range all {
		slices.Sort(s)
		out[i] = s[len(s)/2]
	}
	return out
}

// onCores forces a number of cores.
func onCores(b *testing.B, n int) {
	if n > runtime.NumCPU() {
		b.Skipf("there are %d cores", runtime.NumCPU())
	}
	was := runtime.GOMAXPROCS(n)
	b.Cleanup(func() { runtime.GOMAXPROCS(was) })
}

// keystream makes as many words as masks of d elements take, and does nothing with them.
func keystream(masks, d int) func() {
	key := stream.NewKey()
	c := stream.NewCipher(&key)
	words := make([]uint64, maskChunk/2)
	return func() {
		for range masks {
			for at := 0; at < d; at += maskChunk {
				c.Fill(words[:(min(maskChunk, d-at)+1)/2], 0, uint64(at/4))
			}
		}
	}
}

func randomMasks(n int) []mask {
	out := make([]mask, n)
	for i := range out {
		out[i] = mask{stream.NewKey(), i%2 == 0}
	}
	return out
}

// BenchmarkMasks expands and adds a client's masks: of-keystream is the speed as a share
// of the keystream alone, on one core, in turns. With k neighbours there are k+1 masks.
func BenchmarkMasks(b *testing.B) {
	const d = 1_000_000
	for _, k := range []int{10, 20} {
		for _, cores := range []int{1, 2} {
			b.Run(fmt.Sprintf("k=%d/d=1e6/cores=%d", k, cores), func(b *testing.B) {
				onCores(b, cores)
				y := make([]uint32, d)
				masks := randomMasks(k + 1)
				apply := func() { applyMasks(y, slices.Clone(masks)) }
				b.SetBytes(4 * d * int64(len(masks)))
				for b.Loop() {
					apply()
				}
				s := inTurns(b, apply, keystream(len(masks), d))
				b.ReportMetric(s[1]/s[0], "of-keystream")
				b.ReportMetric(1e3*s[0], "ms")
			})
		}
	}
}

// BenchmarkPeer quantises a vector, expands and adds the masks of ten neighbours and the
// own one: x-flower is the speed as a multiple of what Flower's SecAgg+ took for the same
// with its 32-bit seeds, 48.96 ms on one core of another machine (Zen 5, numpy).
func BenchmarkPeer(b *testing.B) {
	const d, flower = 1_000_000, 48.96e-3
	onCores(b, 1)
	x := make([]float32, d)
	for i := range x {
		x[i] = 16*rand.Float32() - 8
	}
	y := make([]uint32, d)
	masks := randomMasks(11)
	f := FixedPoint{Bound: 8, Clients: 100}
	work := func() {
		if _, err := f.Encode(y, x); err != nil {
			b.Fatal(err)
		}
		applyMasks(y, slices.Clone(masks))
	}
	for b.Loop() {
		work()
	}
	s := inTurns(b, work)
	b.ReportMetric(flower/s[0], "x-flower")
	b.ReportMetric(1e3*s[0], "ms")
}

// together is a session of n clients up to the last phase, of which those whose place on
// the ring gone names drop out before they send vectors.
func together(b *testing.B, s Session, gone func(place int) bool, timed int) (v *Server, seconds []float64) {
	b.Helper()
	pinned := map[string]*PublicIdentity{}
	clients := make([]*Client, len(s.Clients))
	ids := make([]*Identity, len(s.Clients))
	for i, name := range s.Clients {
		ids[i] = NewIdentity()
		pinned[name] = ids[i].Public()
	}
	for i, name := range s.Clients {
		var err error
		if clients[i], err = NewClient(ClientConfig{Name: name, Identity: ids[i], Pinned: pinned, Policy: Policy{MinSurvivors: s.MinSurvivors}, Input: func(s Session) ([]uint32, error) {
			return make([]uint32, s.Length), nil
		}}); err != nil {
			b.Fatal(err)
		}
	}
	v, err := NewServer(s, pinned)
	if err != nil {
		b.Fatal(err)
	}
	for v.Phase() != Done {
		phase := v.Phase()
		for i, name := range s.Clients {
			request := v.Request(name)
			if request == nil || phase >= Mask && gone(v.graph.place[i]) {
				continue
			}
			start := time.Now()
			reply, err := clients[i].Handle(request)
			if i == timed {
				seconds = append(seconds, time.Since(start).Seconds())
			}
			if err == nil {
				err = v.Receive(name, reply)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		if phase == Unmask {
			return v, seconds
		}
		if err := v.Advance(); err != nil {
			b.Fatal(err)
		}
	}
	return v, seconds
}

// BenchmarkClient is all that one of a hundred clients with 20 neighbours does in a
// session, on one core, but for training: rest-ms is what is not masking.
func BenchmarkClient(b *testing.B) {
	const k, d = 20, 1_000_000
	n := 100
	if testing.Short() {
		n = 24
	}
	onCores(b, 1)
	s := Session{Clients: names(n), Length: d, Neighbours: k, Threshold: 14, MinSurvivors: n / 2}
	masks := randomMasks(k + 1)
	y := make([]uint32, d)
	var all, rest []float64
	for b.Loop() {
		_, seconds := together(b, s, func(int) bool { return false }, n/2)
		total := 0.0
		for _, t := range seconds {
			total += t
		}
		alone := inTurns(b, func() { applyMasks(y, slices.Clone(masks)) })
		all, rest = append(all, total), append(rest, total-alone[0])
	}
	slices.Sort(all)
	slices.Sort(rest)
	b.ReportMetric(1e3*all[len(all)/2], "ms")
	b.ReportMetric(1e3*rest[len(rest)/2], "rest-ms")
}

// BenchmarkUnmask is all that a server does of a hundred clients' shares when 20 of them
// have dropped out after they shared secrets: secrets are recovered, masks expanded and
// taken off. of-keystream is as in BenchmarkMasks.
func BenchmarkUnmask(b *testing.B) {
	const n, k, d = 100, 20, 1_000_000
	for _, cores := range []int{1, 2} {
		b.Run(fmt.Sprintf("n=%d/k=%d/d=1e6/gone=20/cores=%d", n, k, cores), func(b *testing.B) {
			onCores(b, cores)
			// The work does not depend on the length until masks are made.
			s := Session{Clients: names(n), Length: 1, Neighbours: k, Threshold: 14, MinSurvivors: 50}
			v, _ := together(b, s, func(place int) bool { return place%5 == 0 }, -1)
			sum := make([]uint32, d)
			count := 0
			unmask := func() {
				masks, err := v.masks()
				if err != nil {
					b.Fatal(err)
				}
				count = len(masks)
				applyMasks(sum, masks)
			}
			for b.Loop() {
				unmask()
			}
			recover := func() {
				if _, err := v.masks(); err != nil {
					b.Fatal(err)
				}
			}
			t := inTurns(b, unmask, keystream(count, d), recover)
			b.ReportMetric(t[1]/t[0], "of-keystream")
			b.ReportMetric(float64(count), "masks")
			b.ReportMetric(1e3*t[0], "ms")
			b.ReportMetric(1e3*t[2], "recover-ms")
		})
	}
}
