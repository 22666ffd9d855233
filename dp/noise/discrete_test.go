package noise

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/stream/streamtest"
)

func TestDiscreteScales(t *testing.T) {
	for _, x := range []float64{math.NaN(), 0, -1, MinSigma / 2, MaxSigma * 2, math.Inf(1)} {
		_, err := NewDiscreteGaussian(x)
		require.ErrorContains(t, err, "noise: sigma is "+fmt.Sprint(x)+", must lie in")
		_, err = NewDiscreteLaplace(x)
		require.ErrorContains(t, err, "noise: scale is "+fmt.Sprint(x)+", must lie in")
	}
	for _, x := range []float64{MinSigma, math.Nextafter(MinSigma, 1), math.Nextafter(1, 0), math.Pi, MaxSigma} {
		l, err := NewDiscreteLaplace(x)
		require.NoError(t, err)
		require.Less(t, l.t, uint64(1)<<53)
		require.Equal(t, x, float64(l.t)/float64(l.s))
		g, err := NewDiscreteGaussian(x)
		require.NoError(t, err)
		require.Greater(t, float64(g.t), x)
	}
}

// The float64 exponent is within its slack of the exact one, whose floor and
// fraction are those that are used.
func TestExponentBounds(t *testing.T) {
	s := testStream(110)
	for range 3000 {
		g, err := NewDiscreteGaussian(math.Exp2(-7 + 43*s.Float64()))
		require.NoError(t, err)
		y := s.Uint64n(g.t * 40)
		if s.Uint64n(4) == 0 { // where gamma is near 0
			y = uint64(g.mean) + s.Uint64n(2)
		}
		r := g.exponent(y)
		exact := g.rational(y)
		off := new(big.Rat).Sub(exact, new(big.Rat).SetFloat64(r.value))
		require.LessOrEqual(t, off.Abs(off).Cmp(new(big.Rat).SetFloat64(r.slack)), 0, "sigma=%v y=%d", g.sigma, y)
		require.Less(t, r.slack, 0x1p-40*(1+r.value))
		f := r.fraction()
		truth := f.rational()
		require.True(t, truth.Sign() >= 0 && truth.Cmp(big.NewRat(1, 1)) < 0)
		off.Sub(truth, new(big.Rat).SetFloat64(f.value))
		require.LessOrEqual(t, off.Abs(off).Cmp(new(big.Rat).SetFloat64(f.slack)), 0)
		require.Equal(t, new(big.Rat).Add(truth, new(big.Rat).SetInt(new(big.Int).SetUint64(r.floor()))).Cmp(exact), 0)
	}
}

// With a slack that decides nothing every decision is made on the exact rational,
// and they are the same.
func TestBernoulliExact(t *testing.T) {
	for _, p := range []*big.Rat{big.NewRat(0, 1), big.NewRat(1, 3), big.NewRat(1, 1<<40), big.NewRat(999, 1000)} {
		value, _ := p.Float64()
		exact := func(uint64) *big.Rat { return new(big.Rat).Set(p) }
		fast, slow := testStream(112), testStream(112)
		hits := 0.0
		const n = 20000
		for range n {
			a := bernoulli(fast, real64{value: value, slack: 0x1p-53, exact: exact})
			require.Equal(t, a, bernoulli(slow, real64{value: value, slack: 2, exact: exact}))
			if a {
				hits++
			}
		}
		require.InDelta(t, n*value, hits, 6.2*math.Sqrt(n*value*(1-value))+1)
	}
	// A probability that agrees with the first word drawn is decided by the next.
	s := testStream(113)
	first, second := s.Uint64(), s.Uint64()
	for _, c := range []struct {
		next uint64
		want bool
	}{{second, false}, {second + 1, true}} {
		p := new(big.Int).SetUint64(first)
		p.Add(p.Lsh(p, 64), new(big.Int).SetUint64(c.next))
		r := new(big.Rat).SetFrac(p, new(big.Int).Lsh(big.NewInt(1), 128))
		value, _ := r.Float64()
		require.Equal(t, c.want, bernoulli(testStream(113), real64{value: value, slack: 0x1p-52, exact: func(uint64) *big.Rat { return new(big.Rat).Set(r) }}))
	}
}

func TestDiscreteSplitting(t *testing.T) {
	key := streamtest.Key(114)
	g, err := NewDiscreteGaussian(12.5)
	require.NoError(t, err)
	whole := make([]int64, 2*BlockSize+50)
	g.AddBlocks(whole, &key, 7)
	parts := make([]int64, len(whole))
	g.AddBlocks(parts[2*BlockSize:], &key, 9)
	g.AddBlocks(parts[:2*BlockSize], &key, 7)
	require.Equal(t, whole, parts)
}

func BenchmarkDiscreteGaussian(b *testing.B) {
	for _, sigma := range []float64{0.5, 30.3, 1 << 20} {
		b.Run(fmt.Sprintf("sigma=%v", sigma), func(b *testing.B) {
			g, err := NewDiscreteGaussian(sigma)
			require.NoError(b, err)
			dst, key := make([]int64, BlockSize), streamtest.Key(1)
			for b.Loop() {
				g.AddBlocks(dst, &key, 0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BlockSize, "ns/sample")
		})
	}
}
