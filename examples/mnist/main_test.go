package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/internal/report"
	"github.com/sotto-ml/sotto/nn"
	"github.com/sotto-ml/sotto/nn/scattering"
)

func TestBadFlagsAreNamed(t *testing.T) {
	for want, args := range map[string][]string{
		"-model is \"tree\"":      {"-model", "tree"},
		"-batch is 60001":         {"-batch", "60001"},
		"-runs is 0":              {"-runs", "0"},
		"-lr is NaN":              {"-lr", "NaN"},
		"-clip is -1":             {"-clip", "-1"},
		"must end in .png":        {"-plot", "a.gif"},
		"unexpected argument":     {"x"},
		"-resume goes with one":   {"-resume", "-runs", "2"},
		"no/such":                 {"-save", filepath.Join(t.TempDir(), "no/such")},
		"train-images-idx3-ubyte": {"-model", "linear", "-save", "", "-checkpoint", "", "-data", t.TempDir()},
	} {
		require.ErrorContains(t, run(args, io.Discard), want, args)
	}
}

// TestRun trains each model for a few steps on the real data.
func TestRun(t *testing.T) {
	models := []string{"linear", "mlp", "cnn", "scatter"}
	if testing.Short() {
		models = models[:1]
	}
	for _, model := range models {
		dir := t.TempDir()
		file := func(name string) string { return filepath.Join(dir, name) }
		require.NoError(t, run([]string{"-model", model, "-steps", "20", "-batch", "4096", "-save", file("m.safetensors"),
			"-json", file("m.json"), "-plot", file("m.png"), "-checkpoint", file("c")}, io.Discard), model)
		var res result
		raw, err := os.ReadFile(file("m.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &res))
		require.Greater(t, res.Accuracy, 0.5, model)
		require.LessOrEqual(t, res.Epsilon, 3.0)
		require.Greater(t, res.Epsilon, 2.9)
		loaded, metadata, err := nn.Load(file("m.safetensors"))
		require.NoError(t, err)
		require.NotEmpty(t, loaded.Params())
		require.Contains(t, metadata["sotto.guarantee"], "add/remove")
		require.NoFileExists(t, file("c"), "the checkpoint is erased")
		if model == "scatter" {
			require.InDelta(t, res.Accuracy, savedAccuracy(t, loaded), 2e-3, "the saved model takes scattering coefficients")
		}
	}
}

// TestMain lets the test's binary be the program, so that a test can kill it.
func TestMain(m *testing.M) {
	if os.Getenv("MNIST_TEST_IS_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestKilledRunGoesOn kills a run behind its first checkpoint and resumes it
// twice from there: both must end with the same bits and the whole curve.
func TestKilledRunGoesOn(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	args := func(name string, more ...string) []string {
		return append([]string{"-model", "linear", "-batch", "256", "-steps", "1000", "-save", file(name + ".safetensors"),
			"-checkpoint", file(name), "-plot", file(name + ".svg")}, more...)
	}
	program := exec.Command(os.Args[0], args("killed")...)
	program.Env = append(os.Environ(), "MNIST_TEST_IS_PROGRAM=1")
	var said bytes.Buffer
	program.Stderr = &said
	require.NoError(t, program.Start())
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	hangs := time.After(5 * time.Minute)
	for saved := false; !saved; {
		select {
		case err := <-ended:
			t.Fatalf("the run ended before it was killed: %v %s", err, said.Bytes())
		case <-hangs:
			_ = program.Process.Kill()
			t.Fatal("no checkpoint in five minutes")
		case <-time.After(time.Millisecond):
		}
		raw, err := os.ReadFile(file("killed.curve"))
		_, noCheckpoint := os.Stat(file("killed"))
		saved = err == nil && noCheckpoint == nil && bytes.Contains(raw, []byte("50")) // the curve's first point
	}
	require.NoError(t, program.Process.Kill())
	require.Error(t, <-ended)
	require.NoFileExists(t, file("killed.safetensors"))
	for _, name := range []string{"one", "two"} {
		for _, suffix := range []string{"", ".curve"} {
			raw, err := os.ReadFile(file("killed" + suffix))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file(name+suffix), raw, 0o600))
		}
		// Another model or plan is refused, and the checkpoint stays.
		require.ErrorContains(t, run(args(name, "-resume", "-lr", "0.5"), io.Discard), "optimizer")
		require.ErrorContains(t, run(args(name, "-resume", "-epsilon", "2"), io.Discard), "plan")
		require.ErrorContains(t, run(args(name, "-resume", "-seed", "2"), io.Discard), "digest")
		require.NoError(t, run(args(name, "-resume"), io.Discard))
		require.NoFileExists(t, file(name))
		require.NoFileExists(t, file(name+".curve"))
	}
	one, err := os.ReadFile(file("one.safetensors"))
	require.NoError(t, err)
	two, err := os.ReadFile(file("two.safetensors"))
	require.NoError(t, err)
	require.Equal(t, one, two)
	drawnOne, err := os.ReadFile(file("one.svg"))
	require.NoError(t, err)
	drawnTwo, err := os.ReadFile(file("two.svg"))
	require.NoError(t, err)
	require.Equal(t, drawnOne, drawnTwo)
	var c curve
	c.Steps = []float64{50, 100, 150}
	c.Accuracies, c.Epsilons = []float64{1, 2, 3}, []float64{.1, .2, .3}
	require.NoError(t, report.JSON(file("c.curve"), c))
	kept, err := settings{checkpoint: file("c")}.resumeCurve(100)
	require.NoError(t, err)
	require.Equal(t, curve{c.Steps[:2], c.Accuracies[:2], c.Epsilons[:2]}, kept, "points behind the checkpoint are drawn again")
}

func savedAccuracy(t *testing.T, m *nn.Model) float64 {
	t.Helper()
	dir, err := mnist.Locate("")
	require.NoError(t, err)
	_, test, err := mnist.Load(dir)
	require.NoError(t, err)
	tr, err := scattering.New(mnist.Side, mnist.Side, scattering.Options{J: 2})
	require.NoError(t, err)
	labels, err := nn.Labels(test.Labels, mnist.Classes)
	require.NoError(t, err)
	return nn.Accuracy(m, tr.Batch(nil, test.Rows()), labels)
}

// TestDrawings holds the drawings to what they stand in for: ink between 0 and
// 1 in a box of 20 pixels or hardly more, its centre of mass in the middle.
func TestDrawings(t *testing.T) {
	images := strokes(500, 3)
	require.Equal(t, images[123:125], strokes(200, 3)[123:125], "a drawing is its seed's and number's alone")
	require.NotEqual(t, images[0], strokes(1, 4)[0])
	const half = float64(mnist.Side-1) / 2
	for i, img := range images {
		var mass, x, y float64
		for p, v := range img {
			require.True(t, v >= 0 && v <= 1)
			mass += float64(v)
			x += float64(v) * (float64(p%mnist.Side) - half)
			y += float64(v) * (float64(p/mnist.Side) - half)
		}
		require.Greater(t, mass, 15.0, "drawing %d", i)
		require.Less(t, mass, 350.0, "drawing %d", i)
		require.InDelta(t, 0, x/mass, 1, "drawing %d", i)
		require.InDelta(t, 0, y/mass, 1, "drawing %d", i)
	}
}

// TestHelp: who asks for help gets it, and run says that this is why it ended; see report.Exit.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	require.ErrorIs(t, run([]string{"-h"}, &out), flag.ErrHelp)
	require.Contains(t, out.String(), "-json")
}
