package attack_test

import (
	"fmt"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
)

// Liars who know the honest rows send what a rule hardly tells from them.
func Example() {
	honest := [][]float32{{1, 5}, {2, 6}, {3, 7}}
	liars := [][]float32{make([]float32, 2)}
	err := attack.ALIE{Tau: -1}.Forge(liars, honest)
	fmt.Println(liars, err)
	// Output: [[1 5]] <nil>
}

// An attacker who knows the rule looks for the strength that moves it farthest.
func ExampleOptimalIPM() {
	honest := [][]float32{{1, 1}, {1.2, .8}, {.8, 1.2}, {1, 1}, {1, 1.1}}
	liars := [][]float32{make([]float32, 2), make([]float32, 2)}
	off := func(rule aggregate.Rule) {
		if err := (attack.OptimalIPM{Search: attack.Search{Rule: rule}}).Forge(liars, honest); err != nil {
			fmt.Println(err)
			return
		}
		out, err := rule.Aggregate(nil, append(liars[:2:2], honest...), nil)
		fmt.Printf("%.2f %v\n", out, err)
	}
	off(aggregate.MultiKrum{F: 2})
	off(aggregate.Median{})
	// Output:
	// [1.00 1.02] <nil>
	// [1.00 1.00] <nil>
}
