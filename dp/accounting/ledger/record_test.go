package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// someFile is a ledger of six records, with the offset at which each ends.
func someFile(t testing.TB) (data []byte, ends []int, heads []Hash) {
	t.Helper()
	l, path := create(t)
	note := func() {
		read, err := os.ReadFile(path)
		require.NoError(t, err)
		data = read
		ends, heads = append(ends, len(data)), append(heads, l.file.head)
	}
	note()
	a := open(t, l, Budget{DataSet: "d", Relation: addRemove, Epsilon: 3, Delta: 1e-5})
	note()
	require.NoError(t, a.Reserve("a", addRemove, gaussians(10, 3), 1e-9))
	note()
	require.NoError(t, a.Settle("a", gaussians(10, 2), 0))
	note()
	require.NoError(t, a.Reserve("b", addRemove, gaussians(10, 1), 0))
	note()
	require.NoError(t, a.Reserve("b", addRemove, gaussians(10, 1), 0))
	note()
	require.NoError(t, l.Close())
	return data, ends, heads
}

// Cut at any byte, a ledger holds exactly the records that are whole, which the
// head tells, and goes on from there; only what holds nothing is refused.
func TestCutAtEveryByte(t *testing.T) {
	data, ends, heads := someFile(t)
	for n := range len(data) + 1 {
		want := 0
		for _, end := range ends {
			if n >= end-len(seal) {
				want++
			}
		}
		s, err := scan(data[:n])
		if want == 0 {
			require.ErrorIs(t, err, errCut, n)
			continue
		}
		require.NoError(t, err, n)
		require.Len(t, s.payloads, want, n)
		require.Equal(t, heads[:want], s.hashes)
	}
	dir := t.TempDir()
	for n := ends[0] - len(seal) - 1; n <= len(data); n++ {
		if stride := map[bool]int{false: 4, true: 29}[testing.Short()]; n%stride != 0 && n != len(data) {
			continue
		}
		path := filepath.Join(dir, "ledger")
		require.NoError(t, os.WriteFile(path, data[:n], 0o600))
		l, err := Open(path)
		if n < ends[0]-len(seal) {
			require.ErrorContains(t, err, "no whole record")
			continue
		}
		require.NoError(t, err, n)
		a, err := l.Account(Budget{DataSet: "e", Relation: addRemove, Epsilon: 1, Delta: 1e-5})
		require.NoError(t, err)
		require.NoError(t, a.Reserve("x", addRemove, gaussians(50, 1), 0))
		require.NoError(t, l.Close())
		b, err := Read(path)
		require.NoError(t, err, n)
		require.Equal(t, n == len(data), b.Holds(heads[len(heads)-1]) && n >= ends[len(ends)-1], n)
		grown, err := os.ReadFile(path)
		require.NoError(t, err)
		s, err := scan(grown)
		require.NoError(t, err)
		require.True(t, s.sealed)
		require.Equal(t, len(grown), s.end)
	}
}

// Any bit flipped anywhere is refused with the number of the record it lies in,
// except in the very last seal, where it changes nothing.
func TestFlipEveryBit(t *testing.T) {
	data, ends, heads := someFile(t)
	flipped, record := slices.Clone(data), 0
	for i := range data {
		if i == ends[record] {
			record++
		}
		for bit := range 8 {
			flipped[i] = data[i] ^ 1<<bit
			s, err := scan(flipped)
			switch {
			case i < len(magic):
				require.ErrorContains(t, err, "not a ledger")
			case i >= len(data)-len(seal):
				require.NoError(t, err)
				require.Equal(t, heads, s.hashes)
			default:
				require.ErrorIs(t, err, ErrTampered, "byte %d bit %d", i, bit)
				require.ErrorContains(t, err, "record "+string(rune('0'+record))+" ")
			}
		}
		flipped[i] = data[i]
	}
	// What is cut short and flipped too is refused as well, unless the flip lies
	// in what a crash could have left.
	cut := ends[4] - len(seal) - 5
	for i := len(magic); i < ends[3]-len(seal); i++ {
		flipped := slices.Clone(data[:cut])
		flipped[i] ^= 4
		_, err := scan(flipped)
		require.ErrorIs(t, err, ErrTampered, i)
	}
}

// Whole records in another order, left out, doubled, from another ledger, or
// with a payload changed and checksums mended, break the chain.
func TestChain(t *testing.T) {
	data, ends, heads := someFile(t)
	record := func(i int) []byte {
		if i == 0 {
			return data[len(magic):ends[0]]
		}
		return data[ends[i-1]:ends[i]]
	}
	build := func(records ...[]byte) []byte { return append([]byte(magic), bytes.Join(records, nil)...) }
	_, err := scan(build(record(0), record(1), record(2), record(3), record(4), record(5)))
	require.NoError(t, err)
	other, otherEnds, _ := someFile(t)
	for name, c := range map[string]struct {
		data []byte
		at   string
	}{
		"left out":      {build(record(0), record(1), record(2), record(4)), "record 3 "},
		"first missing": {build(record(1), record(2)), "record 0 "},
		"exchanged":     {build(record(0), record(1), record(3), record(2)), "record 2 "},
		"doubled":       {build(record(0), record(1), record(2), record(2)), "record 3 "},
		"from another":  {build(record(0), other[otherEnds[0]:otherEnds[1]]), "record 1 "},
	} {
		_, err := scan(c.data)
		require.ErrorIs(t, err, ErrTampered, name)
		require.ErrorContains(t, err, c.at, name)
		require.ErrorContains(t, err, "chain", name)
	}
	// Forged with right checksums.
	forged := slices.Clone(record(2))
	require.True(t, bytes.Contains(forged, []byte(`"count":3`)))
	forged = bytes.Replace(forged, []byte(`"count":3`), []byte(`"count":1`), 1)
	n := binary.LittleEndian.Uint32(forged)
	binary.LittleEndian.PutUint32(forged[4:], crc32.Checksum(forged[headerSize:headerSize+n], castagnoli))
	binary.LittleEndian.PutUint32(forged[8:], crc32.Checksum(forged[:8], castagnoli))
	_, err = scan(build(record(0), record(1), forged, record(3)))
	require.ErrorContains(t, err, "record 2 does not continue the hash chain")
	// And with a new chain to the end: whole in itself, but not what was kept.
	again := []byte(magic)
	former := firstHash()
	s, err := scan(data)
	require.NoError(t, err)
	for _, payload := range s.payloads {
		again, former = appendRecord(again, former, bytes.Replace(payload, []byte(`"count":3`), []byte(`"count":2`), 1))
		again = append(again, seal...)
	}
	s, err = scan(again)
	require.NoError(t, err)
	require.NotContains(t, s.hashes, heads[5])
}

// chained makes a whole file of payloads.
func chained(payloads ...string) []byte {
	out, former := []byte(magic), firstHash()
	for _, p := range payloads {
		out, former = appendRecord(out, former, []byte(p))
		out = append(out, seal...)
	}
	return out
}

// Records that are whole but make no sense are refused too: a budget cannot be
// raised, a run not be settled as more, less or twice.
func TestReplayRefuses(t *testing.T) {
	data, _, _ := someFile(t)
	s, err := scan(data)
	require.NoError(t, err)
	var good []string
	for _, p := range s.payloads {
		good = append(good, string(p))
	}
	replay := func(payloads ...string) error {
		s, err := scan(chained(payloads...))
		require.NoError(t, err)
		var b book
		return b.replay(s)
	}
	require.NoError(t, replay(good...))
	swap := func(i int, from, to string) []string {
		require.Contains(t, good[i], from)
		bad := slices.Clone(good[:i+1])
		bad[i] = strings.Replace(bad[i], from, to, 1)
		return bad
	}
	for name, payloads := range map[string][]string{
		"no first":           good[1:],
		"first twice":        {good[0], good[0]},
		"budget twice":       {good[0], good[1], good[1]},
		"run twice":          {good[0], good[1], good[2], strings.Replace(good[4], `"run":"b"`, `"run":"a"`, 1)},
		"rule twice":         {good[0], good[1], good[2], strings.Replace(good[2], `"run":"a"`, `"run":"b"`, 1)},
		"settled twice":      {good[0], good[1], good[2], good[3], good[3]},
		"unknown run":        {good[0], good[1], good[3]},
		"unknown data set":   {good[0], good[2]},
		"unknown kind":       swap(5, `"resume"`, `"forget"`),
		"other order":        swap(1, `{"kind":"budget",`, `{"data_set":"d","kind":"budget",`),
		"unknown member":     swap(1, `"epsilon":3`, `"epsilon":3,"note":1`),
		"spaces":             swap(1, `"epsilon":3`, `"epsilon": 3`),
		"no JSON":            swap(2, `{`, `[`),
		"higher limit":       swap(2, `"limit":`, `"limit":9`),
		"settled as more":    swap(3, `"count":2`, `"count":4`),
		"settled as another": swap(3, `"noise_multiplier":10`, `"noise_multiplier":11`),
		"negative cost":      swap(2, `"cost":`, `"cost":-`),
		"overspent":          swap(4, `"cost":`, `"cost":9`),
		"negative delta":     swap(2, `"delta":1e-9`, `"delta":-1e-9`),
		"no time":            swap(1, `"time":"2`, `"time":"x`),
		"stray member":       swap(5, `"run":"b"`, `"run":"b","delta":1e-9`),
		"no relation":        swap(1, `add/remove`, `add`),
		"epsilon 0":          swap(1, `"epsilon":3`, `"epsilon":-3`),
	} {
		err := replay(payloads...)
		require.ErrorIs(t, err, ErrTampered, name)
		require.ErrorContains(t, err, "record ", name)
	}
}

// A failed write leaves a ledger that refuses to go on, and a file that opens.
func TestFailedWrite(t *testing.T) {
	l, path := create(t)
	a := open(t, l, someBudget())
	require.NoError(t, a.Reserve("a", addRemove, gaussians(10, 1), 0))
	require.NoError(t, l.file.f.Close())
	require.ErrorIs(t, a.Reserve("b", addRemove, gaussians(10, 1), 0), os.ErrClosed)
	require.ErrorContains(t, a.Reserve("c", addRemove, gaussians(10, 1), 0), "open the ledger again")
	require.Error(t, l.Close())
	l, err := Open(path)
	require.NoError(t, err)
	b, err := l.Book()
	require.NoError(t, err)
	require.Len(t, b.DataSets[0].Runs, 1)
	// What the disk cannot take whole is refused before it is begun.
	big := accounting.MixtureGaussian{StandardDeviation: 1}
	for range 1000 {
		big.Sensitivities, big.Probs = append(big.Sensitivities, 1./3), append(big.Probs, 1e-3)
	}
	events := slices.Repeat([]accounting.Event{big}, 60)
	_, err = l.Account(Budget{DataSet: "big", Relation: addRemove, Epsilon: 1e5, Delta: 1e-5, Plan: accounting.Composed{Events: events}})
	require.Error(t, err)
	require.NoError(t, l.Close())
	_, err = Read(path)
	require.NoError(t, err)
}

func FuzzScan(f *testing.F) {
	data, ends, _ := someFile(f)
	f.Add(data)
	f.Add(data[:ends[2]+20])
	f.Add([]byte(magic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scan(data)
		if err != nil {
			return
		}
		require.NotEmpty(t, s.payloads)
		require.LessOrEqual(t, s.end, len(data))
		kept, err := scan(data[:s.end])
		require.NoError(t, err)
		require.Equal(t, s.hashes, kept.hashes)
		var b book
		if b.replay(s) == nil {
			_, _ = b.export()
		}
	})
}

// FuzzReplay drives payloads past the checksums.
func FuzzReplay(f *testing.F) {
	data, _, _ := someFile(f)
	s, err := scan(data)
	require.NoError(f, err)
	for i := range s.payloads {
		f.Add(string(s.payloads[i]), i)
	}
	f.Fuzz(func(t *testing.T, payload string, at int) {
		if len(payload) > maxPayload || at < 0 || at > len(s.payloads) {
			return
		}
		var b book
		for _, p := range s.payloads[:at] {
			e, err := decode(p)
			require.NoError(t, err)
			commit, err := b.admit(e)
			require.NoError(t, err)
			commit()
		}
		e, err := decode([]byte(payload))
		if err != nil {
			return
		}
		commit, err := b.admit(e)
		if err != nil {
			return
		}
		commit()
		again, err := e.encode()
		require.NoError(t, err)
		require.Equal(t, payload, string(again))
		for _, a := range b.accounts {
			cost, delta := a.total()
			require.False(t, a.rule != nil && a.rule.Method == renyi && cost > a.rule.Limit)
			require.Less(t, delta, 1.0)
		}
		require.True(t, json.Valid([]byte(payload)))
		require.False(t, errors.Is(err, ErrTampered))
	})
}
