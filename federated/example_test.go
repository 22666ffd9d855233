package federated_test

import (
	"context"
	"fmt"
	"log"
	"math"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/dp"
	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/federated"
)

// Seven clients, each with one number, learn their mean; two of them lie, and a robust
// rule leaves them without effect.
func ExampleCoordinator() {
	numbers := []float32{1, 2, 3, 4, 5, -1e6, 1e6}
	plan := federated.Plan{
		Parameters: 1, Rounds: 30, MinMembers: 7, MinCohort: 5,
		Strategy:  federated.FedAvg{},
		Selection: federated.All{},
		Rule:      aggregate.TrimmedMean{F: 2},
	}
	clients := federated.NewInProcess()
	for i, own := range numbers {
		clients.Join(federated.NameOf(i), 0, federated.ClientFunc(func(_ context.Context, t federated.Task) (federated.Update, error) {
			return federated.Update{Delta: []float32{(own - t.Params[0]) / 2}}, nil // half the way to its own number
		}))
	}
	server, err := federated.New(plan, federated.Config{Initial: []float32{0}, Transport: clients})
	if err != nil {
		log.Fatal(err)
	}
	if err := server.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.3f after %d versions\n", server.Params(nil)[0], server.Version())
	// Output: 3.000 after 30 versions
}

// What a plan guarantees is known before anything runs.
func ExamplePlan_Guarantee() {
	plan := federated.Plan{
		Parameters: 26010, Rounds: 100,
		Strategy:  federated.FedAvg{},
		Selection: federated.Poisson{Rate: 0.1},
		Privacy: federated.Central{
			ClipNorm: 1, NoiseMultiplier: 1.2, Population: 1000,
			Relation: accounting.AddRemove, Delta: 1e-4,
		},
	}
	g, err := plan.Guarantee()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("ε = %.2f per %s\n", g.Epsilon, g.Unit)
	// Output: ε = 4.29 per client (all of its data)
}

// descent is plain gradient descent.
type descent struct{ rate float32 }

func (descent) Begin(int) {}
func (o descent) Update(params, grad []float32, _ int) {
	for j, g := range grad {
		params[j] -= o.rate * g
	}
}
func (descent) MarshalBinary() ([]byte, error) { return nil, nil }
func (descent) UnmarshalBinary([]byte) error   { return nil }

// hospital is a client whose records are each private, from the server too: it trains
// with package dp, and sends nothing else. The unit is a record, and each client
// accounts for its own.
type hospital struct {
	records []float32
	plan    dp.Plan // of one round
	round   int
	sent    []float32
}

// Train implements federated.Client. A round that is asked for twice has one answer:
// fresh noise would be a second release.
func (h *hospital) Train(_ context.Context, t federated.Task) (federated.Update, error) {
	if t.Round == h.round {
		return federated.Update{Delta: h.sent}, nil
	}
	params := []float32{t.Params[0]}
	trainer, err := dp.NewTrainer(h.plan, dp.Task{Params: params, Records: len(h.records), Optimizer: descent{0.5},
		NewWorker: func() (dp.Worker, error) {
			return dp.WorkerFunc(func(_ int, examples []int) (dp.Gradients, error) {
				gradients := make([]float32, len(examples))
				for k, i := range examples {
					gradients[k] = params[0] - h.records[i]
				}
				return dp.NewMatrix(gradients, 1), nil
			}), nil
		}})
	if err != nil {
		return federated.Update{}, err
	}
	for !trainer.Done() {
		if err := trainer.Step(); err != nil {
			return federated.Update{}, err
		}
	}
	h.round, h.sent = t.Round, []float32{params[0] - t.Params[0]}
	return federated.Update{Delta: h.sent}, trainer.Erase()
}

// Privacy for each record inside the clients: the server's plan has none of its own.
func ExampleClient_recordPrivacy() {
	const rounds = 10
	plan := dp.Plan{
		Sampling: dp.Poisson{Rate: 0.1}, BatchSize: 200, Steps: 2,
		Clip: dp.Flat{Norm: 1}, NoiseMultiplier: 1, Relation: accounting.AddRemove, Delta: 1e-5,
	}
	clients := federated.NewInProcess()
	for i := range 3 {
		h := &hospital{plan: plan, records: make([]float32, 2000)}
		for k := range h.records {
			h.records[k] = 1 + float32(i)
		}
		clients.Join(federated.NameOf(i), 0, h)
	}
	server, err := federated.New(federated.Plan{
		Parameters: 1, Rounds: rounds, MinMembers: 3, MinCohort: 3,
		Strategy: federated.FedAvg{}, Selection: federated.All{},
	}, federated.Config{Initial: []float32{0}, Transport: clients})
	if err != nil {
		log.Fatal(err)
	}
	if err := server.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
	all := plan
	all.Steps *= rounds
	g, err := all.Guarantee()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("the mean is near 2: %v; ε = %.2f per record\n", math.Abs(float64(server.Params(nil)[0])-2) < 0.3, g.Epsilon)
	// Output: the mean is near 2: true; ε = 3.59 per record
}
