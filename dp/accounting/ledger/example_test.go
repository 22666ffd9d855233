package ledger_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/dp/accounting/ledger"
)

func Example() {
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "spent")
	book, err := ledger.Create(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	patients, err := book.Account(ledger.Budget{DataSet: "patients", Relation: accounting.AddRemove, Epsilon: 1, Delta: 1e-6})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Reserve first, then release, then settle.
	count := accounting.Gaussian{NoiseMultiplier: 20}
	fmt.Println(patients.Reserve("how many", accounting.AddRemove, count, 0))
	fmt.Println(patients.Settle("how many", count, 0))
	dear := accounting.Gaussian{NoiseMultiplier: 1}
	err = patients.Reserve("how old", accounting.AddRemove, dear, 0)
	fmt.Println("refused:", errors.Is(err, ledger.ErrOverspent))
	fmt.Println(book.Close())

	// Anyone may look, also while it is written to.
	seen, err := ledger.Read(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range seen.DataSets {
		fmt.Println(s.DataSet, "within", s.Epsilon, s.Spent <= s.Epsilon, len(s.Runs), "run")
	}
	// Output:
	// <nil>
	// <nil>
	// refused: true
	// <nil>
	// patients within 1 true 1 run
}
