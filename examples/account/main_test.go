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

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/dp/accounting/ledger"
)

func TestBadFlagsAreNamed(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	require.NoError(t, os.WriteFile(bad, []byte(`{"type":"gaussian","noise_multiplier":0}`), 0o600))
	for want, args := range map[string][]string{
		"-sampling is \"shuffled\"":        {"-sampling", "shuffled"},
		"-rate goes with":                  {"-sampling", "none", "-rate", "0.1"},
		"-relation is \"none\"":            {"-relation", "none"},
		"delta is 0":                       {"-delta", "0"},
		"NoiseMultiplier is 0":             {"-noise", "0"},
		"Rate is 2":                        {"-rate", "2"},
		"Count is 0":                       {"-steps", "0"},
		"-event stands for":                {"-event", bad, "-noise", "1"},
		"must be positive and finite":      {"-event", bad},
		"no such file":                     {"-event", bad + "no"},
		"give it or -noise":                {"-target-epsilon", "3", "-noise", "1"},
		"-target-epsilon is -1":            {"-target-epsilon", "-1"},
		"unexpected argument \"x\"":        {"x"},
		"must end in .png":                 {"-plot", "a.gif"},
		"no/such":                          {"-json", filepath.Join(dir, "no/such/x")},
		"no such file or directory":        {"-ledger", filepath.Join(dir, "none")},
		"not a ledger":                     {"-ledger", bad},
		"flag provided but not defined: -": {"-epsilons", "3"},
	} {
		require.ErrorContains(t, run(args, io.Discard), want, args)
	}
}

// build makes the program.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "account")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return program
}

func read(t *testing.T, name string) (r result) {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &r))
	return r
}

func TestProgram(t *testing.T) {
	program, dir := build(t), t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	do := func(args ...string) string {
		out, err := exec.Command(program, args...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	out := do("-rate", "0.01", "-noise", "1.1", "-steps", "500", "-json", file("a.json"), "-plot", file("a.png"))
	for _, want := range []string{"add/remove", "best of all", "privacy loss grid", "Rényi orders", "false positives", "advantage"} {
		require.Contains(t, out, want)
	}
	png, err := os.ReadFile(file("a.png"))
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(png, []byte("\x89PNG")))
	a := read(t, file("a.json"))
	event := accounting.SelfComposed{Event: accounting.PoissonSampled{Rate: 0.01, Event: accounting.Gaussian{NoiseMultiplier: 1.1}}, Count: 500}
	want, err := accounting.Epsilon(event, accounting.AddRemove, 1e-5)
	require.NoError(t, err)
	require.Equal(t, want.Upper, *a.Accountants[0].Upper)
	require.Equal(t, want.Lower, *a.Accountants[0].Lower)
	require.GreaterOrEqual(t, *a.Accountants[1].Upper, want.Upper)
	require.Greater(t, *a.Accountants[2].Upper, want.Upper)
	require.Equal(t, 500, a.OverSteps[len(a.OverSteps)-1].Steps)
	last := 0.0
	for _, p := range a.Attacks {
		require.Greater(t, p.TruePositives, last)
		require.GreaterOrEqual(t, p.TruePositives, p.FalsePositives)
		require.LessOrEqual(t, p.TruePositives-p.FalsePositives, a.Advantage+1e-12)
		last = p.TruePositives
	}

	// The event it writes is an event it reads, with the same answer.
	require.NoError(t, os.WriteFile(file("event.json"), a.Event, 0o600))
	do("-event", file("event.json"), "-json", file("b.json"))
	require.Equal(t, a.Accountants[0].Upper, read(t, file("b.json")).Accountants[0].Upper)
	do("-event", file("event.json"), "-relation", "replace-one", "-json", file("b.json"))
	require.Greater(t, *read(t, file("b.json")).Accountants[0].Upper, 1.3*want.Upper)

	out = do("-sampling", "none", "-steps", "10", "-target-epsilon", "1", "-json", file("c.json"), "-plot", file("c.svg"))
	require.Contains(t, out, "the least that meets it")
	c := read(t, file("c.json"))
	require.LessOrEqual(t, *c.Accountants[0].Upper, 1.0)
	require.Greater(t, *c.Accountants[0].Upper, 0.999)
	require.Greater(t, c.NoiseMultiplier, 1.0)
	require.FileExists(t, file("c.svg"))
}

// A plain Gaussian's trade-off is known: Φ(Φ⁻¹(1-fpr) - 1/σ) false negatives.
func TestTradeOffOfAGaussian(t *testing.T) {
	s := settings{sampling: "none", noise: 1, steps: 1, delta: 1e-5, relation: "add-remove"}
	r, err := s.account(io.Discard)
	require.NoError(t, err)
	tpr := map[float64]float64{1e-4: 0.003276, 0.001: 0.018314, 0.01: 0.092361, 0.1: 0.389145}
	require.Len(t, r.Attacks, len(tpr))
	for _, a := range r.Attacks {
		require.InEpsilon(t, tpr[a.FalsePositives], a.TruePositives, 1e-3, a)
		require.InEpsilon(t, tpr[a.FalsePositives], a.Lower, 1e-3, a)
	}
	require.InDelta(t, 1, r.Mu, 0.1)
	require.InDelta(t, 0.3829, r.Advantage, 1e-3)
}

func TestShowsALedger(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	l, err := ledger.Create(name)
	require.NoError(t, err)
	a, err := l.Account(ledger.Budget{DataSet: "patients", Relation: accounting.AddRemove, Epsilon: 3, Delta: 1e-5})
	require.NoError(t, err)
	require.NoError(t, a.Reserve("first", accounting.AddRemove, accounting.Gaussian{NoiseMultiplier: 9}, 0))
	var out bytes.Buffer
	file := filepath.Join(t.TempDir(), "ledger.json")
	require.NoError(t, run([]string{"-ledger", name, "-json", file}, &out))
	require.Contains(t, out.String(), "patients")
	require.Contains(t, out.String(), "reserved")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var book ledger.Book
	require.NoError(t, json.Unmarshal(data, &book))
	require.Equal(t, "first", book.DataSets[0].Runs[0].Name)
	require.NoError(t, l.Close())
}

// TestHelp: who asks for help gets it, and run says that this is why it ended; see report.Exit.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	require.ErrorIs(t, run([]string{"-h"}, &out), flag.ErrHelp)
	require.Contains(t, out.String(), "-json")
}
