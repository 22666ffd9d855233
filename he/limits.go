package he

import (
	"fmt"
	"log/slog"
	"math"
	"math/bits"
	"net/http"
	"runtime"
	"time"

	lattigo "github.com/tuneinsight/lattigo/v5/he"
	"github.com/tuneinsight/lattigo/v5/utils/bignum"
	"golang.org/x/time/rate"
)

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

	// Rate is the number of requests a second, of the schema, of keys and of queries, that
	// one client may send for long, Burst how many at once: [Dial] and the first query
	// take three. Default: no limit; Burst: Rate, at least 4.
	Rate  float64
	Burst int
	// Quota is the most such requests of one client in any QuotaPeriod, whenever it
	// begins. What a client has used comes back when the period has passed, up to 1/64 of
	// it later. Beside clients that have a session or a request in work 65,536 are
	// remembered; of more, those that have used little are forgotten. Default: no limit;
	// QuotaPeriod: 24 hours, at most 10 years.
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
	// evaluated may take; it lowers Queue and Concurrency where they would take more. One
	// that is evaluated takes room for all that lives at once beside it, in batch mode
	// often many times the query. What the garbage collector has yet to free comes on
	// top: see debug.SetMemoryLimit. Default: 2 GiB, or what one query takes if that is
	// more.
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
	if o.QuotaPeriod > maxQuotaPeriod {
		return o, fmt.Errorf("he: HandlerOptions.QuotaPeriod is %v, must be at most %v", o.QuotaPeriod, maxQuotaPeriod)
	}
	for _, f := range []struct {
		name string
		v    int
	}{
		{"MaxSessions", o.MaxSessions}, {"ClientSessions", o.ClientSessions}, {"Concurrency", o.Concurrency},
		{"Queue", o.Queue}, {"ClientConcurrency", o.ClientConcurrency},
	} {
		if f.v > 1<<20 {
			return o, fmt.Errorf("he: HandlerOptions.%s is %d, must be at most %d", f.name, f.v, 1<<20)
		}
	}
	one := o.Authenticate == nil
	def := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	def(&o.MaxSessions, 1000)
	def(&o.ClientSessions, 4)
	def(&o.Burst, int(min(max(o.Rate, 4), 1<<30)))
	def(&o.Concurrency, runtime.GOMAXPROCS(0))
	def(&o.Queue, 4*o.Concurrency)
	def(&o.ClientConcurrency, o.Concurrency+o.Queue) // NewHandler knows the places
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
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// clientState is what is known of one client. It may be forgotten when it says nothing.
type clientState struct {
	name     string
	rate     *rate.Limiter // nil: none
	quota    *quota        // nil: none
	admitted int
	sessions int
}

// quotaParts is the number of parts of a period by which a quota counts.
const quotaParts = 64

// maxQuotaPeriod keeps sums of times far from the ends of their range, 292 years.
const maxQuotaPeriod = 10 * 365 * 24 * time.Hour

// quota counts requests by parts of a period. Any period touches at most quotaParts+1 of
// them, so what these hold together bounds the requests of every period.
type quota struct {
	most   int
	period time.Duration
	start  time.Time
	part   int64 // the latest
	counts [quotaParts + 1]int
	used   int // their sum
}

func (q *quota) width() time.Duration { return q.period/quotaParts + 1 }

// advance forgets the parts that are over.
func (q *quota) advance(now time.Time) {
	part := int64(now.Sub(q.start) / q.width())
	for first := max(q.part+1, part-quotaParts); first <= part; first++ {
		i := first % int64(len(q.counts))
		q.used -= q.counts[i]
		q.counts[i] = 0
	}
	q.part = max(q.part, part)
}

// wait is the time until a request may be counted, 0 if now.
func (q *quota) wait(now time.Time) time.Duration {
	q.advance(now)
	if q.used < q.most {
		return 0
	}
	for first := q.part - quotaParts; ; first++ {
		if first >= 0 && q.counts[first%int64(len(q.counts))] > 0 {
			end := time.Duration(first+quotaParts+1) * q.width()
			return max(time.Nanosecond, end-now.Sub(q.start))
		}
	}
}

func (q *quota) take() {
	q.counts[q.part%int64(len(q.counts))]++
	q.used++
}

// maxClients bounds the clients that are remembered for what they have used alone, without
// a session or a request in work. Of so many as sampleClients the least is forgotten for
// another one.
const (
	maxClients    = 1 << 16
	sampleClients = 64
)

// keyMemory bounds the memory of a session's keys: they are held whole, and 64 bits for
// each coefficient. A row more is for the bytes that are read.
func (s *Schema) keyMemory() int64 {
	least := 64
	for _, primes := range [][]uint64{s.params.Q, s.params.P} {
		for _, q := range primes {
			least = min(least, bits.Len64(q))
		}
	}
	return 1<<16 + s.rowMemory() + 2*64*s.KeyBytes()/int64(least)
}

// rowMemory is the bytes of a polynomial's residues modulo one prime, and of what points
// to them.
func (s *Schema) rowMemory() int64 { return 8<<s.params.LogN + 256 }

// queryMemory bounds the memory of a query that waits, and that of an answer that is
// sent, with the bytes that are read or written.
func (s *Schema) queryMemory() int64 {
	query := s.ciphertexts() * 2 * len(s.params.Q)
	answer := s.answers() * (s.degree + 1) * (s.level + 2) // rescaling in place keeps a prime more
	return 1<<16 + int64(max(query, answer)+1)*s.rowMemory()
}

// messageMemory bounds the memory of a query or an answer at the client, and of its bytes.
func (s *Schema) messageMemory() int64 { return s.queryMemory() + max(s.QueryBytes(), s.AnswerBytes()) }

// workerMemory bounds the buffers of lattigo's evaluators of all kinds.
func (s *Schema) workerMemory() int64 {
	q, p := len(s.params.Q), len(s.params.P)
	// rlwe.Evaluator: a ciphertext of degree 2, six polynomials of both moduli, one for
	// each digit, one for inverse transforms and a row. ring.BasisExtender: one of each
	// modulus. ckks.Evaluator: three. ckks.Encoder: one, pointers and complex numbers. The
	// mask and the sampler's bytes. Products, in latency mode: a
	// ciphertext.
	rows := 3*q + 6*(q+p) + q*(q+p) + q + 1 + q + p + 3*q + q + 5 + 3 + 2*q
	return int64(rows) * s.rowMemory()
}

// sharedMemory bounds what all evaluations of a program share beside its weights: the
// worker that is copied, and a permutation for each rotation.
func (s *Schema) sharedMemory() int64 {
	return s.workerMemory() + int64(len(s.rotations))*s.rowMemory()
}

// evaluationMemory bounds what is alive at once while a query is evaluated, beside the
// query, and a quarter more for what dies faster than any collector could follow.
func (p *Program) evaluationMemory() int64 {
	var alive int64
	if p.schema.mode == Batch {
		alive = p.batch.memory(p.schema)
	} else {
		alive = p.schema.workerMemory() + int64(p.circuit.rows(len(p.schema.params.P)))*p.schema.rowMemory()
	}
	return alive + alive/4
}

// rows bounds the rows that are alive at once beside a worker's buffers.
func (c *circuit) rows(aux int) int {
	kept, peak := 0, 0
	for k := range c.steps {
		step := &c.steps[k]
		z := 2 * (step.level + 2) // rescaling in place keeps the prime that it divides by
		work := 0
		for i := range step.ops {
			op := &step.ops[i]
			own := z + 2*(step.level+1) // and the folds' second term
			if op.taps == nil && op.lone == nil && op.linear.N1 > 0 {
				_, _, baby := lattigo.LinearTransformation(op.linear).BSGSIndex()
				own += len(baby) * 2 * (op.linear.Level + 1 + aux)
			}
			work = max(work, own)
		}
		if step.series != nil {
			degree := step.series.Degree()
			split := bignum.OptimalSplit(bits.Len(uint(degree)))
			// The powers, the baby steps, and what products are made in.
			values := 1<<split + bits.Len(uint(degree)) + degree>>split + 1 + 3
			work = max(work, values*3*(step.level+1))
		}
		peak = max(peak, kept+z+work)
		kept += z
	}
	return peak
}

// lastReaders gives for each value, the inputs first, the stage that reads it last; -1:
// none.
func (c *batchCircuit) lastReaders() []int {
	last := make([]int, len(c.stages)+1)
	for i := range last {
		last[i] = -1
	}
	for k := range c.stages {
		for _, p := range c.stages[k].parts {
			last[p.from] = k
		}
	}
	return last
}

// memory bounds what is alive at once while a query is evaluated, beside the query.
func (c *batchCircuit) memory(s *Schema) int64 {
	row := s.rowMemory()
	last := c.lastReaders()
	sizes, degrees := []int64{0}, []int{1} // the inputs are the query's
	counts := []int{s.inputs}
	alive, peak, relin := int64(0), int64(0), false
	for k := range c.stages {
		b := &c.stages[k]
		degree, columns := 1, 0
		for _, p := range b.parts {
			degree = max(degree, degrees[p.from])
			columns += counts[p.from]
		}
		n, primes := int64(len(b.bias)), int64(b.primes)
		z := n * int64(degree+1) * primes * row
		// The lists of columns have a slice for each row that is read, and room to grow.
		peak = max(peak, alive+z+int64(columns*(degree+1)*b.primes)*48)
		for i, size := range sizes {
			if last[i] == k {
				alive -= size
			}
		}
		if b.square {
			// A square of three polynomials stands for every ciphertext of two, whose
			// primes stay though they are divided away. On each core one is at work.
			square := 3 * (primes - int64(b.before))
			z = n * max(2*primes, square) * row
			work := int64(runtime.GOMAXPROCS(0)) * (2*primes + 2*square + int64(len(s.params.Q))) * row
			peak = max(peak, alive+z+work)
			if degree = 2; b.relin {
				degree, relin = 1, true
			}
		}
		alive += z
		sizes, degrees, counts = append(sizes, z), append(degrees, degree), append(counts, len(b.bias))
	}
	if relin {
		peak += int64(runtime.GOMAXPROCS(0)) * s.workerMemory()
	}
	return 1<<16 + peak
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
	c, err := h.charge(x.client, now)
	if err != nil {
		return nil, err
	}
	if h.admitted >= h.places {
		h.rest(c, now)
		return nil, refuseUntil(http.StatusServiceUnavailable, "busy", time.Second, "%d requests are in work already", h.places)
	}
	if c.admitted >= h.options.ClientConcurrency {
		return nil, refuseUntil(http.StatusTooManyRequests, "client busy", time.Second, "%d requests of this client are in work already", c.admitted)
	}
	delete(h.resting, c.name)
	c.admitted++
	h.admitted++
	return c, nil
}

// charge finds or makes the client of a request and takes the request from what it may
// send. The mutex is held.
func (h *Handler) charge(name string, now time.Time) (*clientState, error) {
	c := h.clients[name]
	if c == nil {
		c = &clientState{name: name}
		if h.options.Rate > 0 {
			c.rate = rate.NewLimiter(rate.Limit(h.options.Rate), h.options.Burst)
		}
		if h.options.Quota > 0 {
			c.quota = &quota{most: h.options.Quota, period: h.options.QuotaPeriod, start: now}
		}
		h.clients[name] = c
	}
	wait := c.charge(now)
	switch {
	case wait > 0 && c.quota != nil && c.quota.wait(now) > 0:
		return nil, refuseUntil(http.StatusTooManyRequests, "rate", wait, "too many requests: at most %d in %v", h.options.Quota, h.options.QuotaPeriod)
	case wait > 0:
		return nil, refuseUntil(http.StatusTooManyRequests, "rate", wait, "too many requests: at most %g a second", h.options.Rate)
	}
	return c, nil
}

// charge takes a request from the client's rate and quota, or says how long there is
// none to take.
func (c *clientState) charge(now time.Time) time.Duration {
	var wait time.Duration
	if c.quota != nil {
		wait = c.quota.wait(now)
	}
	if c.rate != nil {
		if missing := 1 - c.rate.TokensAt(now); missing > 0 {
			wait = max(wait, time.Nanosecond, time.Duration(min(missing/float64(c.rate.Limit())*1e9, 1<<62)))
		}
	}
	if wait > 0 {
		return wait
	}
	if c.rate != nil {
		c.rate.AllowN(now, 1)
	}
	if c.quota != nil {
		c.quota.take()
	}
	return 0
}

// leave undoes admit.
func (h *Handler) leave(c *clientState) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	c.admitted--
	h.admitted--
	h.rest(c, time.Now())
	if h.shut && h.admitted == 0 {
		h.stop()
	}
}

// used is the number of requests that a client could not send again now; 0: nothing needs
// to be known of it.
func (c *clientState) used(now time.Time) float64 {
	n := 0.
	if c.rate != nil {
		n += max(0, float64(c.rate.Burst())-c.rate.TokensAt(now))
	}
	if c.quota != nil {
		c.quota.advance(now)
		n += float64(c.quota.used)
	}
	return n
}

// rest forgets or remembers a client of which nothing may be in work any more. The mutex
// is held.
func (h *Handler) rest(c *clientState, now time.Time) {
	if c.admitted > 0 || c.sessions > 0 {
		return
	}
	if c.used(now) == 0 {
		h.forget(c)
		return
	}
	if h.resting[c.name] == nil && len(h.resting) >= maxClients {
		h.makeRoom(now)
	}
	h.resting[c.name] = c
}

// makeRoom forgets, of a few clients that rest, those that need not be known, or else the
// one that has used least: who sends many names cannot lock others out, nor clear what
// those have used that use more. The mutex is held.
func (h *Handler) makeRoom(now time.Time) {
	var least *clientState
	fewest, seen := math.Inf(1), 0
	for _, c := range h.resting { // from a random place
		used := c.used(now)
		if used == 0 {
			h.forget(c)
		} else if used < fewest {
			least, fewest = c, used
		}
		if seen++; seen == sampleClients {
			break
		}
	}
	if len(h.resting) >= maxClients {
		h.forget(least)
	}
}

// forget drops what is known of a client. The mutex is held.
func (h *Handler) forget(c *clientState) {
	delete(h.clients, c.name)
	delete(h.resting, c.name)
}
