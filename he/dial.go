package he

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DialOptions say how to reach a [Handler]. The zero value is for one that is trusted to
// be who the address says, without credentials.
type DialOptions struct {
	// HTTPClient sends the requests: its transport says which certificates are believed,
	// and may present one. Redirects are never followed, whatever its CheckRedirect says:
	// they would carry the session and the credentials to another host. Default:
	// http.DefaultClient.
	HTTPClient *http.Client
	// Authorize adds credentials to each request. Default: none are added.
	Authorize func(*http.Request) error
	// Digest is the program that is expected: another one is refused with
	// [ErrOtherProgram]. Default: any.
	Digest Digest
	// MaxKeyBytes is the most bytes of evaluation keys, as a message, that the client makes
	// for the server; in memory they take up to three times that. Default: 1 GiB.
	MaxKeyBytes int64
	// MaxMessageMemory is the most bytes that one query or answer of the program may take in
	// the client's memory. Default: 2 GiB.
	MaxMessageMemory int64
	// Client makes the client for the program that is served, for example by
	// [Schema.ReadClient] from a key that was saved. Default: [NewClient], a fresh key.
	Client func(*Schema) (*Client, error)
	// Observe is told where the time of each exchange went, from the goroutine of the
	// call. Default: nobody is.
	Observe func(Timing)
}

// Timing is where the time of one exchange went: of the opening of a session, or of one
// query. Parts that it does not have are 0.
type Timing struct {
	MakeKeys time.Duration // session: making the evaluation keys
	SendKeys time.Duration // session: writing them, until it is open

	Encrypt  time.Duration // query: encoding, encrypting and writing
	Send     time.Duration // query: until the answer begins, less the server's Queue and Evaluate
	Queue    time.Duration // query: wait for other queries, as the server says
	Evaluate time.Duration // query: as the server says
	Receive  time.Duration // query: the answer's bytes
	Decrypt  time.Duration // query: and decoding

	Sent, Received int64 // bytes of bodies
}

// StatusError is a request that the server refused.
type StatusError struct {
	Status     int           // of HTTP
	Reason     string        // as the server says, at most 1000 bytes
	RetryAfter time.Duration // 0: not said
}

// Error implements error.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("he: server: %d %s", e.Status, http.StatusText(e.Status))
	if e.Reason != "" {
		s += fmt.Sprintf(": %q", e.Reason)
	}
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(" (retry after %v)", e.RetryAfter)
	}
	return s
}

// Is makes errors.Is find [ErrOtherProgram] where the server said so.
func (e *StatusError) Is(target error) bool {
	return target == ErrOtherProgram && e.Status == http.StatusConflict
}

// ErrClosed says that a [Remote] was used after Close.
var ErrClosed = errors.New("he: remote is closed")

// Remote is a model on a server that does not see what it is asked. It is safe for
// concurrent use.
type Remote struct {
	base    *url.URL
	options DialOptions
	schema  *Schema
	client  *Client
	lock    chan struct{} // holds one token while session changes
	session string        // "": none is open
	closed  bool
}

// maxSchema bounds the bytes of a schema that is fetched.
const maxSchema = 64 << 20

// Dial fetches the schema of the [Handler] at an address of http or https, refuses what
// [Schema.UnmarshalJSON] refuses and what is beyond the limits of the options, makes a
// client and opens a session with its evaluation keys. The secret key stays in this process.
//
// Over plain http who listens learns the session's name and can ask in it; what is asked
// stays secret even then. It returns a [*StatusError] if the server refuses.
func Dial(ctx context.Context, address string, options DialOptions) (*Remote, error) {
	base, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("he: address: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("he: address %q must begin with http:// or https:// and a host", base.Redacted())
	}
	for _, limit := range []struct {
		name  string
		v     *int64
		usual int64
	}{{"MaxKeyBytes", &options.MaxKeyBytes, 1 << 30}, {"MaxMessageMemory", &options.MaxMessageMemory, 2 << 30}} {
		if *limit.v < 0 {
			return nil, fmt.Errorf("he: DialOptions.%s is %d, must not be negative", limit.name, *limit.v)
		}
		if *limit.v == 0 {
			*limit.v = limit.usual
		}
	}
	if options.HTTPClient == nil {
		options.HTTPClient = http.DefaultClient
	}
	client := *options.HTTPClient
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	options.HTTPClient = &client
	if options.Client == nil {
		options.Client = func(s *Schema) (*Client, error) { return NewClient(s), nil }
	}
	if options.Observe == nil {
		options.Observe = func(Timing) {}
	}
	r := &Remote{base: base, options: options, schema: new(Schema), lock: make(chan struct{}, 1)}
	if err := r.fetch(ctx); err != nil {
		return nil, err
	}
	if want := options.Digest; want != (Digest{}) && r.schema.digest != want {
		return nil, fmt.Errorf("%w: the server's is %.16s…, expected is %.16s…", ErrOtherProgram, r.schema.digest, want)
	}
	if size := r.schema.KeyBytes(); size > options.MaxKeyBytes {
		return nil, fmt.Errorf("he: the server asks for evaluation keys of %d bytes, DialOptions.MaxKeyBytes allows %d", size, options.MaxKeyBytes)
	}
	if size := r.schema.messageMemory(); size > options.MaxMessageMemory {
		return nil, fmt.Errorf("he: a query or an answer takes %d bytes of memory, DialOptions.MaxMessageMemory allows %d", size, options.MaxMessageMemory)
	}
	if r.client, err = options.Client(r.schema); err != nil {
		return nil, err
	}
	if r.client.schema.digest != r.schema.digest {
		return nil, fmt.Errorf("%w: the client is for %.16s…, the server's is %.16s…", ErrOtherProgram, r.client.schema.digest, r.schema.digest)
	}
	_, err = r.open(ctx, "")
	return r, err
}

// Schema is the program's public half.
func (r *Remote) Schema() *Schema { return r.schema }

// Client holds the secret key. Save it to use it again.
func (r *Remote) Client() *Client { return r.client }

// payload is a request's body. The transport may ask for it again.
type payload struct {
	size int64
	open func() (io.ReadCloser, error)
}

func payloadOf(b []byte) *payload {
	return &payload{int64(len(b)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// streamed is a payload that is written while it is read, so that it is never whole in
// memory. Each time it is written alike.
func streamed(size int64, message io.WriterTo) *payload {
	return &payload{size, func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		return &streaming{PipeReader: r, w: w, message: message}, nil
	}}
}

// streaming is a message as it is read. Its writer begins at the first Read and ends at
// Close: net/http asks for the body of a redirected request before it learns that it may
// not follow, and leaves that body as it is, neither read nor closed.
type streaming struct {
	*io.PipeReader
	w       *io.PipeWriter
	message io.WriterTo
	begin   sync.Once
}

func (s *streaming) Read(b []byte) (int, error) {
	s.begin.Do(func() {
		go func() {
			_, err := s.message.WriteTo(s.w)
			s.w.CloseWithError(err)
		}()
	})
	return s.PipeReader.Read(b)
}

func (s *streaming) Close() error {
	s.begin.Do(func() {}) // it does not begin any more
	return s.PipeReader.Close()
}

// do sends a request and gives the response if its status is the one wanted.
func (r *Remote) do(ctx context.Context, method, path, session string, body *payload, want int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("he: %w", err)
	}
	if session != "" {
		req.Header.Set(SessionHeader, session)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
		req.ContentLength, req.GetBody = body.size, body.open
		if body.size > 1<<18 && waits(r.options.HTTPClient.Transport) {
			// A refusal comes before the body is sent, not amid it.
			req.Header.Set("Expect", "100-continue")
		}
	}
	if r.options.Authorize != nil {
		if err := r.options.Authorize(req); err != nil {
			return nil, fmt.Errorf("he: authorize: %w", err)
		}
	}
	if body != nil { // after all that can fail: the transport closes it
		if req.Body, err = body.open(); err != nil {
			return nil, fmt.Errorf("he: %w", err)
		}
	}
	resp, err := r.options.HTTPClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("he: %w", err)
	}
	if resp.StatusCode == want {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &StatusError{Status: resp.StatusCode}
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // the status says enough
	var said struct{ Error string }
	if json.Unmarshal(raw, &said) == nil {
		e.Reason = said.Error[:min(len(said.Error), 1000)]
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 && seconds < 1<<31 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	if to := resp.Header.Get("Location"); to != "" && resp.StatusCode/100 == 3 {
		return nil, fmt.Errorf("%w; it sends to %.200q, redirects are not followed", e, to)
	}
	return nil, e
}

// waits says whether a transport waits for leave to send a body.
func waits(transport http.RoundTripper) bool {
	if transport == nil {
		transport = http.DefaultTransport
	}
	t, ok := transport.(*http.Transport)
	return ok && t.ExpectContinueTimeout > 0
}

func (r *Remote) fetch(ctx context.Context) error {
	resp, err := r.do(ctx, http.MethodGet, "schema", "", nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxSchema+1))
	if err != nil {
		return fmt.Errorf("he: schema: %w", err)
	}
	if len(data) > maxSchema {
		return fmt.Errorf("he: schema is longer than %d bytes", maxSchema)
	}
	return r.schema.UnmarshalJSON(data)
}

// hold takes the lock, unless the context ends first.
func (r *Remote) hold(ctx context.Context) error {
	select {
	case r.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Remote) free() { <-r.lock }

// open gives the session; it opens one if there is none or it is the stale one.
func (r *Remote) open(ctx context.Context, stale string) (string, error) {
	if err := r.hold(ctx); err != nil {
		return "", err
	}
	defer r.free()
	if r.closed {
		return "", ErrClosed
	}
	if r.session != "" && r.session != stale {
		return r.session, nil
	}
	r.session = ""
	start := time.Now()
	keys := streamed(r.schema.KeyBytes(), r.client.Keys())
	t := Timing{MakeKeys: time.Since(start), Sent: keys.size}
	start = time.Now()
	resp, err := r.do(ctx, http.MethodPost, "keys", "", keys, http.StatusCreated)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return "", fmt.Errorf("he: keys: %w", err)
	}
	var opened struct{ Session string }
	if err := json.Unmarshal(data, &opened); err != nil || opened.Session == "" {
		return "", errors.New("he: keys: the server's response names no session")
	}
	t.SendKeys, t.Received = time.Since(start), int64(len(data))
	r.session = opened.Session
	r.options.Observe(t)
	return r.session, nil
}

// Predict gives the model's outputs for rows, in one query for each [Schema.Capacity] of
// them, one after the other. It opens a new session, once for each query, if the server
// has none any more. It returns an error if a row does not suit [Client.Encrypt], a
// [*StatusError] if the server refuses, [ErrClosed] after Close.
//
// The outputs are for the key's owner alone: what others may see comes from
// [Remote.PredictPublic].
func (r *Remote) Predict(ctx context.Context, rows [][]float32) ([][]float64, error) {
	return r.predict(ctx, rows, r.client.Decrypt)
}

// PredictPublic is Predict for outputs that others may see, the server among them: it
// decrypts by [Client.DecryptPublic]. The last bits of what Predict gives are errors that
// depend on the secret key. Encryption that hides inputs from who sees ciphertexts alone
// does not hide the key from who sees decryptions beside them (IND-CPA-D): enough of such
// outputs give the key away, and with it all that was ever asked (Li and Micciancio 2021,
// "On the security of homomorphic encryption on approximate numbers"). The noise that is
// added drowns them.
//
// [Publication].Answers counts all rows that are ever published under this client's key,
// in this call, in others and by DecryptPublic. It returns an error before anything is
// asked if a field is out of range, and those of Predict.
func (r *Remote) PredictPublic(ctx context.Context, rows [][]float32, p Publication) ([][]float64, error) {
	if _, err := p.Deviation(r.schema); err != nil {
		return nil, err
	}
	if len(rows) > p.Answers {
		return nil, fmt.Errorf("he: Publication.Answers is %d, must be at least the %d rows", p.Answers, len(rows))
	}
	return r.predict(ctx, rows, func(a *Answer) ([][]float64, error) { return r.client.DecryptPublic(a, p) })
}

func (r *Remote) predict(ctx context.Context, rows [][]float32, decrypt func(*Answer) ([][]float64, error)) ([][]float64, error) {
	out := make([][]float64, 0, len(rows))
	for len(rows) > 0 {
		n := min(len(rows), r.schema.Capacity())
		values, err := r.query(ctx, rows[:n], decrypt)
		if err != nil {
			return nil, err
		}
		out = append(out, values...)
		rows = rows[n:]
	}
	return out, nil
}

func (r *Remote) query(ctx context.Context, rows [][]float32, decrypt func(*Answer) ([][]float64, error)) ([][]float64, error) {
	var t Timing
	start := time.Now()
	query, err := r.client.Encrypt(rows)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	body.Grow(int(r.schema.QueryBytes()))
	if _, err := query.WriteTo(&body); err != nil {
		return nil, err
	}
	t.Encrypt, t.Sent = time.Since(start), int64(body.Len())
	session, err := r.open(ctx, "")
	if err != nil {
		return nil, err
	}
	start = time.Now()
	resp, err := r.do(ctx, http.MethodPost, "query", session, payloadOf(body.Bytes()), http.StatusOK)
	var refused *StatusError
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		if session, err = r.open(ctx, session); err != nil {
			return nil, err
		}
		start = time.Now()
		resp, err = r.do(ctx, http.MethodPost, "query", session, payloadOf(body.Bytes()), http.StatusOK)
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	t.Queue, t.Evaluate = serverTiming(resp.Header)
	t.Send = max(0, time.Since(start)-t.Queue-t.Evaluate)
	start = time.Now()
	received := &meter{r: resp.Body}
	answer, err := r.schema.ReadAnswer(received)
	if err != nil {
		return nil, err
	}
	if answer.count != len(rows) {
		return nil, fmt.Errorf("he: the answer is of %d inputs, the query was of %d", answer.count, len(rows))
	}
	t.Receive, t.Received = time.Since(start), received.n
	start = time.Now()
	values, err := decrypt(answer)
	if err != nil {
		return nil, err
	}
	t.Decrypt = time.Since(start)
	r.options.Observe(t)
	return values, nil
}

// serverTiming reads what the server says of its time; nonsense counts as nothing.
func serverTiming(head http.Header) (queue, evaluate time.Duration) {
	for part := range strings.SplitSeq(head.Get("Server-Timing"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), ";dur=")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || !(v >= 0 && v < 1e9) {
			continue
		}
		switch d := time.Duration(v * 1e6); name {
		case "queue":
			queue = d
		case "evaluate":
			evaluate = d
		}
	}
	return queue, evaluate
}

// Close ends the session on the server. The secret key stays with [Remote.Client]. A
// second call does nothing. The server ends a session that it is not told of by itself.
func (r *Remote) Close(ctx context.Context) error {
	if err := r.hold(ctx); err != nil {
		return err
	}
	defer r.free()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.session == "" {
		return nil
	}
	resp, err := r.do(ctx, http.MethodDelete, "session", r.session, nil, http.StatusNoContent)
	var refused *StatusError
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return nil // it has expired
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
