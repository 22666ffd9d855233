package main

import (
	"fmt"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/federated"
	"github.com/sotto-ml/sotto/internal/clients"
	"github.com/sotto-ml/sotto/internal/report"
)

const population = 1000

// grants is a ledger for a benchmark, whose data are public.
type grants struct{}

func (grants) Reserve(string, accounting.Relation, accounting.Event, float64) error { return nil }
func (grants) Settle(string, accounting.Event, float64) error                       { return nil }

func privacy(s settings, d *clients.Data) ([]row, error) {
	split := clients.Shards(d.TrainLabels, population, s.seed)
	var rows []row
	table := [][]string{{"ε", "δ", "noise", "rounds", "accuracy", "published"}}
	for _, epsilon := range []float64{2, 4, 8} {
		model, err := clients.NewModel("cnn", s.seed)
		if err != nil {
			return rows, err
		}
		plan := federated.Plan{
			Parameters: len(model.Params()), Rounds: s.length(54, 20), Strategy: federated.FedAvgM{Rate: 1, Momentum: 0.9}, Selection: federated.All{}, Seed: s.seed,
			Privacy: federated.Central{ClipNorm: 0.3, Population: population, Relation: accounting.AddRemove, Delta: 1e-5},
		}
		if plan, err = plan.CalibrateNoise(epsilon); err != nil {
			return rows, err
		}
		published := "-"
		if epsilon == 8 {
			published = "92 after 54 rounds"
		}
		noise := plan.Privacy.(federated.Central).NoiseMultiplier
		r, err := s.do(&clients.Run{
			Plan: plan, Data: d, Model: "cnn", Parts: split, Seed: s.seed, Ledger: grants{}, EvalEvery: 6,
			Local: clients.Local{Epochs: 1, Batch: 20, Rate: 0.1},
		}, row{Part: "privacy", Name: fmt.Sprintf("ε = %g", epsilon), Noise: noise, Published: published})
		if err != nil {
			return rows, err
		}
		rows = append(rows, r)
		table = append(table, []string{fmt.Sprintf("%.3f", r.Epsilon), fmt.Sprint(r.Delta), fmt.Sprintf("%.3f", noise), fmt.Sprint(r.Rounds), percent(r.Accuracy), published})
	}
	fmt.Fprintf(s.out, "\ntest accuracy in %%: %d clients of two shards, central noise, add/remove a client; tuning is not accounted\n", population)
	return rows, report.Table(s.out, true, table...)
}
