package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/federated"
)

// quick is a run of two rounds with few clients; later flags win.
func quick(more string) []string {
	return append(strings.Fields("-clients 12 -cohort 6 -rounds 2 -model linear -steps 2 -batch 16 -lr 0.5"), strings.Fields(more)...)
}

// TestCombinations runs what goes together, for two rounds, on the real data.
func TestCombinations(t *testing.T) {
	for _, more := range []string{
		"-strategy fedavg -weighted",
		"-strategy fedprox",
		"-strategy fedavgm",
		"-strategy fedadam",
		"-strategy fedyogi",
		"-strategy fedadagrad",
		"-strategy scaffold -dirichlet 0.1",
		"-strategy fednova",
		"-strategy fedbuff",
		"-selection weighted -extra 2 -dropout 0.2",
		"-selection poisson",
		"-compress 8bit -gate 0.5",
		"-compress topk",
		"-cohort 0 -byzantine 2 -attack alie -rule arc+nnm+trimmed -momentum 0.9",
		"-cohort 0 -byzantine 2 -attack best-ipm -rule trimmed",
		"-cohort 0 -byzantine 2 -attack nan -rule median",
		"-cohort 0 -byzantine 2 -attack replace",
		"-secure",
		"-secure -malicious -colluders 1 -neighbours 4 -dropout 0.1",
		"-secure -cohort 0 -byzantine 1 -attack signflip -rule trimmed",
		"-dp central",
		"-dp central -adaptive -rule trimmed -f 1 -cohort 0",
		"-dp distributed -secure -dropout 0.1",
		"-dp distributed -secure -colluders 1 -cohort 0 -rule median -f 1 -buckets 3",
		"-dp local -compress 8bit",
		"-model cnn", "-model mlp",
	} {
		name := filepath.Join(t.TempDir(), "r.json")
		require.NoError(t, run(append(quick(more), "-json", name), io.Discard), more)
		got := read(t, name)
		require.Equal(t, 2, got.Rounds, more)
		require.Positive(t, got.Accuracy, more)
		require.Positive(t, got.ClientUpdatesPerSecond, more)
		if strings.Contains(more, "-dp") {
			require.NotNil(t, got.Epsilon, more)
			require.InDelta(t, 8, *got.Epsilon, 0.01, more)
			require.Equal(t, "client (all of its data)", got.Unit)
		} else {
			require.Nil(t, got.Epsilon, more)
		}
	}
}

func read(t *testing.T, name string) (r results) {
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &r))
	var keys map[string]any
	require.NoError(t, json.Unmarshal(raw, &keys))
	for _, key := range []string{"accuracy", "rounds", "epsilon", "unit", "refused", "quarantined", "seconds", "client_updates_per_second"} {
		require.Contains(t, keys, key)
	}
	return r
}

// TestRefusals: what does not go together is refused before anything runs, with the
// reason.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	require.NoError(t, os.WriteFile(taken, nil, 0o600))
	for want, more := range map[string]string{
		"Central with Secure":                         "-dp central -secure",
		"Distributed without Secure":                  "-dp distributed",
		"Secure with Local":                           "-dp local -secure",
		"use Poisson or All":                          "-dp central -selection uniform",
		"Central with weighted FedAvg":                "-dp central -weighted",
		"Central with Scaffold":                       "-dp central -strategy scaffold",
		"Rule aggregate.Median with weighted FedNova": "-strategy fednova -rule median",
		"Rule aggregate.Median with Scaffold":         "-strategy scaffold -rule median",
		"Secure with weighted FedAvg":                 "-secure -weighted",
		"Secure with Compression federated.Quantized": "-secure -compress 8bit",
		"TopK with Rule":                              "-compress topk -rule median",
		"of these are of at least 2 clients":          "-secure -rule trimmed -byzantine 5 -cohort 0",
		"Buckets.Count is 2":                          "-rule trimmed -f 1 -buckets 2",
		"-dp is \"much\"":                             "-dp much",
		"-attack is \"rudeness\"":                     "-attack rudeness",
		"-rule is \"best\"":                           "-rule best",
		"-strategy is \"fed\"":                        "-strategy fed",
		"-selection is \"first\"":                     "-selection first",
		"-compress is \"zip\"":                        "-compress zip",
		"model is \"tree\"":                           "-model tree",
		"epsilon":                                     "-dp central -epsilon -1",
		"Delta is 2":                                  "-dp central -delta 2",
		"-clip is -1":                                 "-dp central -clip -1",
		"-dropout is 1":                               "-dropout 1",
		"-byzantine is 6 of 12":                       "-byzantine 6",
		"-cohort is 13":                               "-cohort 13",
		"-gamma is 2":                                 "-gamma 2",
		"-dirichlet is -1":                            "-dirichlet -1",
		"Rounds is 0":                                 "-rounds 0",
		"learning rate is 0":                          "-lr 0",
		"batch is 0":                                  "-batch 0",
		"-extra with -selection all":                  "-selection all -extra 1",
		"-weighted with -strategy scaffold":           "-strategy scaffold -weighted",
		"-adaptive goes with -dp central":             "-dp local -adaptive",
		"need -secure":                                "-colluders 1",
		"liars wait":                                  "-byzantine 2 -strategy fedbuff",
		"-buckets and -f need -rule":                  "-buckets 3",
		"must end in .png":                            "-plot x.gif",
		"file exists":                                 "-log " + taken,
		"-ledger needs -dp":                           "-ledger " + filepath.Join(dir, "l"),
		"-head goes with -verify":                     "-head 00",
		"unexpected argument \"now\"":                 "now",
		"train-images-idx3-ubyte":                     "-data " + dir,
	} {
		require.ErrorContains(t, run(quick(more), io.Discard), want, more)
	}
}

// TestLog: a run's log is verified, tampering is found, and a known head must be in it.
func TestLog(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	var out bytes.Buffer
	require.NoError(t, run(append(quick("-byzantine 2 -attack nan -strikes 1 -rounds 3 -cohort 0"), "-log", file("log"), "-json", file("r.json"), "-plot", file("p.svg")), &out))
	require.Contains(t, out.String(), "participants")
	got := read(t, file("r.json"))
	require.Equal(t, 2, got.Refused)
	require.Equal(t, 2, got.Quarantined)
	require.FileExists(t, file("p.svg"))
	out.Reset()
	require.NoError(t, run([]string{"-verify", file("log"), "-head", got.LogHead}, &out))
	require.Contains(t, out.String(), "is whole")
	require.Contains(t, out.String(), "quarantined 2")
	require.ErrorContains(t, run([]string{"-verify", file("log"), "-head", strings.Repeat("00", 32)}, io.Discard), "does not hold")
	require.ErrorContains(t, run([]string{"-verify", file("log"), "-head", "xyz"}, io.Discard), "hexadecimal")
	raw, err := os.ReadFile(file("log"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file("log"), bytes.Replace(raw, []byte("NaN"), []byte("nan"), 1), 0o600))
	require.ErrorIs(t, run([]string{"-verify", file("log")}, io.Discard), federated.ErrTampered)
	require.ErrorContains(t, run([]string{"-verify", file("none")}, io.Discard), "none")
}

// TestLedger: a budget that is kept in a file is not given out twice.
func TestLedger(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	args := append(quick("-dp central"), "-ledger", name)
	require.NoError(t, run(args, io.Discard))
	var out bytes.Buffer
	require.NoError(t, run(args, &out))
	require.Contains(t, out.String(), "the privacy budget is spent")
}

// TestHelp: who asks for help gets it, and run says that this is why it ended; see report.Exit.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	require.ErrorIs(t, run([]string{"-h"}, &out), flag.ErrHelp)
	require.Contains(t, out.String(), "-json")
}
