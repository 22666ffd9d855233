package noise

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
	"github.com/sotto-ml/sotto/internal/stream/streamtest"
)

func everyLevel(t testing.TB, f func(l kernel.Level)) {
	t.Helper()
	for _, l := range kernel.Levels() {
		restore := kernel.Use(l)
		f(l)
		restore()
	}
}

func newRounded(t testing.TB, sigma float64) *RoundedGaussian {
	t.Helper()
	g, err := NewRoundedGaussian(sigma)
	require.NoError(t, err)
	require.Equal(t, sigma, g.Sigma())
	return g
}

func TestSigmaRange(t *testing.T) {
	for _, sigma := range []float64{math.NaN(), 0, -1, MinSigma / 2, math.Nextafter(MaxSigma, math.Inf(1)), math.Inf(1), math.Inf(-1)} {
		_, err := NewRoundedGaussian(sigma)
		require.ErrorContains(t, err, "noise: sigma is "+fmt.Sprint(sigma)+", must lie in")
	}
	newRounded(t, MinSigma)
	newRounded(t, MaxSigma)
}

// edgeWords are words where the fast path branches or loses precision: around
// the ends, the quadrants, the steps of the logarithm's table.
func edgeWords() []uint64 {
	var w []uint64
	for k := range 64 {
		w = append(w, 1<<k, 1<<k-1, -(1 << k), -(1<<k)-1)
	}
	for i := range uint64(32) {
		for _, base := range []uint64{1 << 63, 1 << 62, 1 << 45} {
			at := base + i*(base/16)
			w = append(w, at-1, at, at+1, at-1<<10, at+1<<10)
		}
	}
	return w
}

// bound is the polynomial error over a range, proven cell by cell: at the middle
// of each of n cells exactly, and at most slope times half a cell beyond.
func bound(n int, lo, hi, slope float64, err func(x float64) float64) (worst float64) {
	h := (hi - lo) / float64(n)
	for i := range n {
		worst = max(worst, math.Abs(err(lo+(float64(i)+0.5)*h)))
	}
	return worst + slope*h/2
}

// The bounds of approximation that the package doc's proof takes. The slope of
// the difference of two power series is at most the sum of |difference of
// coefficients| k x^(k-1), plus that of the series' tail.
func TestPolynomialErrors(t *testing.T) {
	const terms = 20
	factorial := func(n int) *big.Rat { return new(big.Rat).SetInt(new(big.Int).MulRange(1, int64(n))) }
	for _, c := range []struct {
		name   string
		cells  int
		poly   []float64
		lo, hi float64
		taylor func(k int) *big.Rat
		limit  float64
		weight func(x float64) float64
	}{
		{"-2 ln(1+t)/t", 10_000, logPoly[:], -1. / 32, 1. / 32, func(k int) *big.Rat { return big.NewRat(int64(2*(k%2*2-1)), int64(k+1)) }, 0x1p-47, func(float64) float64 { return 1 }},
		{"sin", 100_000, sinPoly[:], 0, 0.617, func(k int) *big.Rat { return new(big.Rat).Quo(big.NewRat(int64(1-k%2*2), 1), factorial(2*k+1)) }, 0x1p-55, func(x float64) float64 { return math.Sqrt(x) }},
		{"cos", 10_000, cosPoly[:], 0, 0.617, func(k int) *big.Rat { return new(big.Rat).Quo(big.NewRat(int64(1-k%2*2), 1), factorial(2*k)) }, 0x1p-55, func(float64) float64 { return 1 }},
	} {
		difference := make([]*big.Float, terms)
		slope := 0.0
		r := max(math.Abs(c.lo), c.hi)
		for k := range difference {
			d := c.taylor(k)
			if k < len(c.poly) {
				d.Sub(d, new(big.Rat).SetFloat64(c.poly[k]))
			}
			difference[k] = new(big.Float).SetPrec(200).SetRat(d)
			x, _ := difference[k].Float64()
			slope += 1.0001 * math.Abs(x) * (float64(k) + 1) * math.Pow(r, max(float64(k)-1, -0.5)) // of the error times a weight of 1 or √x
		}
		// The tail beyond 20 terms is below 2^-90 in value and slope.
		got := bound(c.cells, c.lo, c.hi, slope, func(x float64) float64 {
			sum, at := new(big.Float).SetPrec(200), new(big.Float).SetPrec(200).SetFloat64(x)
			for k := terms - 1; k >= 0; k-- {
				sum.Mul(sum, at)
				sum.Add(sum, difference[k])
			}
			v, _ := sum.Float64()
			return v * c.weight(x)
		}) + 0x1p-90
		t.Logf("%s: at most 2^%.2f, of which slope %.3g", c.name, math.Log2(got), slope*(c.hi-c.lo)/float64(2*c.cells))
		require.Less(t, got, c.limit, c.name)
	}
	for i, x := range logInverse {
		o := oracle{200}
		truth, _ := o.mul(o.float(-2), o.ln(o.float(inverse[i]))).Float64()
		require.Equal(t, -truth, x)
	}
	require.Equal(t, -2*math.Ln2, minus2Ln2)
	require.Equal(t, math.Pi/4*0x1p-63, quarterPi)
	require.Equal(t, 0.5, inverse[15])
	require.Equal(t, minus2Ln2, logInverse[15])
}

// The float64 pair differs from every real pair with its first bits by less than
// errorBound, on all that the fast path keeps; the package doc proves 2^-46.
func TestErrorOfFastPath(t *testing.T) {
	n := 500_000
	if testing.Short() || runtime.GOARCH != "amd64" {
		n = 20_000
	}
	edges := edgeWords()
	workers := runtime.GOMAXPROCS(0)
	worst := make([]float64, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			f := fieldOf(192)
			s := testStream(uint64(30 + w))
			for i := range n / workers {
				u, v := s.Uint64(), s.Uint64()
				switch i % 16 {
				case 0:
					u = edges[i/16%len(edges)] + s.Uint64n(3) - 1
				case 1:
					v = edges[i/16%len(edges)] + s.Uint64n(3) - 1
				case 2:
					u >>= s.Uint64n(20)
				case 3:
					u = ^(u >> s.Uint64n(40))
				case 4:
					u = 1<<44 + u>>s.Uint64n(40)&(1<<44-1)
				}
				z0, z1, r := pair(u, v, 1)
				if !(r >= leastLog && r <= mostLog) {
					continue
				}
				// A random corner of the cell of real pairs that begin so: both are
				// monotonic in u and, but for a maximum, in v.
				us, vs := new(big.Int).SetUint64(u), big.NewInt(int64(v<<2)>>2)
				us.Add(us.Lsh(us, 64), new(big.Int).SetUint64(-s.Uint64n(2)))
				vs.Add(vs.Lsh(vs, 64), new(big.Int).SetUint64(-s.Uint64n(2)))
				x0, x1, ok := f.realPair(us, vs, 128, v>>62)
				if !ok {
					worst[w] = math.Inf(1)
				}
				for k, z := range []float64{z0, z1} {
					x := []ball{x0, x1}[k]
					at, _ := new(big.Float).SetMantExp(new(big.Float).SetPrec(200).SetFloat64(z), 192).Int(nil)
					d, _ := new(big.Float).SetInt(at.Sub(at, x.mid)).Float64()
					worst[w] = max(worst[w], math.Ldexp(math.Abs(d)+x.rad, -192))
				}
			}
		})
	}
	wg.Wait()
	most := 0.0
	for _, x := range worst {
		most = max(most, x)
	}
	t.Logf("largest error 2^%.2f sigma", math.Log2(most))
	require.Less(t, most, 0x1p-46)
}

// Every level does the same, bit for bit, over dirty dst, and touches no other
// memory.
func TestLevelsAgree(t *testing.T) {
	edges, s := edgeWords(), testStream(40)
	everyLevel(t, func(l kernel.Level) {
		for groups := range 70 {
			for _, sigma := range []float64{MinSigma, 0.5, 3, 1 << 20, MaxSigma} {
				g := newRounded(t, sigma)
				words := make([]uint64, groups*groupSize)
				s.Fill(words)
				for i := range words {
					if words[i]%4 == 0 {
						words[i] = edges[words[i]/4%uint64(len(edges))]
					}
				}
				const guard = 9
				got, want := make([]int64, guard+len(words)+guard), make([]int64, guard+len(words)+guard)
				slow, wantSlow := make([]byte, groups+8), make([]byte, groups+8)
				for i := range got {
					got[i] = int64(i) * 0x1234567
				}
				copy(want, got)
				for i := range slow {
					slow[i] = 0x77
				}
				copy(wantSlow, slow)
				rounded(got[guard:][:len(words)], words, slow, sigma, g.limit)
				roundedGeneric(want[guard:][:len(words)], words, wantSlow, sigma, g.limit)
				require.True(t, slices.Equal(want, got), "%v groups=%d sigma=%v", l, groups, sigma)
				require.Equal(t, wantSlow, slow, "%v groups=%d sigma=%v", l, groups, sigma)
			}
		}
	})
}

// A block is what the package doc says, pair by pair, in exact arithmetic.
func TestBlockIsExact(t *testing.T) {
	key := streamtest.Key(41)
	extension := key.Derive("dp/noise rounded gaussian extension", 0)
	const id = 1<<40 + 3
	for _, sigma := range []float64{0.5, 1 << 20, MaxSigma, 1 << 57} {
		g := &RoundedGaussian{sigma, 0.5 - sigma*errorBound}
		if sigma <= MaxSigma {
			g = newRounded(t, sigma)
		} // else all pairs are slow and their further bits matter
		var words [BlockSize]uint64
		stream.New(&key, id).Fill(words[:])
		want := make([]int64, BlockSize)
		for p := range BlockSize / 2 {
			at := p/8*16 + p%8
			want[at], want[at+8] = exactPair(words[at], words[at+8], sigma, func(i uint64) (uint64, uint64) {
				s := stream.New(&extension, id)
				s.Seek(uint64(p)*64 + i)
				return s.Uint64(), s.Uint64()
			})
		}
		everyLevel(t, func(l kernel.Level) {
			got := make([]int64, BlockSize)
			g.AddBlocks(got, &key, id)
			require.True(t, slices.Equal(want, got), "%v sigma=%v", l, sigma)
		})
	}
}

// Slow pairs are as frequent as errorBound and the bounds of u make them: both
// paths are in use.
func TestShareOfSlowPairs(t *testing.T) {
	const n = 1 << 20
	words, slow, dst := make([]uint64, n), make([]byte, n/groupSize), make([]int64, n)
	testStream(42).Fill(words)
	g := newRounded(t, MaxSigma)
	rounded(dst, words, slow, g.sigma, g.limit)
	count := 0.0
	for _, b := range slow {
		for ; b != 0; b &= b - 1 {
			count++
		}
	}
	mean := n / 2 * 4 * 0x1p-44 * MaxSigma
	require.InDelta(t, mean, count, 6*math.Sqrt(mean))
}

// Any cut at block boundaries, in any order, and a short last block give the
// same noise.
func TestSplitting(t *testing.T) {
	key := streamtest.Key(43)
	g := newRounded(t, 1<<30) // some slow pairs
	whole := make([]int64, 5*BlockSize+777)
	g.AddBlocks(whole, &key, 100)
	for _, n := range []int{0, 1, 7, 8, 15, 16, 17, 31, 1023, 1024, 1025, 1041, 4095, 4096, 4097, 5*BlockSize + 3} {
		got := make([]int64, n+1)
		got[n] = 5
		g.AddBlocks(got[:n], &key, 100)
		require.Equal(t, whole[:n], got[:n], n)
		require.Equal(t, int64(5), got[n])
	}
	parts := make([]int64, len(whole))
	for b := 5; b >= 0; b -= 2 {
		at := max(0, b-1) * BlockSize
		g.AddBlocks(parts[at:min(len(parts), (b+1)*BlockSize)], &key, 100+uint64(at/BlockSize))
	}
	require.True(t, slices.Equal(whole, parts))
	twice := make([]int64, len(whole))
	for i := range twice {
		twice[i] = whole[i] + math.MaxInt64 // wraps
		parts[i] = math.MaxInt64
	}
	g.AddBlocks(parts, &key, 100)
	require.True(t, slices.Equal(twice, parts))
}

// The noise of a key is the same for ever, on every machine.
func TestAccumulated(t *testing.T) {
	h := sha256.New()
	for i, sigma := range []float64{MinSigma, 0.5, 1, 3, 1000, 1 << 20, 1 << 30, MaxSigma} {
		key := streamtest.Key(uint64(i))
		dst := make([]int64, 3*BlockSize+100)
		newRounded(t, sigma).AddBlocks(dst, &key, uint64(i))
		for _, z := range dst {
			h.Write(binary.LittleEndian.AppendUint64(nil, uint64(z)))
		}
	}
	require.Equal(t, "74c460f937d32acb12b37ce64ad3dd1318e98547095a521d7e50eb39468684af", hex.EncodeToString(h.Sum(nil)))
}

func TestAddBlocksAllocates(t *testing.T) {
	key := streamtest.Key(44)
	dst := make([]int64, 3*BlockSize+5)
	g := newRounded(t, 1<<20)
	restore := kernel.Use(kernel.Best())
	defer restore()
	if kernel.Best() == kernel.Generic {
		t.Skip("the standard library's keystream allocates")
	}
	id := uint64(0)
	require.Zero(t, testing.AllocsPerRun(50, func() { id += 4; g.AddBlocks(dst, &key, id) }))
}

func TestScratchIsWiped(t *testing.T) {
	s := new(scratch)
	key := streamtest.Key(45)
	s.cipher.Reset(&key)
	(&RoundedGaussian{1 << 57, -1}).addChunk(make([]int64, 1001), s, &key, 1, 0)
	require.NotEqual(t, scratch{}, *s)
	require.True(t, s.extended)
	s.wipe()
	require.Equal(t, scratch{}, *s)
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

func FuzzRounded(f *testing.F) {
	f.Add(uint64(1)<<63, uint64(1)<<62, uint64(0), 1.0)
	f.Add(uint64(1)<<44, uint64(1)<<61, uint64(1), 0x1p20)
	f.Add(^uint64(0), ^uint64(0), ^uint64(0), 0x1p36)
	f.Add(uint64(31)<<59, uint64(3)<<60, uint64(1)<<40, 0.01)
	f.Fuzz(func(t *testing.T, u, v, more uint64, sigma float64) {
		g, err := NewRoundedGaussian(sigma)
		if err != nil {
			return
		}
		var words [groupSize]uint64
		for i := range pairs {
			words[i], words[i+pairs] = u+uint64(i)*more, v^uint64(i)
		}
		everyLevel(t, func(l kernel.Level) {
			var z [groupSize]int64
			var slow [1]byte
			rounded(z[:], words[:], slow[:], sigma, g.limit)
			for i := range pairs {
				if slow[0]>>i&1 != 0 {
					require.Zero(t, z[i]|z[i+pairs])
					continue
				}
				for _, more := range []uint64{0, more, math.MaxUint64} {
					z0, z1 := exactPair(words[i], words[i+pairs], sigma, func(uint64) (uint64, uint64) { return more, more })
					require.Equal(t, [2]int64{z0, z1}, [2]int64{z[i], z[i+pairs]}, "%v", l)
				}
			}
		})
	})
}
