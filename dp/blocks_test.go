package dp

import (
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// lateRows is a matrix that gives its sum in parts of whole groups of columns.
type lateRows struct {
	*Matrix
	w     []float32
	ends  []int
	parts *atomic.Int64 // made
}

const group = 700

func (l *lateRows) WeightedSum([]int64, []float32, []int) { panic("sum at once") }

func (l *lateRows) Weigh(w []float32, ends []int) { l.w, l.ends = w, ends }

func (l *lateRows) Span(from, to int) (first, last int) {
	return from / group * group, min((to+group-1)/group*group, l.d)
}

func (l *lateRows) AddBlock(sum []int64, first int) {
	l.parts.Add(1)
	var rows []float32
	for at := 0; at < len(l.rows); at += l.d {
		rows = append(rows, l.rows[at+first:at+first+len(sum)]...)
	}
	NewMatrix(rows, len(sum)).WeightedSum(sum, l.w, l.ends)
}

// Sums that the update makes a part at a time, merged with one another's, give
// the parameters that sums made at once give; steps that fail in between too.
func TestRule04PartsNeverShow(t *testing.T) {
	plan := somePlan()
	plan.Steps, plan.Sampling, plan.BatchSize = 3, Poisson{Rate: 0.8}, 80 // two runs
	want := wide(plan, 100).run(t)
	broken := errors.New("broken disk")
	for _, cores := range []int{1, 2, 4} {
		func() {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			var calls, parts atomic.Int64
			tr := wide(plan, 100)
			tr.task.NewWorker = func() (Worker, error) {
				w := tr.worker()
				return WorkerFunc(func(step int, examples []int) (Gradients, error) {
					if calls.Add(1) == 2 {
						return nil, broken
					}
					g, err := w.Gradients(step, examples)
					return &lateRows{g.(*Matrix), nil, nil, &parts}, err
				}), nil
			}
			trainer := tr.start(t)
			failed := 0
			for !trainer.Done() {
				if err := trainer.Step(); err != nil {
					require.ErrorIs(t, err, broken)
					failed++
				}
			}
			require.Equal(t, 1, failed)
			require.Equal(t, want, tr.task.Params, "cores %d", cores)
			require.GreaterOrEqual(t, parts.Load(), int64(plan.Steps))
			for _, m := range trainer.crew.members {
				require.Nil(t, m.sum) // never made
				for _, v := range m.part[:cap(m.part)] {
					require.Zero(t, v) // no sum is left behind
				}
			}
		}()
	}
}
