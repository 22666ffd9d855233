package dp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

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
	if g.Steps < 0 || g.Steps > g.Plan.Steps {
		return nil, fmt.Errorf("dp: guarantee: Steps is %d, must lie in [0, %d]", g.Steps, g.Plan.Steps)
	}
	if !(g.Epsilon >= 0) || math.IsInf(g.Epsilon, 0) {
		return nil, fmt.Errorf("dp: guarantee: Epsilon is %v, must be finite and not negative", g.Epsilon)
	}
	event, err := g.event()
	if err != nil {
		return nil, err
	}
	return json.Marshal(wireGuarantee{g.Epsilon, g.Delta, relationNames[g.Relation], g.Steps, event, NotAccounted, g.Plan})
}

// event is what was run, as package accounting writes it, so that others can
// account for it again; nothing before the first step.
func (g Guarantee) event() (json.RawMessage, error) {
	if g.Steps == 0 {
		return nil, nil
	}
	return accounting.MarshalEvent(g.Plan.event(g.Steps))
}

// wireGuarantee is a Guarantee in JSON.
type wireGuarantee struct {
	Epsilon      float64         `json:"epsilon"`
	Delta        float64         `json:"delta"`
	Relation     string          `json:"relation"`
	Steps        int             `json:"steps"`
	Event        json.RawMessage `json:"event,omitempty"`
	NotAccounted string          `json:"not_accounted"`
	Plan         Plan            `json:"plan"`
}

// UnmarshalJSON reads a guarantee that MarshalJSON wrote. It refuses one that
// says other than its plan, but does not compute ε again: [Plan.Spent] does.
func (g *Guarantee) UnmarshalJSON(data []byte) error {
	var w wireGuarantee
	if err := strict(data, &w); err != nil {
		return fmt.Errorf("dp: guarantee: %w", err)
	}
	if err := w.Plan.Validate(); err != nil {
		return fmt.Errorf("dp: guarantee: %w", err)
	}
	switch {
	case !(w.Epsilon >= 0):
		return fmt.Errorf("dp: guarantee: epsilon is %v, must not be negative", w.Epsilon)
	case w.Delta != w.Plan.Delta:
		return fmt.Errorf("dp: guarantee: delta is %v, its plan's is %v", w.Delta, w.Plan.Delta)
	case w.Relation != relationNames[w.Plan.Relation]:
		return fmt.Errorf("dp: guarantee: relation is %q, its plan's is %q", w.Relation, relationNames[w.Plan.Relation])
	case w.Steps < 0 || w.Steps > w.Plan.Steps:
		return fmt.Errorf("dp: guarantee: steps is %d, must lie in [0, %d]", w.Steps, w.Plan.Steps)
	}
	read := Guarantee{Epsilon: w.Epsilon, Delta: w.Delta, Relation: w.Plan.Relation, Steps: w.Steps, Plan: w.Plan}
	event, err := read.event()
	if err != nil {
		return fmt.Errorf("dp: guarantee: %w", err)
	}
	var written bytes.Buffer
	if len(w.Event) > 0 {
		if err := json.Compact(&written, w.Event); err != nil {
			return fmt.Errorf("dp: guarantee: %w", err)
		}
	}
	if written.String() != string(event) {
		return fmt.Errorf("dp: guarantee: event is %s, its plan's is %s", written.String(), event)
	}
	*g = read
	return nil
}
