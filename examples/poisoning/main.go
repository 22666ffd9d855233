// Command poisoning trains on MNIST over clients of whom some lie, under every rule and
// every attack asked for, and prints which rule stands what. Under the attack none the
// liars send nothing, and the rules reckon with them all the same, so that it shows what
// robustness costs; a rule that needs more rows than the honest ones refuses it.
//
//	go run ./examples/poisoning
//	go run ./examples/poisoning -rule nnm+trimmed -attack all -gamma 0.3 -plot poisoning.png
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
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

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type settings struct {
	poisoning.Setting
	rules, attacks   []int // indices
	data, json, plot string
}

func parse(args []string, out io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("poisoning", flag.ContinueOnError)
	f.SetOutput(out)
	var rule, lie string
	var clients int
	f.IntVar(&clients, "clients", 20, "clients, the liars among them")
	f.IntVar(&s.Liars, "byzantine", 4, "clients who lie")
	f.Float64Var(&s.Gamma, "gamma", 0.5, "share of the data that is spread evenly; the rest is sorted by label")
	f.StringVar(&rule, "rule", "mean,median,trimmed,krum,geometric,clipping,caf,nnm+trimmed,arc+nnm+trimmed", "all, or some of "+names(len(rules), func(i int) string { return rules[i].name }))
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
	if s.rules, err = pick("rule", rule, len(rules), func(i int) string { return rules[i].name }); err != nil {
		return s, err
	}
	if s.attacks, err = pick("attack", lie, len(attacks), func(i int) string { return attacks[i].name }); err != nil {
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

// pick finds the named ones.
func pick(flag, list string, n int, name func(int) string) (out []int, err error) {
	for _, word := range strings.Split(list, ",") {
		found := false
		for i := range n {
			if word == name(i) || word == "all" {
				out, found = append(out, i), true
			}
		}
		if !found {
			return nil, fmt.Errorf("poisoning: -%s holds %q, allowed are all or some of %s", flag, word, names(n, name))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// result is one run, as -json writes it.
type result struct {
	Rule     string  `json:"rule"`
	Attack   string  `json:"attack"`
	Accuracy float64 `json:"accuracy"`
	Diverged bool    `json:"diverged"`
	Refused  string  `json:"refused,omitempty"` // why the rule cannot run
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
	table := make([][]result, len(s.rules))
	for i, r := range s.rules {
		table[i] = make([]result, len(s.attacks))
		for j, a := range s.attacks {
			table[i][j] = result{Rule: rules[r].name, Attack: attacks[a].name}
		}
	}
	if err := s.trainAll(data, table, out); err != nil {
		return err
	}
	if s.json != "" {
		if err := report.JSON(s.json, slices.Concat(table...)); err != nil {
			return err
		}
	}
	if s.plot != "" {
		var heads, sides []string
		values := make([][]float64, len(table))
		for _, cell := range table[0] {
			heads = append(heads, cell.Attack)
		}
		for i, row := range table {
			sides = append(sides, row[0].Rule)
			for _, cell := range row {
				values[i] = append(values[i], cell.Accuracy)
			}
		}
		title := fmt.Sprintf("Test accuracy, %d of %d clients lie", s.Liars, s.Honest+s.Liars)
		if err := report.HeatMap(s.plot, title, sides, heads, values); err != nil {
			return err
		}
	}
	return s.print(out, table)
}

// trainAll fills the table, as many runs at a time as there are cores.
func (s settings) trainAll(data *poisoning.Data, table [][]result, out io.Writer) error {
	total := len(s.rules) * len(s.attacks)
	bar := report.NewProgress(out, "training", total)
	type job struct{ i, j int }
	queue := make(chan job)
	var mutex sync.Mutex
	var group sync.WaitGroup
	done := 0
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for at := range queue {
				cell := &table[at.i][at.j]
				got, err := poisoning.Train(data, s.setting(s.rules[at.i], s.attacks[at.j]), nil)
				cell.Accuracy, cell.Diverged = got.Accuracy, got.Diverged
				if err != nil {
					cell.Refused = err.Error()
				}
				mutex.Lock()
				done++
				bar.Update(done, fmt.Sprintf("%s under %s: %.4f", cell.Rule, cell.Attack, cell.Accuracy))
				mutex.Unlock()
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
	return nil
}

// setting is one run, of the rule and the attack of these indices.
func (s settings) setting(rule, lie int) poisoning.Setting {
	setting, a := s.Setting, attacks[lie]
	setting.Flip = a.flip
	var run *server
	setting.Rule = func(f int, at *poisoning.Round) aggregate.Rule {
		run = newServer(s.Seed, at)
		return run.guarded(f, rules[rule].of)
	}
	if a.of != nil {
		setting.Attack = func(aggregate.Rule) attack.Attack {
			return a.of(s, run.guessed().guarded(s.Liars, rules[rule].of))
		}
	}
	return setting
}

func (s settings) print(out io.Writer, table [][]result) error {
	head := []string{"rule"}
	for _, cell := range table[0] {
		head = append(head, cell.Attack)
	}
	rows := [][]string{append(head, "worst")}
	for _, cells := range table {
		row, worst, ran := []string{cells[0].Rule}, 1.0, false
		for _, cell := range cells {
			text := fmt.Sprintf("%.3f", cell.Accuracy)
			if cell.Diverged {
				text = "diverged"
			}
			if cell.Refused != "" {
				text = "refused"
			}
			row = append(row, text)
			if cell.Attack == "none" && cell.Refused != "" {
				continue // too few rows for the rule, no attack's doing
			}
			worst, ran = min(worst, cell.Accuracy), true
		}
		text := "-"
		if ran {
			text = fmt.Sprintf("%.3f", worst)
		}
		rows = append(rows, append(row, text))
	}
	fmt.Fprintf(out, "\ntest accuracy after %d steps; %d of %d clients lie, gamma = %g\n", s.Steps, s.Liars, s.Honest+s.Liars, s.Gamma)
	if err := report.Table(out, true, rows...); err != nil {
		return err
	}
	for _, cells := range table {
		for _, cell := range cells {
			if cell.Refused != "" {
				fmt.Fprintf(out, "%s under %s: %s\n", cell.Rule, cell.Attack, cell.Refused)
			}
		}
	}
	return nil
}
