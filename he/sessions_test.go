package he

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"
	"github.com/tuneinsight/lattigo/v5/core/rlwe"

	"github.com/sotto-ml/sotto/nn"
)

// liveHeap is the bytes of objects that can be reached.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Sessions that have been used hold their keys and no more than is accounted for them.
func TestSessionsHoldKeysAlone(t *testing.T) {
	keyless, err := Compile(network(t, nn.Shape{32}, nn.Linear{Out: 10}), examples(20, 32, 1), Options{})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		p *Program
		n int
	}{"keyless": {keyless, 40}, "latency": {servedOnce(), 5}, "batch": {small(t, Batch), 5}} {
		m := newMessages(t, c.p)
		h := newHandler(t, c.p, HandlerOptions{})
		use := func() {
			session := openSession(t, h, "", m)
			require.Equal(t, 200, ask(h, "POST", "/query", "", session, m.query).Code)
		}
		use() // makes what all share
		before, taken := liveHeap(), takenBy(h)
		for range c.n {
			use()
		}
		held := liveHeap() - before
		t.Logf("%s: %d bytes of keys, %d accounted, %d held a session", name, len(m.keys), (takenBy(h)-taken)/int64(c.n), held/int64(c.n))
		require.LessOrEqual(t, held, takenBy(h)-taken, name)
		runtime.KeepAlive(m)
	}
}

// evaluateOnce evaluates a query of a client that is forgotten, and watches its keys.
//
//go:noinline
func evaluateOnce(t *testing.T, w *workers) weak.Pointer[rlwe.RelinearizationKey] {
	client := NewClient(w.program.Schema())
	keys := client.Keys()
	s, err := newServer(w, keys)
	require.NoError(t, err)
	q, err := client.Encrypt(examples(1, 10, 1))
	require.NoError(t, err)
	_, err = s.Evaluate(q)
	require.NoError(t, err)
	return weak.Make(keys.relin)
}

// After a query nothing holds the client's keys, whatever core has evaluated what, and
// the next query finds all that was made for the first one.
func TestWorkersForgetKeys(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for _, mode := range []Mode{Latency, Batch} {
		w := newWorkers(small(t, mode), 2)
		var made atomic.Int64
		if mode == Latency {
			counted(w.latency, &made)
		} else {
			counted(w.batch, &made)
		}
		for range 5 {
			key := evaluateOnce(t, w)
			runtime.GC()
			require.True(t, key.Value() == nil, mode)
		}
		if mode == Latency {
			require.EqualValues(t, 1, made.Load())
			require.Len(t, w.latency.free, 1)
			require.Nil(t, w.latency.free[0].eval.EvaluationKeySet)
			continue
		}
		require.LessOrEqual(t, made.Load(), int64(4))
		require.Len(t, w.batch.free, int(made.Load()))
		for _, e := range w.batch.free {
			require.Nil(t, e.EvaluationKeySet)
		}
	}
}

// counted has a stock count what it makes.
func counted[T any](s *stock[T], made *atomic.Int64) {
	next := s.make
	s.make = func() T {
		made.Add(1)
		return next()
	}
}

// Many evaluations at once leave no more behind than is kept.
func TestWorkersKeepFew(t *testing.T) {
	s := &stock[*int]{make: func() *int { return new(int) }, most: 3}
	var lent []*int
	for range 10 {
		lent = append(lent, s.take())
	}
	for _, v := range lent {
		s.put(v)
	}
	require.Len(t, s.free, 3)
	require.Same(t, lent[2], s.take())
	require.Len(t, s.free, 2)
	require.Nil(t, s.free[:3][2], "what is lent is not held")

	for _, mode := range []Mode{Latency, Batch} {
		p := small(t, mode)
		h := newHandler(t, p, HandlerOptions{Concurrency: 2})
		client := NewClient(p.Schema())
		server, err := newServer(h.workers, client.Keys())
		require.NoError(t, err)
		q, err := client.Encrypt(examples(1, 10, 1))
		require.NoError(t, err)
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				if _, err := server.Evaluate(q); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if mode == Latency {
			require.LessOrEqual(t, len(h.workers.latency.free), 2)
		} else {
			require.LessOrEqual(t, len(h.workers.batch.free), 2*runtime.GOMAXPROCS(0))
		}
	}
}

// A client that has all its sessions is told when its own first one ends.
func TestHandlerRetryAfterIsTheClients(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, p, HandlerOptions{Authenticate: byHeader, ClientSessions: 1, MaxSessions: 2, SessionIdle: 10 * time.Minute})
		bert := openSession(t, h, "bert", m)
		time.Sleep(4 * time.Minute)
		anna := openSession(t, h, "anna", m)
		for client, want := range map[string]int{"anna": 600, "bert": 360, "carl": 360} {
			w := ask(h, "POST", "/keys", client, "", m.keys)
			require.Equal(t, map[bool]int{true: http.StatusServiceUnavailable, false: http.StatusTooManyRequests}[client == "carl"], w.Code)
			after, err := strconv.Atoi(w.Header().Get("Retry-After"))
			require.NoError(t, err)
			require.Equal(t, want, after, client)
		}
		ask(h, "DELETE", "/session", "anna", anna, nil)
		ask(h, "DELETE", "/session", "bert", bert, nil)
	})
}

func TestHandlerRoomForSessions(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	for name, c := range map[string]struct {
		o      HandlerOptions
		status int
	}{
		"number": {HandlerOptions{MaxSessions: 2}, 503},
		"memory": {HandlerOptions{MaxKeyMemory: 2*p.Schema().keyMemory() + 1}, 503},
		"client": {HandlerOptions{ClientSessions: 2}, 429},
	} {
		c.o.Authenticate = byHeader
		h := newHandler(t, p, c.o)
		first := openSession(t, h, "anna", m)
		openSession(t, h, "anna", m)
		w := ask(h, "POST", "/keys", "anna", "", m.keys)
		require.Equal(t, c.status, w.Code, name)
		require.NotEmpty(t, w.Header().Get("Retry-After"), name)
		require.Equal(t, 200, ask(h, "POST", "/query", "anna", first, m.query).Code, "%s: nothing is given up", name)
		if name == "client" {
			openSession(t, h, "bert", m)
		}
		require.Equal(t, 204, ask(h, "DELETE", "/session", "anna", first, nil).Code, name)
		openSession(t, h, "anna", m)
	}
}

func TestHandlerSessionsExpire(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, p, HandlerOptions{SessionIdle: time.Minute})
		used, idle := openSession(t, h, "", m), openSession(t, h, "", m)
		for range 3 {
			time.Sleep(40 * time.Second)
			require.Equal(t, 200, ask(h, "POST", "/query", "", used, m.query).Code)
		}
		require.Equal(t, 404, ask(h, "POST", "/query", "", idle, m.query).Code)
		require.Equal(t, p.Schema().keyMemory(), takenBy(h), "without any request")
		time.Sleep(61 * time.Second)
		synctest.Wait()
		require.Zero(t, takenBy(h))
		require.Empty(t, h.sessions)
		require.EqualValues(t, 2, h.completed.expired)
	})
}

func TestHandlerDeletedSessionFinishes(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	h := newHandler(t, p, HandlerOptions{})
	session := openSession(t, h, "", m)
	body, done := begin(h, "", session, m.query)
	require.Equal(t, 204, ask(h, "DELETE", "/session", "", session, nil).Code)
	require.Equal(t, p.Schema().keyMemory(), takenBy(h), "its keys are in use")
	close(body.let)
	require.Equal(t, 200, (<-done).Code)
	require.Zero(t, takenBy(h))
}
