package he

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

// denial is a request that is not served.
type denial struct {
	status int
	kind   string // for logs and metrics
	text   string // for the client
	after  time.Duration
}

func (r *denial) Error() string { return r.text }

func refuse(status int, kind, format string, args ...any) *denial {
	return &denial{status: status, kind: kind, text: fmt.Sprintf(format, args...)}
}

func refuseUntil(status int, kind string, after time.Duration, format string, args ...any) *denial {
	r := refuse(status, kind, format, args...)
	r.after = max(after, time.Second)
	return r
}

// What is taken of refused messages: those that are longer are none that a client waits
// long to send, and all limits lie behind the client that sends them.
const (
	drainBytes = 256 << 10
	drainTime  = 5 * time.Second
	drains     = 4 // at once
)

// drain takes what is still to come of a message that is refused: a client that cannot
// wait for leave to send (Expect: 100-continue) would find a closed connection instead of
// the reason. Where that is too much, the connection is closed after the reply: one of
// HTTP/1, for HTTP/2 ends a message without the others of its connection.
func (h *Handler) drain(x *exchange, no *denial) {
	left := x.r.ContentLength // -1: not known
	if left > 0 {
		left -= x.in
	}
	if left == 0 || x.whole {
		return
	}
	waits := x.r.Header.Get("Expect") != "" && x.in == 0
	if x.known && !waits && left <= drainBytes && no.kind != "slow" && h.drained(x) {
		return
	}
	if x.r.ProtoMajor == 1 {
		x.w.Header().Set("Connection", "close")
	}
}

// drained reads a request's body to its end, unless it is long, slow, or one too many.
func (h *Handler) drained(x *exchange) bool {
	select {
	case h.drains <- struct{}{}:
		defer func() { <-h.drains }()
	default:
		return false
	}
	control := http.NewResponseController(x.w)
	control.SetReadDeadline(time.Now().Add(min(drainTime, h.options.TransferTimeout))) // not supported: the server's own holds
	n, err := io.Copy(io.Discard, io.LimitReader(x.r.Body, drainBytes+1))
	if err != nil || n > drainBytes {
		return false
	}
	control.SetReadDeadline(time.Time{})
	return true
}

// reply writes a refusal.
func (h *Handler) reply(x *exchange, no *denial) {
	h.drain(x, no)
	if no.after > 0 {
		x.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(no.after.Seconds()))))
	}
	body, _ := json.Marshal(map[string]string{"error": no.text})
	x.write(no.status, "application/json", body)
}

func tooLong(size int64, what string) error {
	return refuse(http.StatusRequestEntityTooLarge, "size", "%s for this program take %d bytes, the message is longer", what, size)
}

func noSession() error {
	return refuse(http.StatusNotFound, "session", "no such session: open one with /keys")
}
