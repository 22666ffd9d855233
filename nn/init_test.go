package nn

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInitializerLaws(t *testing.T) {
	const n = 200001
	for _, c := range []struct {
		law           Initializer
		fanIn, fanOut int
		variance      float64
		uniform       bool
	}{
		{HeNormal, 50, 7, 2.0 / 50, false},
		{HeUniform, 50, 7, 2.0 / 50, true},
		{XavierNormal, 50, 14, 2.0 / 64, false},
		{XavierUniform, 50, 14, 2.0 / 64, true},
	} {
		t.Run(c.law.String(), func(t *testing.T) {
			x := make([]float32, n)
			c.law.fill(x, c.fanIn, c.fanOut, 11, 3)
			cdf := func(v float64) float64 { return 0.5 * math.Erfc(-v/math.Sqrt(2*c.variance)) }
			bound := math.Inf(1)
			if c.uniform {
				bound = math.Sqrt(3 * c.variance)
				cdf = func(v float64) float64 { return (v/bound + 1) / 2 }
			}
			for _, v := range x {
				require.LessOrEqual(t, math.Abs(float64(v)), float64(float32(bound)))
			}
			// Kolmogorov-Smirnov. P(√n·D > 3) < 2·exp(-2·9) = 3e-8; the scale
			// off by a factor 2/3 or 3/2 gives D > 0.08, √n·D > 35.
			require.Less(t, ks(x, cdf), 3.0)
			for _, factor := range []float32{2.0 / 3, 1.5} {
				y := slices.Clone(x)
				for i := range y {
					y[i] *= factor
				}
				require.Greater(t, ks(y, cdf), 3.0)
			}
			// Neighbours are independent: n·r is about N(0, n), 6 sigma.
			var r, q float64
			for i := range n - 2 {
				r += float64(x[i]) * float64(x[i+1])
				q += float64(x[i]) * float64(x[i+2])
			}
			require.Less(t, math.Abs(r), 6*c.variance*math.Sqrt(n))
			require.Less(t, math.Abs(q), 6*c.variance*math.Sqrt(n))
		})
	}
}

// ks returns √n times the Kolmogorov-Smirnov distance of x from cdf.
func ks(x []float32, cdf func(float64) float64) float64 {
	x = slices.Sorted(slices.Values(x))
	n, d := float64(len(x)), 0.0
	for i, v := range x {
		p := cdf(float64(v))
		d = max(d, p-float64(i)/n, float64(i+1)/n-p)
	}
	return d * math.Sqrt(n)
}

func TestInitializerStreams(t *testing.T) {
	draw := func(law Initializer, n int, seed, tensor uint64) []float32 {
		x := slices.Repeat([]float32{float32(math.NaN())}, n) // dirty dst
		law.fill(x, 3, 3, seed, tensor)
		return x
	}
	for law := HeNormal; law <= XavierUniform; law++ {
		x := draw(law, 9, 1, 0)
		require.Equal(t, x, draw(law, 9, 1, 0))
		require.Equal(t, x[:8], draw(law, 8, 1, 0))
		require.NotEqual(t, x, draw(law, 9, 2, 0))
		require.NotEqual(t, x, draw(law, 9, 1, 1))
	}
	require.Equal(t, make([]float32, 5), draw(Zero, 5, 1, 0))
	require.PanicsWithValue(t, "nn: unknown initializer", func() { draw(Zero+1, 5, 1, 0) })
	require.Equal(t, "invalid", (Zero + 1).String())
}

// TestInitializerBits holds the drawn bits still across versions and machines.
func TestInitializerBits(t *testing.T) {
	h := sha256.New()
	for law := HeNormal; law <= Zero; law++ {
		for seed := range uint64(20) {
			x := make([]float32, 101)
			law.fill(x, int(seed)*7, 13, seed, seed%3)
			require.NoError(t, binary.Write(h, binary.LittleEndian, x))
		}
	}
	require.Equal(t, "c47d05ed74e685457210fae4d654e26a054b7622e60244d49dcfe848757482a2", hex.EncodeToString(h.Sum(nil)))
}

func TestNaturalLog(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 100000 {
		x := r.Float64()
		if i%2 == 0 {
			x = math.Ldexp(x, -r.IntN(120))
		}
		if x == 0 {
			continue
		}
		want := math.Log(x)
		require.InDelta(t, want, naturalLog(x), 1e-15*max(1, math.Abs(want)), x)
	}
	require.Zero(t, naturalLog(1))
	require.InEpsilon(t, -0x1p-53, naturalLog(1-0x1p-53), 1e-15)
}
