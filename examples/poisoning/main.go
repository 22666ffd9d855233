// Command poisoning trains on MNIST over clients of whom some lie, under every rule and
// every attack asked for, and prints which rule stands what. Under the attack none the
// liars send nothing, and the rules reckon with them all the same, so that it shows what
// robustness costs. A rule that takes no so few rows does not apply (n/a).
//
// Some rules have more to go by than the clients' rows, and liars who try the rule know it
// all but what DnC draws. fltrust's server makes a row of its own, of a public set of 100
// examples drawn from the training data. monna trusts the first client, who is honest. The
// weighted rules weigh clients by how many examples they say they have, and liars claim twice
// as many as they may. foolsgold keeps no history.
//
//	go run ./examples/poisoning
//	go run ./examples/poisoning -rule all        # but those that take too long
//	go run ./examples/poisoning -rule nnm+trimmed -attack all -gamma 0.3 -plot poisoning.png
package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
	"github.com/sotto-ml/sotto/internal/atomicfile"
	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/internal/poisoning"
	"github.com/sotto-ml/sotto/internal/report"
	"github.com/sotto-ml/sotto/nn"
)

func main() { report.Exit(run(os.Args[1:], os.Stdout)) }

type settings struct {
	poisoning.Setting
	rules, attacks   []int // indices
	left             []int // rules that -rule all leaves out
	data, json, plot string
}

func parse(args []string, out io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("poisoning", flag.ContinueOnError)
	f.SetOutput(out)
	var named, lie string
	var clients int
	f.IntVar(&clients, "clients", 20, "clients, the liars among them")
	f.IntVar(&s.Liars, "byzantine", 4, "clients who lie")
	f.Float64Var(&s.Gamma, "gamma", 0.5, "share of the data that is spread evenly; the rest is sorted by label")
	f.StringVar(&named, "rule", "mean,median,trimmed,krum,geometric,clipping,caf,nnm+trimmed,arc+nnm+trimmed", "all, or some of "+names(len(rules), func(i int) string { return rules[i].name }))
	f.StringVar(&lie, "attack", "none,signflip,alie,best-ipm,best-alie,mimic,minmax,nan,labelflip,replace", "all, or some of "+names(len(attacks), func(i int) string { return attacks[i].name }))
	f.IntVar(&s.Steps, "steps", 200, "steps of training")
	f.IntVar(&s.Batch, "batch", 25, "examples of each client and step")
	f.Float64Var(&s.Rate, "lr", 0.2, "learning rate")
	f.Float64Var(&s.Momentum, "momentum", 0.9, "of the clients")
	f.Uint64Var(&s.Seed, "seed", 1, "of the split, the weights and the batches")
	f.StringVar(&s.data, "data", "", "folder of the four MNIST .gz files (default: fetched as a Go module)")
	f.StringVar(&s.json, "json", "", "write the results to this file")
	f.StringVar(&s.plot, "plot", "", "draw the table to this .png, .svg or .pdf file")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("poisoning: unexpected argument %q", f.Arg(0))
	}
	s.Honest = clients - s.Liars
	switch {
	case clients < 1 || clients > 1000:
		return s, fmt.Errorf("poisoning: -clients is %d, allowed is 1 to 1000", clients)
	case s.Liars < 0 || 2*s.Liars >= clients:
		return s, fmt.Errorf("poisoning: -byzantine is %d of %d clients, must be at least 0 and less than half", s.Liars, clients)
	case !(s.Gamma >= 0 && s.Gamma <= 1):
		return s, fmt.Errorf("poisoning: -gamma is %v, allowed is 0 to 1", s.Gamma)
	case s.Steps < 1 || s.Batch < 1:
		return s, fmt.Errorf("poisoning: -steps is %d and -batch %d, must be positive", s.Steps, s.Batch)
	case !(s.Rate > 0) || math.IsInf(s.Rate, 0):
		return s, fmt.Errorf("poisoning: -lr is %v, must be positive and finite", s.Rate)
	case !(s.Momentum >= 0 && s.Momentum < 1):
		return s, fmt.Errorf("poisoning: -momentum is %v, must be at least 0 and less than 1", s.Momentum)
	}
	inAll := func(i int) bool { return rules[i].costly(clients, s.Liars) == "" }
	if s.rules, s.left, err = pick("rule", named, len(rules), func(i int) string { return rules[i].name }, inAll); err != nil {
		return s, err
	}
	inAll = func(int) bool { return true }
	if s.attacks, _, err = pick("attack", lie, len(attacks), func(i int) string { return attacks[i].name }, inAll); err != nil {
		return s, err
	}
	if s.plot != "" {
		if err := report.CheckPlotName(s.plot); err != nil {
			return s, err
		}
	}
	for _, name := range []string{s.json, s.plot} {
		if name != "" {
			if err := atomicfile.Probe(name); err != nil {
				return s, err
			}
		}
	}
	s.Shape, s.Layers = nn.Shape{mnist.Side * mnist.Side}, []nn.Layer{nn.Linear{Out: 64}, nn.ReLU{}, nn.Linear{Out: poisoning.Classes}}
	return s, nil
}

func names(n int, name func(int) string) string {
	var all []string
	for i := range n {
		all = append(all, name(i))
	}
	return strings.Join(all, ",")
}

// pick finds the named ones, all of them but some by the name all; left are those.
func pick(flag, list string, n int, name func(int) string, inAll func(int) bool) (out, left []int, err error) {
	for _, word := range strings.Split(list, ",") {
		found := false
		for i := range n {
			switch {
			case word == name(i), word == "all" && inAll(i):
				out, found = append(out, i), true
			case word == "all":
				left = append(left, i)
			}
		}
		if !found {
			return nil, nil, fmt.Errorf("poisoning: -%s holds %q, allowed are all or some of %s", flag, word, names(n, name))
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	left = slices.DeleteFunc(left, func(i int) bool { return slices.Contains(out, i) }) // those that are named too
	slices.Sort(left)
	return out, slices.Compact(left), nil
}

func run(args []string, out io.Writer) error {
	s, err := parse(args, out)
	if err != nil {
		return err
	}
	dir, err := mnist.Locate(s.data)
	if err != nil {
		return err
	}
	train, test, err := mnist.Load(dir)
	if err != nil {
		return err
	}
	data := &poisoning.Data{Train: train.Rows(), Test: test.Rows(), TrainLabels: train.Labels, TestLabels: test.Labels}
	for _, i := range s.left {
		fmt.Fprintf(out, "left out of -rule all: %s, which %s, many times a step; -rule %[1]s runs it\n",
			rules[i].name, rules[i].costly(s.Honest+s.Liars, s.Liars))
	}
	table := s.trainAll(data, out)
	if s.json != "" {
		if err := report.JSON(s.json, slices.Concat(table...)); err != nil {
			return err
		}
	}
	if s.plot != "" {
		title := fmt.Sprintf("Test accuracy, %d of %d clients lie", s.Liars, s.Honest+s.Liars)
		if err := heatMap(s.plot, title, table); err != nil {
			return err
		}
	}
	return s.print(out, table)
}

// trainAll runs every rule under every attack, as many at a time as there are cores.
func (s settings) trainAll(data *poisoning.Data, out io.Writer) [][]result {
	table := make([][]result, len(s.rules))
	for i := range table {
		table[i] = make([]result, len(s.attacks))
	}
	total := len(s.rules) * len(s.attacks)
	bar := report.NewProgress(out, "training", total*s.Steps)
	type job struct{ i, j int }
	queue := make(chan job)
	var mutex sync.Mutex
	var group sync.WaitGroup
	done, ended := 0, ""
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for at := range queue {
				last := 0
				cell := s.train(data, s.rules[at.i], s.attacks[at.j], func(step int) error {
					mutex.Lock()
					defer mutex.Unlock()
					done, last = done+step-last, step
					bar.Update(done, ended)
					return nil
				})
				mutex.Lock()
				done += s.Steps - last // of a run that ended early
				ended = fmt.Sprintf("%s under %s: %s", cell.Rule, cell.Attack, cell.text())
				mutex.Unlock()
				table[at.i][at.j] = cell
			}
		})
	}
	for i := range table {
		for j := range table[i] {
			queue <- job{i, j}
		}
	}
	close(queue)
	group.Wait()
	bar.Done("")
	for _, row := range table {
		rate(row)
	}
	return table
}

// train is one run, of the rule and the attack of these indices.
func (s settings) train(data *poisoning.Data, rule, lie int, progress func(step int) error) result {
	r := result{Rule: rules[rule].name, Attack: attacks[lie].name, Clients: s.Honest + s.Liars, Liars: s.Liars,
		Gamma: s.Gamma, Steps: s.Steps, Batch: s.Batch, Rate: s.Rate, Momentum: s.Momentum, Seed: s.Seed}
	got, err := poisoning.Train(data, s.setting(rule, lie), progress)
	if err == nil {
		r.Accuracy, r.Diverged = &got.Accuracy, got.Diverged
		return r
	}
	if why := s.inapplicable(rule, attacks[lie].of != nil); why != nil {
		r.Refused = why.Error()
		return r
	}
	r.Accuracy, r.Failed = new(float64), err.Error()
	return r
}

// inapplicable is why a rule does not take the rows of a run under an attack, or else under
// none, whatever they hold, or nil if it does.
func (s settings) inapplicable(rule int, attacked bool) error {
	rng := rand.New(rand.NewPCG(1, 1))
	row := func() []float32 {
		x := make([]float32, 8)
		for j := range x {
			x[j] = float32(rng.NormFloat64())
		}
		return x
	}
	run := s.newServer(attacked, &poisoning.Round{Root: row()})
	rows := make([][]float32, run.honest+run.liars)
	for i := range rows {
		rows[i] = row()
	}
	_, err := run.guarded(s.Liars, rules[rule].of).Aggregate(nil, rows, nil)
	return err
}

// setting is one run, of the rule and the attack of these indices.
func (s settings) setting(rule, lie int) poisoning.Setting {
	setting, a := s.Setting, attacks[lie]
	setting.Flip, setting.Public = a.flip, rules[rule].public
	var run *server
	setting.Rule = func(f int, at *poisoning.Round) aggregate.Rule {
		run = s.newServer(a.of != nil, at)
		return run.guarded(f, rules[rule].of)
	}
	if a.of != nil {
		setting.Attack = func(aggregate.Rule) attack.Attack {
			return a.of(s, run.guessed().guarded(s.Liars, rules[rule].of))
		}
	}
	return setting
}
