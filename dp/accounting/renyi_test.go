package accounting

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRenyi compares with the closed form of a plain Gaussian, with the
// binomial sum of whole orders (Mironov, Talwar and Zhang 2019, section 3.3), and
// with the best order's ε.
func TestRenyi(t *testing.T) {
	for _, order := range []float64{1.01, 2, 7.5, 300} {
		got, err := Renyi(SelfComposed{Gaussian{2}, 3}, AddRemove, order)
		require.NoError(t, err)
		require.InEpsilon(t, 3*order/8, got, 1e-9)
	}
	for _, order := range []int{2, 3, 12} {
		q, sigma, sum := 0.03, 1.3, 0.0
		for k := 0; k <= order; k++ {
			choose, _ := math.Lgamma(float64(order + 1))
			a, _ := math.Lgamma(float64(k + 1))
			b, _ := math.Lgamma(float64(order - k + 1))
			sum += math.Exp(choose-a-b+float64(k*k-k)/(2*sigma*sigma)) * math.Pow(q, float64(k)) * math.Pow(1-q, float64(order-k))
		}
		got, err := Renyi(PoissonSampled{q, Gaussian{sigma}}, AddRemove, float64(order))
		require.NoError(t, err)
		require.InEpsilon(t, math.Log(sum)/float64(order-1), got, 1e-6)
	}
	e := Composed{[]Event{SelfComposed{PoissonSampled{0.01, Gaussian{1}}, 500}, Gaussian{4}}}
	best := math.Inf(1)
	for order := 1.5; order < 60; order += 0.25 {
		rho, err := Renyi(e, AddRemove, order)
		require.NoError(t, err)
		best = min(best, rho+math.Log1p(-1/order)-math.Log(1e-5*order)/(order-1))
	}
	rdp, err := EpsilonRDP(e, AddRemove, 1e-5)
	require.NoError(t, err)
	require.InEpsilon(t, rdp, best, 1e-2)
	for _, order := range []float64{1, 0, -3, math.NaN(), math.Inf(1)} {
		_, err := Renyi(Gaussian{1}, AddRemove, order)
		require.ErrorContains(t, err, "order is")
	}
	_, err = Renyi(Gaussian{0}, AddRemove, 2)
	require.ErrorContains(t, err, "NoiseMultiplier is 0")
}
