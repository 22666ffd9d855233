package he

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHandlerOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]HandlerOptions{
		"MaxSessions is -1":          {MaxSessions: -1},
		"Rate is -1":                 {Rate: -1},
		"MaxKeyMemory is 1000, one":  {MaxKeyMemory: 1000},
		"MaxQueryMemory is 1000, on": {MaxQueryMemory: 1000},
		"TransferTimeout is -1":      {TransferTimeout: -1},
		"at most 1048576":            {Queue: 1 << 21},
	} {
		_, err := NewHandler(servedOnce(), o)
		require.ErrorContains(t, err, want)
	}
	h := newHandler(t, servedOnce(), HandlerOptions{Concurrency: 3, MaxQueryMemory: 2 * servedOnce().Schema().queryMemory()})
	require.Equal(t, 2, h.places)
	require.Equal(t, 2, cap(h.turns))
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
		require.InDelta(t, 600-16, wait, 2)
		time.Sleep(time.Duration(wait) * time.Second)
		require.Equal(t, 200, query().Code)
		h.options.Log = slog.New(slog.DiscardHandler)
		require.Equal(t, 204, ask(h, "DELETE", "/session", "anna", session, nil).Code)
		require.Contains(t, h.clients, "anna", "her quota is not forgotten")
		time.Sleep(time.Hour)
		h.mutex.Lock()
		h.purge(time.Now())
		h.mutex.Unlock()
		require.NotContains(t, h.clients, "anna")
	})
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
