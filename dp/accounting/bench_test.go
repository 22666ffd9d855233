package accounting

import (
	"fmt"
	"testing"
)

// The seconds that others took for the same question on one core of a Zen 5
// machine, each with the width of its interval or, from above only, 0:
// dp_accounting 0.6.0's PLD at its default discretisation, pessimistic and
// optimistic, and Opacus 1.5.4's PRV at its default error.
var peers = map[string]struct{ pld, prv float64 }{
	"q=0.01/noise=1/steps=1e4":    {0.9332 + 0.9145, 0.8114},
	"q=0.001/noise=0.8/steps=1e6": {1.6829 + 1.6057, 20.3278},
}

// BenchmarkEpsilon asks for a certified interval. Metrics: its relative width, and
// how many times the peers' seconds.
func BenchmarkEpsilon(b *testing.B) {
	for _, c := range []struct {
		q, sigma float64
		steps    int
	}{{0.01, 1, 1e4}, {0.001, 0.8, 1e6}} {
		name := fmt.Sprintf("q=%v/noise=%v/steps=1e%d", c.q, c.sigma, len(fmt.Sprint(c.steps))-1)
		e := SelfComposed{PoissonSampled{c.q, Gaussian{c.sigma}}, c.steps}
		b.Run(name, func(b *testing.B) {
			var i Interval
			for b.Loop() {
				i, _ = Epsilon(e, AddRemove, 1e-5)
			}
			seconds := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric((i.Upper-i.Lower)/i.Upper, "width")
			b.ReportMetric(peers[name].pld/seconds, "x-dp_accounting")
			b.ReportMetric(peers[name].prv/seconds, "x-opacus")
		})
	}
}

// BenchmarkAccountants asks other accountants and other questions.
func BenchmarkAccountants(b *testing.B) {
	e := SelfComposed{PoissonSampled{0.01, Gaussian{1}}, 10000}
	for name, ask := range map[string]func(){
		"grid":  func() { EpsilonPLD(e, AddRemove, 1e-5) },
		"renyi": func() { EpsilonRDP(e, AddRemove, 1e-5) },
		"delta": func() { Delta(e, AddRemove, 3) },
		"tpr":   func() { TruePositiveRate(e, AddRemove, 0.01) },
		"calibrate": func() {
			CalibrateNoise(3, 1e-5, AddRemove, func(s float64) Event { return SelfComposed{PoissonSampled{0.01, Gaussian{s}}, 10000} })
		},
		"laplace":  func() { Epsilon(SelfComposed{Laplace{4}, 100}, AddRemove, 1e-5) },
		"discrete": func() { Epsilon(SelfComposed{DiscreteGaussian{10, 3}, 100}, AddRemove, 1e-5) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				ask()
			}
		})
	}
}
