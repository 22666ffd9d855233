package ledger

import (
	"errors"
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// ErrOverspent is what errors wrap that refuse a run because the budget does
// not hold it.
var ErrOverspent = errors.New("the budget would be overspent")

// The rules by which a data set is filtered. The package doc proves them.
const (
	renyi = "renyi" // Rényi divergences at one order add up to at most Limit
	plan  = "plan"  // runs are drawn from what was planned before any of them
)

// rule is the filter of one data set, fixed before its first run.
type rule struct {
	Method string  `json:"method"`
	Order  float64 `json:"order,omitempty"`
	Limit  float64 `json:"limit,omitempty"`
	// Delta is what is left of the budget's for the mechanisms; Spare is for
	// what runs cost beside their events.
	Delta float64 `json:"delta"`
	Spare float64 `json:"spare"`
}

// spareShare is the part of delta that is kept for what runs cost beside their
// events.
const spareShare = 0x1p-10

// up covers the rounding of sums and of the conversions.
const up = 1 + 0x1p-40

// orders are those that a Rényi filter may be fixed at.
var orders = func() (list []float64) {
	for above := 0.05; above < 1500; above *= 1.15 {
		list = append(list, 1+above)
	}
	return list
}()

// renyiLimit is the divergence of an order that gives epsilon at delta: Canonne,
// Kamath and Steinke 2020, Proposition 12, solved for it.
func renyiLimit(epsilon, delta, order float64) float64 {
	conversion := math.Log1p(-1/order) - math.Log(delta*order)/(order-1)
	return epsilon - conversion - (math.Abs(epsilon)+math.Abs(conversion))*0x1p-40
}

// chooseRule fixes the filter of a data set by its first run.
func chooseRule(b Budget, event accounting.Event, delta float64) (rule, error) {
	r := rule{Method: renyi, Delta: b.Delta * (1 - spareShare), Spare: b.Delta * spareShare}
	best := 0.0
	for _, order := range orders {
		limit := renyiLimit(b.Epsilon, r.Delta, order)
		if !(limit > 0) {
			continue
		}
		cost, err := accounting.Renyi(event, b.Relation, order)
		if err != nil {
			return rule{}, err
		}
		// As many runs like the first as possible; of free runs, ones like a
		// plain Gaussian.
		if fit := limit / (cost + 1e-9*order); fit > best {
			best, r.Order, r.Limit = fit, order, limit
		}
	}
	if r.Order > 0 {
		cost, err := accounting.Renyi(event, b.Relation, r.Order)
		if err != nil {
			return rule{}, err
		}
		if cost*up <= r.Limit && delta <= r.Spare {
			return r, nil
		}
	}
	return planRule(b, event, delta)
}

// planRule is the rule of a data set whose runs are all within an event that is
// known before the first.
func planRule(b Budget, event accounting.Event, delta float64) (rule, error) {
	var epsilon float64
	for _, spare := range []float64{b.Delta * spareShare, delta} { // roomy, or exact
		r := rule{Method: plan, Delta: b.Delta - spare, Spare: spare}
		if delta > spare || !(r.Delta > 0) {
			continue
		}
		e, err := accounting.Epsilon(event, b.Relation, r.Delta)
		if err != nil {
			return rule{}, err
		}
		if epsilon = e.Upper; epsilon <= b.Epsilon {
			return r, nil
		}
	}
	if epsilon == 0 {
		return rule{}, fmt.Errorf("a delta of %v beside the event leaves nothing of the budget's %v: %w", delta, b.Delta, ErrOverspent)
	}
	return rule{}, fmt.Errorf("epsilon would be %.6g at delta %g, the budget is %g: %w", epsilon, b.Delta, b.Epsilon, ErrOverspent)
}

// check refuses rules that chooseRule cannot have made.
func (r rule) check(b Budget) error {
	ok := r.Delta > 0 && r.Spare >= 0 && r.Delta+r.Spare <= b.Delta*up
	switch r.Method {
	case renyi:
		ok = ok && r.Order > 1 && r.Limit > 0 && r.Limit <= renyiLimit(b.Epsilon, r.Delta, r.Order)*up
	case plan:
		ok = ok && r.Order == 0 && r.Limit == 0
	default:
		ok = false
	}
	if !ok {
		return errors.New("has a rule that its budget does not allow")
	}
	return nil
}

// cost is what an event counts for under the rule.
func (r rule) cost(b Budget, event accounting.Event) (float64, error) {
	if r.Method != renyi || event == nil {
		return 0, nil
	}
	return accounting.Renyi(event, b.Relation, r.Order)
}

// admits reports whether the rule still holds with a further run beside those
// that there are.
func (a *account) admits(u units, cost, delta float64) error {
	costs, deltas := a.total()
	deltas += delta
	if deltas > a.rule.Spare*up {
		return fmt.Errorf("runs would take %g of delta beside their events, %g is kept for that: %w", deltas, a.rule.Spare, ErrOverspent)
	}
	switch a.rule.Method {
	case renyi:
		if costs += cost; !(costs*up <= a.rule.Limit) {
			return fmt.Errorf("the Rényi divergence at order %.4g would be %.6g, the limit is %.6g (epsilon %g at delta %g): %w",
				a.rule.Order, costs, a.rule.Limit, a.budget.Epsilon, a.budget.Delta, ErrOverspent)
		}
	case plan:
		all := a.units()
		if all.plus(u); !all.within(a.planned) {
			return fmt.Errorf("the run is not within what is left of the plan: %w", ErrOverspent)
		}
	}
	return nil
}

// total sums what runs cost, in full where they are not settled.
func (a *account) total() (cost, delta float64) {
	for _, r := range a.runs {
		c := r.charge()
		cost += c.cost
		delta += c.delta
	}
	return cost, delta
}

// units sums what runs hold, in full where they are not settled.
func (a *account) units() units {
	all := units{}
	for _, r := range a.runs {
		all.plus(r.charge().units)
	}
	return all
}

// odometer bounds the ε of all that was run or may have been, at the budget's
// delta. The package doc says what it is.
func (a *account) odometer() (float64, error) {
	var events []accounting.Event
	for _, r := range a.runs {
		if e := r.charge().event; e != nil {
			events = append(events, e)
		}
	}
	if len(events) == 0 {
		return 0, nil
	}
	var epsilon float64
	switch a.rule.Method {
	case renyi:
		cost, _ := a.total()
		epsilon = (cost + math.Log(1/a.rule.Delta)/(a.rule.Order-1)) * up
	case plan:
		e, err := accounting.Epsilon(accounting.Composed{Events: events}, a.budget.Relation, a.rule.Delta)
		if err != nil {
			return 0, err
		}
		epsilon = e.Upper
	}
	if !(epsilon < a.budget.Epsilon) {
		return a.budget.Epsilon, nil
	}
	return epsilon, nil
}
