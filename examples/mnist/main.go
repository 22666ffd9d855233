// Command mnist trains a digit classifier on the real MNIST under a proven
// (ε, δ) guarantee: Poisson sampling, per-example clipping, exact noise,
// accounted by privacy loss distributions.
//
//	go run ./examples/mnist
//	go run ./examples/mnist -model cnn -runs 5 -json result.json -plot curve.png
//
// A run that was killed goes on with -resume, to the same bits. Its checkpoint
// holds the key of the noise: it is readable by its owner alone, and erased when
// the run ends.
package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/sotto-ml/sotto/dp"
	"github.com/sotto-ml/sotto/internal/atomicfile"
	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/internal/report"
)

func main() { report.Exit(run(os.Args[1:], os.Stdout)) }

// settings are the command line.
type settings struct {
	recipe
	model, data, save, json, plot, checkpoint string
	epsilon, delta                            float64
	seed                                      uint64
	runs, steps                               int
	resume                                    bool
}

func parse(args []string, out io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("mnist", flag.ContinueOnError)
	f.SetOutput(out)
	var epochs, clip, lr float64
	var batch int
	f.StringVar(&s.model, "model", "scatter", "linear, mlp, cnn or scatter")
	f.Float64Var(&s.epsilon, "epsilon", 3, "privacy budget")
	f.Float64Var(&s.delta, "delta", 1e-5, "delta of the guarantee")
	f.Float64Var(&epochs, "epochs", 0, "passes over the data (0: the model's own)")
	f.IntVar(&batch, "batch", 0, "expected batch size (0: the model's own)")
	f.Float64Var(&clip, "clip", 0, "clip norm (0: the model's own)")
	f.Float64Var(&lr, "lr", 0, "learning rate (0: the model's own)")
	f.Uint64Var(&s.seed, "seed", 1, "public randomness: initial weights")
	f.IntVar(&s.runs, "runs", 1, "repeats, each with fresh noise")
	f.IntVar(&s.steps, "steps", 0, "stop the plan after so many steps (0: by epochs)")
	f.StringVar(&s.data, "data", "", "folder of the four MNIST .gz files (default: fetched as a Go module)")
	f.StringVar(&s.save, "save", "mnist.safetensors", "where the model goes")
	f.StringVar(&s.json, "json", "", "write the results to this file")
	f.StringVar(&s.plot, "plot", "", "draw accuracy and epsilon to this .png, .svg or .pdf file")
	f.StringVar(&s.checkpoint, "checkpoint", "mnist.checkpoint", "where a run's state is kept while it runs (secret)")
	f.BoolVar(&s.resume, "resume", false, "go on with the checkpoint of a run that was killed")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("mnist: unexpected argument %q", f.Arg(0))
	}
	r, ok := recipes[s.model]
	if !ok {
		return s, fmt.Errorf("mnist: -model is %q, allowed is linear, mlp, cnn or scatter", s.model)
	}
	for _, v := range []struct {
		name string
		got  float64
		to   *float64
	}{{"epochs", epochs, &r.epochs}, {"clip", clip, &r.clip}, {"lr", lr, &r.lr}} {
		if v.got < 0 || math.IsNaN(v.got) || math.IsInf(v.got, 0) {
			return s, fmt.Errorf("mnist: -%s is %v, must be positive and finite", v.name, v.got)
		}
		if v.got > 0 {
			*v.to = v.got
		}
	}
	if batch < 0 || batch > 60000 {
		return s, fmt.Errorf("mnist: -batch is %d, allowed is 1 to 60000 (a sample rate of at most 1)", batch)
	}
	if batch > 0 {
		r.batch = batch
	}
	s.recipe = r
	switch {
	case s.runs < 1 || s.runs > 1000:
		return s, fmt.Errorf("mnist: -runs is %d, allowed is 1 to 1000", s.runs)
	case s.steps < 0:
		return s, fmt.Errorf("mnist: -steps is %d, must not be negative", s.steps)
	case s.resume && s.runs > 1:
		return s, fmt.Errorf("mnist: -resume goes with one run, -runs is %d", s.runs)
	case s.resume && s.checkpoint == "":
		return s, fmt.Errorf("mnist: -resume needs -checkpoint")
	}
	if s.plot != "" {
		if err := report.CheckPlotName(s.plot); err != nil {
			return s, err
		}
	}
	for _, name := range []string{s.save, s.json, s.plot, s.checkpoint} {
		if name != "" {
			if err := atomicfile.Probe(name); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// result is what -json writes.
type result struct {
	Model              string    `json:"model"`
	Accuracy           float64   `json:"accuracy"`
	AccuracyStd        float64   `json:"accuracy_std"`
	Accuracies         []float64 `json:"accuracies"`
	Runs               int       `json:"runs"`
	Epsilon            float64   `json:"epsilon"`
	EpsilonTarget      float64   `json:"epsilon_target"`
	Delta              float64   `json:"delta"`
	Relation           string    `json:"relation"`
	Accountant         string    `json:"accountant"`
	NoiseMultiplier    float64   `json:"noise_multiplier"`
	ClipNorm           float64   `json:"clip_norm"`
	Steps              int       `json:"steps"`
	BatchSize          int       `json:"batch_size"`
	SampleRate         float64   `json:"sample_rate"`
	Seconds            float64   `json:"seconds"`
	SecondsFeatures    float64   `json:"seconds_features"`
	SecondsCalibration float64   `json:"seconds_calibration"`
	SecondsTraining    float64   `json:"seconds_training"`
	ExamplesPerSecond  float64   `json:"examples_per_second"`
	NotAccounted       string    `json:"not_accounted"`
}

func run(args []string, out io.Writer) error {
	s, err := parse(args, out)
	if err != nil {
		return err
	}
	start := time.Now()
	dir, err := mnist.Locate(s.data)
	if err != nil {
		return err
	}
	train, test, err := mnist.Load(dir)
	if err != nil {
		return err
	}
	bar := report.NewProgress(out, "features", train.Len()+test.Len())
	set, err := prepare(s.recipe, train, test, bar)
	if err != nil {
		return err
	}
	res := result{Model: s.model, Runs: s.runs, EpsilonTarget: s.epsilon, Relation: "add/remove",
		Accountant: "privacy loss distribution, certified upper end", NotAccounted: dp.NotAccounted}
	res.SecondsFeatures = bar.Done("").Seconds()

	begin := time.Now()
	plan, err := s.plan(train.Len())
	if err != nil {
		return err
	}
	res.SecondsCalibration = time.Since(begin).Seconds()
	begin = time.Now()
	var last *outcome
	for i := range s.runs {
		o, err := s.train(plan, set, fmt.Sprintf("run %d/%d", i+1, s.runs), out)
		if err != nil {
			return err
		}
		res.Accuracies = append(res.Accuracies, o.accuracy)
		last = o
	}
	res.SecondsTraining = time.Since(begin).Seconds()
	res.Accuracy, res.AccuracyStd = meanStd(res.Accuracies)
	g := last.spent
	res.Epsilon, res.Delta, res.Steps = g.Epsilon, g.Delta, g.Steps
	res.NoiseMultiplier, res.ClipNorm, res.BatchSize = plan.NoiseMultiplier, s.clip, s.batch
	res.SampleRate = plan.Sampling.(dp.Poisson).Rate
	res.ExamplesPerSecond = float64(s.runs*plan.Steps*s.batch) / res.SecondsTraining
	res.Seconds = time.Since(start).Seconds()

	if s.save != "" {
		if err := s.write(last, set); err != nil {
			return err
		}
	}
	if s.json != "" {
		if err := report.JSON(s.json, res); err != nil {
			return err
		}
	}
	if s.plot != "" {
		err := report.Plot(s.plot,
			report.Panel{Title: "Test accuracy", X: "step", Y: "accuracy (%)", Curves: []report.Curve{{Name: s.model, X: last.Steps, Y: last.Accuracies}}},
			report.Panel{Title: fmt.Sprintf("Privacy spent, δ = %g", s.delta), X: "step", Y: "ε (add/remove)", Curves: []report.Curve{{Name: "ε", X: last.Steps, Y: last.Epsilons}}})
		if err != nil {
			return err
		}
	}
	accuracy := fmt.Sprintf("%.2f%%", 100*res.Accuracy)
	if s.runs > 1 {
		accuracy += fmt.Sprintf(" ± %.2f over %d runs", 100*res.AccuracyStd, s.runs)
	}
	fmt.Fprintln(out)
	return report.Table(out, false,
		[]string{"model", s.model},
		[]string{"test accuracy", accuracy},
		[]string{"ε spent", fmt.Sprintf("%.4f of %g", res.Epsilon, s.epsilon)},
		[]string{"δ", fmt.Sprintf("%g", res.Delta)},
		[]string{"relation", res.Relation},
		[]string{"accountant", res.Accountant},
		[]string{"noise multiplier", fmt.Sprintf("%.4f, clip norm %g", res.NoiseMultiplier, s.clip)},
		[]string{"steps", fmt.Sprintf("%d of expected batch %d, Poisson rate %.5f", res.Steps, s.batch, res.SampleRate)},
		[]string{"speed", fmt.Sprintf("%.0f examples/s", res.ExamplesPerSecond)},
		[]string{"time", fmt.Sprintf("%.1fs: features %.1fs, calibration %.1fs, training %.1fs", res.Seconds, res.SecondsFeatures, res.SecondsCalibration, res.SecondsTraining)},
		[]string{"not accounted", res.NotAccounted})
}

func meanStd(x []float64) (mean, std float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	if len(x) < 2 {
		return mean, 0
	}
	for _, v := range x {
		std += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, math.Sqrt(std)
}
