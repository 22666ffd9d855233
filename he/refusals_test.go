package he

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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

// TestHandlerSlowBody sends a body over a connection that stops amid it.
func TestHandlerSlowBody(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	h := newHandler(t, p, HandlerOptions{TransferTimeout: 50 * time.Millisecond})
	srv := httptest.NewServer(h)
	defer srv.Close()
	r, w := io.Pipe()
	defer w.Close()
	go w.Write(m.keys[:len(m.keys)/2])
	resp, err := http.Post(srv.URL+"/keys", "application/octet-stream", r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 408, resp.StatusCode)
}

// zeros are a body without an end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
