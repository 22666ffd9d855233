package federated

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
)

// A rule that refuses a row names its client, who goes to quarantine in the end. One
// that only prefers other rows does not.
func TestRuleRefuses(t *testing.T) {
	rows := map[ClientID][]float32{"a": {1, 0}, "b": {0, 1}, "c": {1, 1}, "d": {30, 40}, "e": {0.9, 1}}
	send := func(to ClientID, t Task) []Message { return []Message{answered(to, t, Update{Delta: rows[to]})} }
	plan := Plan{Parameters: 2, Rounds: 3, Strategy: FedAvg{}, Selection: All{}, MinMembers: 4, Quarantine: Quarantine{Strikes: 2}}

	plan.Rule = aggregate.Guard{F: 1, MaxNorm: 10, Rule: func(int) aggregate.Rule { return aggregate.Mean{} }}
	plan.MinCohort = 3
	_, log, err := scripted(t, plan, 5, send)
	require.NoError(t, err)
	require.Contains(t, about(log, "d"), "refused: the rule refused its update")
	require.Contains(t, about(log, "d"), "quarantined: 2 refusals in a row")
	require.NotContains(t, about(log, "a"), "refused: the rule refused its update")

	plan.Rule = aggregate.Krum{F: 1} // takes one of them
	c, log, err := scripted(t, plan, 5, send)
	require.NoError(t, err)
	require.Equal(t, 3, c.Version())
	for _, r := range log {
		require.NotEqual(t, KindRefused, r.Kind, r)
		require.NotEqual(t, KindQuarantined, r.Kind, r)
	}
}

// What a rule remembers would be lost with the process.
func TestFolderRefusesRulesThatRemember(t *testing.T) {
	plan := Plan{Parameters: 1, Rounds: 1, Strategy: FedAvg{}, Selection: All{}, Rule: &aggregate.CenteredClipping{Tau: 1, Steps: 1}}
	config := Config{Initial: make([]float32, 1), Transport: NewInProcess(), Folder: t.TempDir()}
	_, err := New(plan, config)
	require.ErrorContains(t, err, "its momentum is not in the checkpoint")
	config.Folder = ""
	_, err = New(plan, config)
	require.NoError(t, err)
}
