package dp

import (
	"encoding/hex"
	"fmt"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/internal/stream"
)

// Ledger keeps what is spent on a data set, durably: before a run all that it
// may cost is set aside, at its end what it did cost takes that place. The
// Account of package dp/accounting/ledger is one.
type Ledger interface {
	// Reserve sets aside what a run costs at most: an event, and a delta beside
	// it. An error means that the run must not start. A run that is reserved
	// again, with the same event, is the same one resumed; it is refused if it
	// was settled.
	Reserve(run string, r accounting.Relation, event accounting.Event, delta float64) error
	// Settle says what of the reserved event was run: a part of it, nil for
	// nothing, and its delta. Until it is called, all of it counts.
	Settle(run string, event accounting.Event, delta float64) error
}

// runName is the name under which a ledger knows a run: a function of its key
// that tells nothing of it, so that a resumed run has the same.
func runName(key *stream.Key) string {
	name := key.Derive(namePurpose, 0)
	defer name.Erase()
	return hex.EncodeToString(name[:16])
}

// reserve sets aside what the whole plan costs.
func (t *Trainer) reserve() error {
	if t.task.Ledger == nil {
		return nil
	}
	if err := t.task.Ledger.Reserve(t.name, t.plan.Relation, t.plan.event(t.plan.Steps), t.plan.overflowDelta(t.plan.Steps)); err != nil {
		return fmt.Errorf("dp: run refused: %w", err)
	}
	return nil
}

// settle gives back what cannot have been run: nothing of a resumed run, as the
// process that was killed may have gone on after its checkpoint.
func (t *Trainer) settle() error {
	if t.task.Ledger == nil || t.settled {
		return nil
	}
	steps := t.step
	if t.resumed {
		steps = t.plan.Steps
	}
	var event accounting.Event
	if steps > 0 {
		event = t.plan.event(steps)
	}
	if err := t.task.Ledger.Settle(t.name, event, t.plan.overflowDelta(steps)); err != nil {
		return fmt.Errorf("dp: run not settled, its whole reservation counts: %w", err)
	}
	t.settled = true
	return nil
}
