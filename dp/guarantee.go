package dp

import (
	"encoding/json"
	"fmt"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// relationNames are the names of relations in text and JSON.
var relationNames = map[accounting.Relation]string{
	accounting.AddRemove:      "add/remove",
	accounting.ReplaceOne:     "replace-one",
	accounting.ReplaceSpecial: "replace-special",
}

func relationOf(name string) (accounting.Relation, bool) {
	for r, n := range relationNames {
		if n == name {
			return r, true
		}
	}
	return 0, false
}

// Guarantee is a differential privacy guarantee with all that it depends on.
type Guarantee struct {
	// Epsilon is an upper bound: the accountant's pessimistic end.
	Epsilon float64
	Delta   float64
	// Relation says between which data sets it holds.
	Relation accounting.Relation
	// Steps is how many steps of Plan it covers.
	Steps int
	Plan  Plan
}

// NotAccounted is what no guarantee of this package covers, for printing.
const NotAccounted = "choices made by looking at private data: hyperparameters tuned on it, runs tried and thrown away, checkpoints picked by it"

// String gives ε with its δ and relation.
func (g Guarantee) String() string {
	return fmt.Sprintf("ε = %.6g at δ = %g, %s, after %d steps", g.Epsilon, g.Delta, relationNames[g.Relation], g.Steps)
}

// MarshalJSON writes the guarantee with its plan, so that it can travel with a
// model. It refuses a guarantee whose plan is not valid.
func (g Guarantee) MarshalJSON() ([]byte, error) {
	if err := g.Plan.Validate(); err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Epsilon      float64 `json:"epsilon"`
		Delta        float64 `json:"delta"`
		Relation     string  `json:"relation"`
		Steps        int     `json:"steps"`
		NotAccounted string  `json:"not_accounted"`
		Plan         Plan    `json:"plan"`
	}{g.Epsilon, g.Delta, relationNames[g.Relation], g.Steps, NotAccounted, g.Plan})
}
