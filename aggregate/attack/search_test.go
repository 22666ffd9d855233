package attack_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
)

// TestSearchLeavesStateAlone: what a rule keeps between rounds is the same after a
// search as before, however the rule is wrapped, and the search sees it.
func TestSearchLeavesStateAlone(t *testing.T) {
	const d = 20
	honest := honestRows(1, 8, d)
	var clipping *aggregate.CenteredClipping
	var gold *aggregate.FoolsGold
	of := func(int) aggregate.Rule { return clipping }
	for _, c := range []struct {
		name string
		rule func() aggregate.Rule
	}{
		{"CenteredClipping", func() aggregate.Rule { return clipping }},
		{"Chain", func() aggregate.Rule { return aggregate.Chain{aggregate.NNM{F: 2}, clipping} }},
		{"Guard", func() aggregate.Rule { return aggregate.Guard{F: 2, Rule: of} }},
		{"pointer to Guard", func() aggregate.Rule { return &aggregate.Guard{F: 2, Rule: of} }},
		{"pointer to Chain", func() aggregate.Rule { return &aggregate.Chain{clipping} }},
		{"Guard of Chain", func() aggregate.Rule {
			return aggregate.Guard{F: 2, Rule: func(f int) aggregate.Rule { return aggregate.Chain{aggregate.NNM{F: f}, clipping} }}
		}},
		{"Chain of Guard", func() aggregate.Rule { return aggregate.Chain{aggregate.NNM{F: 2}, aggregate.Guard{F: 2, Rule: of}} }},
		{"FoolsGold", func() aggregate.Rule { return gold }},
		{"Guard of FoolsGold", func() aggregate.Rule {
			return aggregate.Guard{F: 2, Rule: func(int) aggregate.Rule { return gold }}
		}},
	} {
		for _, a := range []func(r aggregate.Rule) attack.Attack{
			func(r aggregate.Rule) attack.Attack { return attack.OptimalIPM{Search: attack.Search{Rule: r}} },
			func(r aggregate.Rule) attack.Attack { return attack.OptimalALIE{Search: attack.Search{Rule: r}} },
			func(r aggregate.Rule) attack.Attack { return attack.Adaptive{Rule: r} },
		} {
			for _, before := range []bool{false, true} { // a first round
				clipping, gold = &aggregate.CenteredClipping{Tau: 1, Steps: 1}, new(aggregate.FoolsGold)
				rule := c.rule()
				if before {
					_, err := rule.Aggregate(nil, append(slices.Clone(honest), honestRows(9, 2, d)...), nil)
					require.NoError(t, err)
				}
				momentum, history := slices.Clone(clipping.Momentum), slices.Clone(gold.History)
				for i, row := range history {
					history[i] = slices.Clone(row)
				}
				liars := empty(2, d)
				require.NoError(t, a(rule).Forge(liars, honest))
				require.Equal(t, momentum, clipping.Momentum, "%s under %T", c.name, a(rule))
				require.Equal(t, history, gold.History, "%s under %T", c.name, a(rule))
			}
		}
	}
}

// TestSearchSeesMomentum: a copy goes on where the server is.
func TestSearchSeesMomentum(t *testing.T) {
	honest := honestRows(1, 8, 20)
	damage := func(momentum []float32) float64 {
		server := aggregate.Guard{F: 2, Rule: func(int) aggregate.Rule {
			return &aggregate.CenteredClipping{Tau: 2, Steps: 1, Momentum: slices.Clone(momentum)}
		}}
		tau, err := attack.OptimalIPM{Search: attack.Search{Rule: server}}.Tau(honest, 2)
		require.NoError(t, err)
		return tau
	}
	require.NotEqual(t, damage(nil), damage(honestRows(5, 1, 20)[0]))
}

// fixed are the attacks that need no search of the caller's.
func fixed(rule aggregate.Rule, n, f int) map[string]attack.Attack {
	all := map[string]attack.Attack{
		"sign flip":    attack.SignFlip{},
		"optimal IPM":  attack.OptimalIPM{Search: attack.Search{Rule: rule}},
		"optimal ALIE": attack.OptimalALIE{Search: attack.Search{Rule: rule}},
		"Mimic of -1":  attack.Mimic{Client: -1},
		"nothing":      attack.Constant{},
	}
	for _, tau := range []float64{0.1, 0.5, 1, 10} {
		all[fmt.Sprint("IPM of ", tau)] = attack.IPM{Tau: tau}
	}
	for _, tau := range []float64{0, 1, attack.ALIETau(n, f)} {
		all[fmt.Sprint("ALIE of ", tau)] = attack.ALIE{Tau: tau}
	}
	for _, way := range []attack.Direction{attack.AgainstDeviation, attack.AgainstMean, attack.AgainstSign} {
		all[fmt.Sprint("MinMax of ", way)] = attack.MinMax{Direction: way}
		all[fmt.Sprint("MinSum of ", way)] = attack.MinSum{Direction: way}
	}
	for i := range n - f {
		all[fmt.Sprint("Mimic of ", i)] = attack.Mimic{Client: i}
	}
	return all
}

// TestAdaptive: who searches with the rule in hand does at least the damage of each
// fixed attack, and bounded damage to a robust rule.
func TestAdaptive(t *testing.T) {
	const n, f, d = 15, 3, 60
	for _, c := range []struct {
		name string
		of   func() aggregate.Rule
	}{
		{"Mean", func() aggregate.Rule { return aggregate.Mean{} }},
		{"Median", func() aggregate.Rule { return aggregate.Median{} }},
		{"TrimmedMean", func() aggregate.Rule { return aggregate.TrimmedMean{F: f} }},
		{"Krum", func() aggregate.Rule { return aggregate.Krum{F: f} }},
		{"MultiKrum", func() aggregate.Rule { return aggregate.MultiKrum{F: f} }},
		{"GeometricMedian", func() aggregate.Rule { return aggregate.GeometricMedian{} }},
		{"NNM and TrimmedMean", func() aggregate.Rule { return aggregate.Chain{aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}} }},
		{"NNM and Median", func() aggregate.Rule { return aggregate.Chain{aggregate.NNM{F: f}, aggregate.Median{}} }},
		{"CenteredClipping", func() aggregate.Rule { return &aggregate.CenteredClipping{Tau: 3, Steps: 3} }},
		{"Guard of Krum", func() aggregate.Rule {
			return aggregate.Guard{F: f, Rule: func(f int) aggregate.Rule { return aggregate.Krum{F: f} }}
		}},
	} {
		for seed := range uint64(6) {
			honest := honestRows(seed, n-f, d)
			if seed >= 3 { // clients unlike each other
				for i, row := range honest {
					for j := range row {
						row[j] = row[j]*float32(i+1) + float32((i+j)%3)
					}
				}
			}
			mean := empty(1, d)
			require.NoError(t, attack.IPM{Tau: -1}.Forge(mean, honest))
			damage := func(a attack.Attack) float64 {
				liars := empty(f, d)
				require.NoError(t, a.Forge(liars, honest))
				out, err := c.of().Aggregate(nil, append(slices.Clone(honest), liars...), nil)
				require.NoError(t, err)
				return math.Sqrt(distance2(out, mean[0]))
			}
			adaptive := damage(attack.Adaptive{Rule: c.of(), Seed: seed})
			for name, a := range fixed(c.of(), n, f) {
				require.GreaterOrEqual(t, adaptive, damage(a), "%s on %s, seed %d", name, c.name, seed)
			}
			if k, ok := c.of().(interface{ Kappa(n, f int) float64 }); ok {
				spread := 0.0
				for _, row := range honest {
					spread += distance2(row, mean[0]) / (n - f)
				}
				require.LessOrEqual(t, adaptive*adaptive, k.Kappa(n, f)*spread, c.name)
			}
		}
	}
}

// counted is a rule, and how often it ran.
type counted struct {
	aggregate.Rule
	runs *int
}

func (c counted) Aggregate(dst []float32, rows [][]float32, v *aggregate.Verdict) ([]float32, error) {
	*c.runs++
	return c.Rule.Aggregate(dst, rows, v)
}

// TestAdaptiveRuns: the rule is run no more often than stated, and the search goes on
// while it gains.
func TestAdaptiveRuns(t *testing.T) {
	const n, f, d = 12, 3, 60
	honest := honestRows(1, n, d)
	for _, rule := range []aggregate.Rule{aggregate.Mean{}, aggregate.Median{}, aggregate.Krum{F: f}} {
		runs, liars := 0, empty(f, d)
		require.NoError(t, attack.Adaptive{Rule: counted{rule, &runs}, Evals: 5, Random: 2, Seed: 1}.Forge(liars, honest))
		require.LessOrEqual(t, runs, n+45+(10+2*2)*(32+5), "%T", rule)
		if _, ok := rule.(aggregate.Mean); ok {
			require.Greater(t, distance2(liars[0], honest[0]), 1e16, "the mean has no bound")
		}
	}
}

// falls is a rule that gives the liars' row where weak says so, and the honest mean
// elsewhere.
type falls struct {
	mean []float32
	weak func(liar []float32) bool
}

func (r falls) Aggregate(dst []float32, rows [][]float32, v *aggregate.Verdict) ([]float32, error) {
	if liar := rows[len(rows)-1]; r.weak(liar) {
		return append(dst[:0], liar...), nil
	}
	return append(dst[:0], r.mean...), nil
}

// TestAdaptiveTriesAll: a rule that falls to the row of one fixed attack alone falls.
func TestAdaptiveTriesAll(t *testing.T) {
	const n, f, d = 12, 3, 20
	honest := honestRows(1, n-f, d)
	mean, liars := empty(1, d), empty(f, d)
	require.NoError(t, attack.IPM{Tau: -1}.Forge(mean, honest))
	for name, a := range fixed(aggregate.Mean{}, n, f) {
		want := empty(f, d)
		require.NoError(t, a.Forge(want, honest))
		if slices.Equal(want[0], mean[0]) || name[:3] == "opt" {
			continue // no damage, or of the rule's making
		}
		rule := falls{mean[0], func(liar []float32) bool { return slices.Equal(liar, want[0]) }}
		require.NoError(t, attack.Adaptive{Rule: rule, Evals: 1}.Forge(liars, honest))
		require.Equal(t, want, liars, name)
	}
}

// TestAdaptiveSearch: the search passes over strengths that gain nothing, and comes near
// to where the rule no longer falls.
func TestAdaptiveSearch(t *testing.T) {
	const end = 1000
	honest := honestRows(1, 9, 60)
	mean, liars := empty(1, 60), empty(3, 60)
	require.NoError(t, attack.IPM{Tau: -1}.Forge(mean, honest))
	off := func(row []float32) float64 { return math.Sqrt(distance2(row, mean[0])) }
	rule := falls{mean[0], func(liar []float32) bool { return off(liar) < 25 || off(liar) > 150 && off(liar) < end }}
	for _, a := range []attack.Attack{
		attack.OptimalIPM{Search: attack.Search{Rule: rule}}, attack.OptimalALIE{Search: attack.Search{Rule: rule}},
	} {
		require.NoError(t, a.Forge(liars, honest))
		require.Less(t, off(liars[0]), 25.0, "%T does not find the far side", a)
	}
	require.NoError(t, attack.Adaptive{Rule: rule}.Forge(liars, honest))
	require.Greater(t, off(liars[0]), 0.98*end)
}

// TestAdaptiveOfNothing: without a direction to go, or liars to go it, there is no error.
func TestAdaptiveOfNothing(t *testing.T) {
	liars := empty(2, 5)
	require.NoError(t, attack.Adaptive{Rule: aggregate.Median{}, Random: 1}.Forge(nil, honestRows(1, 7, 5)))
	require.NoError(t, attack.Adaptive{Rule: aggregate.Median{}}.Forge(liars, [][]float32{make([]float32, 5), make([]float32, 5), make([]float32, 5)}))
	require.Equal(t, make([]float32, 5), liars[1])
}

// TestSearchPlateau: rounding is no gain. Clipped to one length, liars are the same at every
// strength, but for it.
func TestSearchPlateau(t *testing.T) {
	for seed := range uint64(20) {
		honest := honestRows(seed, 15, 28)
		rule := aggregate.Chain{aggregate.Clipping{Norm: 0.1}, aggregate.Mean{}}
		tau, err := attack.OptimalIPM{Search: attack.Search{Rule: rule, Evals: 12, Start: 2, Delta: 0.5}}.Tau(honest, 4)
		require.NoError(t, err)
		require.Equal(t, 2.0, tau, seed)
	}
}

// TestSearchOverflow: a strength that the rule refuses gains nothing, and what was found
// before stands.
func TestSearchOverflow(t *testing.T) {
	honest := honestRows(1, 8, 20)
	for _, row := range honest {
		for j := range row {
			row[j] *= 1e36
		}
	}
	for _, a := range []attack.Attack{
		attack.OptimalIPM{Search: attack.Search{Rule: aggregate.Mean{}}},
		attack.OptimalALIE{Search: attack.Search{Rule: aggregate.Mean{}}},
		attack.Adaptive{Rule: aggregate.Mean{}},
	} {
		liars := empty(2, 20)
		require.NoError(t, a.Forge(liars, honest), "%T", a)
		for _, x := range liars[1] {
			require.False(t, math.IsInf(float64(x), 0) || math.IsNaN(float64(x)), "%T", a)
		}
		require.Greater(t, distance2(liars[0], honest[0]), 1e74, "%T", a)
	}
}

// TestOptimalIsUnbounded: against the mean each step doubles.
func TestOptimalIsUnbounded(t *testing.T) {
	tau, err := attack.OptimalALIE{Search: attack.Search{Rule: aggregate.Mean{}}}.Tau(honestRows(3, 12, 60), 3)
	require.NoError(t, err)
	require.Greater(t, tau, 1e5)
}
