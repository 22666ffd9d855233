package aggregate_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

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

// What each client counted for, and in how many coordinates it was cut off.
func ExampleVerdict() {
	rows := [][]float32{{1, 1}, {2, 2}, {3, 3}, {4, -9}, {90, 90}}
	var verdict aggregate.Verdict
	out, err := aggregate.TrimmedMean{F: 1}.Aggregate(nil, rows, &verdict)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(out)
	for i, c := range verdict.Clients {
		fmt.Printf("client %d: share %.2f, cut off in %.0f%%: %v\n", i, c.Weight, 100*c.Trimmed, c.Rejected)
	}
	// Output:
	// [3 2]
	// client 0: share 0.17, cut off in 50%: kept
	// client 1: share 0.33, cut off in 0%: kept
	// client 2: share 0.33, cut off in 0%: kept
	// client 3: share 0.17, cut off in 50%: kept
	// client 4: share 0.00, cut off in 100%: outvoted
}

// A guard refuses what no honest client sends, and tells the rule how many liars may be left.
func ExampleGuard() {
	rows := [][]float32{{1, 2}, {1.5, 2}, {float32(math.NaN()), 0}, {1, 2.5}, {1, 2}, {1e9, 0}, {1, 2}}
	guard := aggregate.Guard{
		F:       3,
		MaxNorm: 100,
		Rule:    func(f int) aggregate.Rule { return aggregate.TrimmedMean{F: f} },
	}
	var verdict aggregate.Verdict
	out, err := guard.Aggregate(nil, rows, &verdict)
	fmt.Println(out, err)
	fmt.Println(verdict.Clients[2].Rejected, "and", verdict.Clients[5].Rejected)
	// Output:
	// [1 2] <nil>
	// not finite and norm too large
}

// Rows that are files, or here buffers, of little-endian float32 are aggregated a block of
// columns at a time.
func ExampleStream() {
	var files []io.ReaderAt
	for _, row := range [][]float32{{1, 10, 100}, {2, 20, 200}, {1e6, -1e6, 0}} {
		raw, err := binary.Append(nil, binary.LittleEndian, row)
		if err != nil {
			fmt.Println(err)
			return
		}
		files = append(files, bytes.NewReader(raw))
	}
	source := aggregate.ReaderSource{Rows: files, Columns: 3}
	err := aggregate.Stream(aggregate.Median{}, source, func(at int, values []float32) error {
		fmt.Println("from column", at, values)
		return nil
	}, nil)
	fmt.Println(err)
	// Output:
	// from column 0 [2 10 100]
	// <nil>
}

// A pre-aggregation gives rows, for a rule of one's own.
func ExampleNNM_Mix() {
	rows := [][]float32{{0}, {1}, {2}, {50}}
	mixed, err := aggregate.NNM{F: 1}.Mix(nil, rows, nil)
	fmt.Println(mixed[:3], err)
	// Output: [[1] [1] [1]] <nil>
}

// The coefficient says how far liars can take a rule from the honest mean: the square of that
// is at most κ times the honest rows' mean squared distance from it.
func ExampleChain_Kappa() {
	const n, f = 20, 4
	fmt.Printf("%.1f\n", aggregate.TrimmedMean{F: f}.Kappa(n, f))
	fmt.Printf("%.1f\n", aggregate.Chain{aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}}.Kappa(n, f))
	fmt.Println(aggregate.Chain{aggregate.NNM{F: f}, aggregate.FLAME{}}.Kappa(n, f))
	// Output:
	// 2.7
	// 7.3
	// +Inf
}

// Momentum stays in the rule from round to round; no row pulls it harder than Tau.
func ExampleCenteredClipping() {
	rule := &aggregate.CenteredClipping{Tau: 1, Steps: 1}
	for range 3 {
		out, err := rule.Aggregate(nil, [][]float32{{2}, {2}, {2}, {-1000}}, nil)
		fmt.Printf("%.3f %v\n", out, err)
	}
	// Output:
	// [0.500] <nil>
	// [1.000] <nil>
	// [1.500] <nil>
}
