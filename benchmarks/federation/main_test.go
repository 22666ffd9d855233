package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRun runs each part for a round, on the real data.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of training")
	}
	name := filepath.Join(t.TempDir(), "r.json")
	var out bytes.Buffer
	require.NoError(t, run([]string{"-rounds", "1", "-json", name}, &out))
	require.Contains(t, out.String(), "published")
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	var rows []row
	require.NoError(t, json.Unmarshal(raw, &rows))
	require.Len(t, rows, 3+1+3*4+3)
	for _, r := range rows {
		require.Equal(t, 1, r.Rounds)
		require.Positive(t, r.Accuracy)
		if r.Part == "privacy" {
			require.Positive(t, r.Epsilon)
			require.LessOrEqual(t, r.Epsilon, 8.0)
		}
	}
}

func TestBadFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"-part holds \"all\"": {"-part", "all"}, "-rounds is -1": {"-rounds", "-1"}, "unexpected argument": {"now"},
		"no/such": {"-json", filepath.Join(t.TempDir(), "no/such")}, "train-images-idx3-ubyte": {"-data", t.TempDir()},
	} {
		require.ErrorContains(t, run(args, new(bytes.Buffer)), want)
	}
}

// TestHelp: who asks for help gets it, and run says that this is why it ended; see report.Exit.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	require.ErrorIs(t, run([]string{"-h"}, &out), flag.ErrHelp)
	require.Contains(t, out.String(), "-json")
}
