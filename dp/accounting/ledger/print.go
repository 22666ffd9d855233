package ledger

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// Book is what a ledger held when it was read. It encodes as JSON.
type Book struct {
	// ID names the ledger: random, given when it was made.
	ID string `json:"id"`
	// Head is the hash of the last record, and so of all of them. Whoever keeps
	// it elsewhere can tell with Holds whether records were cut off since.
	Head     Hash        `json:"head"`
	Records  int         `json:"records"`
	DataSets []Statement `json:"data_sets"`

	hashes []Hash
}

// Statement is the account of one data set.
type Statement struct {
	DataSet  string  `json:"data_set"`
	Relation string  `json:"relation"`
	Epsilon  float64 `json:"epsilon"` // the budget
	Delta    float64 `json:"delta"`
	// Spent bounds the ε, at Delta, of all that was run or may have been. It is
	// the odometer of the package doc.
	Spent float64 `json:"spent"`
	// Used is the part of the filter that is taken, in [0, 1]: runs are refused
	// beyond 1.
	Used float64 `json:"used"`
	// Rule says what runs are held against.
	Rule string `json:"rule"`
	Runs []Run  `json:"runs"`
}

// Run is one use of a data set.
type Run struct {
	Name  string `json:"name"`
	State string `json:"state"` // reserved, resumed, settled or released
	// Since and Until are the times of its reservation and settlement.
	Since string `json:"since"`
	Until string `json:"until,omitempty"`
	// Reserved is the event set aside, and Counted what of it counts: all, until
	// the run is settled.
	Reserved json.RawMessage `json:"reserved"`
	Counted  json.RawMessage `json:"counted"`
	// Delta counts beside the event.
	Delta float64 `json:"delta"`
}

// Holds reports whether the ledger had this head once: false means that it is
// another ledger, or that records were cut off or written anew since.
func (b *Book) Holds(head Hash) bool { return slices.Contains(b.hashes, head) }

func (b *book) export() (*Book, error) {
	out := &Book{ID: b.id, Head: b.hashes[len(b.hashes)-1], Records: len(b.hashes), DataSets: []Statement{}, hashes: slices.Clone(b.hashes)}
	for _, a := range b.accounts {
		s, err := a.statement()
		if err != nil {
			return nil, fmt.Errorf("data set %q: %w", a.budget.DataSet, err)
		}
		out.DataSets = append(out.DataSets, s)
	}
	return out, nil
}

func (a *account) statement() (s Statement, err error) {
	s = Statement{
		DataSet: a.budget.DataSet, Relation: a.budget.Relation.String(), Epsilon: a.budget.Epsilon, Delta: a.budget.Delta,
		Rule: "none before the first run", Runs: []Run{},
	}
	if a.rule != nil {
		switch a.rule.Method {
		case renyi:
			cost, _ := a.total()
			s.Rule, s.Used = fmt.Sprintf("Rényi filter at order %.4g", a.rule.Order), min(cost/a.rule.Limit, 1)
		case plan:
			s.Rule = "within the plan"
			all := a.units()
			for key, n := range a.planned {
				s.Used = max(s.Used, float64(all[key])/float64(n))
			}
		}
		if s.Spent, err = a.odometer(); err != nil {
			return s, err
		}
	}
	for _, r := range a.runs {
		c := r.charge()
		out := Run{Name: r.name, Since: r.since, Until: r.until, Reserved: r.reserved.text, Counted: c.text, Delta: c.delta}
		switch {
		case r.isSettled && c.event == nil:
			out.State, out.Counted = "released", json.RawMessage("null")
		case r.isSettled:
			out.State = "settled"
		case r.resumed:
			out.State = "resumed"
		default:
			out.State = "reserved"
		}
		s.Runs = append(s.Runs, out)
	}
	return s, nil
}

// WriteTable prints the ledger for people: data sets, then runs.
func (b *Book) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "data set\trelation\tε spent\tof\tδ\tused\truns\trule\n")
	for _, s := range b.DataSets {
		fmt.Fprintf(t, "%s\t%s\t%.4g\t%.4g\t%g\t%.1f%%\t%d\t%s\n", s.DataSet, s.Relation, s.Spent, s.Epsilon, s.Delta, 100*s.Used, len(s.Runs), s.Rule)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(t, "\ndata set\trun\tstate\tsince\tuntil\tcounted\n")
	for _, s := range b.DataSets {
		for _, r := range s.Runs {
			event, _, err := unmarshalEvent(nothing(r.Counted))
			if err != nil {
				return err
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", s.DataSet, r.Name, r.State, r.Since, r.Until, describe(event))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nledger %s, %d records, head %s\n", b.ID, b.Records, b.Head)
	return err
}

func nothing(text json.RawMessage) json.RawMessage {
	if string(text) == "null" {
		return nil
	}
	return text
}

// describe says an event in few words.
func describe(e accounting.Event) string {
	switch e := e.(type) {
	case nil:
		return "nothing"
	case accounting.SelfComposed:
		return fmt.Sprintf("%d × %s", e.Count, describe(e.Event))
	case accounting.PoissonSampled:
		return fmt.Sprintf("Poisson %.4g of %s", e.Rate, describe(e.Event))
	case accounting.Gaussian:
		return fmt.Sprintf("Gaussian σ %.4g", e.NoiseMultiplier)
	case accounting.Composed:
		return fmt.Sprintf("%d events", len(e.Events))
	}
	return fmt.Sprintf("%T", e)
}
