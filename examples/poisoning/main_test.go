package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRun runs every rule under every attack for a step, and two for some more, on the
// real data.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	require.NoError(t, run([]string{"-clients", "11", "-byzantine", "2", "-steps", "1", "-batch", "2", "-rule", "all", "-attack", "all"}, &out))
	require.NotContains(t, out.String(), "refused", "every rule runs")
	out.Reset()
	require.NoError(t, run([]string{"-steps", "40", "-rule", "mean,nnm+trimmed", "-attack", "none,replace", "-gamma", "1",
		"-json", filepath.Join(dir, "r.json"), "-plot", filepath.Join(dir, "r.svg")}, &out))
	raw, err := os.ReadFile(filepath.Join(dir, "r.json"))
	require.NoError(t, err)
	var got []result
	require.NoError(t, json.Unmarshal(raw, &got))
	require.Len(t, got, 4)
	for _, r := range got {
		if r.Rule == "mean" && r.Attack == "replace" {
			require.Less(t, r.Accuracy, 0.5, "the mean falls")
		} else {
			require.Greater(t, r.Accuracy, 0.7, r)
		}
	}
	drawn, err := os.ReadFile(filepath.Join(dir, "r.svg"))
	require.NoError(t, err)
	require.Contains(t, string(drawn), "nnm+trimmed")
}

func TestBadFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"-clients is 0":               {"-clients", "0"},
		"-byzantine is 10 of 20":      {"-byzantine", "10"},
		"-gamma is 2":                 {"-gamma", "2"},
		"-rule holds \"best\"":        {"-rule", "best"},
		"-attack holds \"\"":          {"-attack", ""},
		"-steps is 0":                 {"-steps", "0"},
		"-lr is -1":                   {"-lr", "-1"},
		"-momentum is 1":              {"-momentum", "1"},
		"must end in .png":            {"-plot", "x.gif"},
		"unexpected argument \"now\"": {"now"},
	} {
		require.ErrorContains(t, run(args, new(bytes.Buffer)), want)
	}
}
