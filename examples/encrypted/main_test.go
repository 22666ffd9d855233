package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/he"

	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/nn"
)

// TestMain lets the test's binary be the server's process, as main does.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestBadFlagsAreNamed(t *testing.T) {
	for want, args := range map[string][]string{
		"-net is \"tree\"":        {"-net", "tree"},
		"-mode is \"fast\"":       {"-mode", "fast"},
		"-n is 9489":              {"-n", "9489"},
		"-degree is 32":           {"-degree", "32"},
		"-steps is -1":            {"-steps", "-1"},
		"unexpected argument":     {"serve", "x"},
		"-model is not trained":   {"-model", "a", "-private"},
		"no/such":                 {"-json", filepath.Join(t.TempDir(), "no/such")},
		"train-images-idx3-ubyte": {"-data", t.TempDir()},
	} {
		require.ErrorContains(t, run(args, io.Discard), want, args)
	}
	require.ErrorContains(t, run([]string{"-model", filepath.Join(t.TempDir(), "none")}, io.Discard), "no such file")
}

// TestRun trains networks for a few steps on the real data and sends digits to a server
// in a process of its own.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	cases := map[string][]string{
		"lr":         {"-net", "lr", "-steps", "300", "-n", "40"},
		"lr batch":   {"-net", "lr", "-steps", "300", "-n", "600", "-mode", "auto"},
		"mlp":        {"-net", "mlp", "-steps", "300", "-n", "5", "-save", file("mlp")},
		"mlp loaded": {"-model", file("mlp"), "-n", "2"},
		"private":    {"-net", "lr", "-private", "-steps", "50", "-n", "10"},
	}
	for _, name := range []string{"lr", "lr batch", "mlp", "mlp loaded", "private"} {
		if testing.Short() && name == "mlp" {
			break
		}
		var out bytes.Buffer
		require.NoError(t, run(append(cases[name], "-json", file("r.json")), &out), name)
		require.Contains(t, out.String(), "128 bits: log2(QP)", name)
		raw, err := os.ReadFile(file("r.json"))
		require.NoError(t, err)
		var keys map[string]any
		require.NoError(t, json.Unmarshal(raw, &keys))
		for _, key := range []string{"net", "mode", "accuracy_plain", "accuracy_encrypted", "agreement", "eval_ms", "eval_over_rotation",
			"amortised_ms", "key_bytes", "query_bytes", "security_bits", "log_n", "log_qp", "precision_bits"} {
			require.Contains(t, keys, key, name)
		}
		var r result
		require.NoError(t, json.Unmarshal(raw, &r))
		require.Greater(t, r.AccuracyPlain, 0.6, name)
		require.GreaterOrEqual(t, r.Agreement, 1-float64(r.DisagreementsOfTies)/float64(r.Digits), name)
		require.Greater(t, r.PrecisionBits, 8.0, name)
		require.Positive(t, r.EvaluateMS, name)
		require.Equal(t, name == "lr batch", r.Mode == he.Batch, name)
		if name == "private" {
			require.LessOrEqual(t, r.Epsilon, 3.0)
			require.Greater(t, r.Epsilon, 2.8)
		}
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	name := filepath.Join(t.TempDir(), "report.json")
	require.NoError(t, run([]string{"-net", "lr", "-steps", "100", "-report", "-json", name}, &out))
	require.Contains(t, out.String(), "eprint 2024/463")
	require.NotContains(t, out.String(), "agreement")
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	var r he.Report
	require.NoError(t, json.Unmarshal(data, &r))
	require.Equal(t, 128, r.SecurityBits)
	require.Equal(t, he.Latency, r.Mode)
}

// TestNormalisationOfFeaturesIsTheClients loads a model as examples/mnist writes it.
func TestNormalisationOfFeaturesIsTheClients(t *testing.T) {
	whole, err := nn.New(nn.Shape{81, 7, 7}, nn.GroupNorm{Groups: 9, NoAffine: true}, nn.Flatten{}, nn.Linear{Out: mnist.Classes})
	require.NoError(t, err)
	whole.Init(nn.XavierNormal, 1)
	name := filepath.Join(t.TempDir(), "m")
	require.NoError(t, whole.Save(name, map[string]string{"sotto.features": scatterFeatures}))
	m, features, normalise, err := load(name)
	require.NoError(t, err)
	images := [][]float32{make([]float32, mnist.Side*mnist.Side)}
	for i := range images[0] {
		images[0][i] = float32(i%7) / 7
	}
	raw, err := prepare(features, images)
	require.NoError(t, err)
	rows, err := inputs(m, features, normalise, images)
	require.NoError(t, err)
	require.Equal(t, nn.Predict(whole, raw), nn.Predict(m, rows))
	require.NoError(t, whole.Save(name, map[string]string{"sotto.features": "wavelets"}))
	_, features, _, err = load(name)
	require.NoError(t, err)
	_, err = prepare(features, images)
	require.ErrorContains(t, err, `features "wavelets"`)
}

// A model of something else is refused, not run.
func TestForeignModels(t *testing.T) {
	name := filepath.Join(t.TempDir(), "foreign")
	for want, m := range map[string]struct {
		input  nn.Shape
		layers []nn.Layer
	}{
		"0 layers":               {nn.Shape{mnist.Classes}, nil},
		"has 1 layers and 3 out": {nn.Shape{mnist.Side * mnist.Side}, []nn.Layer{nn.Linear{Out: 3}}},
		"reads 10 values":        {nn.Shape{10}, []nn.Layer{nn.Linear{Out: mnist.Classes}}},
	} {
		model, err := nn.New(m.input, m.layers...)
		require.NoError(t, err)
		require.NoError(t, model.Save(name, nil))
		require.ErrorContains(t, run([]string{"-model", name, "-n", "1"}, io.Discard), want)
		require.ErrorContains(t, run([]string{"-model", name, "-report"}, io.Discard), want)
	}
}

func TestCosines(t *testing.T) {
	flat, wave := make([]float32, mnist.Side*mnist.Side), make([]float32, mnist.Side*mnist.Side)
	for i := range flat {
		flat[i] = 0.5
		wave[i] = float32(math.Cos(math.Pi * (float64(i%mnist.Side) + 0.5) / mnist.Side))
	}
	got := cosines([][]float32{flat, wave})
	for i, x := range got[0] {
		require.InDelta(t, map[bool]float64{true: 3.92}[i == 0], x, 1e-5, i)
	}
	for i, x := range got[1] {
		require.InDelta(t, map[bool]float64{true: 3.92}[i == 1], x, 1e-5, i)
	}
}

func TestMoveKeepsInk(t *testing.T) {
	image, moved := make([]float32, mnist.Side*mnist.Side), make([]float32, mnist.Side*mnist.Side)
	for y := 10; y < 18; y++ {
		for x := 10; x < 18; x++ {
			image[y*mnist.Side+x] = 1
		}
	}
	sum := func(v []float32) (s float64) {
		for _, x := range v {
			require.True(t, x >= 0 && x <= 1)
			s += float64(x)
		}
		return s
	}
	for seed := range uint64(50) {
		move(moved, image, newSource(seed, 0, 0))
		require.InDelta(t, sum(image), sum(moved), 0.35*sum(image))
		require.NotEqual(t, image, moved)
	}
}

// TestCompare counts a disagreement that is none of a tie.
func TestCompare(t *testing.T) {
	var r result
	r.compare([][]float32{{1, 0}, {0, 1}, {1, 0}, {4, 0}}, [][]float64{{1, 0.01}, {0, 1}, {0, 1}}, []int{0, 1, 1, 1})
	require.Equal(t, 0.5, r.AccuracyPlain)
	require.InDelta(t, 2./3, r.AccuracyPlainSent, 1e-12)
	require.Equal(t, 1.0, r.AccuracyEncrypted)
	require.InDelta(t, 2./3, r.Agreement, 1e-12)
	require.Equal(t, 1, r.Disagreements)
	require.Zero(t, r.DisagreementsOfTies, "errors of 0.01 turn no label by 1")
	require.InDelta(t, 0, r.PrecisionBits, 1e-12)
}

// TestHelp: who asks for help gets it, and run says that this is why it ended; see report.Exit.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	require.ErrorIs(t, run([]string{"-h"}, &out), flag.ErrHelp)
	require.Contains(t, out.String(), "-json")
}
