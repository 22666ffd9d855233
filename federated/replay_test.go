package federated

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
)

// The events of a run, drop-outs and stragglers among them, lead to its state again
// without any of the world that they came from.
func TestReplay(t *testing.T) {
	sim := always(12, []float32{1, 2})
	sim.DropOut, sim.Straggle, sim.Seed = 0.2, 0.2, 3
	defer sim.Close()
	plan := Plan{Parameters: 2, Rounds: 5, Strategy: FedAvg{}, Selection: Uniform{Clients: 6, Extra: 3}, MinCohort: 5, MinMembers: 12, Rule: aggregate.Median{}}
	var events []Event
	c, err := New(plan, Config{Initial: make([]float32, 2), Transport: sim, Now: sim.Clock, Trace: func(e Event) { events = append(events, e) }})
	require.NoError(t, err)
	require.NoError(t, c.Run(t.Context()))
	p, err := plan.Protocol()
	require.NoError(t, err)
	state := p.Start(0)
	for _, e := range events {
		state, _ = Step(&p, state, e)
	}
	require.Equal(t, c.State(), state)
	require.Equal(t, Done, state.Phase)
	_, err = Plan{}.Protocol()
	require.Error(t, err)
}
