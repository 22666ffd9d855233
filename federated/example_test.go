package federated_test

import (
	"context"
	"fmt"
	"log"

	"github.com/sotto-ml/sotto/aggregate"
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
