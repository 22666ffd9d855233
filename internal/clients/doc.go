// Package clients runs a federated plan over virtual clients that hold parts of MNIST,
// for examples and benchmarks; no library package imports it.
//
// [Dirichlet], [Shards] and [Gamma] split the data, a [Local] says how a client trains
// on its part, a [Run] joins both with a plan, drop-outs and liars, and does its rounds
// in a federated.Simulation: one model per core, whoever's turn it is.
package clients

import (
	"fmt"
	"sync"

	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/nn"
)

// Data is what is learnt and what it is tested on. It is only read.
type Data struct {
	Train, Test [][]float32
	TrainLabels []int
	TestLabels  []int
}

var loaded sync.Map // folder to *Data

// Load reads MNIST from a folder, or from where package mnist finds it; once for each.
func Load(folder string) (*Data, error) {
	if d, ok := loaded.Load(folder); ok {
		again := *d.(*Data)
		return &again, nil
	}
	dir, err := mnist.Locate(folder)
	if err != nil {
		return nil, err
	}
	train, test, err := mnist.Load(dir)
	if err != nil {
		return nil, err
	}
	d := Data{train.Rows(), test.Rows(), train.Labels, test.Labels}
	again := d
	loaded.Store(folder, &again)
	return &d, nil
}

// Models are the networks to choose from; "cnn" is that of examples/mnist.
var models = map[string][]nn.Layer{
	"linear": {nn.Flatten{}, nn.Linear{Out: mnist.Classes}},
	"mlp":    {nn.Flatten{}, nn.Linear{Out: 128}, nn.Tanh{}, nn.Linear{Out: mnist.Classes}},
	"cnn": {
		nn.Conv2D{Out: 16, Kernel: 8, Stride: 2, Padding: 3}, nn.Tanh{}, nn.MaxPool{Kernel: 2, Stride: 1},
		nn.Conv2D{Out: 32, Kernel: 4, Stride: 2}, nn.Tanh{}, nn.MaxPool{Kernel: 2, Stride: 1},
		nn.Flatten{}, nn.Linear{Out: 32}, nn.Tanh{}, nn.Linear{Out: mnist.Classes},
	},
}

// NewModel builds a network by name: linear, mlp or cnn. Its weights are drawn by the
// seed.
func NewModel(name string, seed uint64) (*nn.Model, error) {
	layers, ok := models[name]
	if !ok {
		return nil, fmt.Errorf("model is %q, allowed is linear, mlp or cnn", name)
	}
	m, err := nn.New(nn.Shape{1, mnist.Side, mnist.Side}, layers...)
	if err != nil {
		return nil, err
	}
	m.Init(nn.XavierUniform, seed)
	return m, nil
}
