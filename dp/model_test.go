package dp

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream/streamtest"
)

// leastSquares is a model whose gradients are easy to write down: predictions
// a·x + b for each of two halves of the parameters.
type leastSquares struct {
	x [][]float32
	y []float32
}

func newLeastSquares(seed uint64, records, features int) *leastSquares {
	random := rand.New(rand.NewPCG(seed, 1))
	m := &leastSquares{}
	for range records {
		x := make([]float32, features)
		for j := range x {
			x[j] = float32(random.NormFloat64())
		}
		m.x = append(m.x, x)
		m.y = append(m.y, float32(random.NormFloat64()))
	}
	return m
}

// gradient writes the gradient of record i. Of parameters [a…, b].
func (m *leastSquares) gradient(dst, params []float32, i int) {
	features := len(m.x[i])
	e := params[features] - m.y[i]
	for j, v := range m.x[i] {
		e += float32(v * params[j])
	}
	for j, v := range m.x[i] {
		dst[j] = e * v
	}
	dst[features] = e
}

// rowsWorker gives gradients as a Matrix.
type rowsWorker struct {
	*leastSquares
	params []float32
	rows   []float32
	matrix *Matrix
	layers []int // if not nil, the gradients have layers

	fail  func(step int, examples []int) error
	spoil func(row []float32, example int)
}

func (w *rowsWorker) Gradients(step int, examples []int) (Gradients, error) {
	if w.fail != nil {
		if err := w.fail(step, examples); err != nil {
			return nil, err
		}
	}
	d := len(w.params)
	w.rows = w.rows[:0]
	for _, i := range examples {
		at := len(w.rows)
		for range d {
			w.rows = append(w.rows, 0)
		}
		w.gradient(w.rows[at:], w.params, i)
		if w.spoil != nil {
			w.spoil(w.rows[at:], i)
		}
	}
	if w.matrix == nil {
		w.matrix = NewMatrix(w.rows, d)
	}
	w.matrix.Reset(w.rows, d)
	if w.layers != nil {
		return &layeredRows{w.matrix, w.layers}, nil
	}
	return w.matrix, nil
}

// layeredRows is a matrix whose columns belong to layers.
type layeredRows struct {
	*Matrix
	ends []int
}

func (l *layeredRows) Layers() []int { return l.ends }

func (l *layeredRows) layer(k int) (from, to int) {
	if k > 0 {
		from = l.ends[k-1]
	}
	return from, l.ends[k]
}

func (l *layeredRows) LayerNorms(dst []float32) []float32 {
	n := len(l.rows) / l.d
	if dst == nil {
		dst = make([]float32, n*len(l.ends))
	}
	for i := range n {
		for k := range l.ends {
			from, to := l.layer(k)
			dst[i*len(l.ends)+k] = float32(math.Sqrt(kernel.SumSquares(l.rows[i*l.d+from : i*l.d+to])))
		}
	}
	return dst
}

func (l *layeredRows) LayerWeightedSum(sum []int64, w []float32, ends []int) {
	n := len(l.rows) / l.d
	for k := range l.ends {
		from, to := l.layer(k)
		part, weights := make([]float32, 0, n*(to-from)), make([]float32, n)
		for i := range n {
			part = append(part, l.rows[i*l.d+from:i*l.d+to]...)
			weights[i] = w[i*len(l.ends)+k]
		}
		NewMatrix(part, to-from).WeightedSum(sum[from:to], weights, ends)
	}
}

// sgd is gradient descent with momentum.
type sgd struct {
	rate, momentum float32
	velocity       []float32
}

func (o *sgd) Begin(d int) {
	if o.velocity == nil {
		o.velocity = make([]float32, d)
	}
}

func (o *sgd) Update(params, grad []float32, offset int) {
	v := o.velocity[offset : offset+len(grad)]
	for j, g := range grad {
		v[j] = float32(o.momentum*v[j]) + g
		params[j] -= float32(o.rate * v[j])
	}
}

func (o *sgd) MarshalBinary() ([]byte, error) {
	var out []byte
	for _, v := range o.velocity {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out, nil
}

func (o *sgd) UnmarshalBinary(data []byte) error {
	if len(data)%4 != 0 {
		return errors.New("sgd: not whole floats")
	}
	o.velocity = nil
	for ; len(data) > 0; data = data[4:] {
		o.velocity = append(o.velocity, math.Float32frombits(binary.LittleEndian.Uint32(data)))
	}
	return nil
}

// trial is everything a test of the trainer starts from.
type trial struct {
	plan   Plan
	task   Task
	model  *leastSquares
	worker func() *rowsWorker
	key    uint64
}

const trialFeatures = 11

func newTrial(records int, plan Plan) *trial {
	tr := &trial{plan: plan, model: newLeastSquares(7, records, trialFeatures), key: 1}
	tr.task = Task{
		Params: make([]float32, trialFeatures+1), Records: records,
		Optimizer: &sgd{rate: 0.1, momentum: 0.5}, Digest: [32]byte{1},
	}
	for j := range tr.task.Params {
		tr.task.Params[j] = float32(j) / 7
	}
	params := tr.task.Params
	tr.worker = func() *rowsWorker { return &rowsWorker{leastSquares: tr.model, params: params} }
	if _, ok := plan.Clip.(PerLayer); ok {
		inner := tr.worker
		tr.worker = func() *rowsWorker {
			w := inner()
			w.layers = []int{4, trialFeatures, trialFeatures + 1}
			return w
		}
	}
	tr.task.NewWorker = func() (Worker, error) { return tr.worker(), nil }
	return tr
}

func (tr *trial) start(t testing.TB) *Trainer {
	t.Helper()
	key := streamtest.Key(tr.key)
	trainer, err := newTrainer(tr.plan, tr.task, &key)
	require.NoError(t, err)
	return trainer
}

// run takes all steps and returns the parameters.
func (tr *trial) run(t testing.TB) []float32 {
	t.Helper()
	trainer := tr.start(t)
	for !trainer.Done() {
		require.NoError(t, trainer.Step())
	}
	return tr.task.Params
}

func somePlan() Plan {
	return Plan{
		Sampling: Poisson{Rate: 0.625}, BatchSize: 250, Steps: 6, Clip: Flat{Norm: 1},
		NoiseMultiplier: 1.5, Relation: accounting.AddRemove, Delta: 1e-5,
	}
}

// everyClip are plans of every clip mode.
func everyClip() map[string]Plan {
	plans := map[string]Plan{}
	for name, c := range map[string]Clip{
		"flat":      Flat{Norm: 1},
		"layers":    PerLayer{Norms: []float64{0.5, 1, 0.25}},
		"total":     PerLayer{Total: 1},
		"automatic": Automatic{Norm: 1, Stability: 0.01},
		"adaptive":  AdaptiveQuantile{Initial: 0.3, Quantile: 0.5, LearningRate: 0.5, NoiseShare: 0.01},
	} {
		p := somePlan()
		p.Clip = c
		plans[name] = p
	}
	return plans
}
