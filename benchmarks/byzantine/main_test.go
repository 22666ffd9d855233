package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/nn"
)

func TestLayers(t *testing.T) {
	s, err := parse(nil, new(bytes.Buffer))
	require.NoError(t, err)
	m, err := nn.New(s.Shape, layers()...)
	require.NoError(t, err)
	require.Len(t, m.Params(), 431_080)
}

func TestRun(t *testing.T) {
	name := filepath.Join(t.TempDir(), "grid.json")
	var out bytes.Buffer
	require.NoError(t, run([]string{"-gammas", "0.66,0.5", "-liars", "2", "-steps", "1", "-batch", "2", "-tests", "100",
		"-lr", "0.25", "-momentum", "0.5", "-cool", "1", "-seed", "3", "-json", name}, &out))
	require.Contains(t, out.String(), "published")
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	var cells []cell
	require.NoError(t, json.Unmarshal(raw, &cells))
	require.Len(t, cells, 6)
	least := min(cells[0].Accuracy, cells[1].Accuracy, cells[2].Accuracy)
	for i, c := range cells {
		require.Equal(t, cell{Gamma: c.Gamma, F: 2, Attack: attacks[i%3].name, Rule: "caf", Steps: 1, Batch: 2, Rate: 0.25, Momentum: 0.5,
			Cool: 1, Decay: 1e-4, Seed: 3, Accuracy: c.Accuracy, Seconds: c.Seconds, Worst: c.Worst,
			PublishedWorst: c.PublishedWorst, PublishedSteps: 800}, c)
		if i < 3 {
			require.Equal(t, least, c.Worst)
			require.Equal(t, 0.97, *c.PublishedWorst)
		} else {
			require.Nil(t, c.PublishedWorst, "none for gamma = 0.5")
		}
	}
	for _, key := range []string{"gamma", "f", "attack", "rule", "accuracy", "diverged", "seconds", "steps", "worst", "published_worst", "published_steps"} {
		require.Equal(t, 6, strings.Count(string(raw), "\n    \""+key+"\": "), key)
	}
}

// TestSmall: the corner says that its figures are not of the published ones' steps, and
// takes no grid beside its own.
func TestSmall(t *testing.T) {
	small := func(args ...string) (settings, error) {
		return parse(append([]string{"-small"}, args...), new(bytes.Buffer))
	}
	s, err := small()
	require.NoError(t, err)
	require.Equal(t, []float64{1, 0.33}, s.gammas)
	require.Equal(t, []int{1, 4}, s.liars)
	require.Equal(t, []int{200, 50}, []int{s.Steps, s.cool})
	s, err = small("-steps", "900", "-cool", "7")
	require.NoError(t, err)
	require.Equal(t, []int{900, 7}, []int{s.Steps, s.cool}, "what is asked for holds")
	_, err = small("-gammas", "1")
	require.ErrorContains(t, err, "-gammas is given with -small, which is gammas 1 and 0.33")
	_, err = small("-liars", "1,2,3,4")
	require.ErrorContains(t, err, "-liars is given with -small, which is f = 1 and 4")

	const says = "published figures are of 800 steps"
	for steps, unlike := range map[int]bool{200: true, 800: false} {
		var out bytes.Buffer
		s := settings{gammas: []float64{1}, liars: []int{1}}
		s.Steps = steps
		require.NoError(t, s.table(&out, []*cell{{Gamma: 1, F: 1}}))
		require.Equal(t, unlike, strings.Contains(out.String(), says), out.String())
	}
}

func TestRecipes(t *testing.T) {
	s, err := parse([]string{"-momentum", "0.5"}, new(bytes.Buffer))
	require.NoError(t, err)
	for gamma := range published {
		for f := 1; f <= 9; f++ {
			r := s.recipeFor(gamma, f)
			require.NotNil(t, rules[r.rule])
			require.Positive(t, r.rate)
			require.Equal(t, 0.5, r.momentum)
		}
	}
	require.Equal(t, "arc+nnm+trimmed", s.recipeFor(0.66, 1).rule)
	require.Equal(t, "caf", s.recipeFor(0.66, 2).rule)
	require.Equal(t, 200, s.recipeFor(0.33, 4).cool)
}

func TestBadFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"-gammas holds \"2\"": {"-gammas", "1,2"}, "-liars holds \"0\"": {"-liars", "0"}, "-rule is \"x\"": {"-rule", "x"},
		"must be positive": {"-steps", "0"}, "-lr is -1": {"-lr", "-1"}, "-momentum 1": {"-momentum", "1"}, "unexpected argument": {"now"},
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
