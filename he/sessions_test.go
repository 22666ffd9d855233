package he

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

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
