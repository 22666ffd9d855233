package he

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHandlerRefusesByStatus(t *testing.T) {
	p, other := servedOnce(), func() *Program { p, _, _ := servedProgram(t, 2); return p }()
	m, wrong := newMessages(t, p), newMessages(t, other)
	h := newHandler(t, p, HandlerOptions{Authenticate: byHeader})
	session := openSession(t, h, "anna", m)
	changed := func(b []byte, at int, to byte) []byte {
		b = bytes.Clone(b)
		b[at] = to
		return b
	}
	// The same program with other parameters is another one.
	var fields map[string]any
	text, err := json.Marshal(p.Schema())
	require.NoError(t, err)
	numbers := json.NewDecoder(bytes.NewReader(text))
	numbers.UseNumber()
	require.NoError(t, numbers.Decode(&fields))
	fields["parameters"].(map[string]any)["log_scale"] = p.Schema().Parameters().LogScale - 1
	text, err = json.Marshal(fields)
	require.NoError(t, err)
	var rescaled Schema
	require.NoError(t, json.Unmarshal(text, &rescaled))
	c := NewClient(&rescaled)
	rescaledQuery, err := c.Encrypt([][]float32{make([]float32, 32)})
	require.NoError(t, err)
	type attempt struct {
		method, path, client, session string
		body                          []byte
		status                        int
		says                          string
	}
	tries := map[string]attempt{
		"no credentials":     {"POST", "/keys", "", "", m.keys, 401, "not authorized"},
		"schema too":         {"GET", "/schema", "", "", nil, 401, "not authorized"},
		"metrics":            {"GET", "/metrics", "anna", "", nil, 404, "no such path"},
		"path":               {"GET", "/none", "anna", "", nil, 404, "no such path"},
		"method":             {"GET", "/keys", "anna", "", nil, 405, "takes POST"},
		"another's session":  {"POST", "/query", "bert", session, m.query, 404, "no such session"},
		"another's deletion": {"DELETE", "/session", "bert", session, nil, 404, "no such session"},
		"no session":         {"POST", "/query", "anna", "", m.query, 404, "no such session"},
		"guessed session":    {"POST", "/query", "anna", session[1:], m.query, 404, "no such session"},
		"other program's":    {"POST", "/keys", "anna", "", wrong.keys, 409, "another program"},
		"other's query":      {"POST", "/query", "anna", session, wrong.query, 409, "another program"},
		"other parameters":   {"POST", "/keys", "anna", "", message(c.Keys()), 409, rescaled.Digest().String()[:16]},
		"their query":        {"POST", "/query", "anna", session, message(rescaledQuery), 409, "another program"},
		"keys too long":      {"POST", "/keys", "anna", "", append(bytes.Clone(m.keys), 0), 413, "bytes"},
		"query too long":     {"POST", "/query", "anna", session, append(bytes.Clone(m.query), 0), 413, "bytes"},
		"empty":              {"POST", "/keys", "anna", "", nil, 400, "header"},
		"truncated":          {"POST", "/query", "anna", session, m.query[:len(m.query)-1], 400, "unexpected EOF"},
		"cut in the header":  {"POST", "/query", "anna", session, m.query[:20], 400, "unexpected EOF"},
		"other kind":         {"POST", "/query", "anna", session, m.keys[:60], 400, "holds evaluation keys"},
		"version":            {"POST", "/query", "anna", session, changed(m.query, 8, 9), 400, "version is 9"},
		"count":              {"POST", "/query", "anna", session, changed(m.query, headerSize, 2), 400, "2 inputs, allowed are 1 to 1"},
		"coefficient":        {"POST", "/query", "anna", session, append(bytes.Clone(m.query[:headerSize+4+seedSize]), bytes.Repeat([]byte{255}, len(m.query)-headerSize-4-seedSize)...), 400, "below the modulus"},
	}
	for name, a := range tries {
		w := ask(h, a.method, a.path, a.client, a.session, a.body)
		require.Equal(t, a.status, w.Code, "%s: %s", name, w.Body)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"), name)
		require.Contains(t, w.Body.String(), a.says, name)
		require.NotContains(t, w.Body.String(), "secret reason", name)
	}
	// A body without an end takes no more memory than one that has it.
	endless := httptest.NewRequest("POST", "/query", io.MultiReader(bytes.NewReader(m.query[:headerSize]), bytes.NewReader([]byte{1, 0, 0, 0}), zeros{}))
	endless.Header.Set("Client", "anna")
	endless.Header.Set(SessionHeader, session)
	endless.ContentLength = -1
	refused := httptest.NewRecorder()
	took := allocated(func() { h.ServeHTTP(refused, endless) })
	require.Equal(t, 413, refused.Code, refused.Body)
	require.Less(t, took, p.Schema().queryMemory())
	// A body without a length is bounded as it arrives.
	r := httptest.NewRequest("POST", "/query", io.MultiReader(bytes.NewReader(m.query), strings.NewReader("x")))
	r.Header.Set("Client", "anna")
	r.Header.Set(SessionHeader, session)
	w := httptest.NewRecorder()
	require.Equal(t, int64(-1), r.ContentLength)
	h.ServeHTTP(w, r)
	require.Equal(t, 413, w.Code, w.Body)
	require.Equal(t, 200, ask(h, "POST", "/query", "anna", session, m.query).Code)
	require.Equal(t, p.Schema().keyMemory(), takenBy(h), "failed openings give their memory back")
	require.Len(t, h.clients, 1)
	require.Zero(t, h.clients["anna"].admitted)
}

// pipeListener is a listener on pipes, whose deadlines follow a bubble's clock.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	l <- there
	return here, nil
}

func (l pipeListener) Close() error { close(l); return nil }
func (pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestHandlerSlowBody sends a body over a connection that stops amid it.
func TestHandlerSlowBody(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	synctest.Test(t, func(t *testing.T) {
		l := make(pipeListener)
		srv := &http.Server{Handler: newHandler(t, p, HandlerOptions{TransferTimeout: time.Minute})}
		defer srv.Close()
		go srv.Serve(l)
		transport := &http.Transport{DialContext: l.Dial}
		defer transport.CloseIdleConnections()
		r, w := io.Pipe()
		defer w.Close()
		go w.Write(m.keys[:len(m.keys)/2])
		start := time.Now()
		resp, err := (&http.Client{Transport: transport}).Post("http://pipe/keys", "application/octet-stream", r)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, 408, resp.StatusCode)
		require.Equal(t, time.Minute, time.Since(start))
	})
}

// What refused requests send is read little of, and that of few at once.
func TestHandlerDrainsLittle(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	h := newHandler(t, p, HandlerOptions{Authenticate: byHeader, Rate: 1e-9, Burst: 1})
	openSession(t, h, "anna", m) // the only request she has
	require.Greater(t, p.Schema().KeyBytes(), int64(drainBytes))
	send := func(client string, body io.Reader, length int64) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/keys", body)
		r.ContentLength = length
		r.Header.Set("Client", client)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for name, c := range map[string]struct {
		client       string
		length, read int64
		close        bool
	}{
		"short":         {"anna", drainBytes, drainBytes, false},
		"long":          {"anna", drainBytes + 1, 0, true},
		"keys":          {"anna", p.Schema().KeyBytes(), 0, true},
		"without end":   {"anna", -1, drainBytes + 1, true},
		"of a stranger": {"", 1000, 0, true},
	} {
		body := &meter{r: zeros{}}
		if c.length > 0 {
			body.r = io.LimitReader(zeros{}, c.length)
		}
		w := send(c.client, body, c.length)
		require.Contains(t, []int{401, 429}, w.Code, name)
		require.Equal(t, c.read, body.n, name)
		require.Equal(t, c.close, w.Header().Get("Connection") == "close", name)
	}
	require.Empty(t, ask(h, "POST", "/keys", "anna", "", nil).Header().Get("Connection"), "nothing is to come")

	var slow []*slowBody
	replies := make(chan *httptest.ResponseRecorder, drains)
	for range drains {
		b := newSlowBody(make([]byte, 100))
		slow = append(slow, b)
		go func() { replies <- send("anna", b, 100) }()
		<-b.begun
	}
	body := &meter{r: zeros{}}
	w := send("anna", body, 100)
	require.Equal(t, 429, w.Code)
	require.Zero(t, body.n)
	require.Equal(t, "close", w.Header().Get("Connection"))
	for _, b := range slow {
		close(b.let)
		require.Empty(t, (<-replies).Header().Get("Connection"))
	}
	require.Empty(t, h.drains)
}

// A message that has come whole keeps its connection, however many are drained.
func TestHandlerDrainsNothingOfWholeMessages(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	h := newHandler(t, p, HandlerOptions{Concurrency: 1, QueueTimeout: time.Millisecond})
	session := openSession(t, h, "", m)
	for range drains {
		h.drains <- struct{}{}
	}
	h.turns <- struct{}{} // an evaluation that takes long
	for _, length := range []int64{int64(len(m.query)), -1} {
		r := httptest.NewRequest("POST", "/query", bytes.NewReader(m.query))
		r.ContentLength = length
		r.Header.Set(SessionHeader, session)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, 503, w.Code)
		require.Empty(t, w.Header().Get("Connection"), length)
	}
	w := ask(h, "POST", "/query", "", "", m.query)
	require.Equal(t, 404, w.Code)
	require.Equal(t, "close", w.Header().Get("Connection"), "all of it is to come")
}

// Over HTTP/2 other requests share the connection: that of a long message that is refused
// stays open for them.
func TestHandlerKeepsSharedConnections(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	srv := httptest.NewUnstartedServer(newHandler(t, p, HandlerOptions{Rate: 1e-9, Burst: 1}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	for i, want := range []int{201, 429, 429, 429} {
		r, err := http.NewRequest("POST", srv.URL+"/keys", bytes.NewReader(m.keys))
		require.NoError(t, err)
		r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
			if c.Reused != (i > 0) {
				t.Error(i, c.Reused)
			}
		}}))
		resp, err := srv.Client().Do(r)
		require.NoError(t, err)
		require.Equal(t, 2, resp.ProtoMajor)
		require.Equal(t, want, resp.StatusCode)
		require.Empty(t, resp.Header.Get("Connection"))
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, want == 429, bytes.Contains(text, []byte("too many requests")))
	}
}

// Over a connection, who sends keys without waiting for leave still learns why they are
// refused.
func TestHandlerRefusesAmidBody(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	srv := httptest.NewServer(newHandler(t, p, HandlerOptions{Rate: 1e-9, Burst: 1}))
	defer srv.Close()
	client := &http.Client{Transport: patient(&http.Transport{})}
	defer client.CloseIdleConnections()
	for _, want := range []int{201, 429, 429} {
		resp, err := client.Post(srv.URL+"/keys", "application/octet-stream", bytes.NewReader(m.keys))
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, want, resp.StatusCode)
		require.Equal(t, want == 429, resp.Close)
	}
}

// deadlines notes when the writes of an answer are bounded.
type deadlines struct {
	*httptest.ResponseRecorder
	set, atWrite []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error { d.set = append(d.set, t); return nil }

func (d *deadlines) last() time.Time {
	if len(d.set) == 0 {
		return time.Time{}
	}
	return d.set[len(d.set)-1]
}

func (d *deadlines) WriteHeader(code int) {
	d.atWrite = append(d.atWrite, d.last())
	d.ResponseRecorder.WriteHeader(code)
}

func (d *deadlines) Write(b []byte) (int, error) {
	d.atWrite = append(d.atWrite, d.last())
	return d.ResponseRecorder.Write(b)
}

// Every answer must be taken in time; the next request of its connection starts anew.
func TestHandlerBoundsWrites(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	h := newHandler(t, p, HandlerOptions{TransferTimeout: time.Minute})
	session := openSession(t, h, "", m)
	for _, c := range []struct {
		method, path string
		body         []byte
		status       int
	}{
		{"GET", "/schema", nil, 200}, {"HEAD", "/schema", nil, 200}, {"GET", "/health", nil, 200}, {"GET", "/none", nil, 404},
		{"POST", "/keys", m.keys, 201}, {"POST", "/query", m.query, 200}, {"POST", "/query", m.query[:9], 400}, {"DELETE", "/session", nil, 204},
	} {
		r := httptest.NewRequest(c.method, c.path, bytes.NewReader(c.body))
		r.Header.Set(SessionHeader, session)
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		begun := time.Now()
		h.ServeHTTP(w, r)
		took := time.Since(begun)
		require.Equal(t, c.status, w.Code, c.path)
		require.NotEmpty(t, w.atWrite, c.path)
		for _, at := range w.atWrite {
			left := at.Sub(begun) - time.Minute // when it was set
			require.True(t, left >= 0 && left <= took, "%s: %v of %v", c.path, left, took)
		}
		require.True(t, w.last().IsZero(), c.path)
		require.True(t, w.Flushed, c.path)
	}
}

// zeros are a body without an end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
