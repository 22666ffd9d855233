package main

import (
	"fmt"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/federated"
	"github.com/sotto-ml/sotto/federated/secagg"
	"github.com/sotto-ml/sotto/internal/clients"
	"github.com/sotto-ml/sotto/internal/report"
)

const (
	honest = 40
	liars  = 10
	spread = 0.5 // share of the data that is spread evenly, the rest is sorted by label
)

// lies are the attacks, the first two as strong as does the rule in use the most harm.
// The mean turned round, by a fifth of the clients, slows a mean of all but cannot stop
// it; four times that does.
var lies = []string{"best-alie", "best-ipm", "signflip", "signflip-4"}

// chain is the robust rule.
func chain(f int) aggregate.Rule {
	return aggregate.Chain{aggregate.ARC{F: f}, aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}}
}

func named(name string) clients.Attack {
	for _, a := range clients.Attacks {
		if a.Name == name {
			return a
		}
	}
	panic("federation: no attack " + name)
}

func robust(s settings, d *clients.Data) ([]row, error) {
	defences := []struct {
		name string
		plan federated.Plan
	}{
		{"FedAvg", federated.Plan{}},
		{"ARC, NNM, trimmed mean", federated.Plan{Rule: chain(liars)}},
		// Each of 25 buckets hides two clients; the rule bears ten that are spoilt.
		{"the same across secure buckets", federated.Plan{Rule: chain(liars), Buckets: &federated.Buckets{F: liars, Count: (honest + liars) / 2}, Secure: true, MaxNorm: 10}},
	}
	one := func(plan federated.Plan, liars int, attack, name string) (row, error) {
		plan.Rounds, plan.Strategy, plan.Selection, plan.MinCohort, plan.Seed = s.length(80, 30), federated.FedAvg{}, federated.All{}, honest, s.seed
		return s.do(&clients.Run{
			Plan: plan, Data: d, Model: "cnn", Parts: clients.Gamma(d.TrainLabels, honest, spread, s.seed), Liars: liars, Attack: named(attack), Seed: s.seed,
			Local:  clients.Local{Steps: 5, Batch: 25, Rate: 0.2, Momentum: 0.9},
			Policy: secagg.Policy{HonestServer: true},
			// Accuracy is wanted at the end; a few points before show how it went.
			EvalEvery: 10,
		}, row{Part: "robust", Name: name, Attack: attack})
	}
	free, err := one(federated.Plan{}, 0, "none", "the honest alone")
	if err != nil {
		return nil, err
	}
	rows := []row{free}
	table := [][]string{{"combiner"}, {"the honest alone", percent(free.Accuracy)}}
	table[0] = append(table[0], "no attack")
	for _, lie := range lies {
		table[0] = append(table[0], lie, "lost")
	}
	for _, def := range defences {
		line := []string{def.name, "-"}
		for _, lie := range lies {
			r, err := one(def.plan, liars, lie, def.name)
			if err != nil {
				return rows, err
			}
			rows = append(rows, r)
			line = append(line, percent(r.Accuracy), percent(free.Accuracy-r.Accuracy))
		}
		table = append(table, line)
	}
	fmt.Fprintf(s.out, "\ntest accuracy in %% after %d rounds: %d honest clients and %d liars, gamma %g\n", free.Rounds, honest, liars, spread)
	return rows, report.Table(s.out, true, table...)
}
