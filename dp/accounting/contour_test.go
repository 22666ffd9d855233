package accounting

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestContourHoldsTheTruth compares with values found in 50-digit arithmetic.
func TestContourHoldsTheTruth(t *testing.T) {
	for _, c := range []struct {
		q, sigma, count, delta float64
		d                      direction
		want, width            float64
	}{
		{0.01, 1, 1e4, 1e-5, remove, 6.18771238997154, 1e-8},
		{0.01, 1, 1e4, 1e-5, add, 5.61150861765199, 1e-8},
		{0.001, 0.8, 1e6, 1e-5, remove, 9.692707184802691, 1e-6},
		{0.5, 20, 10, 1e-5, remove, 0.26752475273967563, 1e-8},
		{0.1, 0.7, 1000, 1e-9, remove, 70.30756992812455, 1e-8},
		{0.01, 1, 1e4, 1e-10, remove, 9.316138525882328, 1e-8},
		{0.05, 1.5, 300, 1e-10, remove, 4.675081493923552, 1e-8},
		{0.3, 2, 20, 1e-5, replace, 6.082602491644596, 1e-8},
	} {
		m := sum{terms: []term{{sampled(c.q, c.sigma, c.d), c.count}}}
		i, ok := m.epsilon(math.Log(c.delta))
		require.True(t, ok, c)
		require.LessOrEqual(t, i.Lower, c.want*(1+2e-9), c)
		require.GreaterOrEqual(t, i.Upper, c.want*(1-2e-9), c)
		require.Less(t, i.Upper-i.Lower, c.width*c.want*10, c)
	}
}

// TestContourOfGaussians compares with the closed form of Balle and Wang, from
// one end of doubles to the other.
func TestContourOfGaussians(t *testing.T) {
	for _, mu := range []float64{1e-6, 1e-3, 0.3, 1, 5, 30} {
		for _, x := range []float64{-0.3, 0.5, 2, 5, 10, 20} {
			eps := mu * (mu/2 + x)
			if eps < 0 {
				continue
			}
			// exp(-x²/2)/2·(erfcx(a) - erfcx(b)) at a = x/√2, b = (x+mu)/√2, by an integral:
			// δ = ∫_x^∞ (1 - exp(-mu (z-x))) φ(z) dz, a smooth integrand.
			// Beyond z = 40/(4+x) less than exp(-30) of it is left.
			sum, h := 0.0, 1e-3/(1+mu+max(x, 0))
			for i := range int(40 / (4 + x) / h) {
				z := h * (float64(i) + 0.5)
				sum += -math.Expm1(-mu*z) * math.Exp(-z*z/2-z*x) * h
			}
			want := math.Log(sum/math.Sqrt(2*math.Pi)) - x*x/2
			m := gaussians(mu)
			l, u, ok := m.logDelta(eps)
			require.True(t, ok)
			require.InDelta(t, want, l, 1e-6, "%v %v", mu, x)
			require.InDelta(t, want, u, 1e-6, "%v %v", mu, x)
			require.LessOrEqual(t, l, u)
			require.Less(t, u-l, 1e-9)
		}
	}
}

func gaussians(mu float64) sum { return sum{mu2: mu * mu, known: &known{}} }
