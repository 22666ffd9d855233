package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

var _ io.Reader = (*Stream)(nil)

// However a stream is read, its bytes are the same.
func TestReadsAgree(t *testing.T) {
	everyPath(t, func(name string, _ path) {
		k := testKey(10)
		want := fromStandardLibrary(k, 5, 0, 40000)
		s := New(&k, 5)
		var got []byte
		for i := 0; len(got) < 36000; i++ {
			switch n := i * 7 % 1500; i % 3 {
			case 0:
				p := bytes.Repeat([]byte{1}, n)
				m, err := s.Read(p)
				require.NoError(t, err)
				require.Equal(t, n, m)
				got = append(got, p...)
			case 1:
				got = binary.LittleEndian.AppendUint64(got, s.Uint64())
			case 2:
				words := make([]uint64, n/8)
				s.Fill(words)
				for _, w := range words {
					got = binary.LittleEndian.AppendUint64(got, w)
				}
			}
		}
		require.True(t, bytes.Equal(want[:len(got)], got), name)
	})
}

func TestSeek(t *testing.T) {
	everyPath(t, func(name string, _ path) {
		k := testKey(11)
		s := New(&k, math.MaxUint64)
		for _, block := range []uint64{0, 3, 1 << 40, 2, MaxBlocks - 40} {
			s.Seek(block)
			got := make([]byte, 600)
			s.Read(got)
			require.Equal(t, fromStandardLibrary(k, math.MaxUint64, block, 600), got, "%s %d", name, block)
		}
	})
}

// The last block is counter 2^64-2; nothing wraps into the id or to the start.
func TestStreamEnds(t *testing.T) {
	const past = "stream: past the last block of the stream"
	everyPath(t, func(name string, _ path) {
		k := testKey(12)
		s := New(&k, 1)
		s.Seek(MaxBlocks - 2)
		var got [32]byte
		s.Read(got[:])
		require.Equal(t, fromStandardLibrary(k, 1, math.MaxUint64-2, 32), got[:], name)
		require.PanicsWithValue(t, past, func() { s.Uint64() })
		s.Seek(MaxBlocks - 2)
		require.PanicsWithValue(t, past, func() { s.Fill(make([]uint64, 5)) })
		s.Seek(MaxBlocks - 2)
		require.PanicsWithValue(t, past, func() { s.Read(make([]byte, 4096)) })
		s.Seek(MaxBlocks)
		require.PanicsWithValue(t, past, func() { s.Read(make([]byte, 1)) })
		require.PanicsWithValue(t, past, func() { New(&k, 1).cipher.Fill(make([]uint64, 1), 1, MaxBlocks) })
		require.PanicsWithValue(t, past, func() { NewCipher(&k).Fill(make([]uint64, 4), 1, MaxBlocks-1) })
	})
}

func TestStreamErase(t *testing.T) {
	k := testKey(13)
	s := New(&k, 3)
	s.Uint64()
	s.Erase()
	require.Equal(t, Stream{id: 3}, *s)
	require.Panics(t, func() { s.Uint64() })
}

func TestFloat64(t *testing.T) {
	k := testKey(14)
	s, words := New(&k, 0), New(&k, 0)
	for range 1000 {
		x := s.Float64()
		require.Equal(t, float64(words.Uint64()>>11)/(1<<53), x)
		require.True(t, 0 <= x && x < 1)
	}
}

// Chi-square of Uint64n over every residue. The key is fixed, so there is no
// false alarm; the bound is the 1e-9 quantile (Laurent and Massart 2000: df +
// 2 sqrt(df x) + 2x, x = ln 1e9).
func TestUint64nIsUniform(t *testing.T) {
	k := testKey(15)
	s := New(&k, 0)
	for _, n := range []uint64{1, 2, 3, 7, 100} {
		counts := make([]float64, n)
		const draws = 100000
		for range draws {
			counts[s.Uint64n(n)]++
		}
		chi, mean := 0.0, draws/float64(n)
		for _, c := range counts {
			chi += (c - mean) * (c - mean) / mean
		}
		df, x := float64(n-1), math.Log(1e9)
		require.LessOrEqual(t, chi, df+2*math.Sqrt(df*x)+2*x, "n=%d", n)
	}
	require.PanicsWithValue(t, "stream: Uint64n of 0", func() { s.Uint64n(0) })
}

// Lemire's multiplication keeps a word if its low product is at least 2^64 mod
// n: for n = 3 2^62, floor(w n / 2^64) without rejection would give multiples of
// 3 twice as often.
func TestUint64nRejects(t *testing.T) {
	k := testKey(16)
	s := New(&k, 0)
	const n, draws = 3 << 62, 30000
	var counts [3]float64
	for range draws {
		x := s.Uint64n(n)
		require.Less(t, x, uint64(n))
		counts[x%3]++
	}
	for _, c := range counts {
		require.InDelta(t, draws/3, c, 6*math.Sqrt(draws*2/9.), "%v", counts)
	}
}

func TestNewKey(t *testing.T) {
	seen := map[Key]bool{{}: true}
	for range 100 {
		k := NewKey()
		require.False(t, seen[k])
		seen[k] = true
	}
}

// derivedNoise7 is OpenSSL's HKDF: openssl kdf -keylen 32 -kdfopt digest:SHA256
// -kdfopt hexkey:0001…1f -kdfopt hexinfo:(hex of "sotto/stream noise")0000000000000007 HKDF
const derivedNoise7 = "07d7b7ddec1cc5c9f547ba9d79d9cdd2ee4532d64b9fb9412e280630fbfead27"

func TestDerive(t *testing.T) {
	var k Key
	for i := range k {
		k[i] = byte(i)
	}
	sub := k.Derive("noise", 7)
	require.Equal(t, derivedNoise7, hex.EncodeToString(sub[:]))
	seen := map[Key]bool{k: true}
	for _, purpose := range []string{"", "a", "ab", "a\x00"} {
		for _, n := range []uint64{0, 1, 256, math.MaxUint64} {
			sub := k.Derive(purpose, n)
			require.False(t, seen[sub], "%q %d", purpose, n)
			seen[sub] = true
			require.Equal(t, sub, k.Derive(purpose, n))
		}
	}
	sub.Erase()
	require.Equal(t, Key{}, sub)
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the generator")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command")
	}
	out, err := exec.Command(goTool, "run", "-C", "_gen", ".", "-check").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func BenchmarkUint64(b *testing.B) {
	everyPath(b, func(name string, _ path) {
		b.Run("path="+name, func(b *testing.B) {
			k := testKey(17)
			s := New(&k, 0)
			b.SetBytes(8)
			for b.Loop() {
				s.Uint64()
			}
		})
	})
}

func TestUint64Allocates(t *testing.T) {
	k := testKey(18)
	everyPath(t, func(name string, p path) {
		s := New(&k, 0)
		if p != standard {
			require.Zero(t, testing.AllocsPerRun(1000, func() { s.Uint64() }), name)
			require.Zero(t, testing.AllocsPerRun(10, func() {
				for range 1000 {
					s.Uint64n(10)
				}
			}), name)
		}
	})
}
