package he

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tuneinsight/lattigo/v5/core/rlwe"

	"github.com/sotto-ml/sotto/nn"
)

// tinySchema is as small as the gate lets a schema be, so that whole messages can be
// mutated, and always the same, so that messages in testdata have its digest. Nothing
// that is evaluated under it would be right.
func tinySchema(t testing.TB, mode Mode) *Schema {
	t.Helper()
	s := &Schema{
		mode: mode, params: Parameters{LogN: 11, Q: []uint64{65537, 114689}, P: []uint64{147457}, LogScale: 15},
		inputs: 2, outputs: 2, inputBound: 1, outputGain: 1, scale: 1 << 15, degree: 2, level: 1, relinearize: 1, errorBound: 1,
	}
	if mode == Latency {
		s.taps, s.width, s.rotations, s.degree, s.level = [][]int32{{0, 1}, {1, -1}}, 2, []Rotation{{1, 0}, {2, 1}}, 1, 0
	}
	require.NoError(t, s.finish())
	return s
}

// allocated is the bytes that f allocates, whether they are kept or not.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// fuzzWire has arbitrary bytes read as a message: no panic; what is read is written back
// the same; what is allocated depends on how much comes, not on what it says.
func fuzzWire[T io.WriterTo](f *testing.F, kind messageKind, read func(*Schema, io.Reader) (T, error), write func(*Schema) io.WriterTo) {
	schemas := []*Schema{tinySchema(f, Latency), tinySchema(f, Batch)}
	for i, s := range schemas {
		whole := written(f, write(s))
		f.Add(i == 1, whole)
		f.Add(i == 1, whole[:len(whole)-1])
		f.Add(i == 1, append(bytes.Clone(whole), 0))
		f.Add(i == 1, bytes.Repeat([]byte{255}, headerSize))
	}
	f.Fuzz(func(t *testing.T, batch bool, message []byte) {
		s := schemas[0]
		if batch {
			s = schemas[1]
		}
		var v T
		var err error
		took := allocated(func() { v, err = read(s, bytes.NewReader(message)) })
		if bound := int64(1<<18 + 64*len(message)); took > bound {
			t.Fatalf("%d bytes were allocated for a message of %d, more than %d", took, len(message), bound)
		}
		if err != nil {
			require.Contains(t, err.Error(), "he: ")
			return
		}
		require.Equal(t, header(kind, s.digest), message[:headerSize])
		require.Equal(t, message, written(t, v))
	})
}

func FuzzReadKeys(f *testing.F) {
	fuzzWire(f, kindKeys, (*Schema).ReadKeys, func(s *Schema) io.WriterTo { return NewClient(s).Keys() })
}

func FuzzReadQuery(f *testing.F) {
	fuzzWire(f, kindQuery, (*Schema).ReadQuery, func(s *Schema) io.WriterTo {
		q, err := NewClient(s).Encrypt([][]float32{{.5, -.25}})
		require.NoError(f, err)
		return q
	})
}

func FuzzReadAnswer(f *testing.F) {
	fuzzWire(f, kindAnswer, (*Schema).ReadAnswer, func(s *Schema) io.WriterTo {
		a := &Answer{schema: s, count: 1}
		for range s.answers() {
			a.cts = append(a.cts, s.newAnswerCiphertext())
		}
		return a
	})
}

func FuzzReadClient(f *testing.F) {
	fuzzWire(f, kindSecret, (*Schema).ReadClient, func(s *Schema) io.WriterTo { return NewClient(s) })
}

// FuzzReadProgram has arbitrary bytes read as a program's file: what is read is written
// back the same.
func FuzzReadProgram(f *testing.F) {
	for _, layers := range [][]nn.Layer{
		{nn.Linear{Out: 2}},
		{nn.LayerNorm{}, nn.Linear{Out: 2}, nn.Tanh{}, nn.Linear{Out: 1}},
	} {
		p, err := Compile(network(f, nn.Shape{3}, layers...), examples(4, 3, 1), Options{FreezeNorms: true, Precision: 4, Degree: 2})
		require.NoError(f, err)
		file := written(f, p)
		f.Add(file)
		f.Add(file[:len(file)-1])
		f.Add(file[:headerSize+4])
		f.Add(bytes.Replace(file, []byte(`"salt":`), []byte(`"sa1t":`), 1))
		f.Add(bytes.Replace(file, []byte(`"Out":`), []byte(`"Out":9`), 1))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if p, err := ReadProgram(bytes.NewReader(file)); err == nil {
			require.Equal(t, p.Schema().Digest(), Digest(file[16:headerSize]))
			again, err := ReadProgram(bytes.NewReader(written(t, p)))
			require.NoError(t, err)
			require.Equal(t, p.Report(), again.Report())
		}
	})
}

// FuzzSchema has arbitrary text read as a schema: what passes lies within the gate and is
// the same after another way over the wire.
func FuzzSchema(f *testing.F) {
	for _, mode := range []Mode{Latency, Batch} {
		text, err := json.Marshal(tinySchema(f, mode))
		require.NoError(f, err)
		f.Add(string(text))
		f.Add(strings.Replace(string(text), `"log_n":11`, `"log_n":16`, 1))
		f.Add(strings.Replace(string(text), `"level":`, `"level":9`, 1))
		f.Add(strings.Replace(string(text), `"commitment":"`, `"commitment":"0123`, 1))
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Schema
		if json.Unmarshal([]byte(text), &s) != nil {
			require.Equal(t, Schema{}, s, "changed by a refused schema")
			return
		}
		require.NoError(t, s.params.check())
		for _, size := range []int64{s.KeyBytes(), s.QueryBytes(), s.AnswerBytes()} {
			require.Positive(t, size)
			require.LessOrEqual(t, size, int64(maxKeys))
		}
		again, err := json.Marshal(&s)
		require.NoError(t, err)
		var same Schema
		require.NoError(t, json.Unmarshal(again, &same))
		require.Equal(t, s.Digest(), same.Digest())
	})
}

// FuzzModelFile has a network of somebody else's, as a safetensors file would describe
// it, read and compiled: it is refused with a reason, or it is folded into maps that give
// what the network gives.
func FuzzModelFile(f *testing.F) {
	for _, text := range []string{
		`{"input":[3],"layers":[{"type":"Linear","Out":2}]}`,
		`{"input":[1,6,6],"layers":[{"type":"Conv2D","Out":3,"Kernel":3,"Stride":2,"Padding":1},{"type":"Square"},{"type":"Flatten"},{"type":"Linear","Out":2}]}`,
		`{"input":[2,4,4],"layers":[{"type":"GroupNorm","Groups":2},{"type":"AvgPool","Kernel":2},{"type":"Residual","Layers":[{"type":"Conv2D","Out":2,"Kernel":1,"Groups":2},{"type":"Tanh"}]},{"type":"GlobalAvgPool"}]}`,
		`{"input":[2,3],"layers":[{"type":"LayerNorm"},{"type":"Linear","Out":4},{"type":"Polynomial","Coefficients":[0,1,0.5]},{"type":"Dropout","Rate":0.5},{"type":"Flatten"}]}`,
		`{"input":[1,4,4],"layers":[{"type":"MaxPool","Kernel":2}]}`,
		`{"input":[1,2048,1024],"layers":[{"type":"AvgPool","Kernel":2}]}`,
		`{"input":[1,1024,1024],"layers":[{"type":"GroupNorm","Groups":1}]}`,
		`{"input":[1,1024,1024],"layers":[{"type":"AvgPool","Kernel":1000,"Stride":1,"Padding":500}]}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var spec nn.Spec
		if json.Unmarshal([]byte(text), &spec) != nil {
			return
		}
		m, err := nn.New(spec.Input, spec.Layers...)
		if err != nil || len(m.Params()) > 1<<16 { // what a file of a megabyte could hold
			return
		}
		m.Init(nn.XavierNormal, 1)
		x := make([]float64, min(m.Input().Size(), 1<<21))
		row := make([]float32, len(x))
		for i := range x {
			row[i] = float32(i%7)/7 - .4
			x[i] = float64(row[i])
		}
		g, _, err := newGraph(m, [][]float64{x}, nil, true)
		if err != nil {
			require.Contains(t, err.Error(), "he: ")
			return
		}
		if len(x) > 1<<10 || m.Output().Size() > 1<<10 {
			return
		}
		if !strings.Contains(text, "Norm") {
			values := g.run(x, nil)
			want := nn.Predict(m, [][]float32{row})[0]
			for j, v := range values[len(values)-1] {
				if w := float64(want[j]); v-w > 1e-3*(1+max(w, -w)) || w-v > 1e-3*(1+max(w, -w)) {
					t.Fatalf("output %d is %g, must be %g", j, v, w)
				}
			}
		}
		if len(x) <= 32 && m.Output().Size() <= 32 {
			if _, err := Compile(m, [][]float32{row}, Options{Precision: 4, Degree: 2, FreezeNorms: true}); err != nil {
				require.Contains(t, err.Error(), "he: ")
			}
		}
	})
}

// FuzzUnpack has arbitrary bytes read as residues: what passes is packed to the same.
func FuzzUnpack(f *testing.F) {
	f.Add(uint64(65537), []byte("eight residues of 17 bits each"))
	f.Add(uint64(1<<60-93), bytes.Repeat([]byte{7}, 60))
	f.Add(uint64(3), []byte{0, 1})
	f.Fuzz(func(t *testing.T, q uint64, b []byte) {
		if q < 2 || q >= 1<<63 {
			return
		}
		size := packedSize(8, q)
		n := len(b) / size * 8
		b = b[:n/8*size]
		residues := make([]uint64, n)
		if unpack(residues, b, q) == nil {
			for _, r := range residues {
				require.Less(t, r, q)
			}
			require.Equal(t, b, append([]byte{}, pack(nil, residues, q)...))
		}
	})
}

// replies answer a client's requests without a network.
type replies func(*http.Request) *http.Response

func (f replies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	return f(r), nil
}

// FuzzRemote has a client read what an arbitrary server says: no panic, and no reply but
// an answer is an answer.
func FuzzRemote(f *testing.F) {
	s := tinySchema(f, Latency)
	good, err := json.Marshal(s)
	require.NoError(f, err)
	answer := written(f, &Answer{schema: s, count: 1, cts: []*rlwe.Ciphertext{s.newAnswerCiphertext()}})
	f.Add(201, []byte(`{"session":"s"}`), 200, "receive;dur=1, queue;dur=2.5, evaluate;dur=3", "", answer)
	f.Add(201, []byte(`{"session":"s"}`), 200, "queue;dur=-1,evaluate;dur=NaN,;;=", "", answer[:100])
	f.Add(201, []byte(`{"session":"s"}`), 404, "", "", []byte(`{"error":"no such session"}`))
	f.Add(429, []byte(`{"error":"too many"}`), 200, "", "99999999999999999999", []byte{})
	f.Add(201, []byte(`{"session":1}`), 200, "", "-1", []byte{})
	client := NewClient(s)
	f.Fuzz(func(t *testing.T, opened int, session []byte, status int, timing, retry string, body []byte) {
		reply := func(status int, body []byte) *http.Response {
			head := http.Header{"Server-Timing": {timing}, "Retry-After": {retry}}
			return &http.Response{StatusCode: status, Header: head, Body: io.NopCloser(bytes.NewReader(body))}
		}
		transport := replies(func(r *http.Request) *http.Response {
			switch r.URL.Path {
			case "/schema":
				return reply(http.StatusOK, good)
			case "/keys":
				return reply(opened, session)
			}
			return reply(status, body)
		})
		redirects := fmt.Sprint(opened, status)
		if strings.Contains(redirects, "30") || opened < 200 || status < 200 {
			return // net/http's own affair
		}
		r, err := Dial(t.Context(), "http://server", DialOptions{
			HTTPClient: &http.Client{Transport: transport},
			Client:     func(*Schema) (*Client, error) { return client, nil },
			Observe: func(v Timing) {
				require.GreaterOrEqual(t, v.Queue, v.Queue.Abs())
				require.GreaterOrEqual(t, v.Send, v.Send.Abs())
			},
		})
		if err != nil {
			require.Contains(t, err.Error(), "he: ")
			return
		}
		out, err := r.Predict(t.Context(), [][]float32{{.5, .25}})
		if err == nil {
			require.Equal(t, http.StatusOK, status)
			require.Len(t, body, int(s.AnswerBytes()))
			require.Len(t, out, 1)
		}
		r.Close(t.Context())
	})
}

// FuzzHandler sends arbitrary bodies to every path, after the header that a message needs
// to be looked at where whole is set: a status below 500, no panic, and nothing kept.
func FuzzHandler(f *testing.F) {
	p := servedOnce()
	m := newMessages(f, p)
	paths := []string{"/keys", "/query", "/session", "/schema", "/health", "/"}
	for i, path := range paths {
		f.Add(uint8(i), path[1:], uint8(1), false, m.query[:100])
		f.Add(uint8(i), "x", uint8(0), false, m.keys[:headerSize+seedSize+50])
	}
	f.Add(uint8(0), "", uint8(1), true, m.keys[headerSize:])
	f.Add(uint8(1), "x", uint8(1), true, m.query[headerSize:])
	f.Add(uint8(1), "x", uint8(1), true, m.query[headerSize:headerSize+100])
	f.Add(uint8(1), "x", uint8(1), true, append(bytes.Clone(m.query[headerSize:]), 0))
	h, err := NewHandler(p, HandlerOptions{})
	require.NoError(f, err)
	session := openSession(f, h, "", m)
	methods := []string{"GET", "POST", "DELETE", "PUT", "HEAD"}
	f.Fuzz(func(t *testing.T, path uint8, named string, method uint8, whole bool, body []byte) {
		if named == "x" {
			named = session
		}
		to, verb := paths[int(path)%len(paths)], methods[int(method)%len(methods)]
		if verb == "DELETE" && named == session {
			return
		}
		if whole {
			kind := kindQuery
			if to == "/keys" {
				kind = kindKeys
			}
			body = append(header(kind, p.schema.digest), body...)
		}
		w := ask(h, verb, to, "", named, body)
		if w.Code < 200 || w.Code >= 500 {
			t.Fatal(w.Code, w.Body)
		}
		if w.Code == http.StatusCreated { // these were keys
			var opened struct{ Session string }
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &opened))
			require.Equal(t, http.StatusNoContent, ask(h, "DELETE", "/session", "", opened.Session, nil).Code)
		}
		h.mutex.Lock()
		defer h.mutex.Unlock()
		if h.admitted != 0 || len(h.turns) != 0 || h.opening != 0 || len(h.sessions) != 1 || h.taken != h.keyMemory {
			t.Fatal("something is kept")
		}
	})
}

// A program's file whose numbers are extreme, one after another, is refused or compiles to
// what it says: it never panics.
func TestProgramFileExtremes(t *testing.T) {
	p, err := Compile(network(t, nn.Shape{3}, nn.LayerNorm{}, nn.Linear{Out: 2}, nn.Tanh{}, nn.Linear{Out: 2}, nn.Square{}, nn.Linear{Out: 1}),
		examples(4, 3, 1), Options{FreezeNorms: true, Precision: 4, Degree: 3})
	require.NoError(t, err)
	file := written(t, p)
	length := int(binary.LittleEndian.Uint32(file[headerSize:]))
	text, weights := file[headerSize+4:headerSize+4+length], file[headerSize+4+length:]
	var tree map[string]any
	require.NoError(t, json.Unmarshal(text, &tree))
	delete(tree, "report")
	tried, passed, last := 0, 0, false
	var vary func(v any)
	original, err := json.Marshal(tree)
	require.NoError(t, err)
	try := func() {
		changed, err := json.Marshal(tree)
		require.NoError(t, err)
		if bytes.Equal(changed, original) && !last {
			return // a zero that was one
		}
		b := binary.LittleEndian.AppendUint32(bytes.Clone(file[:headerSize]), uint32(len(changed)))
		if tried++; testing.Short() && tried%8 != 0 && !last {
			return
		}
		if _, err := ReadProgram(bytes.NewReader(append(append(b, changed...), weights...))); err == nil {
			passed++
			t.Logf("%s", changed)
		} else {
			require.Contains(t, err.Error(), "he: ")
		}
	}
	extremes := []any{0, -1, 1e99, 5e-324, []any{}}
	vary = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, old := range v {
				vary(old)
				for _, e := range extremes {
					v[k] = e
					try()
				}
				v[k] = old
			}
		case []any:
			for i, old := range v {
				vary(old)
				for _, e := range extremes {
					v[i] = e
					try()
				}
				v[i] = old
			}
		}
	}
	vary(map[string]any{"start": tree["start"], "stages": tree["stages"], "options": tree["options"], "error_bound": tree["error_bound"]})
	for _, k := range []string{"start", "stages", "options", "error_bound", "salt"} {
		old := tree[k]
		for _, e := range extremes {
			tree[k] = e
			try()
		}
		tree[k] = old
	}
	require.Greater(t, tried, 100)
	require.Zero(t, passed, "a program that was changed keeps its digest")
	last = true
	try()
	require.Equal(t, 1, passed, "the unchanged one")
}

// Weights beyond all bounds, and none, are refused with a reason or compile.
func TestExtremeWeights(t *testing.T) {
	for _, scale := range []float32{0, 1e-38, 1e-20, 1e20, 3e38} {
		for _, mode := range []Mode{Latency, Batch} {
			for name, layers := range map[string][]nn.Layer{
				"linear": {nn.Linear{Out: 3}},
				"deep":   {nn.Linear{Out: 3}, nn.Linear{Out: 3}, nn.Linear{Out: 3}, nn.Linear{Out: 3}, nn.Linear{Out: 3}, nn.Linear{Out: 3}, nn.Linear{Out: 3}, nn.Linear{Out: 3}, nn.Linear{Out: 3}, nn.Linear{Out: 3}},
				"square": {nn.Linear{Out: 3}, nn.Square{}, nn.Linear{Out: 3}, nn.Square{}, nn.Linear{Out: 2}},
				"tanh":   {nn.Linear{Out: 3}, nn.Tanh{}, nn.Linear{Out: 3}},
				"norm":   {nn.Linear{Out: 3}, nn.LayerNorm{}, nn.Linear{Out: 3}},
			} {
				m := network(t, nn.Shape{3}, layers...)
				for i := range m.Params() {
					m.Params()[i] = scale * max(min(m.Params()[i], 1), -1)
				}
				p, err := Compile(m, examples(4, 3, 1), Options{Mode: mode, FreezeNorms: true, Degree: 2, Precision: 4})
				if err != nil {
					require.Contains(t, err.Error(), "he: ", "%s %g", name, scale)
					continue
				}
				a, err := p.Assess(examples(4, 3, 2))
				require.NoError(t, err)
				require.False(t, math.IsNaN(a.LargestError), "%s %g %s", name, scale, mode)
			}
		}
	}
}
