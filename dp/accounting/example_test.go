package accounting_test

import (
	"fmt"

	"github.com/sotto-ml/sotto/dp/accounting"
)

func ExampleEpsilon() {
	run := accounting.SelfComposed{
		Event: accounting.PoissonSampled{Rate: 0.01, Event: accounting.Gaussian{NoiseMultiplier: 1.1}},
		Count: 1000,
	}
	epsilon, err := accounting.Epsilon(run, accounting.AddRemove, 1e-5)
	fmt.Printf("ε is at most %.2f %v\n", epsilon.Upper, err)
	rdp, err := accounting.EpsilonRDP(run, accounting.AddRemove, 1e-5)
	fmt.Printf("by Rényi orders %.2f %v\n", rdp, err)
	// Output:
	// ε is at most 1.52 <nil>
	// by Rényi orders 1.71 <nil>
}
