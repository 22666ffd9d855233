package main

import (
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/nn"
	"github.com/sotto-ml/sotto/nn/scattering"
)

// network is a model with what it is best trained by. Activations are ones that CKKS
// computes exactly, or smooth ones that small polynomials fit.
type network struct {
	features string // what the model reads: "" for the image
	layers   []nn.Layer
	init     nn.Initializer
	epochs   int
	batch    int
	rate     float64
	decay    float64
	augment  bool
	private  private
}

// private is how the network is trained under a guarantee. The figures were tuned on
// MNIST itself, which no guarantee covers.
type private struct {
	epochs     float64
	batch      int
	clip, rate float64
}

var networks = map[string]network{
	"lr": {
		features: cosineFeatures, layers: []nn.Layer{nn.Linear{Out: mnist.Classes}},
		init: nn.Zero, epochs: 40, batch: 256, rate: 5e-2, decay: 1e-4,
		private: private{epochs: 40, batch: 4096, clip: 0.5, rate: 2},
	},
	"mlp": {
		layers: []nn.Layer{nn.Flatten{}, nn.Linear{Out: 128}, nn.Square{}, nn.Linear{Out: mnist.Classes}},
		init:   nn.XavierNormal, epochs: 30, batch: 256, rate: 2e-3, decay: 1e-2, augment: true,
		private: private{epochs: 60, batch: 4096, clip: 0.1, rate: 4},
	},
	"mlp3": {
		layers: []nn.Layer{nn.Flatten{}, nn.Linear{Out: 128}, nn.Square{}, nn.Linear{Out: 128}, nn.Square{}, nn.Linear{Out: mnist.Classes}},
		init:   nn.XavierNormal, epochs: 30, batch: 256, rate: 2e-3, decay: 1e-2, augment: true,
		private: private{epochs: 60, batch: 4096, clip: 0.1, rate: 2},
	},
	"lola": {
		layers: []nn.Layer{nn.Conv2D{Out: 5, Kernel: 5, Stride: 2, Padding: 1}, nn.Square{}, nn.Flatten{},
			nn.Linear{Out: 100}, nn.Square{}, nn.Linear{Out: mnist.Classes}},
		init: nn.XavierNormal, epochs: 30, batch: 256, rate: 3e-3, decay: 1e-2, augment: true,
		private: private{epochs: 60, batch: 4096, clip: 0.1, rate: 2},
	},
	"lenet5": {
		layers: []nn.Layer{nn.Conv2D{Out: 6, Kernel: 5, Padding: 2}, fittedSiLU, nn.AvgPool{Kernel: 2},
			nn.Conv2D{Out: 16, Kernel: 5}, fittedSiLU, nn.AvgPool{Kernel: 2}, nn.Flatten{},
			nn.Linear{Out: 120}, fittedSiLU, nn.Linear{Out: 84}, fittedSiLU, nn.Linear{Out: mnist.Classes}},
		init: nn.HeNormal, epochs: 10, batch: 256, rate: 2e-3, decay: 1e-2, augment: true,
		private: private{epochs: 40, batch: 2048, clip: 0.1, rate: 2},
	},
}

// fittedSiLU is SiLU's least squares fit of degree 2 over [-4, 4]. LeNet-5 is trained with
// it: a fit made after training, over the ranges that SiLU then has, needs degree 7 to keep
// the labels, and with it a ring of degree 2^15 and six times the predicted time.
var fittedSiLU = nn.Polynomial{Coefficients: []float32{0.18874, 0.5, 0.11615}}

// What models read, as their files say in the metadata "sotto.features". A client
// computes it from its own image, in the clear.
const (
	cosineFeatures  = "cosines 32"
	scatterFeatures = "scattering J=2 L=8 order 2" // examples/mnist writes it
)

// prepare computes features of images.
func prepare(features string, images [][]float32) ([][]float32, error) {
	switch features {
	case "":
		return images, nil
	case cosineFeatures:
		return cosines(images), nil
	case scatterFeatures:
		t, err := scattering.New(mnist.Side, mnist.Side, scattering.Options{J: 2})
		if err != nil {
			return nil, err
		}
		return t.Batch(nil, images), nil
	}
	return nil, fmt.Errorf("encrypted: the model reads features %q, known are %q and %q", features, cosineFeatures, scatterFeatures)
}

// load reads a model with what it reads. A leading normalisation without parameters
// becomes part of the features: it divides by what only the client knows.
func load(name string) (m *nn.Model, features string, normalise *nn.Model, err error) {
	m, metadata, err := nn.Load(name)
	if err != nil {
		return nil, "", nil, err
	}
	layers := m.Spec().Layers
	if len(layers) == 0 || m.Output().Size() != mnist.Classes {
		return nil, "", nil, fmt.Errorf("encrypted: the model in %s has %d layers and %d outputs, must have layers and %d outputs", name, len(layers), m.Output().Size(), mnist.Classes)
	}
	if norm, ok := layers[0].(nn.GroupNorm); ok && norm.NoAffine {
		if normalise, err = nn.New(m.Input(), norm); err != nil {
			return nil, "", nil, err
		}
		rest, err := nn.New(normalise.Output(), layers[1:]...)
		if err != nil {
			return nil, "", nil, err
		}
		copy(rest.Params(), m.Params())
		m = rest
	}
	return m, metadata["sotto.features"], normalise, nil
}

// cosines are the 32 lowest frequencies of an image's discrete cosine transform, scaled to
// about ±1. They depend on that image alone: the client computes them in the clear.
func cosines(images [][]float32) [][]float32 {
	const cosineCount = 32
	type frequency struct{ u, v int }
	var order []frequency
	for sum := 0; len(order) < cosineCount; sum++ {
		for u := 0; u <= sum && len(order) < cosineCount; u++ {
			order = append(order, frequency{u, sum - u})
		}
	}
	const side = mnist.Side
	var wave [side][side]float64
	for u := range side {
		for i := range side {
			wave[u][i] = math.Cos(math.Pi * (float64(i) + 0.5) * float64(u) / side)
		}
	}
	out := make([][]float32, len(images))
	for k, image := range images {
		out[k] = make([]float32, cosineCount)
		for f, w := range order {
			sum := 0.
			for y := range side {
				for x := range side {
					sum += float64(image[y*side+x]) * wave[w.u][y] * wave[w.v][x]
				}
			}
			out[k][f] = float32(sum / 100)
		}
	}
	return out
}
