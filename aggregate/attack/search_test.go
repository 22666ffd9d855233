package attack_test

import (
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
