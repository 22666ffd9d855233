package dp

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/dp/accounting/ledger"
)

var _ Ledger = (*ledger.Account)(nil)

func someBudget(epsilon float64) ledger.Budget {
	return ledger.Budget{DataSet: "squares", Relation: accounting.AddRemove, Epsilon: epsilon, Delta: 1e-5}
}

// kept opens the ledger at path, made at the first call, for a test.
func kept(t *testing.T, path string, epsilon float64) *ledger.Account {
	t.Helper()
	l, err := ledger.Open(path)
	if err != nil {
		l, err = ledger.Create(path)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	a, err := l.Account(someBudget(epsilon))
	require.NoError(t, err)
	return a
}

func entries(t *testing.T, path string) []ledger.Run {
	t.Helper()
	b, err := ledger.Read(path)
	require.NoError(t, err)
	return b.DataSets[0].Runs
}

func counted(t *testing.T, r ledger.Run) int {
	t.Helper()
	if string(r.Counted) == "null" {
		return 0
	}
	e, err := accounting.UnmarshalEvent(r.Counted)
	require.NoError(t, err)
	return e.(accounting.SelfComposed).Count
}

// A run is reserved whole before its first step and settled for the steps that
// were taken, at every length.
func TestLedgerSettlesStepsTaken(t *testing.T) {
	for name, plan := range everyClip() {
		for steps := range plan.Steps + 1 {
			path := filepath.Join(t.TempDir(), "ledger")
			tr := newTrial(400, plan)
			tr.task.Ledger = kept(t, path, 100)
			trainer, err := NewTrainer(tr.plan, tr.task)
			require.NoError(t, err)
			r := entries(t, path)
			require.Len(t, r, 1)
			require.Equal(t, "reserved", r[0].State)
			require.Equal(t, plan.Steps, counted(t, r[0]))
			require.InDelta(t, plan.Delta-plan.MechanismDelta(), r[0].Delta, 1e-20, name)
			for range steps {
				require.NoError(t, trainer.Step())
			}
			require.Equal(t, plan.Steps, counted(t, entries(t, path)[0]))
			require.NoError(t, trainer.Erase())
			require.NoError(t, trainer.Erase())
			after := entries(t, path)
			require.Len(t, after, 1)
			require.Equal(t, steps, counted(t, after[0]))
			require.LessOrEqual(t, after[0].Delta, r[0].Delta)
			require.GreaterOrEqual(t, after[0].Delta, r[0].Delta*float64(steps)/float64(plan.Steps))
			if steps == 0 {
				require.Equal(t, "released", after[0].State)
			}
			require.ErrorContains(t, trainer.Step(), "erased")
		}
	}
}

func TestLedgerRefusesBeforeTheRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	plan, err := CalibrateNoise(somePlan(), 2)
	require.NoError(t, err)
	tr := newTrial(400, plan)
	tr.task.Ledger = kept(t, path, 2)
	first, err := NewTrainer(tr.plan, tr.task)
	require.NoError(t, err, "the plan that was calibrated for the budget fits it")
	before := append([]float32(nil), tr.task.Params...)
	_, err = NewTrainer(tr.plan, tr.task)
	require.ErrorIs(t, err, ledger.ErrOverspent)
	require.ErrorContains(t, err, "dp: run refused")
	require.Equal(t, before, tr.task.Params)
	require.Len(t, entries(t, path), 1)
	tr.plan.Relation = accounting.ReplaceOne
	_, err = NewTrainer(tr.plan, tr.task)
	require.ErrorContains(t, err, "replace-one")
	require.NoError(t, first.Erase())
	require.Zero(t, counted(t, entries(t, path)[0]))
	// A bad task reserves nothing.
	tr = newTrial(400, plan)
	tr.task.Ledger = kept(t, filepath.Join(t.TempDir(), "other"), 2)
	tr.task.NewWorker = func() (Worker, error) { return nil, errors.New("no worker today") }
	_, err = NewTrainer(tr.plan, tr.task)
	require.ErrorContains(t, err, "no worker today")
	tr.task.NewWorker = newTrial(400, plan).task.NewWorker
	_, err = NewTrainer(tr.plan, tr.task)
	require.NoError(t, err)
}

// A run that is killed counts in full; resumed, it goes on with its own
// reservation, and gives nothing back: the process that was killed may have gone
// further than its checkpoint.
func TestLedgerAcrossAKill(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "ledger"), filepath.Join(dir, "run")
	plan := somePlan()
	l, err := ledger.Create(path)
	require.NoError(t, err)
	a, err := l.Account(someBudget(100))
	require.NoError(t, err)
	tr := newTrial(400, plan)
	tr.task.Ledger = a
	trainer, err := NewTrainer(tr.plan, tr.task)
	require.NoError(t, err)
	require.NoError(t, trainer.Step())
	require.NoError(t, trainer.Save(file))
	require.NoError(t, trainer.Step()) // lost with the process
	require.NoError(t, l.Close())
	require.Equal(t, plan.Steps, counted(t, entries(t, path)[0]))

	second := newTrial(400, plan)
	params := append([]float32(nil), second.task.Params...)
	_, err = Resume(file, plan, second.task)
	require.ErrorContains(t, err, "Ledger is missing")
	require.Equal(t, params, second.task.Params)
	second.task.Ledger = kept(t, path, 100)
	trainer, err = Resume(file, plan, second.task)
	require.NoError(t, err)
	require.Len(t, entries(t, path), 1)
	require.Equal(t, "resumed", entries(t, path)[0].State)
	require.NoError(t, trainer.Step())
	copied := filepath.Join(dir, "copy")
	require.NoError(t, copyFile(file, copied))
	require.NoError(t, trainer.Erase())
	require.Equal(t, plan.Steps, counted(t, entries(t, path)[0]))

	// A copy of the checkpoint is worth nothing once the run is settled.
	third := newTrial(400, plan)
	third.task.Ledger = second.task.Ledger
	_, err = Resume(copied, plan, third.task)
	require.ErrorContains(t, err, "settled")
	require.Equal(t, params, third.task.Params)
	require.Nil(t, third.task.Optimizer.(*sgd).velocity)

	// A run that began without a ledger can be taken up by one: whole.
	file = filepath.Join(dir, "late")
	require.NoError(t, newTrial(400, plan).start(t).Save(file))
	fourth := newTrial(400, plan)
	fourth.task.Ledger = second.task.Ledger
	trainer, err = Resume(file, plan, fourth.task)
	require.NoError(t, err)
	require.NoError(t, trainer.Erase())
	require.Len(t, entries(t, path), 2)
	require.Equal(t, plan.Steps, counted(t, entries(t, path)[1]))
}

// brokenLedger fails to settle a number of times.
type brokenLedger struct {
	fail    int
	settled []accounting.Event
}

func (*brokenLedger) Reserve(string, accounting.Relation, accounting.Event, float64) error {
	return nil
}

func (b *brokenLedger) Settle(_ string, e accounting.Event, _ float64) error {
	if b.fail--; b.fail >= 0 {
		return errors.New("disk full")
	}
	b.settled = append(b.settled, e)
	return nil
}

// What cannot be settled or erased counts whole, and can be tried again.
func TestLedgerSettlesOnceErased(t *testing.T) {
	plan := somePlan()
	tr := newTrial(400, plan)
	b := &brokenLedger{fail: 1}
	tr.task.Ledger = b
	trainer, err := NewTrainer(plan, tr.task)
	require.NoError(t, err)
	require.NoError(t, trainer.Step())
	file := filepath.Join(t.TempDir(), "run")
	require.NoError(t, trainer.Save(file))
	require.ErrorContains(t, trainer.Erase(), "whole reservation counts")
	require.NoFileExists(t, file)
	require.Empty(t, b.settled)
	require.NoError(t, trainer.Erase())
	require.Equal(t, []accounting.Event{plan.event(1)}, b.settled)
}

// Runs of one plan have names of their own, which do not show the key.
func TestRunNames(t *testing.T) {
	tr := newTrial(400, somePlan())
	a, err := NewTrainer(tr.plan, tr.task)
	require.NoError(t, err)
	b, err := NewTrainer(tr.plan, tr.task)
	require.NoError(t, err)
	require.NotEqual(t, a.name, b.name)
	require.Len(t, a.name, 32)
}
