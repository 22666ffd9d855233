package noise

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/stream"
	"github.com/sotto-ml/sotto/internal/stream/streamtest"
)

// testStream is a stream of a fixed key: what these tests see is the same in
// every run, so that none raises a false alarm once it has passed.
func testStream(seed uint64) *stream.Stream {
	k := streamtest.Key(seed)
	return stream.New(&k, 0)
}

// dyadic is x 2^-bits.
func (o oracle) dyadic(x *big.Int, bits int) *big.Float {
	f := o.float(0).SetInt(x)
	return f.SetMantExp(f, -bits)
}

func noExtension(uint64) (uint64, uint64) { return 0, 0 }

// Every constant and function of the slow path holds the truth in its ball.
func TestBallsHoldTheTruth(t *testing.T) {
	s := testStream(20)
	for _, frac := range []uint{128, 192, 320, 1088} {
		f, o := fieldOf(frac), oracle{frac + 200}
		holds := func(b ball, truth *big.Float, what string) {
			t.Helper()
			d := o.sub(o.dyadic(b.mid, int(frac)), truth)
			d.SetMantExp(d.Abs(d), int(frac))
			require.LessOrEqual(t, d.Cmp(big.NewFloat(b.rad)), 0, "%s frac=%d off by %v units of %v", what, frac, d, b.rad)
		}
		holds(f.ln2, o.ln(o.float(0.5)).Neg(o.ln(o.float(0.5))), "ln 2")
		holds(f.pi4, o.mul(o.pi(), o.float(0.25)), "π/4")
		for c := 12; c <= 15; c++ {
			holds(f.lnStep[c], o.ln(o.float(float64(c)/16)), "ln c/16")
			holds(f.lnStep[48-2*c], o.sub(o.ln(o.float(float64(48-2*c)/32)), o.ln(o.float(0.5))), "ln c/16")
		}
		require.Zero(t, f.lnStep[16].mid.Sign())
		for range 40 {
			// A point anywhere in a small ball around a multiple of 2^-frac.
			u := new(big.Int).SetUint64(s.Uint64() >> s.Uint64n(64))
			u.Lsh(u.Add(u, big.NewInt(1)), frac-65)
			b := ball{u, float64(s.Uint64n(1 << 40))}
			at := math.Round((2*s.Float64() - 1) * b.rad)
			point := o.dyadic(new(big.Int).Add(u, big.NewInt(int64(at))), int(frac))
			if l, ok := f.ln(b); ok {
				holds(l, o.ln(point), "ln")
				if r, ok := f.sqrt(l.scaled(-1)); ok {
					holds(r, o.float(0).Sqrt(o.ln(point).Neg(o.ln(point))), "sqrt")
				}
			}
			if s.Uint64n(2) == 0 {
				b.mid, point = new(big.Int).Neg(b.mid), point.Neg(point)
			}
			sin, cos := f.sincos(ball{b.mid, b.rad})
			truesin, truecos := o.sincos(point)
			holds(sin, truesin, "sin")
			holds(cos, truecos, "cos")
			holds(f.mul(sin, cos), o.mul(truesin, truecos), "mul")
		}
	}
}

func TestExactPairAgainstOracle(t *testing.T) {
	s := testStream(21)
	o := oracle{400}
	for i := range 400 {
		u, v := s.Uint64(), s.Uint64()
		switch i % 8 {
		case 1:
			u >>= s.Uint64n(64)
		case 2:
			u = ^(u >> s.Uint64n(64))
		case 3:
			v = v&^(1<<62-1) | v>>s.Uint64n(62)&(1<<62-1)
		}
		sigma := math.Exp2(-7 + 43*s.Float64())
		ue, ve := s.Uint64(), s.Uint64()
		got0, got1 := exactPair(u, v, sigma, func(i uint64) (uint64, uint64) {
			if i == 0 {
				return ue, ve
			}
			return 0, 0
		})
		us := new(big.Int).SetUint64(u)
		us.Add(us.Lsh(us, 64), new(big.Int).SetUint64(ue))
		if us.Sign() == 0 {
			continue
		}
		vs := big.NewInt(int64(v<<2) >> 2)
		vs.Add(vs.Lsh(vs, 64), new(big.Int).SetUint64(ve))
		z0, z1 := o.pair(o.dyadic(us, 128), o.dyadic(vs, 125), v>>62)
		require.Equal(t, nearest(o.mul(z0, o.float(sigma))), got0, "u=%#x v=%#x sigma=%v", u, v, sigma)
		require.Equal(t, nearest(o.mul(z1, o.float(sigma))), got1, "u=%#x v=%#x sigma=%v", u, v, sigma)
	}
}

// The angle is chosen so that the cosine sample lies within 2^-64m of a rounding
// boundary, on either side: the words of u and v up to m-1 do not decide, and
// the side is known without computing.
func TestExactPairRefines(t *testing.T) {
	const prec = 900
	o := oracle{prec}
	s := testStream(22)
	quarter := o.mul(o.pi(), o.float(0.25))
	for _, words := range []int{1, 2, 3, 4, 9} {
		for _, sigma := range []float64{0.5, 3, 1 << 20, 0x1.8p35} {
			// u = 1/4 exactly: radius sqrt(2 ln 4) = 1.665…
			const u = 1 << 62
			radius := o.mul(o.float(sigma), o.float(0).Sqrt(o.mul(o.float(-2), o.ln(o.float(0.25)))))
			r, _ := radius.Float64()
			boundary := math.Floor(r*(0.75+0.2*s.Float64())) + 0.5
			if boundary >= r || boundary < 0.72*r {
				continue // no boundary that the angle's quarter reaches
			}
			// The angle's cosine, by bisection on w in (0, 1): cos falls.
			bits := 64*words - 3
			lo, hi := new(big.Int), new(big.Int).Lsh(big.NewInt(1), uint(bits))
			for {
				mid := new(big.Int).Add(lo, hi)
				mid.Rsh(mid, 1)
				if mid.Cmp(lo) == 0 {
					break
				}
				_, cos := o.sincos(o.mul(o.dyadic(mid, bits), quarter))
				if o.mul(radius, cos).Cmp(o.float(boundary)) > 0 {
					lo = mid
				} else {
					hi = mid
				}
			}
			for _, c := range []struct {
				w    *big.Int
				want int64
			}{{lo, int64(boundary + 0.5)}, {hi, int64(boundary - 0.5)}} {
				asked := 0
				got, _ := exactPair(u, wordAt(c.w, words, 0)&(1<<62-1), sigma, func(i uint64) (uint64, uint64) {
					asked = max(asked, int(i)+1)
					return 0, wordAt(c.w, words, int(i)+1)
				})
				require.Equal(t, c.want, got, "words=%d sigma=%v", words, sigma)
				require.GreaterOrEqual(t, asked, words, "decided without the words that decide")
			}
		}
	}
}

// wordAt is the i-th word of x, the first being the highest of n; beyond them 0.
func wordAt(x *big.Int, n, i int) uint64 {
	if i >= n {
		return 0
	}
	y := new(big.Int).Rsh(x, uint(64*(n-1-i)))
	return y.And(y, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
}

// With all further bits zero a sample whose real value is a boundary would need
// bits for ever; the limit is a panic and not a wrong sample. u = 0 is such.
func TestExactPairGivesUp(t *testing.T) {
	require.PanicsWithValue(t, "noise: 4096 bits did not decide a sample", func() { exactPair(0, 1, 1, noExtension) })
	z0, z1 := exactPair(0, 1<<60, 1, func(i uint64) (uint64, uint64) { return i / 10, 0 })
	require.Greater(t, math.Hypot(float64(z0), float64(z1)), 30.)
}

func BenchmarkExactPair(b *testing.B) {
	s := testStream(23)
	for b.Loop() {
		exactPair(s.Uint64(), s.Uint64(), 1<<20, noExtension)
	}
}
