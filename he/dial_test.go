package he

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tuneinsight/lattigo/v5/core/rlwe"

	"github.com/sotto-ml/sotto/nn"
)

// startServer serves a handler over TLS; what it receives goes through see.
func startServer(t *testing.T, h http.Handler, see func(*http.Request, []byte)) (*httptest.Server, *http.Client) {
	t.Helper()
	var mutex sync.Mutex
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if see != nil {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			mutex.Lock()
			see(r, body)
			mutex.Unlock()
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	patient(srv.Client().Transport.(*http.Transport))
	return srv, srv.Client()
}

// patient has a transport learn by reading alone that a connection is broken. Who refuses
// amid a body breaks it half a second after the answer: a client that is slow would find
// that it cannot write any more before it has read why.
func patient(tr *http.Transport) *http.Transport {
	wrap := func(c net.Conn, err error) (net.Conn, error) {
		if err != nil {
			return nil, err
		}
		closed := make(chan struct{})
		return patientConn{c, closed, sync.OnceValue(func() error { close(closed); return c.Close() })}, nil
	}
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return wrap((&net.Dialer{}).DialContext(ctx, network, addr))
	}
	tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return wrap((&tls.Dialer{Config: tr.TLSClientConfig}).DialContext(ctx, network, addr))
	}
	return tr
}

type patientConn struct {
	net.Conn
	closed chan struct{}
	close  func() error
}

func (c patientConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		<-c.closed
	}
	return n, err
}

func (c patientConn) Close() error { return c.close() }

func TestRemotePredicts(t *testing.T) {
	model, err := nn.New(nn.Shape{32}, nn.Linear{Out: 4})
	require.NoError(t, err)
	model.Init(nn.XavierNormal, 1)
	keyed, deep, rows := servedProgram(t, 1)
	batch, err := Compile(model, rows, Options{Mode: Batch})
	require.NoError(t, err)
	for _, c := range []struct {
		p     *Program
		model *nn.Model
		calls int
	}{{keyed, deep, len(rows)}, {batch, model, 1}} {
		srv, client := startServer(t, http.StripPrefix("/models/a", newHandler(t, c.p, HandlerOptions{Authenticate: byHeader})), nil)
		var seen []Timing
		r, err := Dial(t.Context(), srv.URL+"/models/a/", DialOptions{
			HTTPClient: client, Digest: c.p.Schema().Digest(),
			Authorize: func(r *http.Request) error { r.Header.Set("Client", "anna"); return nil },
			Observe:   func(t Timing) { seen = append(seen, t) },
		})
		require.NoError(t, err)
		require.Equal(t, c.p.Schema().Digest(), r.Schema().Digest())
		got, err := r.Predict(t.Context(), rows)
		require.NoError(t, err)
		for i, want := range nn.Predict(c.model, rows) {
			for j := range want {
				require.InDelta(t, want[j], got[i][j], 1e-3)
			}
		}
		require.Len(t, seen, 1+c.calls)
		require.Equal(t, c.p.Schema().KeyBytes(), seen[0].Sent)
		require.Positive(t, seen[0].MakeKeys)
		require.Positive(t, seen[0].SendKeys)
		for _, q := range seen[1:] {
			require.Equal(t, c.p.Schema().QueryBytes(), q.Sent)
			require.Equal(t, c.p.Schema().AnswerBytes(), q.Received)
			for name, d := range map[string]time.Duration{"encrypt": q.Encrypt, "send": q.Send, "evaluate": q.Evaluate, "receive": q.Receive, "decrypt": q.Decrypt} {
				require.Positive(t, d, name)
			}
		}
		_, err = r.Predict(t.Context(), [][]float32{{1}})
		require.ErrorContains(t, err, "input 0 has 1 values, must have 32")
		require.NoError(t, r.Close(t.Context()))
		require.NoError(t, r.Close(t.Context()))
		_, err = r.Predict(t.Context(), rows[:1])
		require.ErrorIs(t, err, ErrClosed)
	}
}

// TestRemoteOpensAgain loses sessions while many calls run.
func TestRemoteOpensAgain(t *testing.T) {
	p, model, rows := servedProgram(t, 1)
	h := newHandler(t, p, HandlerOptions{Queue: 100})
	srv, client := startServer(t, h, nil)
	opened := 0
	var mutex sync.Mutex
	r, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client, Observe: func(t Timing) {
		mutex.Lock()
		defer mutex.Unlock()
		if t.MakeKeys > 0 {
			opened++
		}
	}})
	require.NoError(t, err)
	want := nn.Predict(model, rows)
	for range 2 {
		h.mutex.Lock()
		for _, s := range h.sessions {
			h.end(s)
		}
		h.mutex.Unlock()
		var group sync.WaitGroup
		for i := range rows {
			group.Go(func() {
				got, err := r.Predict(context.Background(), rows[i:i+1])
				if err != nil {
					t.Error(err)
					return
				}
				if d := got[0][0] - float64(want[i][0]); d > 1e-3 || d < -1e-3 {
					t.Error(i, d)
				}
			})
		}
		group.Wait()
	}
	require.Equal(t, 3, opened, "one session for all calls that missed it")
	h.mutex.Lock()
	for _, s := range h.sessions {
		h.end(s)
	}
	h.mutex.Unlock()
	require.NoError(t, r.Close(t.Context()), "the server has ended it already")
}

func TestRemoteErrorsHaveTheirStatus(t *testing.T) {
	p, _, rows := servedProgram(t, 1)
	other, _, _ := servedProgram(t, 2)
	h := newHandler(t, p, HandlerOptions{Authenticate: byHeader, Rate: 1e-4, Burst: 5})
	srv, client := startServer(t, h, nil)
	var refused *StatusError

	_, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client})
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 401, refused.Status)
	require.Equal(t, "not authorized", refused.Reason)

	anna := DialOptions{HTTPClient: client, Authorize: func(r *http.Request) error { r.Header.Set("Client", "anna"); return nil }}
	begun := time.Now()
	pinned := anna
	pinned.Digest = other.Schema().Digest()
	_, err = Dial(t.Context(), srv.URL, pinned)
	require.ErrorIs(t, err, ErrOtherProgram)
	strange := anna
	strange.Client = func(*Schema) (*Client, error) { return NewClient(other.Schema()), nil }
	_, err = Dial(t.Context(), srv.URL, strange)
	require.ErrorIs(t, err, ErrOtherProgram)
	failing := anna
	failing.Authorize = func(*http.Request) error { return io.ErrClosedPipe }
	_, err = Dial(t.Context(), srv.URL, failing)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	for _, address := range []string{"ftp://a", "localhost:80", "http:///x", ":"} {
		_, err = Dial(t.Context(), address, anna)
		require.Error(t, err, address)
	}
	_, err = Dial(t.Context(), srv.URL+"/none", anna)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 404, refused.Status)
	_, err = Dial(t.Context(), srv.URL, DialOptions{Authorize: anna.Authorize})
	require.ErrorContains(t, err, "certificate")

	r, err := Dial(t.Context(), srv.URL, anna)
	require.NoError(t, err)
	_, err = r.Predict(t.Context(), rows[:1])
	require.NoError(t, err)
	_, err = r.Predict(t.Context(), rows[:1])
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 429, refused.Status)
	// Five in 50,000 seconds, all since it began: the sixth must wait for what is left of 10,000.
	require.LessOrEqual(t, refused.RetryAfter, 10000*time.Second)
	require.GreaterOrEqual(t, refused.RetryAfter, 10000*time.Second-time.Since(begun))
	require.False(t, errors.Is(err, ErrOtherProgram))
	client.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	_, err = r.Predict(t.Context(), rows[:1])
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 429, refused.Status)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Predict(done, rows[:1])
	require.ErrorIs(t, err, context.Canceled)

	// The server starts again with another program.
	swap := &swapped{Handler: newHandler(t, p, HandlerOptions{})}
	srv, client = startServer(t, swap, nil)
	r, err = Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client})
	require.NoError(t, err)
	swap.Handler = newHandler(t, other, HandlerOptions{MaxSessions: 1})
	_, err = r.Predict(t.Context(), rows[:1])
	require.ErrorAs(t, err, &refused)
	require.ErrorIs(t, err, ErrOtherProgram)
}

// However low the rate, a client that comes now and then gets its first answers.
func TestRemotePredictsAtALowRate(t *testing.T) {
	p, _, rows := servedProgram(t, 1)
	srv, client := startServer(t, newHandler(t, p, HandlerOptions{Authenticate: byHeader, Rate: 1e-3}), nil)
	r, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client, Authorize: func(r *http.Request) error { r.Header.Set("Client", "anna"); return nil }})
	require.NoError(t, err)
	_, err = r.Predict(t.Context(), rows[:2])
	require.NoError(t, err)
	_, err = r.Predict(t.Context(), rows[:1])
	var refused *StatusError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 429, refused.Status)
}

type swapped struct{ http.Handler }

// roundTrip is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRemoteBoundsKeys has a server ask for more keys than the client is willing to make.
func TestRemoteBoundsKeys(t *testing.T) {
	p := servedOnce()
	srv, client := startServer(t, newHandler(t, p, HandlerOptions{}), nil)
	size := p.Schema().KeyBytes()
	made := 0
	dial := func(most int64) error {
		_, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client, MaxKeyBytes: most, Client: func(s *Schema) (*Client, error) {
			made++
			return NewClient(s), nil
		}})
		return err
	}
	require.ErrorContains(t, dial(size-1), fmt.Sprintf("keys of %d bytes, DialOptions.MaxKeyBytes allows %d", size, size-1))
	require.ErrorContains(t, dial(-1), "MaxKeyBytes is -1")
	require.Zero(t, made)
	require.NoError(t, dial(size))
	room := p.Schema().messageMemory()
	for most, want := range map[int64]string{
		room - 1: fmt.Sprintf("takes %d bytes of memory, DialOptions.MaxMessageMemory allows %d", room, room-1),
		-1:       "DialOptions.MaxMessageMemory is -1, must not be negative",
	} {
		_, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client, MaxMessageMemory: most})
		require.ErrorContains(t, err, want)
	}
	_, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client, MaxMessageMemory: room})
	require.NoError(t, err)

	// The default refuses a schema of twelve gigabytes of keys without making any.
	var f map[string]any
	text, err := json.Marshal(p.Schema())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &f))
	f["parameters"], err = newParameters(16, []int{45, 45, 45, 45, 45, 45, 45, 45}, []int{45}, 40)
	require.NoError(t, err)
	var steps []Rotation
	for i := range 60 {
		steps = append(steps, Rotation{i + 1, 7})
	}
	f["rotations"] = steps
	f["relinearize"] = 7
	text, err = json.Marshal(f)
	require.NoError(t, err)
	greedy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(text) }))
	defer greedy.Close()
	_, err = Dial(t.Context(), greedy.URL, DialOptions{})
	require.ErrorContains(t, err, "DialOptions.MaxKeyBytes allows 1073741824")
}

// TestRemoteStreamsKeys looks at the body of the keys: it has a length, is made as it is
// read, can be had again, and leaves nothing behind when it is not wanted.
func TestRemoteStreamsKeys(t *testing.T) {
	p := servedOnce()
	h := newHandler(t, p, HandlerOptions{})
	srv, client := startServer(t, h, nil)
	var first, second []byte
	transport := client.Transport
	again := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/keys") {
			if r.ContentLength != p.Schema().KeyBytes() {
				t.Error(r.ContentLength)
			}
			// A connection that breaks amid the body: the transport begins again.
			first = make([]byte, r.ContentLength/2)
			if _, err := io.ReadFull(r.Body, first); err != nil {
				t.Error(err)
			}
			r.Body.Close()
			body, err := r.GetBody()
			if err != nil {
				t.Error(err)
			}
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(body, writer(func(b []byte) { second = append(second, b...) })), body}
		}
		return transport.RoundTrip(r)
	})}
	r, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: again})
	require.NoError(t, err)
	require.Len(t, second, int(p.Schema().KeyBytes()))
	require.Equal(t, first, second[:len(first)])
	_, err = r.Predict(t.Context(), [][]float32{make([]float32, 32)})
	require.NoError(t, err)

	// A refusal before and amid the body ends the writer.
	room := func(sessions int) {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.options.MaxSessions = sessions
	}
	room(0)
	for _, wait := range []time.Duration{0, time.Minute} {
		client.Transport.(*http.Transport).ExpectContinueTimeout = wait
		_, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client})
		var refused *StatusError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, 503, refused.Status)
	}
	noKeysAreWritten(t)
	room(10)
	r, err = Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client})
	require.NoError(t, err)
	require.NoError(t, r.Close(t.Context()))
}

// noKeysAreWritten waits until no goroutine writes keys.
func noKeysAreWritten(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	require.Eventually(t, func() bool {
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("(*EvaluationKeys).WriteTo"))
	}, 2*time.Minute, 10*time.Millisecond, "goroutines write keys that nobody reads")
}

type writer func([]byte)

func (f writer) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

// TestRemoteFollowsNoRedirect has a server send queries to another host.
func TestRemoteFollowsNoRedirect(t *testing.T) {
	p := servedOnce()
	h := newHandler(t, p, HandlerOptions{})
	var reached atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached.Add(1) }))
	defer other.Close()
	var from atomic.Value
	from.Store("/query")
	srv, client := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == from.Load() {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		h.ServeHTTP(w, r)
	}), nil)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
	r, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client})
	require.NoError(t, err)
	refuses := func(err error) {
		t.Helper()
		var refused *StatusError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, 307, refused.Status)
		require.ErrorContains(t, err, other.URL)
		require.ErrorContains(t, err, "redirects are not followed")
	}
	_, err = r.Predict(t.Context(), [][]float32{make([]float32, 32)})
	refuses(err)
	from.Store("/session")
	refuses(r.Close(t.Context()))
	for _, path := range []string{"/schema", "/keys"} {
		from.Store(path)
		_, err = Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client})
		refuses(err)
	}
	require.Zero(t, reached.Load())
	// net/http has asked for the keys a second time before it learned that it may not.
	noKeysAreWritten(t)
}

// TestRemotePredictsPublicly looks at the outputs' noise and grid.
func TestRemotePredictsPublicly(t *testing.T) {
	p, _, rows := servedProgram(t, 1)
	var asked atomic.Int64
	srv, client := startServer(t, newHandler(t, p, HandlerOptions{}), func(*http.Request, []byte) { asked.Add(1) })
	r, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client})
	require.NoError(t, err)
	own, err := r.Predict(t.Context(), rows)
	require.NoError(t, err)
	publication := Publication{Answers: 1000, Distance: .125}
	sigma, err := publication.Deviation(r.Schema())
	require.NoError(t, err)
	public, err := r.PredictPublic(t.Context(), rows, publication)
	require.NoError(t, err)
	require.Len(t, public, len(rows))
	grid := math.Exp2(math.Floor(math.Log2(sigma / 16)))
	sum := 0.
	for i := range public {
		for j, v := range public[i] {
			require.Zero(t, math.Mod(v, grid))
			require.InDelta(t, own[i][j], v, 9*sigma+grid+2*r.Schema().ErrorBound())
			sum += (v - own[i][j]) * (v - own[i][j])
		}
	}
	// A chi-square of 32 degrees of freedom is within these factors but once in 10^9.
	mean := sum / 32 / (sigma * sigma)
	require.Greater(t, mean, .1)
	require.Less(t, mean, 4.)
	before := asked.Load()
	for want, bad := range map[string]Publication{"Answers is 0": {Distance: .1}, "Distance is 0": {Answers: 100}, "at least the 8 rows": {Answers: 7, Distance: .1}} {
		_, err := r.PredictPublic(t.Context(), rows, bad)
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, before, asked.Load(), "nothing was asked")
}

// TestRemoteKeepsASavedKey dials twice with one secret key.
func TestRemoteKeepsASavedKey(t *testing.T) {
	p, model, rows := servedProgram(t, 1)
	srv, client := startServer(t, newHandler(t, p, HandlerOptions{}), nil)
	first, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client})
	require.NoError(t, err)
	saved := message(first.Client())
	second, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client, Client: func(s *Schema) (*Client, error) {
		return s.ReadClient(bytes.NewReader(saved))
	}})
	require.NoError(t, err)
	require.Equal(t, saved, message(second.Client()))
	got, err := second.Predict(t.Context(), rows[:1])
	require.NoError(t, err)
	require.InDelta(t, nn.Predict(model, rows[:1])[0][0], got[0][0], 1e-3)
}

// TestRemoteDoubtsTheServer has servers that lie.
func TestRemoteDoubtsTheServer(t *testing.T) {
	p, _, rows := servedProgram(t, 1)
	good, err := json.Marshal(p.Schema())
	require.NoError(t, err)
	answer := func(schema string, query func(w http.ResponseWriter)) *httptest.Server {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/schema":
				io.WriteString(w, schema)
			case "/keys":
				w.WriteHeader(http.StatusCreated)
				io.WriteString(w, `{"session":"s"}`)
			case "/query":
				query(w)
			}
		}))
		t.Cleanup(srv.Close)
		return srv
	}
	var m map[string]any
	require.NoError(t, json.Unmarshal(good, &m))
	weak := p.Schema().Parameters()
	weak.LogN = 12 // the same modulus
	m["parameters"] = weak
	bad, err := json.Marshal(m)
	require.NoError(t, err)
	for says, schema := range map[string]string{"at most 106 is secure": string(bad), "schema": "{", "format is 0": "{}"} {
		_, err := Dial(t.Context(), answer(schema, nil).URL, DialOptions{})
		require.ErrorContains(t, err, says)
	}
	head := header(kindAnswer, p.Schema().Digest())
	for says, body := range map[string][]byte{
		"header":                         nil,
		"unexpected EOF":                 append(bytes.Clone(head), 1, 0, 0, 0, 7),
		"2 inputs":                       append(bytes.Clone(head), 2, 0, 0, 0),
		"another program":                append(header(kindAnswer, Digest{}), 1, 0, 0, 0),
		"bytes follow the message":       append(append(bytes.Clone(head), 1, 0, 0, 0), make([]byte, p.Schema().AnswerBytes())...),
		"want answer, message holds que": header(kindQuery, p.Schema().Digest()),
	} {
		r, err := Dial(t.Context(), answer(string(good), func(w http.ResponseWriter) { w.Write(body) }).URL, DialOptions{})
		require.NoError(t, err)
		_, err = r.Predict(t.Context(), rows[:1])
		require.ErrorContains(t, err, says)
	}
	// It says that every session is gone: the client tries once, not for ever.
	tries := 0
	r, err := Dial(t.Context(), answer(string(good), func(w http.ResponseWriter) {
		tries++
		w.WriteHeader(404)
		io.WriteString(w, `{"error":"`+strings.Repeat("x", 5000)+`"}`)
	}).URL, DialOptions{})
	require.NoError(t, err)
	_, err = r.Predict(t.Context(), rows[:1])
	var refused *StatusError
	require.ErrorAs(t, err, &refused)
	require.LessOrEqual(t, len(refused.Reason), 1000)
	require.Equal(t, 2, tries)
}

// TestServerReceivesNothingThatDecrypts searches all that arrives at the server for the
// secret key in every form in which it exists, and looks at the types that the server
// holds.
func TestServerReceivesNothingThatDecrypts(t *testing.T) {
	p, _, rows := servedProgram(t, 1)
	var all []byte
	handler := newHandler(t, p, HandlerOptions{})
	srv, client := startServer(t, handler, func(r *http.Request, body []byte) {
		for k, v := range r.Header {
			all = append(all, k+strings.Join(v, "")...)
		}
		all = append(append(all, r.URL.String()...), body...)
	})
	r, err := Dial(t.Context(), srv.URL, DialOptions{HTTPClient: client})
	require.NoError(t, err)
	_, err = r.Predict(t.Context(), rows[:2])
	require.NoError(t, err)
	require.Greater(t, int64(len(all)), p.Schema().KeyBytes()+2*p.Schema().QueryBytes())
	s := p.Schema()
	saved := message(r.Client())[headerSize:]
	forms := map[string][]byte{"as saved": saved}
	ringQP := s.lattigo.RingQP()
	transformed := *r.Client().secret.Value.CopyNew()
	plain := *transformed.CopyNew()
	ringQP.IMForm(plain, plain)
	coefficients := *plain.CopyNew()
	ringQP.INTT(coefficients, coefficients)
	for name, v := range map[string][][]uint64{
		"Montgomery": append(transformed.Q.Coeffs, transformed.P.Coeffs...), "transformed": append(plain.Q.Coeffs, plain.P.Coeffs...),
		"coefficients": append(coefficients.Q.Coeffs, coefficients.P.Coeffs...),
	} {
		primes := append(s.Parameters().Q, s.Parameters().P...)
		for i, row := range v {
			var words []byte
			for _, x := range row {
				words = binary.LittleEndian.AppendUint64(words, x)
			}
			forms[fmt.Sprintf("%s %d in words", name, i)] = words
			forms[fmt.Sprintf("%s %d packed", name, i)] = pack(nil, row, primes[i])
		}
	}
	require.Empty(t, found(all, forms))
	require.Equal(t, "as saved", found(append(all, saved...), forms), "the search finds what is there")

	// What the handler holds after all that, by its values, behind interfaces too.
	srv.Close() // waits for what runs
	require.False(t, holds(reflect.ValueOf(handler), reflect.TypeFor[rlwe.SecretKey](), map[visit]bool{}))
	require.True(t, holds(reflect.ValueOf(handler), reflect.TypeFor[rlwe.GaloisKey](), map[visit]bool{}), "the walk finds what is there")
	require.True(t, holds(reflect.ValueOf(r.Client()), reflect.TypeFor[rlwe.SecretKey](), map[visit]bool{}))

	secret := reflect.TypeFor[rlwe.SecretKey]()
	require.True(t, reaches(reflect.TypeFor[Client](), secret, map[reflect.Type]bool{}))
	for _, holder := range []reflect.Type{reflect.TypeFor[Handler](), reflect.TypeFor[EvaluationKeys](), reflect.TypeFor[Query](), reflect.TypeFor[Program]()} {
		require.False(t, reaches(holder, secret, map[reflect.Type]bool{}), holder.String())
	}
}

// found names the form of which 32 bytes in a row, from a multiple of 32, are anywhere in
// all; "" if there is none.
func found(all []byte, forms map[string][]byte) string {
	windows := map[[32]byte]string{}
	for name, form := range forms {
		for ; len(form) >= 32; form = form[32:] {
			if bytes.Count(form[:32], form[:1]) < 32 {
				windows[[32]byte(form)] = name
			}
		}
	}
	for i := range len(all) - 31 {
		if name := windows[[32]byte(all[i:])]; name != "" {
			return name
		}
	}
	return ""
}

type visit struct {
	at uintptr
	t  reflect.Type
}

// holds says whether a value of a type can be come at from v, whatever the fields'
// declared types. Functions' variables cannot be looked into.
func holds(v reflect.Value, want reflect.Type, seen map[visit]bool) bool {
	if !v.IsValid() {
		return false
	}
	if v.Type() == want {
		return true
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[visit{v.Pointer(), v.Type()}] {
			return false
		}
		seen[visit{v.Pointer(), v.Type()}] = true
		return holds(v.Elem(), want, seen)
	case reflect.Interface:
		return holds(v.Elem(), want, seen)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() <= reflect.Complex128 {
			return false
		}
		for i := range v.Len() {
			if holds(v.Index(i), want, seen) {
				return true
			}
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			if holds(i.Key(), want, seen) || holds(i.Value(), want, seen) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if holds(v.Field(i), want, seen) {
				return true
			}
		}
	}
	return false
}

// reaches says whether a value of one type can hold one of another, by its fields.
func reaches(from, to reflect.Type, seen map[reflect.Type]bool) bool {
	if from == to {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	switch from.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Chan:
		return reaches(from.Elem(), to, seen)
	case reflect.Map:
		return reaches(from.Key(), to, seen) || reaches(from.Elem(), to, seen)
	case reflect.Struct:
		for i := range from.NumField() {
			if reaches(from.Field(i).Type, to, seen) {
				return true
			}
		}
	}
	return false
}
