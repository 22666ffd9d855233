package he

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/bits"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// SessionHeader is the header of a request that names its session. It is no part of the
// address, so that access logs do not hold it.
const SessionHeader = "Sotto-Session"

// HandlerOptions bound what a [Handler] spends on its clients. Of every field the zero
// value is the default.
type HandlerOptions struct {
	// Authenticate names the client of a request, by a token, a certificate or what else
	// there is. An error refuses the request with 401 and is told to nobody. The name is
	// logged. It is asked for every request but those for health, from many goroutines.
	// Default: all requests are of one client, "".
	Authenticate func(*http.Request) (client string, err error)

	// MaxSessions is the number of sessions. Default: 1000. A session is never given up
	// for another: where there is no room a new one is refused.
	MaxSessions int
	// ClientSessions is the number of sessions of one client. Default: 4, or MaxSessions
	// without Authenticate.
	ClientSessions int
	// MaxKeyMemory is the bytes of memory that all sessions' keys may take, about three
	// times what they take as messages. Default: 1 GiB.
	MaxKeyMemory int64
	// SessionIdle is the time after which a session that is not used ends. Default: 15
	// minutes.
	SessionIdle time.Duration

	// Rate is the number of requests a second, of keys and of queries, that one client
	// may send for long, Burst how many at once. Default: no limit; Burst: Rate, at least
	// 1.
	Rate  float64
	Burst int
	// Quota is the number of such requests in QuotaPeriod: what a client has used comes
	// back evenly over the period. Default: no limit; QuotaPeriod: 24 hours.
	Quota       int
	QuotaPeriod time.Duration

	// Concurrency is the number of queries that are evaluated at once. Default: the
	// number of cores.
	Concurrency int
	// Queue is the number of requests, of keys and of queries, that may be read or wait
	// beside. Default: 4 times Concurrency. One more is refused with 503.
	Queue int
	// ClientConcurrency is the number of requests of one client among those that are
	// read, wait and are evaluated. Default: half of them, or all without Authenticate.
	ClientConcurrency int
	// MaxQueryMemory is the bytes of memory that the queries that are read, wait and are
	// evaluated may take; it lowers Queue and Concurrency where they would take more.
	// Default: 2 GiB.
	MaxQueryMemory int64
	// QueueTimeout is how long a query that has been read may wait for its evaluation
	// before it is refused with 503. Default: 30 seconds.
	QueueTimeout time.Duration
	// TransferTimeout is the time in which a request's body must arrive, and that in
	// which the answer must be taken. Default: 1 minute.
	TransferTimeout time.Duration

	// Log takes a record for each request: path, status, client, a fingerprint of the
	// session, bytes, times, and the kind of a refusal; nothing of what a message holds.
	// Default: none.
	Log *slog.Logger
}

func (o HandlerOptions) withDefaults() (HandlerOptions, error) {
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"MaxSessions", int64(o.MaxSessions)}, {"ClientSessions", int64(o.ClientSessions)}, {"MaxKeyMemory", o.MaxKeyMemory},
		{"SessionIdle", int64(o.SessionIdle)}, {"Burst", int64(o.Burst)}, {"Quota", int64(o.Quota)}, {"QuotaPeriod", int64(o.QuotaPeriod)},
		{"Concurrency", int64(o.Concurrency)}, {"Queue", int64(o.Queue)}, {"ClientConcurrency", int64(o.ClientConcurrency)},
		{"MaxQueryMemory", o.MaxQueryMemory}, {"QueueTimeout", int64(o.QueueTimeout)}, {"TransferTimeout", int64(o.TransferTimeout)},
	} {
		if f.v < 0 {
			return o, fmt.Errorf("he: HandlerOptions.%s is %d, must not be negative", f.name, f.v)
		}
	}
	if !(o.Rate >= 0 && o.Rate < math.MaxFloat64) {
		return o, fmt.Errorf("he: HandlerOptions.Rate is %g, must not be negative and must be finite", o.Rate)
	}
	if max(o.MaxSessions, o.ClientSessions, o.Concurrency, o.Queue, o.ClientConcurrency) > 1<<20 {
		return o, fmt.Errorf("he: HandlerOptions' counts of sessions and requests must be at most %d", 1<<20)
	}
	one := o.Authenticate == nil
	def := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	def(&o.MaxSessions, 1000)
	def(&o.ClientSessions, 4)
	def(&o.Burst, int(min(max(o.Rate, 1), 1<<30)))
	def(&o.Concurrency, runtime.GOMAXPROCS(0))
	def(&o.Queue, 4*o.Concurrency)
	def(&o.ClientConcurrency, (o.Concurrency+o.Queue+1)/2)
	if one {
		o.Authenticate = func(*http.Request) (string, error) { return "", nil }
		o.ClientSessions, o.ClientConcurrency = o.MaxSessions, o.Concurrency+o.Queue
	}
	for _, f := range []struct {
		v  *time.Duration
		to time.Duration
	}{{&o.SessionIdle, 15 * time.Minute}, {&o.QuotaPeriod, 24 * time.Hour}, {&o.QueueTimeout, 30 * time.Second}, {&o.TransferTimeout, time.Minute}} {
		if *f.v == 0 {
			*f.v = f.to
		}
	}
	if o.MaxKeyMemory == 0 {
		o.MaxKeyMemory = 1 << 30
	}
	if o.MaxQueryMemory == 0 {
		o.MaxQueryMemory = 2 << 30
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Handler serves a program over HTTP. Mount it at a prefix of its own, behind TLS. It
// answers
//
//	GET    /schema   the program's Schema as JSON
//	POST   /keys     evaluation keys; opens a session: 201, {"session": …}
//	POST   /query    a query in the session of the header [SessionHeader]: the answer
//	DELETE /session  ends the session of that header
//	GET    /metrics  counters in the text format of Prometheus
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
//	503  no room, too long a queue, or shutting down; see Retry-After
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
	options HandlerOptions
	schema  []byte

	keyMemory int64 // of one session
	places    int   // requests that are read, wait and are evaluated
	turns     chan struct{}

	mutex     sync.Mutex
	sessions  map[[32]byte]*session // by the id's SHA-256: an id is not kept
	clients   map[string]*clientState
	purged    time.Time
	taken     int64 // of MaxKeyMemory
	opening   int   // sessions that are being read
	admitted  int
	serving   int // admitted requests and others that Shutdown waits for
	shut      bool
	done      chan struct{} // closed when shut and nothing is served
	completed metrics
}

type session struct {
	hash    [32]byte
	owner   *clientState
	server  *Server
	used    time.Time
	running int
	ended   bool
	timer   *time.Timer
}

// clientState is what is known of one client. It is forgotten when it says nothing.
type clientState struct {
	name        string
	rate, quota *rate.Limiter // nil: none
	admitted    int
	sessions    int
}

// maxClients bounds the clients whose rates are remembered.
const maxClients = 1 << 16

// NewHandler makes a handler of a program. It returns an error if an option is out of
// range, or if one session or one query takes more memory than all of them may.
func NewHandler(p *Program, options HandlerOptions) (*Handler, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Handler{
		program: p, options: o, keyMemory: p.schema.keyMemory(),
		sessions: map[[32]byte]*session{}, clients: map[string]*clientState{}, done: make(chan struct{}),
	}
	if h.keyMemory > o.MaxKeyMemory {
		return nil, fmt.Errorf("he: HandlerOptions.MaxKeyMemory is %d, one session takes %d", o.MaxKeyMemory, h.keyMemory)
	}
	places := o.MaxQueryMemory / p.schema.queryMemory()
	if places < 1 {
		return nil, fmt.Errorf("he: HandlerOptions.MaxQueryMemory is %d, one query takes %d", o.MaxQueryMemory, p.schema.queryMemory())
	}
	h.places = int(min(places, int64(o.Concurrency+o.Queue)))
	h.turns = make(chan struct{}, min(o.Concurrency, h.places))
	if h.schema, err = json.Marshal(p.schema); err != nil {
		return nil, err
	}
	return h, nil
}

// keyMemory bounds the memory of a session's keys: they are held whole, and 64 bits for
// each coefficient.
func (s *Schema) keyMemory() int64 {
	least := 64
	for _, primes := range [][]uint64{s.params.Q, s.params.P} {
		for _, q := range primes {
			least = min(least, bits.Len64(q))
		}
	}
	return 1<<16 + 2*64*s.KeyBytes()/int64(least)
}

// queryMemory bounds the memory of a query and its answer.
func (s *Schema) queryMemory() int64 {
	query := s.ciphertexts() * 2 * len(s.params.Q)
	answer := 2 * s.answers() * (s.degree + 1) * (s.level + 1) // and the work on it
	return 1<<16 + int64(query+answer)<<(s.params.LogN+3)
}

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

// exchange is one request on its way.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request
	start   time.Time
	path    string
	client  string
	known   bool   // the client is
	session string // fingerprint
	status  int    // 0: nothing is written yet
	in, out int64
	receive time.Duration
	queue   time.Duration
	compute time.Duration
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
	"/metrics": {http.MethodGet, false, (*Handler).serveMetrics},
	"/health":  {http.MethodGet, true, (*Handler).serveHealth},
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, r: r, start: time.Now(), path: "other"}
	kind := ""
	defer func() {
		if recover() == nil {
			h.record(x, kind)
			return
		}
		// What the panic says, or a stack with arguments, may hold what a message held.
		h.options.Log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("at", panicPlace()))
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

func (x *exchange) write(status int, contentType string, body []byte) error {
	head := x.w.Header()
	head.Set("Content-Type", contentType)
	head.Set("Content-Length", strconv.Itoa(len(body)))
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	x.status = status
	x.w.WriteHeader(status)
	if x.r.Method == http.MethodHead {
		return nil
	}
	n, err := x.w.Write(body)
	x.out += int64(n)
	return err
}

func (h *Handler) serveSchema(x *exchange) error {
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
	server, err := NewServer(h.program, keys)
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
	control := http.NewResponseController(x.w)
	control.SetWriteDeadline(time.Now().Add(h.options.TransferTimeout)) // not supported: the server's own holds
	x.status = http.StatusOK
	n, err := answer.WriteTo(x.w)
	x.out += n
	if err == nil {
		control.Flush()
		control.SetWriteDeadline(time.Time{})
	}
	return err
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

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
	x.status = http.StatusNoContent
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

func noSession() error {
	return refuse(http.StatusNotFound, "session", "no such session: open one with /keys")
}

func (s *session) fingerprint() string { return hex.EncodeToString(s.hash[:6]) }

// receive reads a request's body, of a size that is known, by a decoder of he.
func receive[T any](h *Handler, x *exchange, size int64, what string, read func(io.Reader) (T, error)) (T, error) {
	start := time.Now()
	control := http.NewResponseController(x.w)
	control.SetReadDeadline(start.Add(h.options.TransferTimeout)) // not supported: the server's own holds
	body := &meter{r: http.MaxBytesReader(x.w, x.r.Body, size)}
	v, err := read(body)
	x.receive, x.in = time.Since(start), body.n
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

func tooLong(size int64, what string) error {
	return refuse(http.StatusRequestEntityTooLarge, "size", "%s for this program take %d bytes, the message is longer", what, size)
}

// meter counts what is read.
type meter struct {
	r io.Reader
	n int64
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.n += int64(n)
	return n, err
}

// admit lets a request in whose body is to be read, or says why not.
func (h *Handler) admit(x *exchange, size int64) (*clientState, error) {
	if x.r.ContentLength > size {
		return nil, tooLong(size, map[string]string{"keys": "evaluation keys", "query": "queries"}[x.path])
	}
	now := time.Now()
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.shut {
		return nil, refuseUntil(http.StatusServiceUnavailable, "shutdown", time.Second, "shutting down")
	}
	c := h.clients[x.client]
	if c == nil {
		if len(h.clients) >= maxClients {
			h.purge(now)
		}
		if len(h.clients) >= maxClients {
			return nil, refuseUntil(http.StatusServiceUnavailable, "clients", time.Minute, "too many clients")
		}
		c = &clientState{name: x.client}
		if h.options.Rate > 0 {
			c.rate = rate.NewLimiter(rate.Limit(h.options.Rate), h.options.Burst)
		}
		if h.options.Quota > 0 {
			c.quota = rate.NewLimiter(rate.Limit(float64(h.options.Quota)/h.options.QuotaPeriod.Seconds()), h.options.Quota)
		}
		h.clients[x.client] = c
	}
	if wait := c.charge(now); wait > 0 {
		return nil, refuseUntil(http.StatusTooManyRequests, "rate", wait, "too many requests: at most %g a second and %d in %v (0: any number)", h.options.Rate, h.options.Quota, h.options.QuotaPeriod)
	}
	if h.admitted >= h.places {
		h.forget(c, now)
		return nil, refuseUntil(http.StatusServiceUnavailable, "busy", time.Second, "%d requests are in work already", h.places)
	}
	if c.admitted >= h.options.ClientConcurrency {
		return nil, refuseUntil(http.StatusTooManyRequests, "client busy", time.Second, "%d requests of this client are in work already", c.admitted)
	}
	c.admitted++
	h.admitted++
	h.serving++
	return c, nil
}

// charge takes a request from the client's rate and quota, or says how long there is
// none to take.
func (c *clientState) charge(now time.Time) time.Duration {
	for _, l := range []*rate.Limiter{c.rate, c.quota} {
		if l == nil {
			continue
		}
		if missing := 1 - l.TokensAt(now); missing > 0 {
			return max(time.Nanosecond, time.Duration(missing/float64(l.Limit())*1e9))
		}
	}
	for _, l := range []*rate.Limiter{c.rate, c.quota} {
		if l != nil {
			l.AllowN(now, 1)
		}
	}
	return 0
}

// leave undoes admit.
func (h *Handler) leave(c *clientState) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	c.admitted--
	h.admitted--
	h.serving--
	h.forget(c, time.Now())
	if h.shut && h.serving == 0 {
		h.stop()
	}
}

// forget drops a client about whom nothing needs to be known. The mutex is held.
func (h *Handler) forget(c *clientState, now time.Time) {
	full := func(l *rate.Limiter) bool { return l == nil || l.TokensAt(now) >= float64(l.Burst()) }
	if c.admitted == 0 && c.sessions == 0 && full(c.rate) && full(c.quota) && h.clients[c.name] == c {
		delete(h.clients, c.name)
	}
}

// purge forgets clients, at most once a second. The mutex is held.
func (h *Handler) purge(now time.Time) {
	if now.Sub(h.purged) < time.Second {
		return
	}
	h.purged = now
	for _, c := range h.clients {
		h.forget(c, now)
	}
}

// reserve takes room for a session.
func (h *Handler) reserve(c *clientState) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	switch {
	case c.sessions >= h.options.ClientSessions:
		return refuseUntil(http.StatusTooManyRequests, "client sessions", h.nextExpiry(), "this client has %d sessions already", c.sessions)
	case len(h.sessions)+h.opening >= h.options.MaxSessions:
		return refuseUntil(http.StatusServiceUnavailable, "sessions", h.nextExpiry(), "there are %d sessions already", h.options.MaxSessions)
	case h.taken+h.keyMemory > h.options.MaxKeyMemory:
		return refuseUntil(http.StatusServiceUnavailable, "memory", h.nextExpiry(), "there is no memory for the keys of another session")
	}
	c.sessions++
	h.opening++
	h.taken += h.keyMemory
	return nil
}

// nextExpiry is the time to the earliest end of a session. The mutex is held.
func (h *Handler) nextExpiry() time.Duration {
	wait := h.options.SessionIdle
	for _, s := range h.sessions {
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
		h.forget(s.owner, time.Now())
	}
}

// Shutdown refuses new requests for keys and queries with 503, waits for those that run,
// and drops all keys. It returns the context's error if that ends first; what runs goes
// on then. Close listeners with http.Server.Shutdown afterwards.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.mutex.Lock()
	if !h.shut {
		h.shut = true
		if h.serving == 0 {
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
