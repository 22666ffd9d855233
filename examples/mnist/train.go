package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"

	"github.com/sotto-ml/sotto/dp"
	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/internal/report"
	"github.com/sotto-ml/sotto/nn"
	"github.com/sotto-ml/sotto/nn/scattering"
	"github.com/sotto-ml/sotto/nn/whitening"
)

// recipe is a model with what it is best trained by. The figures were tuned on
// MNIST itself, which no guarantee covers.
type recipe struct {
	scatter   bool
	layers    []nn.Layer
	epochs    float64
	batch     int
	clip, lr  float64
	normalise int // groups of the parameter-free group norm over features
}

// whiteningOptions and the drawings make the features' coordinates; all of it is
// public.
var whiteningOptions = whitening.Options{Components: 500, Ridge: 3, Seed: 1}

const (
	drawings     = 10000
	drawingsSeed = 1
)

var recipes = map[string]recipe{
	"linear": {layers: []nn.Layer{nn.Flatten{}, nn.Linear{Out: 10}}, epochs: 60, batch: 8192, clip: 0.5, lr: 2},
	"mlp":    {layers: []nn.Layer{nn.Flatten{}, nn.Linear{Out: 128}, nn.Tanh{}, nn.Linear{Out: 10}}, epochs: 60, batch: 4096, clip: 0.1, lr: 8},
	"cnn": {layers: []nn.Layer{
		nn.Conv2D{Out: 16, Kernel: 8, Stride: 2, Padding: 3}, nn.Tanh{}, nn.MaxPool{Kernel: 2, Stride: 1},
		nn.Conv2D{Out: 32, Kernel: 4, Stride: 2}, nn.Tanh{}, nn.MaxPool{Kernel: 2, Stride: 1},
		nn.Flatten{}, nn.Linear{Out: 32}, nn.Tanh{}, nn.Linear{Out: 10},
	}, epochs: 40, batch: 2048, clip: 0.1, lr: 4},
	"scatter": {scatter: true, layers: []nn.Layer{nn.Linear{Out: 10}}, epochs: 60, batch: 8192, clip: 0.1, lr: 12, normalise: 9},
}

// dataset is both halves as rows for the model, with what identifies them.
type dataset struct {
	shape                   nn.Shape
	train, test             [][]float32
	trainLabels, testLabels nn.Targets
	digest                  [32]byte
	features                *features // nil where the model sees the image
}

// features are those of an image: its scattering coefficients, normalised, in
// the coordinates that drawings spread evenly. They use no statistic of MNIST.
type features struct {
	scattering *scattering.Transform
	normalise  []nn.Layer
	norm       *nn.Model
	whitening  *whitening.Whitening
}

func newFeatures(groups int) (*features, error) {
	t, err := scattering.New(mnist.Side, mnist.Side, scattering.Options{J: 2})
	if err != nil {
		return nil, err
	}
	f := &features{scattering: t, normalise: []nn.Layer{nn.GroupNorm{Groups: groups, NoAffine: true}, nn.Flatten{}}}
	if f.norm, err = nn.New(f.shape(), f.normalise...); err != nil {
		return nil, err
	}
	f.whitening, err = whitening.New(f.normalised(strokes(drawings, drawingsSeed)), whiteningOptions)
	return f, err
}

// shape is that of the scattering coefficients.
func (f *features) shape() nn.Shape {
	channels, height, width := f.scattering.OutputShape()
	return nn.Shape{channels, height, width}
}

func (f *features) normalised(images [][]float32) [][]float32 {
	return nn.Predict(f.norm, f.scattering.Batch(nil, images))
}

// fold returns the trained linear model as one over scattering coefficients, so
// that it can be used without the drawings.
func (f *features) fold(m *nn.Model) (*nn.Model, error) {
	out, err := nn.New(f.shape(), append(slices.Clone(f.normalise), nn.Linear{Out: mnist.Classes})...)
	if err != nil {
		return nil, err
	}
	f.whitening.Fold(out.Params(), m.Params(), mnist.Classes)
	return out, nil
}

// prepare makes the model's inputs. Each row depends on its own image alone, so
// no statistic of the data is used.
func prepare(r recipe, train, test *mnist.Set, bar *report.Progress) (*dataset, error) {
	d := &dataset{shape: nn.Shape{1, mnist.Side, mnist.Side}, train: train.Rows(), test: test.Rows()}
	h := sha256.New()
	for i, img := range train.Images {
		h.Write(img)
		h.Write([]byte{byte(train.Labels[i])})
	}
	copy(d.digest[:], h.Sum(nil))
	var err error
	if d.trainLabels, err = nn.Labels(train.Labels, mnist.Classes); err != nil {
		return nil, err
	}
	if d.testLabels, err = nn.Labels(test.Labels, mnist.Classes); err != nil {
		return nil, err
	}
	if !r.scatter {
		return d, nil
	}
	if d.features, err = newFeatures(r.normalise); err != nil {
		return nil, err
	}
	done := 0
	coordinates := func(rows [][]float32) [][]float32 {
		out := make([][]float32, 0, len(rows))
		for chunk := range slices.Chunk(rows, 1000) {
			out = append(out, d.features.whitening.Apply(nil, d.features.normalised(chunk))...)
			done += len(chunk)
			bar.Update(done, "")
		}
		return out
	}
	d.train, d.test, d.shape = coordinates(d.train), coordinates(d.test), nn.Shape{whiteningOptions.Components}
	return d, nil
}

// plan is the run with the least noise that the budget allows.
func (s settings) plan(records int) (dp.Plan, error) {
	steps := s.steps
	if steps == 0 {
		steps = max(1, int(math.Round(s.epochs*float64(records)/float64(s.batch))))
	}
	return dp.CalibrateNoise(dp.Plan{
		Sampling:  dp.Poisson{Rate: float64(s.batch) / float64(records)},
		BatchSize: s.batch,
		Steps:     steps,
		Clip:      dp.Flat{Norm: s.clip},
		Relation:  accounting.AddRemove,
		Delta:     s.delta,
	}, s.epsilon)
}

// outcome is one finished run.
type outcome struct {
	model    *nn.Model
	accuracy float64
	spent    dp.Guarantee
	curve
}

// curve is what a run has reached, at every twentieth of it.
type curve struct {
	Steps, Accuracies, Epsilons []float64
}

// curveFile holds the curve up to the checkpoint beside it; it is no secret.
func (s settings) curveFile() string { return s.checkpoint + ".curve" }

// resumeCurve reads back what a killed run had reached by step n. A run's curve
// may be lost without harm to the run, so a file that is missing is no error.
func (s settings) resumeCurve(n int) (c curve, err error) {
	raw, err := os.ReadFile(s.curveFile())
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(raw, &c); err != nil || len(c.Steps) != len(c.Accuracies) || len(c.Steps) != len(c.Epsilons) {
		return c, fmt.Errorf("mnist: %s is not the curve of a run; remove it to resume without", s.curveFile())
	}
	keep, _ := slices.BinarySearch(c.Steps, float64(n)+0.5)
	return curve{c.Steps[:keep], c.Accuracies[:keep], c.Epsilons[:keep]}, nil
}

// saveEvery is how many steps lie between checkpoints.
const saveEvery = 20

func (s settings) train(plan dp.Plan, d *dataset, stage string, out io.Writer) (*outcome, error) {
	model, err := nn.New(d.shape, s.layers...)
	if err != nil {
		return nil, err
	}
	model.Init(nn.XavierUniform, s.seed)
	if s.scatter {
		model.Init(nn.Zero, s.seed)
	}
	optimizer, err := nn.NewOptimizer(nn.SGD{LearningRate: s.lr, Momentum: 0.9})
	if err != nil {
		return nil, err
	}
	id := sha256.New()
	id.Write(d.digest[:])
	id.Write([]byte(s.model))
	_ = binary.Write(id, binary.LittleEndian, s.seed)
	task := dp.Task{Params: model.Params(), Records: len(d.train), Optimizer: optimizer, Digest: [32]byte(id.Sum(nil)),
		NewWorker: func() (dp.Worker, error) {
			pass := nn.NewPass(model, nn.SoftmaxCrossEntropy{})
			var rows [][]float32
			var targets nn.Targets
			return dp.WorkerFunc(func(_ int, examples []int) (dp.Gradients, error) {
				rows = rows[:0]
				for _, i := range examples {
					rows = append(rows, d.train[i])
				}
				targets = d.trainLabels.Pick(targets, examples)
				return pass.Backward(rows, targets, examples), nil
			}), nil
		}}
	var trainer *dp.Trainer
	if s.resume {
		trainer, err = dp.Resume(s.checkpoint, plan, task)
	} else {
		trainer, err = dp.NewTrainer(plan, task)
	}
	if err != nil {
		return nil, err
	}
	o := &outcome{model: model}
	if s.resume {
		if o.curve, err = s.resumeCurve(trainer.Steps()); err != nil {
			return nil, err
		}
	}
	bar := report.NewProgress(out, stage, plan.Steps)
	every := max(1, plan.Steps/20)
	facts := ""
	for !trainer.Done() {
		if err := trainer.Step(); err != nil {
			return nil, err
		}
		n := trainer.Steps()
		if n%every == 0 || trainer.Done() {
			if o.spent, err = trainer.Spent(); err != nil {
				return nil, err
			}
			o.accuracy = nn.Accuracy(model, d.test, d.testLabels)
			o.Steps = append(o.Steps, float64(n))
			o.Accuracies = append(o.Accuracies, 100*o.accuracy)
			o.Epsilons = append(o.Epsilons, o.spent.Epsilon)
			facts = fmt.Sprintf("ε %.3f  accuracy %.2f%%", o.spent.Epsilon, 100*o.accuracy)
		}
		if s.checkpoint != "" && n%saveEvery == 0 && !trainer.Done() {
			if err := report.JSON(s.curveFile(), o.curve); err != nil {
				return nil, err
			}
			if err := trainer.Save(s.checkpoint); err != nil {
				return nil, err
			}
		}
		bar.Update(n, facts)
	}
	bar.Done(facts)
	if s.checkpoint != "" {
		if err := os.Remove(s.curveFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return o, trainer.Erase()
}

// write saves the model with its guarantee in the metadata.
func (s settings) write(o *outcome, d *dataset) error {
	guarantee, err := json.Marshal(o.spent)
	if err != nil {
		return err
	}
	metadata := map[string]string{"sotto.guarantee": string(guarantee)}
	model := o.model
	if s.scatter {
		if model, err = d.features.fold(model); err != nil {
			return err
		}
		metadata["sotto.features"] = "scattering J=2 L=8 order 2"
	}
	return model.Save(s.save, metadata)
}
