package stream

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// everyPath runs f once for each way that this machine can make a keystream.
func everyPath(t testing.TB, f func(name string, want path)) {
	t.Helper()
	seen := map[path]bool{}
	defer func() { narrow = false }()
	for _, l := range kernel.Levels() {
		for _, narrow = range []bool{true, false} {
			restore := kernel.Use(l)
			if p := pathOf(); !seen[p] {
				seen[p] = true
				f(p.String(), p)
			}
			restore()
		}
	}
}

func (p path) String() string {
	return [...]string{"unkeyed", "standard", "aesni", "vaes256", "vaes512"}[p]
}

func testKey(seed uint64) (k Key) {
	r := rand.New(rand.NewPCG(seed, 0))
	for i := 0; i < len(k); i += 8 {
		binary.LittleEndian.PutUint64(k[i:], r.Uint64())
	}
	return k
}

// fromStandardLibrary is the layout that the package doc promises, written down
// without this package's code.
func fromStandardLibrary(k Key, id, block uint64, n int) []byte {
	b, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err)
	}
	iv := make([]byte, 16)
	binary.BigEndian.PutUint64(iv, id)
	binary.BigEndian.PutUint64(iv[8:], block)
	out := make([]byte, n)
	cipher.NewCTR(b, iv).XORKeyStream(out, out)
	return out
}

// NIST SP 800-38A, F.5.5: CTR-AES256 from counter f0f1…ff.
func TestPublishedVector(t *testing.T) {
	raw, err := hex.DecodeString("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
	require.NoError(t, err)
	k := Key(raw)
	plain, err := hex.DecodeString("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	require.NoError(t, err)
	want := "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c52b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
	everyPath(t, func(name string, _ path) {
		s := New(&k, 0xf0f1f2f3f4f5f6f7)
		s.Seek(0xf8f9fafbfcfdfeff)
		out := make([]byte, len(plain))
		s.Read(out)
		for i := range out {
			out[i] ^= plain[i]
		}
		require.Equal(t, want, hex.EncodeToString(out), name)
	})
}

// Every path writes what crypto/cipher would, no byte more, at any length, id,
// counter and alignment, over dirty memory.
func TestKeystreamIsCTR(t *testing.T) {
	counters := []uint64{0, 1, 2, 3, 4, 5, 31, 32, 255, 256, 1<<32 - 3, 1 << 32, 1<<63 - 1, 1 << 63}
	ids := []uint64{0, 1, 1<<32 - 1, 0x0102030405060708, math.MaxUint64}
	everyPath(t, func(name string, want path) {
		k := testKey(1)
		c := NewCipher(&k)
		require.Equal(t, want, c.path)
		check := func(n, align int, id, block uint64) {
			const guard = 64
			mem := bytes.Repeat([]byte{0xa5}, guard+align+16*n+guard)
			c.keystream(mem[guard+align:][:16*n], id, block)
			require.True(t, bytes.Equal(fromStandardLibrary(k, id, block, 16*n), mem[guard+align:][:16*n]), "%s n=%d id=%d block=%d", name, n, id, block)
			mem = append(mem[:guard+align], mem[guard+align+16*n:]...)
			require.True(t, bytes.Equal(bytes.Repeat([]byte{0xa5}, len(mem)), mem), "%s n=%d writes beyond", name, n)
		}
		for n := range 140 {
			check(n, n%17, ids[n%len(ids)], counters[n%len(counters)])
		}
		for _, id := range ids {
			for _, block := range counters {
				check(37, 3, id, block)
				check(37, 0, id, MaxBlocks-37)
			}
		}
		check(chunk+5, 0, 7, 1<<32-9)
	})
}

func TestKeySchedule(t *testing.T) {
	everyPath(t, func(name string, _ path) {
		for seed := range uint64(200) {
			k := testKey(seed)
			var out [32]byte
			NewCipher(&k).keystream(out[:], seed, seed)
			require.Equal(t, fromStandardLibrary(k, seed, seed, 32), out[:], name)
		}
	})
}

func TestCipherFill(t *testing.T) {
	everyPath(t, func(name string, _ path) {
		k := testKey(2)
		c := NewCipher(&k)
		for n := range 70 {
			dst := make([]uint64, n+1)
			dst[n] = 42
			c.Fill(dst[:n], 9, uint64(n))
			require.Equal(t, uint64(42), dst[n])
			want := fromStandardLibrary(k, 9, uint64(n), 8*n)
			for i, w := range dst[:n] {
				require.Equal(t, binary.LittleEndian.Uint64(want[8*i:]), w, "%s n=%d i=%d", name, n, i)
			}
		}
	})
}

func TestCipherErase(t *testing.T) {
	everyPath(t, func(name string, _ path) {
		k := testKey(3)
		c := NewCipher(&k)
		c.Erase()
		require.Equal(t, Cipher{}, *c)
		require.PanicsWithValue(t, "stream: cipher without a key", func() { c.Fill(make([]uint64, 1), 0, 0) })
		c.Reset(&k)
		dst := make([]uint64, 2)
		c.Fill(dst, 0, 0)
		require.Equal(t, fromStandardLibrary(k, 0, 0, 16), binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, dst[0]), dst[1]), name)
	})
}

func TestCipherAllocates(t *testing.T) {
	dst := make([]uint64, 513)
	everyPath(t, func(name string, p path) {
		k := testKey(4)
		c := NewCipher(&k)
		if p == standard {
			return
		}
		require.Zero(t, testing.AllocsPerRun(50, func() { c.Reset(&k); c.Fill(dst, 1, 2) }), name)
	})
}

func FuzzKeystream(f *testing.F) {
	f.Add([]byte("key"), uint64(0), uint64(0), uint16(1))
	f.Add([]byte{0xff}, uint64(math.MaxUint64), uint64(math.MaxUint64-2000), uint16(1999))
	f.Add([]byte{}, uint64(1)<<63, uint64(1)<<32-1, uint16(333))
	f.Fuzz(func(t *testing.T, key []byte, id, block uint64, n uint16) {
		var k Key
		copy(k[:], key)
		blocks := int(n % 2048)
		if block > MaxBlocks-uint64(blocks) {
			block -= uint64(blocks)
		}
		want := fromStandardLibrary(k, id, block, 16*blocks)
		everyPath(t, func(name string, _ path) {
			got := bytes.Repeat([]byte{0x5a}, 16*blocks)
			NewCipher(&k).keystream(got, id, block)
			require.True(t, bytes.Equal(want, got), name)
		})
	})
}

// BenchmarkKeystream gives each path's speed and its ratio to crypto/cipher's
// CTR over a buffer of zeros, timed in turns.
func BenchmarkKeystream(b *testing.B) {
	for _, size := range []int{512, 8 << 10, 32 << 10} {
		everyPath(b, func(name string, _ path) {
			b.Run(fmt.Sprintf("bytes=%d/path=%s", size, name), func(b *testing.B) {
				k := testKey(5)
				c := NewCipher(&k)
				ref, err := aes.NewCipher(k[:])
				require.NoError(b, err)
				ctr := cipher.NewCTR(ref, make([]byte, 16))
				words, zeros := make([]uint64, size/8), make([]byte, size)
				id := uint64(0)
				b.SetBytes(int64(size))
				ours, theirs := inTurns(b, func() { id++; c.Fill(words, id, 0) }, func() { clear(zeros); ctr.XORKeyStream(zeros, zeros) })
				b.ReportMetric(theirs/ours, "x-ctr")
			})
		})
	}
}
