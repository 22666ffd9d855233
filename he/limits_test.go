package he

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	gauges "runtime/metrics"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/sotto-ml/sotto/nn"
)

func TestHandlerOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]HandlerOptions{
		"MaxSessions is -1":          {MaxSessions: -1},
		"Rate is -1":                 {Rate: -1},
		"MaxKeyMemory is 1000, one":  {MaxKeyMemory: 1000},
		"MaxQueryMemory is 1000, on": {MaxQueryMemory: 1000},
		"TransferTimeout is -1":      {TransferTimeout: -1},
		"at most 1048576":            {Queue: 1 << 21},
		"QuotaPeriod is 2562047h47m": {Quota: 1, QuotaPeriod: math.MaxInt64},
		"must be at most 87600h0m0s": {Quota: 1, QuotaPeriod: 87600*time.Hour + 1},
	} {
		_, err := NewHandler(servedOnce(), o)
		require.ErrorContains(t, err, want)
	}
}

// A query that waits takes room for itself alone, one that is evaluated for more.
func TestHandlerQueryMemory(t *testing.T) {
	p := servedOnce()
	waiting, evaluated, shared := p.schema.queryMemory(), p.evaluationMemory(), p.schema.sharedMemory()
	for _, c := range []struct {
		memory        int64
		turns, places int
	}{
		{shared + waiting + evaluated, 1, 1},
		{shared + 2*(waiting+evaluated) - 1, 1, 1 + int((waiting+evaluated-1)/waiting)},
		{shared + 2*(waiting+evaluated), 2, 2},
		{shared + 3*(waiting+evaluated) + 5*waiting, 3, 8},
		{0, 3, 12 + 3},
	} {
		h := newHandler(t, p, HandlerOptions{Concurrency: 3, MaxQueryMemory: c.memory})
		require.Equal(t, c.turns, cap(h.turns), c.memory)
		require.Equal(t, min(c.places, 15), h.places, c.memory)
		h = newHandler(t, p, HandlerOptions{Concurrency: 3, MaxQueryMemory: c.memory, Authenticate: byHeader})
		require.Equal(t, (h.places+1)/2, h.options.ClientConcurrency)
	}
	_, err := NewHandler(p, HandlerOptions{MaxQueryMemory: shared + waiting + evaluated - 1})
	require.ErrorContains(t, err, "one query takes")
}

// peakHeap is the most bytes that were alive while f ran, beside those before. The
// collector runs all the time, so that what is seen is hardly more than what lives; and
// f is run again, after prepare, until it has been looked into often enough: a short one
// on a busy machine may end before anyone looks.
func peakHeap(prepare, f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	var before, peak atomic.Int64
	var looks, runs atomic.Int64 // runs is odd while f runs
	var done atomic.Bool
	var group sync.WaitGroup
	group.Go(func() {
		sample := []gauges.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for !done.Load() {
			run := runs.Load()
			gauges.Read(sample)
			if run%2 == 1 && runs.Load() == run {
				peak.Store(max(peak.Load(), int64(sample[0].Value.Uint64())-before.Load()))
				looks.Add(1)
			}
			time.Sleep(50 * time.Microsecond)
		}
	})
	for looks.Load() < 50 {
		prepare()
		before.Store(liveHeap())
		runs.Add(1)
		f()
		runs.Add(1)
	}
	done.Store(true)
	group.Wait()
	return peak.Load()
}

// What an evaluation is seen to keep alive is below its bound, and not far below.
func TestEvaluationMemory(t *testing.T) {
	for name, c := range map[string]struct {
		o      Options
		inputs int
		layers []nn.Layer
	}{
		"batch wide":       {Options{Mode: Batch}, 4, []nn.Layer{nn.Linear{Out: 150}, nn.Square{}, nn.Linear{Out: 2}}},
		"batch deep":       {Options{Mode: Batch}, 4, []nn.Layer{nn.Linear{Out: 50}, nn.Square{}, nn.Linear{Out: 50}, nn.Square{}, nn.Linear{Out: 2}}},
		"batch residual":   {Options{Mode: Batch}, 20, []nn.Layer{nn.Residual{Layers: []nn.Layer{nn.Square{}}}, nn.Linear{Out: 20}, nn.Residual{Layers: []nn.Layer{nn.Square{}}}, nn.Linear{Out: 2}}},
		"batch linear":     {Options{Mode: Batch}, 100, []nn.Layer{nn.Linear{Out: 100}}},
		"latency linear":   {Options{Mode: Latency}, 32, []nn.Layer{nn.Linear{Out: 10}}},
		"latency squares":  {Options{Mode: Latency}, 50, []nn.Layer{nn.Linear{Out: 64}, nn.Square{}, nn.Linear{Out: 64}, nn.Square{}, nn.Linear{Out: 10}}},
		"latency series":   {Options{Mode: Latency, Degree: 7}, 16, []nn.Layer{nn.Linear{Out: 16}, nn.Tanh{}, nn.Linear{Out: 4}}},
		"latency residual": {Options{Mode: Latency}, 16, []nn.Layer{nn.Linear{Out: 16}, nn.Residual{Layers: []nn.Layer{nn.Square{}, nn.Linear{Out: 16}}}, nn.Linear{Out: 4}}},
	} {
		if testing.Short() && name != "batch wide" && name != "latency residual" {
			continue
		}
		m, err := nn.New(nn.Shape{c.inputs}, c.layers...)
		require.NoError(t, err)
		m.Init(nn.XavierNormal, 1)
		p, err := Compile(m, examples(20, c.inputs, 1), c.o)
		require.NoError(t, err, name)
		client := NewClient(p.Schema())
		s, err := NewServer(p, client.Keys())
		require.NoError(t, err)
		q, err := client.Encrypt(examples(1, c.inputs, 2))
		require.NoError(t, err)
		_, err = s.Evaluate(q) // makes what all evaluations share
		require.NoError(t, err)
		keepNothing := func() { // what is kept counts too
			if w := s.workers; w.latency != nil {
				w.latency.free = nil
			} else if w.batch != nil {
				w.batch.free = nil
			}
		}
		seen := int64(math.MaxInt64) // of several, as a late collector sees more than what lives
		for range 5 {
			seen = min(seen, peakHeap(keepNothing, func() { _, err = s.Evaluate(q) }))
			require.NoError(t, err)
		}
		bound := p.evaluationMemory()
		t.Logf("%s: query %d bytes, evaluation %d, seen %d, factor %.2f", name, p.Schema().queryMemory(), bound, seen, float64(bound)/float64(seen))
		require.LessOrEqual(t, seen, bound, name)
		require.LessOrEqual(t, bound, 4*seen, name)
		runtime.KeepAlive(q)
	}
}

// A query and the worker that all share are below their bounds too.
func TestQueryMemory(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		p := small(t, mode)
		m := newMessages(t, p)
		before := liveHeap()
		q, err := p.Schema().ReadQuery(bytes.NewReader(m.query))
		require.NoError(t, err)
		held := liveHeap() - before
		runtime.KeepAlive(q)
		require.LessOrEqual(t, held, p.Schema().queryMemory())
		require.LessOrEqual(t, p.Schema().queryMemory(), 4*held)
		s, err := NewServer(p, m.client.Keys())
		require.NoError(t, err)
		before = liveHeap()
		a, err := s.Evaluate(q)
		require.NoError(t, err)
		shared := liveHeap() - before
		runtime.KeepAlive(s)
		runtime.KeepAlive(a)
		require.LessOrEqual(t, shared, p.Schema().sharedMemory()+p.Schema().queryMemory())
	}
}

func TestHandlerRateAndQuota(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, p, HandlerOptions{Authenticate: byHeader, Rate: 0.5, Burst: 3, Quota: 6, QuotaPeriod: time.Hour, SessionIdle: 10 * time.Hour})
		session := openSession(t, h, "anna", m)
		query := func() *httptest.ResponseRecorder { return ask(h, "POST", "/query", "anna", session, m.query) }
		require.Equal(t, 200, query().Code)
		require.Equal(t, 200, query().Code)
		w := query()
		require.Equal(t, 429, w.Code)
		require.Equal(t, "2", w.Header().Get("Retry-After"))
		openSession(t, h, "bert", m) // others are not held back
		time.Sleep(2 * time.Second)
		require.Equal(t, 200, query().Code)
		require.Equal(t, 429, query().Code)
		time.Sleep(4 * time.Second)
		require.Equal(t, 200, query().Code)
		require.Equal(t, 200, query().Code)
		time.Sleep(10 * time.Second) // the rate has room, the quota has none
		w = query()
		require.Equal(t, 429, w.Code)
		wait, err := strconv.Atoi(w.Header().Get("Retry-After"))
		require.NoError(t, err)
		require.InDelta(t, 3600*65/64-16, wait, 2)
		time.Sleep(time.Duration(wait-1) * time.Second)
		require.Equal(t, 429, query().Code)
		time.Sleep(time.Second)
		require.Equal(t, 200, query().Code)
		h.options.Log = slog.New(slog.DiscardHandler)
		require.Equal(t, 204, ask(h, "DELETE", "/session", "anna", session, nil).Code)
		require.Contains(t, h.clients, "anna", "her quota is not forgotten")
		time.Sleep(time.Hour * 65 / 64)
		h.mutex.Lock()
		h.rest(h.clients["anna"], time.Now())
		h.mutex.Unlock()
		require.NotContains(t, h.clients, "anna")
	})
}

// No period, whenever it begins, holds more requests than the quota, and each takes
// hardly less than that from who asks all the time.
func TestQuotaHoldsInEveryPeriod(t *testing.T) {
	start := time.Now()
	for _, period := range []time.Duration{time.Hour, time.Minute + 1, 100, 24 * time.Hour} {
		for _, most := range []int{1, 7, 100} {
			c := &clientState{quota: &quota{most: most, period: period, start: start}}
			var taken []time.Duration
			const steps = 1000 // of each period
			for i := range 5 * steps {
				// Half of them at once, half whenever there is room.
				at := period * time.Duration(i) / steps
				if i < steps/2 && i > 0 && len(taken) >= most/2 {
					continue
				}
				for c.charge(start.Add(at)) == 0 {
					if taken = append(taken, at); i < steps/2 && len(taken) >= max(1, most/2) {
						break
					}
				}
			}
			for i := range taken {
				n := 0
				for _, at := range taken[i:] {
					if at < taken[i]+period {
						n++
					}
				}
				require.LessOrEqual(t, n, most, "%v from %v", period, taken[i])
			}
			require.GreaterOrEqual(t, len(taken), 4*most, period)
		}
	}
	// What it says to wait is right to the nanosecond.
	c := &clientState{quota: &quota{most: 2, period: time.Hour, start: start}}
	require.Zero(t, c.charge(start))
	require.Zero(t, c.charge(start.Add(10*time.Minute)))
	wait := c.charge(start.Add(20 * time.Minute))
	require.Greater(t, wait, 40*time.Minute)
	require.LessOrEqual(t, wait, 41*time.Minute)
	require.Equal(t, time.Nanosecond, c.charge(start.Add(20*time.Minute+wait-1)))
	require.Zero(t, c.charge(start.Add(20*time.Minute+wait)))
	require.Positive(t, c.charge(start.Add(20*time.Minute+wait)))
}

// The longest periods hold too.
func TestQuotaHoldsForLong(t *testing.T) {
	start := time.Now()
	for _, period := range []time.Duration{maxQuotaPeriod, math.MaxInt64} {
		c := &clientState{quota: &quota{most: 1, period: period, start: start}}
		require.Zero(t, c.charge(start))
		for _, at := range []time.Duration{1, time.Second, 1000 * time.Hour, maxQuotaPeriod - 1} {
			require.Positive(t, c.charge(start.Add(at)), at)
		}
	}
	c := &clientState{quota: &quota{most: 1, period: maxQuotaPeriod, start: start}}
	require.Zero(t, c.charge(start))
	wait := c.charge(start.Add(time.Hour))
	require.Greater(t, wait, maxQuotaPeriod-time.Hour)
	require.LessOrEqual(t, wait, maxQuotaPeriod+maxQuotaPeriod/quotaParts)
	require.Zero(t, c.charge(start.Add(time.Hour+wait)))
}

// However many clients have come, another one is served. Of those that are remembered the
// ones that have used least are forgotten, and none that has a session.
func TestHandlerForgetsWhoUsedLeast(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	for name, o := range map[string]HandlerOptions{
		"quota": {Quota: 4, QuotaPeriod: 1000 * time.Hour},
		"rate":  {Rate: 1e-9, Burst: 4},
	} {
		o.Authenticate = byHeader
		h := newHandler(t, p, o)
		session := openSession(t, h, "carl", m)
		for range 4 {
			require.Equal(t, 200, ask(h, "GET", "/schema", "anna", "", nil).Code)
		}
		require.Equal(t, 429, ask(h, "GET", "/schema", "anna", "", nil).Code)
		for i := range maxClients + 500 {
			if w := ask(h, "GET", "/schema", strconv.Itoa(i), "", nil); w.Code != 200 {
				t.Fatal(name, i, w.Code, w.Body, w.Header())
			}
		}
		require.Len(t, h.resting, maxClients, name)
		require.Len(t, h.clients, maxClients+1, name)
		require.Equal(t, 429, ask(h, "GET", "/schema", "anna", "", nil).Code, name)
		for _, want := range []int{200, 200, 200, 429} {
			require.Equal(t, want, ask(h, "POST", "/query", "carl", session, m.query).Code, name)
		}
		require.Equal(t, 204, ask(h, "DELETE", "/session", "carl", session, nil).Code)
		require.Len(t, h.resting, maxClients, name)
		require.Equal(t, 429, ask(h, "GET", "/schema", "carl", "", nil).Code, name)
	}
}

// Who lacks both rate and quota waits for the later one.
func TestChargeWaitsForAll(t *testing.T) {
	start := time.Now()
	c := &clientState{quota: &quota{most: 1, period: time.Minute, start: start}, rate: rate.NewLimiter(1./3600, 1)}
	require.Zero(t, c.charge(start))
	require.InDelta(t, time.Hour, c.charge(start), 1e6)
	require.InDelta(t, 58*time.Minute, c.charge(start.Add(2*time.Minute)), 1e6)
	require.Zero(t, c.charge(start.Add(time.Hour+1)))
}

// The schema counts as a request.
func TestHandlerChargesForTheSchema(t *testing.T) {
	for _, o := range []HandlerOptions{{Rate: 1e-9, Burst: 3}, {Quota: 3}} {
		o.Authenticate = byHeader
		h := newHandler(t, servedOnce(), o)
		for _, want := range []int{200, 200, 200, 429, 429} {
			w := ask(h, "GET", "/schema", "anna", "", nil)
			require.Equal(t, want, w.Code)
			require.Equal(t, want == 429, w.Header().Get("Retry-After") != "")
		}
		require.Equal(t, 429, ask(h, "POST", "/keys", "anna", "", nil).Code)
		require.Equal(t, 200, ask(h, "GET", "/schema", "bert", "", nil).Code)
	}
	h := newHandler(t, servedOnce(), HandlerOptions{})
	require.Equal(t, 200, ask(h, "GET", "/schema", "", "", nil).Code)
	require.Empty(t, h.clients)
}

func TestHandlerBackPressure(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	h := newHandler(t, p, HandlerOptions{Authenticate: byHeader, Concurrency: 1, Queue: 2, ClientConcurrency: 2})
	anna, bert := openSession(t, h, "anna", m), openSession(t, h, "bert", m)
	body1, done1 := begin(h, "anna", anna, m.query)
	body2, done2 := begin(h, "anna", anna, m.query)
	w := ask(h, "POST", "/query", "anna", anna, m.query)
	require.Equal(t, 429, w.Code, "a client may not take all places")
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	body3, done3 := begin(h, "bert", bert, m.query)
	for _, path := range []string{"/query", "/keys"} {
		w = ask(h, "POST", path, "bert", bert, m.query)
		require.Equal(t, 503, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
	}
	require.Contains(t, metricsOf(h), "sotto_he_requests_in_work 3\n")
	for _, b := range []*slowBody{body1, body2, body3} {
		close(b.let)
	}
	for _, done := range []chan *httptest.ResponseRecorder{done1, done2, done3} {
		require.Equal(t, 200, (<-done).Code)
	}
	require.Zero(t, h.admitted)
}

func TestHandlerQueueEnds(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, p, HandlerOptions{Concurrency: 1, QueueTimeout: 3 * time.Second})
		session := openSession(t, h, "", m)
		h.turns <- struct{}{} // an evaluation that takes long
		w := ask(h, "POST", "/query", "", session, m.query)
		require.Equal(t, 503, w.Code)
		require.Contains(t, w.Body.String(), "waited 3s")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "POST", "/query", bytes.NewReader(m.query))
		r.Header.Set(SessionHeader, session)
		gone := httptest.NewRecorder()
		start := time.Now()
		h.ServeHTTP(gone, r)
		require.Equal(t, time.Second, time.Since(start), "who is gone waits no longer")
		require.EqualValues(t, 1, h.completed.refusals["gone"])
		<-h.turns
		require.Equal(t, 200, ask(h, "POST", "/query", "", session, m.query).Code)
		require.Equal(t, 204, ask(h, "DELETE", "/session", "", session, nil).Code)
	})
}
