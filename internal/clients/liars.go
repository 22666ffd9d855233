package clients

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
	"github.com/sotto-ml/sotto/federated"
)

// Attack is what liars do.
type Attack struct {
	Name string
	// Flip: they train as they should, on flipped labels, and send Boost times the
	// outcome.
	Flip  bool
	Boost float64
	// Forge makes what they send of what the honest clients of the round send. n and f
	// are the clients and the liars of the round.
	Forge func(n, f int, rule aggregate.Rule, seed uint64) attack.Attack
}

// Attacks are those to choose from.
var Attacks = []Attack{
	{Name: "none"},
	{Name: "signflip", Forge: func(int, int, aggregate.Rule, uint64) attack.Attack { return attack.SignFlip{} }},
	// With a fifth of liars, four times the mean turned round leaves nothing of it (Li et
	// al. 2019, "RSA", whose sign flip has this size).
	{Name: "signflip-4", Forge: func(int, int, aggregate.Rule, uint64) attack.Attack { return attack.IPM{Tau: 4} }},
	{Name: "ipm", Forge: func(int, int, aggregate.Rule, uint64) attack.Attack { return attack.IPM{Tau: 0.5} }},
	{Name: "strong-ipm", Forge: func(n, f int, _ aggregate.Rule, _ uint64) attack.Attack {
		return attack.IPM{Tau: 1.5 * float64(n-f) / float64(max(f, 1))} // turns the mean round
	}},
	{Name: "alie", Forge: func(n, f int, _ aggregate.Rule, _ uint64) attack.Attack {
		return attack.ALIE{Tau: max(attack.ALIETau(n, f), 1)}
	}},
	{Name: "best-ipm", Forge: func(_, _ int, r aggregate.Rule, _ uint64) attack.Attack {
		return attack.OptimalIPM{Search: attack.Search{Rule: r}}
	}},
	{Name: "best-alie", Forge: func(_, _ int, r aggregate.Rule, _ uint64) attack.Attack {
		return attack.OptimalALIE{Search: attack.Search{Rule: r}}
	}},
	{Name: "mimic", Forge: func(int, int, aggregate.Rule, uint64) attack.Attack { return attack.Mimic{Client: -1} }},
	{Name: "minmax", Forge: func(int, int, aggregate.Rule, uint64) attack.Attack { return attack.MinMax{} }},
	{Name: "gaussian", Forge: func(_, _ int, _ aggregate.Rule, seed uint64) attack.Attack {
		return attack.Gaussian{Deviation: 1, Seed: seed}
	}},
	{Name: "nan", Forge: func(int, int, aggregate.Rule, uint64) attack.Attack { return attack.NaN() }},
	{Name: "labelflip", Flip: true, Boost: 1},
	{Name: "replace", Flip: true, Boost: 10},
}

// crowd is a simulation whose liars speak last: they see what all honest clients of the
// round have made, before it is masked, noised or packed.
type crowd struct {
	*federated.Simulation
	liar  func(federated.ClientID) bool
	forge func(f int, honest [][]float32) ([][]float32, error)

	waiting        []question // liars, from the coordinator's goroutine alone
	round, attempt int

	mu     sync.Mutex
	honest []seen
	lies   map[federated.ClientID][]float32
}

type question struct {
	ctx  context.Context
	to   federated.ClientID
	task federated.Task
}

type seen struct {
	client federated.ClientID
	row    []float32
}

// Ask implements federated.Transport.
func (c *crowd) Ask(ctx context.Context, to federated.ClientID, t federated.Task) error {
	if t.Round != c.round || t.Attempt != c.attempt {
		c.round, c.attempt, c.waiting = t.Round, t.Attempt, nil
		c.mu.Lock()
		c.honest, c.lies = nil, map[federated.ClientID][]float32{}
		c.mu.Unlock()
	}
	if c.liar(to) {
		c.waiting = append(c.waiting, question{ctx, to, t})
		return nil
	}
	return c.Simulation.Ask(ctx, to, t)
}

// Next implements federated.Transport.
func (c *crowd) Next(ctx context.Context) (federated.Message, error) {
	m, err := c.Simulation.Next(ctx)
	if err == nil || !errors.Is(err, context.DeadlineExceeded) || len(c.waiting) == 0 {
		return m, err
	}
	c.mu.Lock()
	// Workers are done in any order; the attack must not depend on it.
	slices.SortFunc(c.honest, func(a, b seen) int { return cmp.Compare(a.client, b.client) })
	rows := make([][]float32, len(c.honest))
	for i, x := range c.honest {
		rows[i] = x.row
	}
	c.mu.Unlock()
	if len(rows) > 0 {
		lies, err := c.forge(len(c.waiting), rows)
		if err != nil {
			return m, fmt.Errorf("attack: %w", err)
		}
		c.mu.Lock()
		for i, q := range c.waiting {
			c.lies[q.to] = lies[i]
		}
		c.mu.Unlock()
	}
	asked := c.waiting
	c.waiting = nil
	for _, q := range asked {
		_ = c.Simulation.Ask(q.ctx, q.to, q.task) // one that drops out is late
	}
	return c.Simulation.Next(ctx)
}

// record keeps a copy of what an honest client made.
func (c *crowd) record(id federated.ClientID, t federated.Task, delta []float32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.Round == c.round && t.Attempt == c.attempt {
		c.honest = append(c.honest, seen{id, slices.Clone(delta)})
	}
}

// lie is what a liar sends, or nil if there was nobody to see.
func (c *crowd) lie(id federated.ClientID) []float32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lies[id]
}
