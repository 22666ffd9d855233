package he

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/nn"
)

// small programs need keys of both kinds (latency) and one (batch).
func small(t testing.TB, mode Mode) *Program {
	t.Helper()
	layers := []nn.Layer{nn.Linear{Out: 8}, nn.Square{}, nn.Linear{Out: 4}, nn.Square{}, nn.Linear{Out: 3}}
	p, err := Compile(network(t, nn.Shape{10}, layers...), examples(20, 10, 1), Options{Mode: mode})
	require.NoError(t, err)
	return p
}

func written(t testing.TB, w io.WriterTo) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := w.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	return b.Bytes()
}

// Keys are made from seeds: those of a network for MNIST's digits are small.
func TestKeysAreSmall(t *testing.T) {
	m := network(t, nn.Shape{784}, nn.Linear{Out: 128}, nn.Square{}, nn.Linear{Out: 10})
	p, err := Compile(m, examples(3, 784, 1), Options{})
	require.NoError(t, err)
	require.Equal(t, 128, p.Report().SecurityBits)
	size, err := NewClient(p.Schema()).Keys().WriteTo(io.Discard)
	require.NoError(t, err)
	require.Equal(t, p.Schema().KeyBytes(), size)
	require.LessOrEqual(t, size, int64(15_000_000))
}

// A digest is 64 digits, no more and no fewer.
func TestDigestText(t *testing.T) {
	want := small(t, Latency).Schema().Digest()
	text, err := want.MarshalText()
	require.NoError(t, err)
	var got Digest
	require.NoError(t, got.UnmarshalText(text))
	require.Equal(t, want, got)
	for _, bad := range []string{"", string(text[:62]), string(text[:63]), string(text) + "0", string(text) + "00", strings.Repeat("ab", 1000)} {
		require.ErrorContains(t, got.UnmarshalText([]byte(bad)), fmt.Sprintf("digest has %d characters, want 64", len(bad)))
	}
	require.ErrorContains(t, got.UnmarshalText(bytes.Replace(text, text[:1], []byte("g"), 1)), "want 64 hexadecimal digits")
}

// Every message of one program is refused by another by name, when it is cut, when it
// is of another kind or version, and when bytes follow.
func TestMessagesRefused(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		p, other := small(t, mode), small(t, mode) // salts differ
		c := NewClient(p.Schema())
		s, err := NewServer(p, c.Keys())
		require.NoError(t, err)
		q, err := c.Encrypt(examples(1, 10, 2))
		require.NoError(t, err)
		a, err := s.Evaluate(q)
		require.NoError(t, err)
		messages := map[string]struct {
			bytes []byte
			read  func(s *Schema, r io.Reader) error
		}{
			"evaluation keys": {written(t, c.Keys()), func(s *Schema, r io.Reader) error { _, err := s.ReadKeys(r); return err }},
			"query":           {written(t, q), func(s *Schema, r io.Reader) error { _, err := s.ReadQuery(r); return err }},
			"answer":          {written(t, a), func(s *Schema, r io.Reader) error { _, err := s.ReadAnswer(r); return err }},
			"secret key":      {written(t, c), func(s *Schema, r io.Reader) error { _, err := s.ReadClient(r); return err }},
		}
		for name, m := range messages {
			read := func(b []byte) error { return m.read(p.Schema(), bytes.NewReader(b)) }
			require.NoError(t, read(m.bytes), name)
			err := m.read(other.Schema(), bytes.NewReader(m.bytes))
			require.ErrorIs(t, err, ErrOtherProgram)
			require.ErrorContains(t, err, name)
			for _, n := range []int{0, 1, headerSize - 1, headerSize, headerSize + 3, headerSize + 5, len(m.bytes) / 2, len(m.bytes) - 1} {
				require.ErrorIs(t, read(m.bytes[:n]), io.ErrUnexpectedEOF, "%s cut to %d", name, n)
			}
			require.ErrorContains(t, read(append(bytes.Clone(m.bytes), 0)), "bytes follow the message", name)
			for at, want := range map[int]string{0: "not a message", 8: "format version is", 9: "he: ", 10: "reserved bytes", 20: "is for another program"} {
				b := bytes.Clone(m.bytes)
				b[at] ^= 0x40
				require.ErrorContains(t, read(b), want, name)
			}
			for otherName, o := range messages {
				if otherName != name {
					require.ErrorContains(t, read(o.bytes), "want "+name+", message holds "+otherName)
				}
			}
		}
		// A residue that is not below its modulus.
		b := bytes.Clone(messages["query"].bytes)
		for i := headerSize + 4 + seedSize; i < headerSize+4+seedSize+8; i++ {
			b[i] = 0xff
		}
		_, err = p.Schema().ReadQuery(bytes.NewReader(b))
		require.ErrorContains(t, err, "must be below the modulus")
		// Objects of another program, without the wire.
		_, err = NewServer(other, c.Keys())
		require.ErrorIs(t, err, ErrOtherProgram)
		wrong, err := NewServer(other, NewClient(other.Schema()).Keys())
		require.NoError(t, err)
		_, err = wrong.Evaluate(q)
		require.ErrorIs(t, err, ErrOtherProgram)
		_, err = NewClient(other.Schema()).Decrypt(a)
		require.ErrorIs(t, err, ErrOtherProgram)
	}
}

// A client restored from its file decrypts what the first one encrypted.
func TestClientFile(t *testing.T) {
	p := small(t, Latency)
	c := NewClient(p.Schema())
	d, err := p.Schema().ReadClient(bytes.NewReader(written(t, c)))
	require.NoError(t, err)
	require.True(t, c.secret.Equal(d.secret))
	s, err := NewServer(p, d.Keys())
	require.NoError(t, err)
	q, err := c.Encrypt(examples(1, 10, 3))
	require.NoError(t, err)
	a, err := s.Evaluate(q)
	require.NoError(t, err)
	x, err := c.Decrypt(a)
	require.NoError(t, err)
	y, err := d.Decrypt(a)
	require.NoError(t, err)
	require.Equal(t, x, y)
}

// A program's file gives the same program again, by digest and by report, which serves
// the clients of the first.
func TestProgramFile(t *testing.T) {
	norm := network(t, nn.Shape{10}, nn.LayerNorm{}, nn.Linear{Out: 6}, nn.Tanh{}, nn.Residual{Layers: []nn.Layer{nn.LayerNorm{}}}, nn.Linear{Out: 3})
	frozen, err := Compile(norm, examples(20, 10, 1), Options{FreezeNorms: true, Degree: 3})
	require.NoError(t, err)
	for _, p := range []*Program{small(t, Latency), small(t, Batch), frozen} {
		file := written(t, p)
		again, err := ReadProgram(bytes.NewReader(file))
		require.NoError(t, err)
		require.Equal(t, p.Schema().Digest(), again.Schema().Digest())
		require.Equal(t, p.Report(), again.Report())
		require.Equal(t, file, written(t, again))
		c := NewClient(p.Schema())
		x := examples(1, 10, 4)
		q, err := c.Encrypt(x)
		require.NoError(t, err)
		var outs [][][]float64
		for _, p := range []*Program{p, again} {
			s, err := NewServer(p, c.Keys())
			require.NoError(t, err)
			a, err := s.Evaluate(q)
			require.NoError(t, err)
			out, err := c.Decrypt(a)
			require.NoError(t, err)
			outs = append(outs, out)
		}
		for j := range outs[0][0] {
			require.InDelta(t, outs[0][0][j], outs[1][0][j], p.Schema().ErrorBound())
		}
		for _, n := range []int{0, headerSize, headerSize + 2, headerSize + 100, len(file) - 1} {
			_, err := ReadProgram(bytes.NewReader(file[:n]))
			require.Error(t, err, n)
		}
		b := bytes.Clone(file)
		b[len(b)-1] ^= 1 // a weight
		_, err = ReadProgram(bytes.NewReader(b))
		require.ErrorContains(t, err, "compiles to another program")
		b = bytes.Replace(file, []byte(`"low":`), []byte(`"low":9`), 1)
		_, err = ReadProgram(bytes.NewReader(b))
		require.Error(t, err)
	}
}

// Whatever the server holds, no field of it can be of a type that decrypts, and what it
// is sent does not hold the secret key's bytes, packed or as lattigo keeps them.
func TestServerHoldsNoSecret(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type, string)
	walk = func(ty reflect.Type, path string) {
		if seen[ty] {
			return
		}
		seen[ty] = true
		name := ty.String()
		for _, bad := range []string{"SecretKey", "Decryptor", "KeyGenerator", "he.Client"} {
			require.False(t, strings.HasSuffix(name, bad), "%s is a %s", path, name)
		}
		switch ty.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Chan:
			walk(ty.Elem(), path)
		case reflect.Map:
			walk(ty.Key(), path)
			walk(ty.Elem(), path)
		case reflect.Struct:
			for i := range ty.NumField() {
				walk(ty.Field(i).Type, path+"."+ty.Field(i).Name)
			}
		}
	}
	for _, v := range []any{Server{}, Program{}, EvaluationKeys{}, Query{}, Answer{}, worker{}} {
		walk(reflect.TypeOf(v), reflect.TypeOf(v).Name())
	}
	require.Greater(t, len(seen), 30)
	// The walk does find what it looks for.
	require.Equal(t, "SecretKey", reflect.TypeOf(Client{}.secret).Elem().Name())

	p := small(t, Latency)
	c := NewClient(p.Schema())
	q, err := c.Encrypt(examples(1, 10, 2))
	require.NoError(t, err)
	sent := append(written(t, c.Keys()), written(t, q)...)
	secret := written(t, c)[headerSize:]
	var raw []byte
	for _, row := range append(append([][]uint64{}, c.secret.Value.Q.Coeffs...), c.secret.Value.P.Coeffs...) {
		raw = pack(raw, row, 1<<63)
	}
	for _, hidden := range [][]byte{secret, raw} {
		for at := 0; at+16 <= len(hidden); at += 16 {
			require.False(t, bytes.Contains(sent, hidden[at:at+16]))
		}
	}
	require.True(t, bytes.Contains(append(sent, secret...), secret[32:48]))
}

// Batch answers are the same bytes for any number of cores. Latency answers hide what is
// no output under a fresh mask; their decoded outputs are the same.
func TestCoresDoNotMatter(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		p := small(t, mode)
		c := NewClient(p.Schema())
		s, err := NewServer(p, c.Keys())
		require.NoError(t, err)
		q, err := c.Encrypt(examples(1, 10, 2))
		require.NoError(t, err)
		var out [][][]float64
		var bytes [][]byte
		for _, cores := range []int{1, 2, 5} {
			former := runtime.GOMAXPROCS(cores)
			a, err := s.Evaluate(q)
			require.NoError(t, err)
			values, err := c.Decrypt(a)
			require.NoError(t, err)
			runtime.GOMAXPROCS(former)
			out, bytes = append(out, values), append(bytes, written(t, a))
		}
		if mode == Batch {
			require.Equal(t, bytes[0], bytes[1])
			require.Equal(t, bytes[0], bytes[2])
		} else {
			require.NotEqual(t, bytes[0], bytes[1])
		}
		require.Equal(t, out[0], out[1])
		require.Equal(t, out[0], out[2])
	}
}

// An answer is a query's own: the worker that made it writes the next one elsewhere.
func TestAnswersAreApart(t *testing.T) {
	for _, layers := range [][]nn.Layer{
		{nn.Linear{Out: 3}},
		{nn.Linear{Out: 8}, nn.Square{}, nn.Linear{Out: 3}},
	} {
		p, err := Compile(network(t, nn.Shape{10}, layers...), examples(20, 10, 1), Options{Mode: Latency})
		require.NoError(t, err)
		c := NewClient(p.Schema())
		s, err := NewServer(p, c.Keys())
		require.NoError(t, err)
		x := examples(4, 10, 9)
		var answers []*Answer
		var first [][]byte
		for _, row := range x {
			q, err := c.Encrypt([][]float32{row})
			require.NoError(t, err)
			a, err := s.Evaluate(q)
			require.NoError(t, err)
			answers, first = append(answers, a), append(first, written(t, a))
		}
		for i, a := range answers {
			require.Equal(t, first[i], written(t, a), "answer %d changed", i)
			got, err := c.Decrypt(a)
			require.NoError(t, err)
			in := make([]float64, len(x[i]))
			for j, v := range x[i] {
				in[j] = float64(v)
			}
			values := p.graph.evaluate(in, true, nil)
			require.InDeltaSlice(t, values[len(values)-1], got[0], p.Schema().ErrorBound())
		}
	}
}

// One server and one client serve many goroutines: lattigo's own objects do not.
func TestConcurrentUse(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		p := small(t, mode)
		c := NewClient(p.Schema())
		s, err := NewServer(p, c.Keys())
		require.NoError(t, err)
		x := examples(8, 10, 9)
		var group sync.WaitGroup
		for _, row := range x {
			group.Go(func() {
				q, err := c.Encrypt([][]float32{row})
				if err != nil {
					t.Error(err)
					return
				}
				a, err := s.Evaluate(q)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := c.Decrypt(a)
				if err != nil {
					t.Error(err)
					return
				}
				in := make([]float64, len(row))
				for j, v := range row {
					in[j] = float64(v)
				}
				values := p.graph.evaluate(in, true, nil)
				for j, want := range values[len(values)-1] {
					if d := got[0][j] - want; d > p.Schema().ErrorBound() || -d > p.Schema().ErrorBound() {
						t.Errorf("%s: output %d is off by %g", mode, j, d)
					}
				}
			})
		}
		group.Wait()
	}
}

// The gate stands in the schema too, so that a server cannot talk a client into weak
// parameters.
func TestSecurityGate(t *testing.T) {
	for logN, limit := range map[int]int{11: 53, 12: 106, 13: 214, 14: 430, 15: 868, 16: 1747} {
		var logQ []int
		for left := limit + 8; left > 0; left -= 45 {
			logQ = append(logQ, max(min(left, 45), 20))
		}
		_, err := newParameters(logN, logQ, nil, 20)
		require.ErrorContains(t, err, "is secure at log_n", "%d bits at %d", limit+8, logN)
	}
	p := small(t, Latency)
	text, err := json.Marshal(p.Schema())
	require.NoError(t, err)
	var same Schema
	require.NoError(t, json.Unmarshal(text, &same))
	require.Equal(t, p.Schema().Digest(), same.Digest())
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	change := func(set func(f map[string]any)) error {
		var f map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		require.NoError(t, d.Decode(&f))
		set(f)
		changed, err := json.Marshal(f)
		require.NoError(t, err)
		before := same.Digest()
		err = json.Unmarshal(changed, &same)
		if err != nil {
			require.Equal(t, before, same.Digest(), "changed by a refused schema")
		}
		return err
	}
	parameters := func(f map[string]any) map[string]any { return f["parameters"].(map[string]any) }
	require.ErrorContains(t, change(func(f map[string]any) { parameters(f)["log_n"] = p.Schema().Parameters().LogN - 1 }), "secure at log_n")
	require.ErrorContains(t, change(func(f map[string]any) { parameters(f)["log_n"] = 10 }), "log_n is 10")
	require.ErrorContains(t, change(func(f map[string]any) { parameters(f)["q"] = []int{65537 * 3} }), "must be a prime")
	require.ErrorContains(t, change(func(f map[string]any) { f["width"] = 3 }), "width is 3")
	require.ErrorContains(t, change(func(f map[string]any) { f["inputs"] = 0 }), "inputs is 0")
	require.ErrorContains(t, change(func(f map[string]any) { f["format"] = 2 }), "format is 2")
	require.ErrorContains(t, change(func(f map[string]any) { f["error_bound"] = -1 }), "error_bound")
	require.ErrorContains(t, change(func(f map[string]any) { f["level"] = 99 }), "level is 99")
}

func TestEncryptRefuses(t *testing.T) {
	c := NewClient(small(t, Latency).Schema())
	bound := float32(c.Schema().InputBound())
	for want, rows := range map[string][][]float32{
		"0 inputs in a query":  {},
		"2 inputs in a query":  examples(2, 10, 1),
		"input 0 has 3 values": {{1, 2, 3}},
		"input 0 holds":        {{0, 0, 0, 2 * bound, 0, 0, 0, 0, 0, 0}},
	} {
		_, err := c.Encrypt(rows)
		require.ErrorContains(t, err, want)
	}
}

func TestPackRoundTrip(t *testing.T) {
	for _, q := range []uint64{3, 65537, 1<<20 - 3, 1<<45 + 59, 1<<60 - 93, 1<<63 - 25} {
		in := make([]uint64, 64)
		for i := range in {
			in[i] = (uint64(i)*0x9e3779b97f4a7c15 + 12345) % q
		}
		in[5], in[6] = q-1, 0
		b := pack(nil, in, q)
		require.Len(t, b, packedSize(len(in), q))
		out := make([]uint64, len(in))
		require.NoError(t, unpack(out, b, q))
		require.Equal(t, in, out)
	}
}

// Who goes away amid a message stops its writing: what is to come is not even packed.
func TestWritingStopsAtTheFirstError(t *testing.T) {
	s := servedOnce().Schema()
	keys := NewClient(s).Keys()
	written := func(room int64) int64 {
		return allocated(func() {
			n, err := keys.WriteTo(&full{room})
			require.ErrorIs(t, err, io.ErrShortBuffer)
			require.LessOrEqual(t, n, s.KeyBytes())
		})
	}
	require.Greater(t, s.KeyBytes(), int64(1<<20))
	written(0)
	least, most := written(0), written(s.KeyBytes()-1)
	require.Greater(t, most, s.KeyBytes())
	require.Less(t, least, most/8)
}

// full is a writer that takes no more than it has room for.
type full struct{ room int64 }

func (f *full) Write(b []byte) (int, error) {
	if f.room -= int64(len(b)); f.room < 0 {
		return 0, io.ErrShortBuffer
	}
	return len(b), nil
}
