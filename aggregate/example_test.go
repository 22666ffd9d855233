package aggregate_test

import (
	"fmt"

	"github.com/sotto-ml/sotto/aggregate"
)

// Four honest clients and one liar.
func Example() {
	rows := [][]float32{{1.0, 2.0}, {1.1, 2.1}, {0.9, 1.9}, {1.0, 2.0}, {-500, 900}}
	rule := aggregate.Chain{aggregate.ARC{F: 1}, aggregate.NNM{F: 1}, aggregate.TrimmedMean{F: 1}}
	out, err := rule.Aggregate(nil, rows, nil)
	fmt.Printf("%.1f %v\n", out, err)

	var verdict aggregate.Verdict
	_, err = aggregate.MultiKrum{F: 1}.Aggregate(nil, rows, &verdict)
	fmt.Println(verdict.Clients[4].Rejected, err)
	// Output:
	// [1.0 2.0] <nil>
	// outvoted <nil>
}
