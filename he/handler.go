package he

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// SessionHeader is the header of a request that names its session. It is no part of the
// address, so that access logs do not hold it.
const SessionHeader = "Sotto-Session"

// Handler serves a program over HTTP. Mount it at a prefix of its own, behind TLS. It
// answers
//
//	GET    /schema   the program's Schema as JSON
//	POST   /keys     evaluation keys; opens a session: 201, {"session": …}
//	POST   /query    a query in the session of the header [SessionHeader]: the answer
//	DELETE /session  ends the session of that header
//	GET    /health   200 while it serves, 503 once it shuts down
//
// A refusal is JSON, {"error": …}, with the status
//
//	400  the message is malformed or ends early
//	401  Authenticate knows no client
//	404  there is no such path, or the client has no such session (any more)
//	405  the path has another method
//	408  the message took longer than TransferTimeout
//	409  the message is for another program
//	413  the message is longer than this program's are
//	429  the client sends too much or has too many sessions; see Retry-After
//	500  something broke; the operator's log says where
//	503  no room, too long a queue, or shutting down; see Retry-After
//
// [Handler.Metrics] is for the operator: mount it where clients do not reach.
//
// Connections of HTTP/1 of which a refused request has more than a little to come are
// closed.
//
// A session belongs to the client that opened it; to others it does not exist. What a
// request may take is known from the program before its body is read, so memory is
// bounded by MaxKeyMemory and MaxQueryMemory.
//
// The server learns neither inputs nor outputs. It does see who asks, when, and how many
// inputs a query says that it holds. It is trusted to compute what it should: nothing
// here proves that. Handler is safe for concurrent use.
type Handler struct {
	program *Program
	workers *workers
	options HandlerOptions
	schema  []byte

	keyMemory int64 // of one session
	places    int   // requests that are read, wait and are evaluated
	turns     chan struct{}
	drains    chan struct{}

	mutex     sync.Mutex
	sessions  map[[32]byte]*session // by the id's SHA-256: an id is not kept
	clients   map[string]*clientState
	resting   map[string]*clientState // of clients, those without session or request in work
	taken     int64                   // of MaxKeyMemory
	opening   int                     // sessions that are being read
	admitted  int                     // requests that are read, wait and are evaluated; Shutdown waits for them
	shut      bool
	done      chan struct{} // closed when shut and nothing is admitted
	completed metrics
}

// NewHandler makes a handler of a program. It returns an error if an option is out of
// range, or if one session or one query takes more memory than all of them may.
func NewHandler(p *Program, options HandlerOptions) (*Handler, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Handler{
		program: p, keyMemory: p.schema.keyMemory(),
		sessions: map[[32]byte]*session{}, clients: map[string]*clientState{}, resting: map[string]*clientState{}, done: make(chan struct{}), drains: make(chan struct{}, drains),
	}
	if h.keyMemory > o.MaxKeyMemory {
		return nil, fmt.Errorf("he: HandlerOptions.MaxKeyMemory is %d, one session takes %d", o.MaxKeyMemory, h.keyMemory)
	}
	waiting, evaluated, shared := p.schema.queryMemory(), p.evaluationMemory(), p.schema.sharedMemory()
	least := shared + waiting + evaluated
	if o.MaxQueryMemory == 0 {
		o.MaxQueryMemory = max(2<<30, least)
	}
	if least > o.MaxQueryMemory {
		return nil, fmt.Errorf("he: HandlerOptions.MaxQueryMemory is %d, one query takes %d", o.MaxQueryMemory, least)
	}
	room := o.MaxQueryMemory - shared
	turns := min(int64(o.Concurrency), room/(waiting+evaluated))
	h.places = int(min(int64(o.Concurrency+o.Queue), (room-turns*evaluated)/waiting))
	if options.ClientConcurrency == 0 && options.Authenticate != nil {
		o.ClientConcurrency = (h.places + 1) / 2
	}
	h.turns, h.options, h.workers = make(chan struct{}, turns), o, newWorkers(p, int(turns))
	if h.schema, err = json.Marshal(p.schema); err != nil {
		return nil, err
	}
	return h, nil
}

// exchange is one request on its way.
type exchange struct {
	w        http.ResponseWriter
	r        *http.Request
	transfer time.Duration
	start    time.Time
	path     string
	client   string
	known    bool   // the client is
	session  string // fingerprint
	status   int    // 0: nothing is written yet
	in, out  int64
	whole    bool // all that comes is in
	receive  time.Duration
	queue    time.Duration
	compute  time.Duration
}

type route struct {
	method string
	open   bool // without authentication
	serve  func(*Handler, *exchange) error
}

var routes = map[string]route{
	"/schema":  {http.MethodGet, false, (*Handler).serveSchema},
	"/keys":    {http.MethodPost, false, (*Handler).serveKeys},
	"/query":   {http.MethodPost, false, (*Handler).serveQuery},
	"/session": {http.MethodDelete, false, (*Handler).serveDelete},
	"/health":  {http.MethodGet, true, (*Handler).serveHealth},
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, r: r, transfer: h.options.TransferTimeout, start: time.Now(), path: "other"}
	kind := ""
	defer func() {
		v := recover()
		if v == nil {
			h.record(x, kind)
			return
		}
		// What the panic says, or a stack with arguments, may hold what a message held.
		at := panicPlace()
		if p, ok := v.(*workerPanic); ok {
			at = p.at + at
		}
		h.options.Log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("at", at))
		whole := x.status == 0
		if whole {
			h.reply(x, refuse(http.StatusInternalServerError, "panic", "internal error"))
		}
		h.record(x, "panic")
		if !whole {
			panic(http.ErrAbortHandler) // cuts the connection
		}
	}()
	err := h.serve(x)
	var no *denial
	switch {
	case err == nil:
	case errors.As(err, &no):
		kind = no.kind
		h.reply(x, no)
	default: // the client does not take the answer
		kind = "gone"
	}
}

// panicPlace says where a panic that is being recovered began.
func panicPlace() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	at := ""
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") {
			at += fmt.Sprintf("%s:%d ", f.Function, f.Line)
		}
		if !more || len(at) > 1000 {
			return at
		}
	}
}

func (h *Handler) serve(x *exchange) (err error) {
	rt, ok := routes[x.r.URL.Path]
	if !ok {
		return refuse(http.StatusNotFound, "path", "no such path")
	}
	x.path = x.r.URL.Path[1:]
	if x.r.Method != rt.method && !(rt.method == http.MethodGet && x.r.Method == http.MethodHead) {
		x.w.Header().Set("Allow", rt.method)
		return refuse(http.StatusMethodNotAllowed, "method", "/%s takes %s", x.path, rt.method)
	}
	if !rt.open {
		if x.client, err = h.options.Authenticate(x.r); err != nil {
			x.w.Header().Set("WWW-Authenticate", "Bearer")
			return refuse(http.StatusUnauthorized, "unauthorized", "not authorized")
		}
		x.known = true
	}
	return rt.serve(h, x)
}

func (x *exchange) write(status int, contentType string, body []byte) error {
	head := x.w.Header()
	head.Set("Content-Type", contentType)
	head.Set("Content-Length", strconv.Itoa(len(body)))
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	if x.r.Method == http.MethodHead {
		return x.send(status, nil)
	}
	return x.send(status, bytes.NewReader(body))
}

// send writes the status, and the body if there is one: the client must take it within
// TransferTimeout.
func (x *exchange) send(status int, body io.WriterTo) error {
	control := http.NewResponseController(x.w)
	control.SetWriteDeadline(time.Now().Add(x.transfer)) // not supported: the server's own holds
	x.status = status
	x.w.WriteHeader(status)
	if body != nil {
		n, err := body.WriteTo(x.w)
		x.out += n
		if err != nil {
			return err
		}
	}
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	control.SetWriteDeadline(time.Time{})
	return nil
}

// Shutdown refuses new requests for keys and queries with 503, waits for those that run,
// and drops all keys. It returns the context's error if that ends first; what runs goes
// on then. Close listeners with http.Server.Shutdown afterwards.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.mutex.Lock()
	if !h.shut {
		h.shut = true
		if h.admitted == 0 {
			h.stop()
		}
	}
	h.mutex.Unlock()
	select {
	case <-h.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends all sessions once nothing runs. The mutex is held.
func (h *Handler) stop() {
	for _, s := range h.sessions {
		h.end(s)
	}
	close(h.done)
}

// record logs and counts a request.
func (h *Handler) record(x *exchange, kind string) {
	took := time.Since(x.start)
	h.mutex.Lock()
	h.completed.count(x, kind)
	h.mutex.Unlock()
	level := slog.LevelInfo
	if x.status >= 500 && kind != "shutdown" || kind == "panic" {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("path", x.path), slog.Int("status", x.status), slog.String("client", x.client),
		slog.Int64("bytes_in", x.in), slog.Int64("bytes_out", x.out), slog.Float64("ms", ms(took)),
	}
	if x.session != "" {
		attrs = append(attrs, slog.String("session", x.session))
	}
	if x.compute > 0 {
		attrs = append(attrs, slog.Float64("receive_ms", ms(x.receive)), slog.Float64("queue_ms", ms(x.queue)), slog.Float64("evaluate_ms", ms(x.compute)))
	}
	if kind != "" {
		attrs = append(attrs, slog.String("refused", kind))
	}
	h.options.Log.LogAttrs(x.r.Context(), level, "request", attrs...)
}
