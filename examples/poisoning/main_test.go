package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/internal/poisoning"
)

func elevenAndTwo(seed uint64) settings {
	return settings{Setting: poisoning.Setting{Honest: 11, Liars: 2, Seed: seed}}
}

// serverAt is a run's in a step.
func serverAt(step int) *server {
	return elevenAndTwo(7).newServer(true, &poisoning.Round{Step: step, Root: []float32{1, 2}})
}

// TestGuarded: a run's rule goes on from round to round, each run has its own, and those
// without memory are made for as many liars as are left.
func TestGuarded(t *testing.T) {
	rows := make([][]float32, 13)
	for i := range rows {
		rows[i] = []float32{float32(10 + i), float32(i * i)}
	}
	broken := slices.Clone(rows)
	broken[12] = []float32{float32(math.NaN()), 0}
	for _, r := range rules {
		alone, in := serverAt(0), serverAt(0)
		run, other := in.guarded(2, r.of), serverAt(0).guarded(2, r.of)
		for round := range 3 {
			alone.at.Step, in.at.Step = round, round
			want, err := r.of(alone, 2).Aggregate(nil, rows, nil)
			require.NoError(t, err)
			got, err := run.Aggregate(nil, rows, nil)
			require.NoError(t, err)
			require.Equal(t, want, got, "%s in round %d", r.name, round)
		}
		first, err := other.Aggregate(nil, rows, nil)
		require.NoError(t, err)
		fresh, err := r.of(serverAt(0), 2).Aggregate(nil, rows, nil)
		require.NoError(t, err)
		require.Equal(t, fresh, first, "%s of another run", r.name)

		alone.liars = 1
		want, err := r.of(alone, 1).Aggregate(nil, broken[:12], nil)
		require.NoError(t, err)
		got, err := run.Aggregate(nil, broken, nil)
		require.NoError(t, err)
		require.Equal(t, want, got, "%s with a row refused", r.name)
	}
}

func named(t *testing.T, name string) rule {
	i := slices.IndexFunc(rules, func(r rule) bool { return r.name == name })
	require.NotEqual(t, -1, i, name)
	return rules[i]
}

// TestNamed: each rule of package aggregate can be named, and has what it needs.
func TestNamed(t *testing.T) {
	for name, want := range map[string]aggregate.Rule{
		"mean": aggregate.Mean{}, "median": aggregate.Median{}, "trimmed": aggregate.TrimmedMean{F: 2}, "meamed": aggregate.Meamed{F: 2},
		"signs": aggregate.SignMajority{Scale: 0.005}, "krum": aggregate.Krum{F: 2}, "multikrum": aggregate.MultiKrum{F: 2},
		"bulyan": aggregate.Bulyan{F: 2}, "mda": aggregate.MinimumDiameter{F: 2}, "geometric": aggregate.GeometricMedian{},
		"weiszfeld": aggregate.Weiszfeld{Smoothing: 0.1, Steps: 3}, "clipping": &aggregate.CenteredClipping{Tau: 1, Steps: 3},
		"normbound": aggregate.Clipping{Norm: 1}, "smea": aggregate.SMEA{F: 2}, "caf": aggregate.CAF{F: 2}, "flame": aggregate.FLAME{},
		"foolsgold": &aggregate.FoolsGold{Forget: true}, "fltrust": aggregate.FLTrust{Root: []float32{1, 2}},
		"monna": aggregate.MoNNA{F: 2}, "arc": aggregate.ARC{F: 2}, "nnm": aggregate.NNM{F: 2},
		"weighted-mean":    aggregate.Mean{Weights: []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2}},
		"weighted-median":  aggregate.WeightedMedian{Weights: []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2}},
		"weighted-trimmed": aggregate.WeightedTrimmedMean{Weights: []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2}, Share: 4. / 15},
	} {
		require.Equal(t, want, named(t, name).of(serverAt(0), 2), name)
	}
	for i, r := range rules {
		public := elevenAndTwo(1).setting(i, 0).Public
		require.Equal(t, r.name == "fltrust", public == 100, r.name)
	}
	require.Len(t, elevenAndTwo(1).newServer(false, nil).weights(), 11, "under none")
}

// TestAll: all is without the rules that take too long, unless they are named too.
func TestAll(t *testing.T) {
	all := func(args ...string) (held, left string) {
		s, err := parse(args, new(bytes.Buffer))
		require.NoError(t, err)
		name := func(of []int) string { return names(len(of), func(i int) string { return rules[of[i]].name }) }
		return name(s.rules), name(s.left)
	}
	without := func(some ...string) string {
		var left []string
		for _, r := range rules {
			if !slices.Contains(some, r.name) {
				left = append(left, r.name)
			}
		}
		return strings.Join(left, ",")
	}
	held, left := all("-rule", "all")
	require.Equal(t, "weighted-median,weighted-trimmed,smea", left)
	require.Equal(t, without("weighted-median", "weighted-trimmed", "smea"), held)
	_, left = all("-rule", "all", "-clients", "60", "-byzantine", "20")
	require.Equal(t, "weighted-median,weighted-trimmed,mda,smea", left)
	_, left = all("-rule", "all", "-clients", "13", "-byzantine", "2")
	require.Equal(t, "weighted-median,weighted-trimmed", left)
	held, left = all("-rule", "smea,all,weighted-median")
	require.Equal(t, without("weighted-trimmed"), held)
	require.Equal(t, "weighted-trimmed", left)
	require.Equal(t, 4845.0, choose(20, 4))
	require.Equal(t, 1.0, choose(20, 0))
	require.True(t, math.IsInf(choose(3000, 1400), 1))

	var out bytes.Buffer
	require.NoError(t, run([]string{"-rule", "all", "-attack", "none", "-steps", "1", "-batch", "1"}, &out))
	require.Contains(t, out.String(), "left out of -rule all: weighted-trimmed, which sorts each column apart, many times a step; -rule weighted-trimmed runs it\n"+
		"left out of -rule all: smea, which may try each of 4845 sets of rows, many times a step; -rule smea runs it\n")
}

// TestDraws: what is drawn is new in each step and with each seed, the same again in a run
// of the same seed, and not what liars guess.
func TestDraws(t *testing.T) {
	dnc := func(s *server) uint64 {
		return named(t, "dnc").of(s, 2).(aggregate.DnC).Seed
	}
	require.Equal(t, dnc(serverAt(3)), dnc(serverAt(3)))
	require.NotEqual(t, dnc(serverAt(3)), dnc(serverAt(4)), "of another step")
	require.NotEqual(t, dnc(serverAt(3)), dnc(elevenAndTwo(8).newServer(true, &poisoning.Round{Step: 3})), "of another seed")
	require.NotEqual(t, dnc(serverAt(3)), dnc(serverAt(3).guessed()), "the liars'")
	run := serverAt(0)
	liars := run.guessed()
	before := dnc(liars)
	run.at.Step++
	require.NotEqual(t, before, dnc(liars), "liars know the step")
	require.Same(t, run.clipping, liars.clipping, "and the momentum")

	buckets := func(s *server) uint64 {
		return named(t, "bucketing+geometric").of(s, 2).(aggregate.Chain)[0].(aggregate.Bucketing).Seed
	}
	require.NotEqual(t, buckets(serverAt(3)), buckets(serverAt(4)), "of another step")
	require.Equal(t, buckets(serverAt(3)), buckets(serverAt(3).guessed()), "public")

	gaussian := slices.IndexFunc(attacks, func(a lie) bool { return a.name == "gaussian" })
	noise := func() (rounds [3][]float32) {
		a := attacks[gaussian].of(settings{}, nil)
		for k := range rounds {
			rounds[k] = make([]float32, 4)
			require.NoError(t, a.Forge(rounds[k:k+1], [][]float32{{1, 2, 3, 4}}))
		}
		return rounds
	}
	first := noise()
	require.NotEqual(t, first[0], first[1], "new in each round")
	require.NotEqual(t, first[1], first[2], "new in each round")
	require.Equal(t, first, noise(), "and the same again")
}

// TestTable: where a rule does not apply it has no accuracy, in the table and in the heat map,
// and no worst one unless that is under none alone; a run that failed has 0. Reasons are printed
// once.
func TestTable(t *testing.T) {
	got := func(rule, attack string, accuracy float64) result {
		return result{Rule: rule, Attack: attack, Accuracy: &accuracy}
	}
	not := func(rule, attack string) result { return result{Rule: rule, Attack: attack, Refused: "too few"} }
	failed := got("d", "nan", 0)
	failed.Failed = "stopped"
	table := [][]result{
		{not("a", "none"), got("a", "ipm", 0.625), got("a", "nan", 0.75)},
		{not("b", "none"), not("b", "ipm"), got("b", "nan", 0.75)},
		{not("c", "none"), not("c", "ipm"), not("c", "nan")},
		{got("d", "none", 0.875), got("d", "ipm", 0.5), failed},
		{not("e", "none"), not("e", "ipm"), got("e", "nan", 0.75)},
	}
	for _, row := range table {
		rate(row)
	}
	var out bytes.Buffer
	require.NoError(t, settings{}.print(&out, table))
	require.Regexp(t, `(?m)^\s*a\s+n/a\s+0\.625\s+0\.750\s+0\.625$`, out.String())
	require.Regexp(t, `(?m)^\s*b\s+n/a\s+n/a\s+0\.750\s+n/a$`, out.String())
	require.Regexp(t, `(?m)^\s*c\s+n/a\s+n/a\s+n/a\s+n/a$`, out.String())
	require.Regexp(t, `(?m)^\s*d\s+0\.875\s+0\.500\s+failed\s+0\.000$`, out.String())
	require.Contains(t, out.String(), "\nn/a: a under none: too few\n"+
		"n/a: b, e under none, ipm: too few\nn/a: c under none, ipm, nan: too few\nfailed: d under nan: stopped\n")

	name := filepath.Join(t.TempDir(), "map.svg")
	require.NoError(t, heatMap(name, "a title", table[2:4]))
	drawn, err := os.ReadFile(name)
	require.NoError(t, err)
	texts := regexp.MustCompile(`>([^<>\n]+)</text>`).FindAllStringSubmatch(string(drawn), -1)
	var held []string
	for _, text := range texts {
		held = append(held, text[1])
	}
	slices.Sort(held)
	require.Equal(t, []string{"0.000", "0.500", "0.875", "a title", "c", "d", "failed", "ipm", "n/a", "n/a", "n/a", "n/a", "nan", "none", "worst"}, held)
}

// TestTooFewRows: a rule that never takes so few rows does not apply, also under attacks that
// search by it; one that fails for another reason has failed.
func TestTooFewRows(t *testing.T) {
	broken := rules[0]
	broken.name, broken.of = "broken", func(s *server, _ int) aggregate.Rule {
		if s.at.Step == 2 {
			return aggregate.SignMajority{Scale: -1}
		}
		return aggregate.Mean{}
	}
	defer func(was []rule) { rules = was }(rules)
	rules = append(slices.Clone(rules), broken)
	name := filepath.Join(t.TempDir(), "r.json")
	var out bytes.Buffer
	require.NoError(t, run([]string{"-clients", "12", "-byzantine", "3", "-steps", "3", "-batch", "2", "-lr", "0.125",
		"-gamma", "0.25", "-momentum", "0.75", "-seed", "9", "-rule", "mean,bulyan,broken", "-attack", "none,signflip,best-ipm,nan", "-json", name}, &out))
	require.Regexp(t, `(?m)^\s*bulyan\s+n/a\s+n/a\s+n/a\s+0\.\d+\s+n/a$`, out.String())
	require.Regexp(t, `(?m)^\s*broken\s+failed\s+failed\s+failed\s+failed\s+0\.000$`, out.String())
	require.Equal(t, 1, strings.Count(out.String(), "Bulyan.F is 3 of 12 rows"), out.String())
	require.Equal(t, 1, strings.Count(out.String(), "Bulyan.F is 3 of 9 rows"), out.String())
	require.Contains(t, out.String(), "failed: broken under none, signflip, nan: step 2: ")

	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	var got []map[string]any
	require.NoError(t, json.Unmarshal(raw, &got))
	require.Len(t, got, 12)
	worst := 1.0
	for i, r := range got {
		for key, want := range map[string]float64{"clients": 12, "liars": 3, "gamma": 0.25, "steps": 3, "batch": 2, "lr": 0.125, "momentum": 0.75, "seed": 9} {
			require.Equal(t, want, r[key], key)
		}
		require.Contains(t, r, "worst")
		if i < 4 {
			worst = min(worst, r["accuracy"].(float64))
		}
	}
	require.Equal(t, worst, got[0]["worst"], "the mean's")
	require.Nil(t, got[5]["worst"], "bulyan's")
	require.Equal(t, 0.0, got[11]["worst"], "broken's")
	require.Nil(t, got[5]["accuracy"], "bulyan under signflip")
	require.Contains(t, got[5]["refused"], "Bulyan.F is 3 of 12 rows")
	require.NotContains(t, got[5], "failed")
	require.Equal(t, 0.0, got[9]["accuracy"], "broken under signflip")
	require.NotContains(t, got[9], "refused")
	require.Contains(t, got[9]["failed"], "Scale")
}

// TestRun runs every rule under every attack for a step, and two for some more, on the
// real data.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	require.NoError(t, run([]string{"-clients", "13", "-byzantine", "2", "-steps", "1", "-batch", "2", "-rule", "all,weighted-median,weighted-trimmed", "-attack", "all"}, &out))
	require.NotRegexp(t, `n/a|failed`, out.String(), "every rule runs")
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
			require.Less(t, *r.Accuracy, 0.5, "the mean falls")
		} else {
			require.Greater(t, *r.Accuracy, 0.7, r)
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

// TestHelp: who asks for help gets it, and run says that this is why it ended; see report.Exit.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	require.ErrorIs(t, run([]string{"-h"}, &out), flag.ErrHelp)
	require.Contains(t, out.String(), "-json")
}
