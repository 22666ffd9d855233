package federated

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func someLog(t testing.TB) []byte {
	var out bytes.Buffer
	c := &chain{to: &out}
	for i, k := range []Kind{KindJoined, KindAsked, KindReported, KindAccepted, KindEnded} {
		require.NoError(t, c.add(Instant(i), Record{Kind: k, Round: i, Attempt: 1, Client: "a<b>\u2028\xff", Digest: Digest{byte(i)}, Reason: "because"}))
	}
	require.NoError(t, c.flush())
	return out.Bytes()
}

// Any change of any byte is found, and so are entries that are missing, put in twice or
// exchanged; but for the end, which only a head that was kept elsewhere can tell.
func TestLogIsTamperEvident(t *testing.T) {
	log := someLog(t)
	whole, err := Verify(bytes.NewReader(log), nil)
	require.NoError(t, err)
	require.Equal(t, 5, whole.Entries)
	require.Equal(t, 1, whole.Kinds[KindAccepted])
	require.Zero(t, whole.Torn)
	for i := range log {
		for _, x := range []byte{1, 0x20, 0x80} {
			s, err := Verify(bytes.NewReader(with(log, i, log[i]^x)), nil)
			if err == nil { // the last line's end: what is left of it counts as torn
				require.Equal(t, len(log)-1, i)
				require.NotZero(t, s.Torn)
				require.NotEqual(t, whole.Head, s.Head)
				continue
			}
			require.ErrorIs(t, err, ErrTampered, "byte %d", i)
		}
	}
	lines := bytes.SplitAfter(log, []byte("\n"))[:5]
	join := func(order ...int) []byte {
		var out []byte
		for _, i := range order {
			out = append(out, lines[i]...)
		}
		return out
	}
	for _, order := range [][]int{{0, 1, 3, 4}, {0, 1, 1, 2, 3, 4}, {0, 2, 1, 3, 4}, {1, 2, 3, 4}} {
		_, err := Verify(bytes.NewReader(join(order...)), nil)
		require.ErrorIs(t, err, ErrTampered)
	}
	s, err := Verify(bytes.NewReader(join(0, 1, 2)), nil)
	require.NoError(t, err)
	require.NotEqual(t, whole.Head, s.Head)
	for cut := range len(log) {
		s, err := Verify(bytes.NewReader(log[:cut]), nil)
		require.NoError(t, err)
		require.Equal(t, bytes.Count(log[:cut], []byte("\n")), s.Entries)
		require.Equal(t, cut-bytes.LastIndexByte(log[:cut], '\n')-1, s.Torn)
	}
	_, err = Verify(strings.NewReader(strings.Repeat("x", 2*maxLine)), nil)
	require.ErrorIs(t, err, ErrTampered)
}

func FuzzVerify(f *testing.F) {
	f.Add(someLog(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		var again bytes.Buffer
		c := &chain{to: &again}
		s, err := Verify(bytes.NewReader(data), func(e Entry) error {
			var d Digest
			if e.Digest != "" {
				if d.UnmarshalText([]byte(e.Digest)) != nil || d == (Digest{}) || d.String() != e.Digest {
					t.Skip() // a chain that this package would not write, but whole
				}
			}
			return c.add(e.Time, Record{e.Kind, e.Round, e.Attempt, e.Client, e.Version, d, e.Reason})
		})
		if err != nil || len(data) > 4000 {
			return
		}
		require.NoError(t, c.flush())
		require.Equal(t, string(data[:len(data)-s.Torn]), again.String())
	})
}

func FuzzDecode(f *testing.F) {
	u := Update{Delta: []float32{1}, Weight: 2, Steps: 3, Control: []float32{4}, Packed: []byte{5}}
	data, err := u.MarshalBinary()
	require.NoError(f, err)
	f.Add(data)
	task := Task{Round: 1, Attempt: 2, Version: 3, Counted: 4, Params: []float32{5}, Proximal: 6, Control: []float32{7}}
	data, err = task.MarshalBinary()
	require.NoError(f, err)
	f.Add(data)
	data, _ = (&server{params: []float32{1}}).encode()
	f.Add(data)
	data, _ = encodeSum([]uint32{1, 2}, 3)
	f.Add(data)
	data, err = encodeCheckpoint(Digest{}, State{Seats: []Seat{{Client: "a"}}, Open: 1})
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		// The hash is made right, so that the fuzzer gets past it.
		sealed := append([]byte(nil), data...)
		if len(data) > 32 {
			e := encoder(append([]byte(nil), data[:len(data)-32]...))
			sealed, _ = e.seal()
		}
		for _, data := range [][]byte{data, sealed} {
			var u Update
			if u.UnmarshalBinary(data) == nil {
				again, err := u.MarshalBinary()
				require.NoError(t, err)
				require.Equal(t, data, again)
			}
			var task Task
			if task.UnmarshalBinary(data) == nil {
				again, err := task.MarshalBinary()
				require.NoError(t, err)
				require.Equal(t, data, again)
			}
			if s, _, err := decodeServer(data); err == nil {
				again, _ := s.encode()
				require.Equal(t, data, again)
			}
			if x, n, err := decodeSum(data); err == nil {
				again, _ := encodeSum(x, n)
				require.Equal(t, data, again)
			}
			if c, err := decodeCheckpoint(data); err == nil {
				require.NoError(t, c.State.check())
			}
		}
	})
}

func TestDecodersRefuse(t *testing.T) {
	u := Update{Delta: []float32{1, 2}, Steps: 3}
	data, err := u.MarshalBinary()
	require.NoError(t, err)
	for i := range data {
		var got Update
		require.Error(t, got.UnmarshalBinary(with(data, i, data[i]^1)))
		require.Error(t, got.UnmarshalBinary(data[:i]))
		require.Zero(t, got)
	}
	var task Task
	require.ErrorContains(t, task.UnmarshalBinary(data), "is not of the kind")
	long := encoder(updateMagic)
	long.number(1 << 60)
	sealed, _ := long.seal()
	require.ErrorContains(t, u.UnmarshalBinary(sealed), "ends early")
}
