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

// drain takes what is still to come of a message that is refused: a client that cannot
// wait for leave to send (Expect: 100-continue) would find a closed connection instead of
// the reason.
func (h *Handler) drain(x *exchange, no *denial) {
	limit := max(h.program.schema.KeyBytes(), h.program.schema.QueryBytes())
	if !x.known || x.r.Header.Get("Expect") != "" || x.r.ContentLength > limit || no.kind == "slow" {
		return
	}
	control := http.NewResponseController(x.w)
	control.SetReadDeadline(time.Now().Add(h.options.TransferTimeout))
	if _, err := io.Copy(io.Discard, io.LimitReader(x.r.Body, limit)); err == nil {
		control.SetReadDeadline(time.Time{})
	}
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
