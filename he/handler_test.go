package he

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/nn"
)

// servedProgram is small, 32 inputs and 4 outputs, and needs keys of both kinds. The
// programs of other seeds are others.
func servedProgram(t testing.TB, seed uint64) (*Program, *nn.Model, [][]float32) {
	t.Helper()
	model, err := nn.New(nn.Shape{32}, nn.Linear{Out: 8}, nn.Square{}, nn.Linear{Out: 4})
	require.NoError(t, err)
	model.Init(nn.XavierNormal, seed)
	source := rand.New(rand.NewPCG(seed, 0))
	rows := make([][]float32, 8)
	for i := range rows {
		rows[i] = make([]float32, 32)
		for j := range rows[i] {
			rows[i][j] = float32(2*source.Float64() - 1)
		}
	}
	p, err := Compile(model, rows, Options{})
	require.NoError(t, err)
	return p, model, rows
}

var servedOnce = sync.OnceValue(func() *Program {
	p, _, _ := servedProgram(panicker{}, 1)
	return p
})

// panicker fails outside of tests.
type panicker struct{ testing.TB }

func (panicker) Helper() {}

func (panicker) Errorf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func (panicker) FailNow() { panic("failed") }

type messages struct {
	client      *Client
	keys, query []byte
}

func message(w interface {
	WriteTo(io.Writer) (int64, error)
}) []byte {
	var b bytes.Buffer
	w.WriteTo(&b)
	return b.Bytes()
}

func newMessages(t testing.TB, p *Program) messages {
	t.Helper()
	c := NewClient(p.Schema())
	q, err := c.Encrypt([][]float32{make([]float32, p.Schema().Inputs())})
	require.NoError(t, err)
	return messages{c, message(c.Keys()), message(q)}
}

func newHandler(t testing.TB, p *Program, o HandlerOptions) *Handler {
	t.Helper()
	h, err := NewHandler(p, o)
	require.NoError(t, err)
	return h
}

func takenBy(h *Handler) int64 {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.taken
}

// byHeader authenticates by a header that names the client.
func byHeader(r *http.Request) (string, error) {
	if name := r.Header.Get("Client"); name != "" {
		return name, nil
	}
	return "", errors.New("secret reason")
}

// ask sends one request without a network.
func ask(h *Handler, method, path, client, session string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Client", client)
	if session != "" {
		r.Header.Set(SessionHeader, session)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func metricsOf(h *Handler) string {
	w := httptest.NewRecorder()
	h.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func openSession(t testing.TB, h *Handler, client string, m messages) string {
	t.Helper()
	w := ask(h, "POST", "/keys", client, "", m.keys)
	require.Equal(t, http.StatusCreated, w.Code, w.Body.String())
	var v struct{ Session string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
	require.GreaterOrEqual(t, len(v.Session), 26, "130 bits of base 32")
	return v.Session
}

func TestHandlerAnswers(t *testing.T) {
	p, model, rows := servedProgram(t, 1)
	h := newHandler(t, p, HandlerOptions{})
	require.Equal(t, 200, ask(h, "GET", "/health", "", "", nil).Code)

	w := ask(h, "GET", "/schema", "", "", nil)
	require.Equal(t, 200, w.Code)
	var s Schema
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &s))
	require.Equal(t, p.Schema().Digest(), s.Digest())
	w = ask(h, "HEAD", "/schema", "", "", nil)
	require.Equal(t, 200, w.Code)
	require.Empty(t, w.Body.Bytes())

	c := NewClient(&s)
	session := openSession(t, h, "", messages{keys: message(c.Keys())})
	q, err := c.Encrypt(rows[:1])
	require.NoError(t, err)
	w = ask(h, "POST", "/query", "", session, message(q))
	require.Equal(t, 200, w.Code, w.Body.String())
	require.Equal(t, strconv.FormatInt(s.AnswerBytes(), 10), w.Header().Get("Content-Length"))
	require.Contains(t, w.Header().Get("Server-Timing"), "evaluate;dur=")
	a, err := s.ReadAnswer(w.Body)
	require.NoError(t, err)
	got, err := c.Decrypt(a)
	require.NoError(t, err)
	want := nn.Predict(model, rows[:1])
	for j := range want[0] {
		require.InDelta(t, want[0][j], got[0][j], 1e-3)
	}

	text := metricsOf(h)
	for _, line := range []string{
		"sotto_he_sessions 1\n", `sotto_he_requests_total{path="query",status="200"} 1` + "\n",
		"sotto_he_evaluate_seconds_count 1\n", `sotto_he_evaluate_seconds_bucket{le="+Inf"} 1` + "\n",
		fmt.Sprintf("sotto_he_received_bytes_total %d\n", s.KeyBytes()+s.QueryBytes()),
		fmt.Sprintf("sotto_he_key_memory_bytes %d\n", s.keyMemory()),
		"# TYPE sotto_he_evaluate_seconds histogram\n",
	} {
		require.Contains(t, text, line)
	}
	require.Equal(t, 204, ask(h, "DELETE", "/session", "", session, nil).Code)
	require.Equal(t, 404, ask(h, "DELETE", "/session", "", session, nil).Code)
	require.Equal(t, 404, ask(h, "POST", "/query", "", session, message(q)).Code)
	require.Zero(t, takenBy(h))
	require.Empty(t, h.clients)
}

// slowBody gives its bytes when it is let go.
type slowBody struct {
	io.Reader
	begun chan struct{}
	once  sync.Once
	let   chan struct{}
}

func newSlowBody(b []byte) *slowBody {
	return &slowBody{Reader: bytes.NewReader(b), begun: make(chan struct{}), let: make(chan struct{})}
}

func (s *slowBody) Read(b []byte) (int, error) {
	s.once.Do(func() { close(s.begun) })
	<-s.let
	return s.Reader.Read(b)
}

// begin starts a query whose body does not come yet.
func begin(h *Handler, client, session string, query []byte) (*slowBody, chan *httptest.ResponseRecorder) {
	body, done := newSlowBody(query), make(chan *httptest.ResponseRecorder, 1)
	go func() {
		r := httptest.NewRequest("POST", "/query", body)
		r.Header.Set("Client", client)
		r.Header.Set(SessionHeader, session)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		done <- w
	}()
	<-body.begun
	return body, done
}

func TestHandlerShutdown(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	h := newHandler(t, p, HandlerOptions{})
	session := openSession(t, h, "", m)
	body, done := begin(h, "", session, m.query)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.Shutdown(ctx), context.DeadlineExceeded)
	for _, path := range []string{"/query", "/keys"} {
		w := ask(h, "POST", path, "", session, m.query)
		require.Equal(t, 503, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
	}
	require.Equal(t, 503, ask(h, "GET", "/health", "", "", nil).Code)
	finished := make(chan error, 1)
	go func() { finished <- h.Shutdown(context.Background()) }()
	close(body.let)
	w := <-done
	require.Equal(t, 200, w.Code)
	_, err := p.Schema().ReadAnswer(w.Body)
	require.NoError(t, err)
	require.NoError(t, <-finished)
	require.NoError(t, h.Shutdown(t.Context()))
	require.Zero(t, takenBy(h))
	require.Empty(t, h.sessions)
}

func TestHandlerConcurrent(t *testing.T) {
	p, model, rows := servedProgram(t, 3)
	h := newHandler(t, p, HandlerOptions{Authenticate: byHeader, Concurrency: 2, Queue: 100, ClientConcurrency: 100})
	want := nn.Predict(model, rows)
	var group sync.WaitGroup
	for client := range 4 {
		group.Go(func() {
			name := fmt.Sprint("client", client)
			c := NewClient(p.Schema())
			w := ask(h, "POST", "/keys", name, "", message(c.Keys()))
			var v struct{ Session string }
			json.Unmarshal(w.Body.Bytes(), &v)
			for i, row := range rows {
				q, err := c.Encrypt([][]float32{row})
				if err != nil {
					t.Error(err)
					return
				}
				w := ask(h, "POST", "/query", name, v.Session, message(q))
				metricsOf(h)
				a, err := p.Schema().ReadAnswer(w.Body)
				if err != nil {
					t.Error(w.Code, err)
					return
				}
				got, err := c.Decrypt(a)
				if err != nil {
					t.Error(err)
					return
				}
				for j := range got[0] {
					if d := got[0][j] - float64(want[i][j]); d > 1e-3 || d < -1e-3 {
						t.Error("wrong answer", i, j, d)
					}
				}
			}
			ask(h, "DELETE", "/session", name, v.Session, nil)
		})
	}
	group.Wait()
	require.Zero(t, takenBy(h))
	require.Zero(t, h.admitted)
	require.Empty(t, h.clients)
}

// TestHandlerLogHoldsNothing looks for the session's name and for bytes of the messages
// in all that was logged, in the forms in which slog could write them.
func TestHandlerLogHoldsNothing(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	var log bytes.Buffer
	h := newHandler(t, p, HandlerOptions{Authenticate: byHeader, Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	session := openSession(t, h, "anna", m)
	require.Equal(t, 200, ask(h, "POST", "/query", "anna", session, m.query).Code)
	ask(h, "POST", "/query", "anna", session, m.query[:1000])
	bad := bytes.Clone(m.query)
	copy(bad[headerSize+4+seedSize:], bytes.Repeat([]byte{255}, 64))
	ask(h, "POST", "/query", "anna", session, bad)
	ask(h, "POST", "/"+session, "anna", session, nil) // a mistake that happens
	ask(h, "GET", "/schema", "", "", nil)
	ask(h, "DELETE", "/session", "anna", session, nil)
	text := log.String()
	require.Equal(t, 7, strings.Count(text, "\n"), text)
	require.Contains(t, text, `"path":"query","status":200,"client":"anna"`)
	require.Contains(t, text, `"refused":"malformed"`)
	require.NotContains(t, text, session)
	require.NotContains(t, text, session[:8])
	require.NotContains(t, text, "modulus")
	for _, b := range [][]byte{m.keys[headerSize:], m.query[headerSize:]} {
		for i := 0; i+8 <= min(len(b), 4096); i += 8 {
			require.NotContains(t, text, fmt.Sprintf("%x", b[i:i+8]))
			if v := binary.LittleEndian.Uint64(b[i:]); v > 1e15 { // longer than times and sizes
				require.NotContains(t, text, fmt.Sprint(v))
			}
		}
	}
}

// TestHandlerPanicIsContained has an evaluation panic: the client learns no more than
// that, and all that was taken is given back.
func TestHandlerPanicIsContained(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	var log bytes.Buffer
	h := newHandler(t, p, HandlerOptions{Concurrency: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	session := openSession(t, h, "", m)
	h.workers.latency.make = func() *worker { panic("secret reason") }
	for range 3 {
		w := ask(h, "POST", "/query", "", session, m.query)
		require.Equal(t, 500, w.Code)
		require.NotContains(t, w.Body.String(), "secret reason")
	}
	require.NotContains(t, log.String(), "secret reason")
	require.Contains(t, log.String(), "he.(*workers).run")
	require.Zero(t, h.admitted)
	require.Empty(t, h.turns)

	// Nor does one on another goroutine reach the process.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	p = small(t, Batch)
	m = newMessages(t, p)
	log.Reset()
	h = newHandler(t, p, HandlerOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	session = openSession(t, h, "", m)
	p.batch.stages[0].parts[0].matrix = nil
	require.Equal(t, 500, ask(h, "POST", "/query", "", session, m.query).Code)
	require.Contains(t, log.String(), "he.(*batch")
	require.Zero(t, h.admitted)
}

func TestParallelPanics(t *testing.T) {
	for _, cores := range []int{1, 4} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
		var running, calls atomic.Int64
		func() {
			defer func() {
				v := recover()
				if p, ok := v.(*workerPanic); ok {
					require.Contains(t, p.at, "TestParallelPanics")
					v = p.value
				}
				require.Equal(t, "seven", v)
				require.Zero(t, running.Load(), "all are done")
			}()
			parallel(1<<30, func(from, to int) {
				calls.Add(1)
				running.Add(1)
				defer running.Add(-1)
				if from <= 7 && 7 < to {
					panic("seven")
				}
			})
		}()
		require.Less(t, calls.Load(), int64(1<<30), "the rest is not begun")
	}
}
