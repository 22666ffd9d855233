package accounting

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRefusals(t *testing.T) {
	g := Gaussian{1}
	for want, e := range map[string]Event{
		"NoiseMultiplier is 0":          Gaussian{0},
		"NoiseMultiplier is NaN":        Gaussian{math.NaN()},
		"NoiseMultiplier is +Inf":       Gaussian{math.Inf(1)},
		"Rate is 1.5":                   PoissonSampled{1.5, g},
		"Rate is NaN":                   PoissonSampled{math.NaN(), g},
		"single mechanism":              PoissonSampled{0.5, PoissonSampled{0.5, g}},
		"SelfComposed.Count is 0":       SelfComposed{g, 0},
		"SelfComposed.Event is missing": SelfComposed{nil, 1},
		"Composed.Events is empty":      Composed{},
		"Composed.Events[1] is missing": Composed{[]Event{g, nil}},
		"event is missing":              nil,
	} {
		_, err := Epsilon(e, AddRemove, 1e-5)
		require.ErrorContains(t, err, want)
	}
	_, err := Epsilon(g, 0, 1e-5)
	require.ErrorContains(t, err, "relation")
	for _, d := range []float64{0, 1, -1, math.NaN()} {
		_, err = Epsilon(g, AddRemove, d)
		require.ErrorContains(t, err, "delta is")
	}
	_, err = CalibrateNoise(0, 1e-5, AddRemove, func(s float64) Event { return Gaussian{s} })
	require.ErrorContains(t, err, "epsilon is 0")
}

// TestPlainGaussian compares with the closed form of Balle and Wang 2018.
func TestPlainGaussian(t *testing.T) {
	phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	for _, c := range []struct{ mu, eps float64 }{{1, 1}, {0.3, 0.5}, {2, 4}, {0.05, 0.1}} {
		truth := phi(c.mu/2-c.eps/c.mu) - math.Exp(c.eps)*phi(-c.mu/2-c.eps/c.mu)
		for count, sigma := range map[int]float64{1: 1 / c.mu, 100: 10 / c.mu} {
			got, err := Delta(SelfComposed{Gaussian{sigma}, count}, AddRemove, c.eps)
			require.NoError(t, err)
			require.LessOrEqual(t, got.Lower, truth*(1+1e-9)+1e-15)
			require.GreaterOrEqual(t, got.Upper, truth*(1-1e-9))
			require.InDelta(t, truth, got.Upper, 1e-3*truth+1e-9, "%+v x%d", c, count)
		}
	}
}

func TestCalibrateNoiseMeetsItsBudget(t *testing.T) {
	event := func(s float64) Event { return SelfComposed{PoissonSampled{0.02, Gaussian{s}}, 500} }
	for _, eps := range []float64{0.5, 3} {
		sigma, err := CalibrateNoise(eps, 1e-5, AddRemove, event)
		require.NoError(t, err)
		got, err := Epsilon(event(sigma), AddRemove, 1e-5)
		require.NoError(t, err)
		require.LessOrEqual(t, got.Upper, eps)
		got, err = Epsilon(event(sigma*0.998), AddRemove, 1e-5)
		require.NoError(t, err)
		require.Greater(t, got.Upper, eps, "less noise would not do")
	}
}

func TestComposedEqualsSelfComposed(t *testing.T) {
	e := PoissonSampled{0.01, Gaussian{1}}
	a, err := Epsilon(SelfComposed{e, 600}, AddRemove, 1e-6)
	require.NoError(t, err)
	b, err := Epsilon(Composed{[]Event{SelfComposed{e, 200}, SelfComposed{SelfComposed{e, 20}, 20}}}, AddRemove, 1e-6)
	require.NoError(t, err)
	require.InEpsilon(t, a.Upper, b.Upper, 1e-4)
}
