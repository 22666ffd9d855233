package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/nn"
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
		require.NoError(t, run([]string{"-model", model, "-steps", "25", "-batch", "512", "-save", file("m.safetensors"),
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
	}
}
