package training_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp"
	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/dp/noise"
	"github.com/sotto-ml/sotto/internal/stream"
	"github.com/sotto-ml/sotto/nn"
)

const (
	records = 60000
	batch   = 256
)

var models = []struct {
	name   string
	layers []nn.Layer
}{
	{"linear", []nn.Layer{nn.Flatten{}, nn.Linear{Out: 10}}},
	{"mlp128", []nn.Layer{nn.Flatten{}, nn.Linear{Out: 128}, nn.ReLU{}, nn.Linear{Out: 10}}},
	{"mlp2048", []nn.Layer{nn.Flatten{}, nn.Linear{Out: 2048}, nn.ReLU{}, nn.Linear{Out: 10}}},
	{"cnn", []nn.Layer{
		nn.Conv2D{Out: 16, Kernel: 8, Stride: 2, Padding: 3}, nn.Tanh{}, nn.MaxPool{Kernel: 2, Stride: 1},
		nn.Conv2D{Out: 32, Kernel: 4, Stride: 2}, nn.Tanh{}, nn.MaxPool{Kernel: 2, Stride: 1},
		nn.Flatten{}, nn.Linear{Out: 32}, nn.Tanh{}, nn.Linear{Out: 10},
	}},
}

// data is as large as MNIST, with as many blank pixels.
type data struct {
	rows   [][]float32
	labels nn.Targets
}

func newData(tb testing.TB) *data {
	r := rand.New(rand.NewPCG(1, 1))
	flat := make([]float32, records*784)
	for i := range flat {
		flat[i] = max(0, r.Float32()*5-4)
	}
	labels := make([]int, records)
	rows := make([][]float32, records)
	for i := range rows {
		rows[i], labels[i] = flat[i*784:(i+1)*784], r.IntN(10)
	}
	y, err := nn.Labels(labels, 10)
	require.NoError(tb, err)
	return &data{rows, y}
}

// batcher hands records to a model, as a loader would.
type batcher struct {
	data    *data
	pass    *nn.Pass
	rows    [][]float32
	targets nn.Targets
}

func (b *batcher) backward(examples []int) *nn.Gradients {
	b.rows = b.rows[:0]
	for _, i := range examples {
		b.rows = append(b.rows, b.data.rows[i])
	}
	b.targets = b.data.labels.Pick(b.targets, examples)
	return b.pass.Backward(b.rows, b.targets, examples)
}

func newModel(tb testing.TB, layers []nn.Layer) (*nn.Model, *nn.Optimizer) {
	m, err := nn.New(nn.Shape{1, 28, 28}, layers...)
	require.NoError(tb, err)
	m.Init(nn.XavierUniform, 1)
	o, err := nn.NewOptimizer(nn.SGD{LearningRate: 0.1, Momentum: 0.9})
	require.NoError(tb, err)
	return m, o
}

// private returns a private step.
func private(tb testing.TB, d *data, layers []nn.Layer) func() {
	m, o := newModel(tb, layers)
	trainer, err := dp.NewTrainer(dp.Plan{
		Sampling: dp.Poisson{Rate: float64(batch) / records}, BatchSize: batch, Steps: 1 << 20,
		Clip: dp.Flat{Norm: 1}, NoiseMultiplier: 1, Relation: accounting.AddRemove, Delta: 1e-5,
	}, dp.Task{Params: m.Params(), Records: records, Optimizer: o, NewWorker: func() (dp.Worker, error) {
		b := &batcher{data: d, pass: nn.NewPass(m, nn.SoftmaxCrossEntropy{})}
		return dp.WorkerFunc(func(_ int, examples []int) (dp.Gradients, error) { return b.backward(examples), nil }), nil
	}})
	require.NoError(tb, err)
	return func() {
		if err := trainer.Step(); err != nil {
			tb.Fatal(err)
		}
	}
}

// plain returns a step without privacy.
func plain(tb testing.TB, d *data, layers []nn.Layer) func() {
	m, o := newModel(tb, layers)
	b := &batcher{data: d, pass: nn.NewPass(m, nn.SoftmaxCrossEntropy{})}
	grad := make([]float32, len(m.Params()))
	order := rand.New(rand.NewPCG(1, 2)).Perm(records)
	at := 0
	return func() {
		if at+batch > len(order) {
			at = 0
		}
		g := b.backward(order[at : at+batch])
		at += batch
		g.Mean(grad)
		o.Begin(len(grad))
		o.Update(m.Params(), grad, 0)
	}
}

// held is the memory in bytes that training holds once its buffers have grown
// to the batches that come: parameters, optimiser, scratch. Steps from there on
// allocate next to nothing, so it is the peak.
func held(make func() func()) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	step := make()
	for range 10 {
		step()
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(step)
	return float64(after.HeapAlloc) - float64(before.HeapAlloc)
}

func BenchmarkTrain(b *testing.B) {
	d := newData(b)
	for _, m := range models {
		b.Run(fmt.Sprintf("model=%s/batch=%d", m.name, batch), func(b *testing.B) {
			memory := held(func() func() { return private(b, d, m.layers) }) / held(func() func() { return plain(b, d, m.layers) })
			ours, theirs := private(b, d, m.layers), plain(b, d, m.layers)
			shape, _ := newModel(b, m.layers)
			sum := make([]int64, len(shape.Params()))
			law, err := noise.NewRoundedGaussian(1 << 20)
			require.NoError(b, err)
			var key stream.Key
			noised := func() { law.AddBlocks(sum, &key, 0) }
			for _, f := range []func(){ours, theirs, noised} {
				f()
				f()
			}
			// A round is long enough for the draw's size to even out.
			start := time.Now()
			ours()
			each := 1 + int(20*time.Millisecond/max(time.Since(start), time.Microsecond))
			if testing.Short() {
				each = 1
			}
			var times [3][]float64
			for b.Loop() {
				for i, f := range []func(){ours, theirs, noised} {
					start := time.Now()
					for range each {
						f()
					}
					times[i] = append(times[i], time.Since(start).Seconds()/float64(each))
				}
			}
			var ratio, share []float64
			for i := range times[0] {
				ratio = append(ratio, times[0][i]/times[1][i])
				share = append(share, times[2][i]/times[0][i])
			}
			b.ReportMetric(median(ratio), "x-plain")
			b.ReportMetric(batch/median(times[0]), "examples/s")
			b.ReportMetric(batch/median(times[1]), "plain-ex/s")
			b.ReportMetric(memory, "mem-x")
			b.ReportMetric(median(share), "noise-share")
			b.ReportMetric(median(times[2])/float64(len(sum))*1e9, "noise-ns")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}
