package he

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

type session struct {
	hash    [32]byte
	owner   *clientState
	server  *Server
	used    time.Time
	running int
	ended   bool
	timer   *time.Timer
}

func (s *session) fingerprint() string { return hex.EncodeToString(s.hash[:6]) }

// reserve takes room for a session.
func (h *Handler) reserve(c *clientState) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	switch {
	case c.sessions >= h.options.ClientSessions:
		return refuseUntil(http.StatusTooManyRequests, "client sessions", h.nextExpiry(c), "this client has %d sessions already", c.sessions)
	case len(h.sessions)+h.opening >= h.options.MaxSessions:
		return refuseUntil(http.StatusServiceUnavailable, "sessions", h.nextExpiry(nil), "there are %d sessions already", h.options.MaxSessions)
	case h.taken+h.keyMemory > h.options.MaxKeyMemory:
		return refuseUntil(http.StatusServiceUnavailable, "memory", h.nextExpiry(nil), "there is no memory for the keys of another session")
	}
	c.sessions++
	h.opening++
	h.taken += h.keyMemory
	return nil
}

// nextExpiry is the time to the earliest end of a session, of any client if c is nil.
// The mutex is held.
func (h *Handler) nextExpiry(c *clientState) time.Duration {
	wait := h.options.SessionIdle
	for _, s := range h.sessions {
		if c != nil && s.owner != c {
			continue
		}
		wait = min(wait, time.Until(s.used)+h.options.SessionIdle)
	}
	return wait
}

// release gives the room of a session back that was not opened.
func (h *Handler) release(c *clientState) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	c.sessions--
	h.opening--
	h.taken -= h.keyMemory
}

// enter finds a query's session and keeps it from expiring.
func (h *Handler) enter(x *exchange, c *clientState) (*session, error) {
	hash := sha256.Sum256([]byte(x.r.Header.Get(SessionHeader)))
	h.mutex.Lock()
	defer h.mutex.Unlock()
	s := h.sessions[hash]
	if s == nil || s.owner != c {
		return nil, noSession()
	}
	s.running++
	x.session = s.fingerprint()
	return s, nil
}

func (h *Handler) exit(s *session) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	s.running--
	s.used = time.Now()
	h.settle(s)
}

// expire ends a session that has not been used for long.
func (h *Handler) expire(s *session) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if s.ended {
		return
	}
	wait := h.options.SessionIdle - time.Since(s.used)
	if s.running > 0 {
		wait = h.options.SessionIdle
	}
	if wait > 0 {
		s.timer.Reset(wait)
		return
	}
	h.completed.expired++
	h.end(s)
}

// end makes a session unknown. Queries that run go on. The mutex is held.
func (h *Handler) end(s *session) {
	delete(h.sessions, s.hash)
	s.timer.Stop()
	s.ended = true
	h.completed.ended++
	h.settle(s)
}

// settle gives the room of a session back that has ended and that no query uses. The
// mutex is held.
func (h *Handler) settle(s *session) {
	if s.ended && s.running == 0 && s.server != nil {
		s.server = nil
		s.owner.sessions--
		h.taken -= h.keyMemory
		h.rest(s.owner, time.Now())
	}
}
