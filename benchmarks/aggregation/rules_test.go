package aggregation_test

import (
	"fmt"
	"testing"

	"github.com/sotto-ml/sotto/aggregate"
)

// byzfl are the seconds that the faster of ByzFL's two back ends (numpy and torch,
// commit 69bd1ac) took for n rows of a million, on one core of a Zen 5 machine.
var byzfl = map[string]map[int]float64{
	"Median":           {10: 0.1563, 25: 0.4087, 50: 0.7413, 100: 1.351},
	"TrimmedMean":      {10: 0.05193, 25: 0.07743, 50: 0.1264, 100: 0.2434},
	"Meamed":           {10: 0.3312, 25: 0.9331, 50: 1.841, 100: 3.405},
	"Krum":             {10: 0.04566, 25: 0.2514, 50: 0.142, 100: 0.3828},
	"MultiKrum":        {10: 0.05226, 25: 0.2622, 50: 0.1736, 100: 0.4041},
	"Weiszfeld":        {10: 0.04661, 25: 0.1057, 50: 0.2098, 100: 0.3952},
	"CenteredClipping": {10: 0.01083, 25: 0.02507, 50: 0.04289, 100: 0.09938},
	"NNMTrimmedMean":   {10: 0.1285, 25: 0.7388, 50: 1.779},
	"MinimumDiameter":  {10: 0.04999},
}

// BenchmarkRules times whole rules, their checks included, at a million columns.
func BenchmarkRules(b *testing.B) {
	const d = 1_000_000
	sizes := []int{10, 25, 50, 100}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, n := range sizes {
		rows := clients(n, d)
		dst := make([]float32, d)
		f := n / 5
		var beside *peers
		stop := func() {}
		if *python != "" {
			beside, stop = startPeers(b)
		}
		for _, c := range []struct {
			name string
			rule aggregate.Rule
		}{
			{"Median", aggregate.Median{}}, {"TrimmedMean", aggregate.TrimmedMean{F: f}}, {"Meamed", aggregate.Meamed{F: f}},
			{"Krum", aggregate.Krum{F: f}}, {"MultiKrum", aggregate.MultiKrum{F: f}},
			{"Weiszfeld", aggregate.Weiszfeld{Smoothing: 0.1, Steps: 3}},
			{"CenteredClipping", &aggregate.CenteredClipping{Tau: 100, Steps: 1}},
			{"NNMTrimmedMean", aggregate.Chain{aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}}},
			{"MinimumDiameter", aggregate.MinimumDiameter{F: f}},
		} {
			peer, known := byzfl[c.name][n]
			if !known {
				continue
			}
			b.Run(fmt.Sprintf("rule=%s/n=%d/d=1e6", c.name, n), func(b *testing.B) {
				rule := func() {
					if r, ok := c.rule.(*aggregate.CenteredClipping); ok {
						r.Momentum = nil
					}
					if _, err := c.rule.Aggregate(dst, rows, nil); err != nil {
						b.Fatal(err)
					}
				}
				turns := append([]func(){rule}, readers(rows)...)
				reads := len(turns)
				var theirs []float64
				if beside != nil {
					beside.agree(b, c.name, c.rule, f, n)
					beside.ask(b, "%d %d", n, d)
					backend := beside.faster(b, c.name, f)
					// Either is called twice: the first call finds the caches cold.
					turns = append(turns, func() {
						for range 2 {
							seconds, reason := beside.ask(b, "call %s %s %d", backend, c.name, f)
							if reason != "" {
								b.Fatal(reason)
							}
							theirs = append(theirs, seconds)
						}
					}, rule)
				}
				var seconds [][]float64
				for b.Loop() {
					theirs = nil
					seconds = secondsEach(turns...)
				}
				if beside != nil {
					second := theirs[:0]
					for i := 3; i < len(theirs); i += 2 { // after those of the turn that is not counted
						second = append(second, theirs[i])
					}
					b.ReportMetric(medianRatio(second, seconds[0]), "x-beside")
				}
				b.ReportMetric(1e3*median(seconds[0]), "ms")
				b.ReportMetric(ofRead(seconds[0], seconds[1:reads]), "of-read")
				b.ReportMetric(peer/median(seconds[0]), "x-byzfl")
			})
		}
		stop()
	}
}

// BenchmarkVerdicts compares rules that tell what they did to each row, of distinct values
// and of liars who all send the same, with those that do not.
func BenchmarkVerdicts(b *testing.B) {
	const d = 1_000_000
	sizes := []int{25, 50}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, n := range sizes {
		f, dst := n/5, make([]float32, d)
		apart := clients(n, d)
		tied := append([][]float32(nil), apart...)
		for i := range f {
			tied[i] = apart[0]
		}
		for _, rule := range []aggregate.Rule{
			aggregate.Median{}, aggregate.TrimmedMean{F: f}, aggregate.Meamed{F: f}, aggregate.SignMajority{}, aggregate.MultiKrum{F: f},
			aggregate.Chain{aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}},
		} {
			for name, rows := range map[string][][]float32{"apart": apart, "tied": tied} {
				b.Run(fmt.Sprintf("rule=%T/n=%d/d=1e6/rows=%s", rule, n, name), func(b *testing.B) {
					of := func(v *aggregate.Verdict) func() {
						return func() {
							if _, err := rule.Aggregate(dst, rows, v); err != nil {
								b.Fatal(err)
							}
						}
					}
					var seconds [][]float64
					for b.Loop() {
						seconds = secondsEach(of(new(aggregate.Verdict)), of(nil))
					}
					b.ReportMetric(1e3*median(seconds[0]), "ms")
					b.ReportMetric(medianRatio(seconds[0], seconds[1]), "x-plain")
				})
			}
		}
	}
}

// BenchmarkPaged compares rows that start with a page, as large slices do that were
// allocated apart, with staggered ones: lines of the same columns then share a set of the
// first cache, which holds 8 or 12 of them.
func BenchmarkPaged(b *testing.B) {
	const d = 1_000_000
	sizes := []int{25, 50, 100}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, n := range sizes {
		staggered, dst := clients(n, d), make([]float32, d)
		paged := make([][]float32, n)
		for i, row := range staggered {
			paged[i] = make([]float32, d)
			copy(paged[i], row)
		}
		for _, rule := range []aggregate.Rule{aggregate.Median{}, aggregate.TrimmedMean{F: n / 5}, aggregate.MultiKrum{F: n / 5}} {
			b.Run(fmt.Sprintf("rule=%T/n=%d/d=1e6", rule, n), func(b *testing.B) {
				of := func(rows [][]float32) func() {
					return func() {
						if _, err := rule.Aggregate(dst, rows, nil); err != nil {
							b.Fatal(err)
						}
					}
				}
				var seconds [][]float64
				for b.Loop() {
					seconds = secondsEach(of(paged), of(staggered))
				}
				b.ReportMetric(1e3*median(seconds[0]), "ms")
				b.ReportMetric(medianRatio(seconds[0], seconds[1]), "x-staggered")
			})
		}
	}
}
