package federated

import (
	"fmt"

	"github.com/sotto-ml/sotto/aggregate"
)

// checkRule refuses rules that know clients by the index of their rows, which is
// another's as soon as one client is missing.
func checkRule(rule aggregate.Rule) error {
	return visit(rule, func(r aggregate.Rule) error {
		switch r := r.(type) {
		case aggregate.MoNNA:
			return fmt.Errorf("federated: Rule %T: it trusts a row by its index, and cohorts change", r)
		case *aggregate.FoolsGold:
			if !r.Forget {
				return fmt.Errorf("federated: Rule %T with a history: it is kept by the index of rows, and cohorts change; set Forget", r)
			}
		}
		return nil
	})
}

// checkDurable refuses rules whose memory a restart would lose.
func checkDurable(rule aggregate.Rule) error {
	return visit(rule, func(r aggregate.Rule) error {
		if _, ok := r.(*aggregate.CenteredClipping); ok {
			return fmt.Errorf("federated: Config.Folder with Rule %T: its momentum is not in the checkpoint, a server that resumes would not end as one that was not interrupted", r)
		}
		return nil
	})
}

// visit calls f with a rule and all that it is made of, until an error.
func visit(rule aggregate.Rule, f func(aggregate.Rule) error) error {
	switch r := rule.(type) {
	case nil:
		return nil
	case aggregate.Chain:
		for _, part := range r {
			if err := visit(part, f); err != nil {
				return err
			}
		}
	case aggregate.Guard:
		if r.Rule != nil {
			return visit(r.Rule(max(r.F, 0)), f)
		}
	}
	return f(rule)
}
