package he

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

func (h *Handler) serveSchema(x *exchange) error {
	now := time.Now()
	h.mutex.Lock()
	c, err := h.charge(x.client, now)
	if err == nil {
		h.rest(c, now)
	}
	h.mutex.Unlock()
	if err != nil {
		return err
	}
	return x.write(http.StatusOK, "application/json", h.schema)
}

func (h *Handler) serveHealth(x *exchange) error {
	h.mutex.Lock()
	shut := h.shut
	h.mutex.Unlock()
	if shut {
		return refuseUntil(http.StatusServiceUnavailable, "shutdown", time.Second, "shutting down")
	}
	return x.write(http.StatusOK, "application/json", []byte(`{"status":"ok"}`))
}

func (h *Handler) serveKeys(x *exchange) error {
	state, err := h.admit(x, h.program.schema.KeyBytes())
	if err != nil {
		return err
	}
	defer h.leave(state)
	if err := h.reserve(state); err != nil {
		return err
	}
	open := false
	defer func() {
		if !open {
			h.release(state)
		}
	}()
	keys, err := receive(h, x, h.program.schema.KeyBytes(), "evaluation keys", h.program.schema.ReadKeys)
	if err != nil {
		return err
	}
	server, err := newServer(h.workers, keys)
	if err != nil {
		return refuse(http.StatusBadRequest, "malformed", "%v", err)
	}
	id := rand.Text() + rand.Text()[:8] // 170 bits
	s := &session{hash: sha256.Sum256([]byte(id)), owner: state, server: server, used: time.Now()}
	x.session = s.fingerprint()
	h.mutex.Lock()
	h.opening--
	h.sessions[s.hash] = s
	s.timer = time.AfterFunc(h.options.SessionIdle, func() { h.expire(s) })
	h.completed.opened++
	h.mutex.Unlock()
	open = true
	body, _ := json.Marshal(map[string]any{"session": id, "idle_seconds": h.options.SessionIdle.Seconds()})
	return x.write(http.StatusCreated, "application/json", body)
}

func (h *Handler) serveQuery(x *exchange) error {
	schema := h.program.schema
	state, err := h.admit(x, schema.QueryBytes())
	if err != nil {
		return err
	}
	defer h.leave(state)
	s, err := h.enter(x, state)
	if err != nil {
		return err
	}
	defer h.exit(s)
	query, err := receive(h, x, schema.QueryBytes(), "query", schema.ReadQuery)
	if err != nil {
		return err
	}
	if err := h.turn(x); err != nil {
		return err
	}
	answer, err := h.evaluate(x, s, query)
	if err != nil {
		return refuse(http.StatusInternalServerError, "evaluate", "the query could not be evaluated")
	}
	head := x.w.Header()
	head.Set("Content-Type", "application/octet-stream")
	head.Set("Content-Length", strconv.FormatInt(schema.AnswerBytes(), 10))
	head.Set("Cache-Control", "no-store")
	head.Set("Server-Timing", fmt.Sprintf("receive;dur=%.3f, queue;dur=%.3f, evaluate;dur=%.3f",
		ms(x.receive), ms(x.queue), ms(x.compute)))
	return x.send(http.StatusOK, answer)
}

// turn waits for one of the evaluations' places.
func (h *Handler) turn(x *exchange) error {
	start := time.Now()
	timeout := time.NewTimer(h.options.QueueTimeout)
	defer timeout.Stop()
	select {
	case h.turns <- struct{}{}:
		x.queue = time.Since(start)
		return nil
	case <-timeout.C:
		return refuseUntil(http.StatusServiceUnavailable, "queue", time.Second, "waited %v for other queries", h.options.QueueTimeout)
	case <-x.r.Context().Done():
		return x.r.Context().Err()
	}
}

// evaluate runs a query and gives the turn back.
func (h *Handler) evaluate(x *exchange, s *session, q *Query) (*Answer, error) {
	start := time.Now()
	defer func() {
		x.compute = time.Since(start)
		<-h.turns
	}()
	return s.server.Evaluate(q)
}

func (h *Handler) serveDelete(x *exchange) error {
	hash := sha256.Sum256([]byte(x.r.Header.Get(SessionHeader)))
	h.mutex.Lock()
	s := h.sessions[hash]
	if s == nil || s.owner.name != x.client {
		h.mutex.Unlock()
		return noSession()
	}
	x.session = s.fingerprint()
	h.end(s)
	h.mutex.Unlock()
	return x.send(http.StatusNoContent, nil)
}

// receive reads a request's body, of a size that is known, by a decoder of he.
func receive[T any](h *Handler, x *exchange, size int64, what string, read func(io.Reader) (T, error)) (T, error) {
	start := time.Now()
	control := http.NewResponseController(x.w)
	control.SetReadDeadline(start.Add(h.options.TransferTimeout)) // not supported: the server's own holds
	body := &meter{r: http.MaxBytesReader(x.w, x.r.Body, size)}
	v, err := read(body)
	x.receive, x.in, x.whole = time.Since(start), body.n, body.ended
	var long *http.MaxBytesError
	switch {
	case err == nil:
		control.SetReadDeadline(time.Time{}) // else it would end the wait for the answer
		return v, nil
	case errors.Is(err, ErrOtherProgram):
		err = refuse(http.StatusConflict, "program", "%v", err)
	case errors.As(err, &long):
		err = tooLong(size, what)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = refuse(http.StatusRequestTimeout, "slow", "the message did not arrive within %v", h.options.TransferTimeout)
	case x.r.Context().Err() != nil:
		err = x.r.Context().Err()
	default:
		err = refuse(http.StatusBadRequest, "malformed", "%v", err)
	}
	return v, err
}

// meter counts what is read.
type meter struct {
	r     io.Reader
	n     int64
	ended bool // the end has been read
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.n += int64(n)
	m.ended = m.ended || err == io.EOF
	return n, err
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
