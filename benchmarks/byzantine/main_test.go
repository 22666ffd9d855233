package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
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
	require.NoError(t, run([]string{"-gammas", "1,0", "-liars", "1", "-steps", "1", "-batch", "2", "-tests", "100", "-json", name}, &out))
	require.Contains(t, out.String(), "published")
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	var cells []cell
	require.NoError(t, json.Unmarshal(raw, &cells))
	require.Len(t, cells, 6)
}

func TestRecipes(t *testing.T) {
	s, err := parse([]string{"-momentum", "0.5"}, new(bytes.Buffer))
	require.NoError(t, err)
	for gamma := range published {
		r := s.recipeFor(gamma)
		require.NotNil(t, rules[r.rule])
		require.Positive(t, r.rate)
		require.Equal(t, 0.5, r.momentum)
	}
	require.Equal(t, recipes[0].recipe.rule, s.recipeFor(1).rule)
	require.Equal(t, recipes[2].recipe.rule, s.recipeFor(0).rule)
}

func TestBadFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"-gammas holds \"2\"": {"-gammas", "1,2"}, "-liars holds \"0\"": {"-liars", "0"}, "-rule is \"x\"": {"-rule", "x"},
		"must be positive": {"-steps", "0"}, "-lr is -1": {"-lr", "-1"}, "-momentum 1": {"-momentum", "1"}, "unexpected argument": {"now"},
	} {
		require.ErrorContains(t, run(args, new(bytes.Buffer)), want)
	}
}
