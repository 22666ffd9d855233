// Command byzantine trains ByzFL's MNIST network of 431,080 parameters over ten honest
// clients and f liars, and prints the worst accuracy over attacks for each f and each
// heterogeneity gamma, beside ByzFL's published figures.
//
//	go run ./benchmarks/byzantine                # the whole grid: 48 runs of 800 steps
//	go run ./benchmarks/byzantine -small         # a corner of it, with 200 steps
//
// Of ByzFL's setting (github.com/LPD-EPFL/byzfl, its benchmark of MNIST) are batches of
// 25, 800 steps, weight decay 1e-4, and the attacks sign flip, optimised inner product
// manipulation and optimised a-little-is-enough, each tuned against the very rule in each
// step by 16 evaluations.
//
// Not ByzFL's are the rule, the rate, the momentum and the cooling, the last steps in
// which the rate falls to 0: they were chosen by trials, most of them at f = 4.
// The configuration in ByzFL's byzfl/benchmark/README.md has rate 0.1 to the end, momentum
// 0.9, the geometric median and the trimmed mean after clipping and nearest neighbour
// mixing, trains on four fifths of the training set, and counts the liars among its ten
// workers. Its evaluation takes the best step of the best momentum and rate of each cell
// (byzfl/benchmark/evaluate_results.py), where this takes the last step. The figures side
// by side are thus what each reaches by its own means, not the same training by two
// programs. With -small, or other -steps, they are not of equally many steps either, and
// the program says so. Flags choose otherwise.
package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/internal/poisoning"
	"github.com/sotto-ml/sotto/internal/report"
	"github.com/sotto-ml/sotto/nn"
)

func main() { report.Exit(run(os.Args[1:], os.Stdout)) }

// published are ByzFL's worst accuracies for f = 1 to 4.
var published = map[float64][4]float64{
	1: {.98, .98, .98, .98}, .66: {.98, .97, .97, .97}, .33: {.98, .97, .94, .94}, 0: {.87, .61, .26, .27},
}

// publishedSteps is how many they trained for.
const publishedSteps = 800

// recipe is how a cell is trained.
type recipe struct {
	rule           string
	rate, momentum float64
	cool           int
}

// recipes are what came out best in trials, most of them at f = 4, by the least gamma and the
// most liars that they are for. Where the honest clients' data are alike, all that sets their gradients apart from
// a liar's turned mean is noise, which a long momentum averages out; where each has labels of its
// own, a long momentum lets the model swing from one client's to the next one's.
var recipes = []struct {
	gamma float64
	liars int
	recipe
}{
	{1, 9, recipe{"arc+nnm+trimmed", 0.4, 0.99, 400}},
	{0.5, 1, recipe{"arc+nnm+trimmed", 0.4, 0.99, 400}},
	{0.5, 9, recipe{"caf", 0.4, 0.99, 400}},
	{0, 9, recipe{"arc+nnm+trimmed", 0.1, 0.9, 200}},
}

// recipeFor is the recipe for a cell, with what the flags say in its place.
func (s settings) recipeFor(gamma float64, liars int) recipe {
	var r recipe
	for _, of := range recipes {
		if gamma >= of.gamma && liars <= of.liars {
			r = of.recipe
			break
		}
	}
	if s.rule != "" {
		r.rule = s.rule
	}
	if s.rate != 0 {
		r.rate = s.rate
	}
	if s.momentum >= 0 {
		r.momentum = s.momentum
	}
	if s.cool >= 0 {
		r.cool = s.cool
	}
	return r
}

// rules are those to choose from.
var rules = map[string]func(f int) aggregate.Rule{
	"nnm+trimmed": func(f int) aggregate.Rule { return aggregate.Chain{aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}} },
	"nnm+median":  func(f int) aggregate.Rule { return aggregate.Chain{aggregate.NNM{F: f}, aggregate.Median{}} },
	"arc+nnm+trimmed": func(f int) aggregate.Rule {
		return aggregate.Chain{aggregate.ARC{F: f}, aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}}
	},
	"caf":     func(f int) aggregate.Rule { return aggregate.CAF{F: f} },
	"arc+caf": func(f int) aggregate.Rule { return aggregate.Chain{aggregate.ARC{F: f}, aggregate.CAF{F: f}} },
	"mean":    func(f int) aggregate.Rule { return aggregate.Mean{} },
	"smea":    func(f int) aggregate.Rule { return aggregate.SMEA{F: f} },
}

// attacks are the published three.
var attacks = []struct {
	name string
	of   func(aggregate.Rule) attack.Attack
}{
	{"sign flip", func(aggregate.Rule) attack.Attack { return attack.SignFlip{} }},
	{"optimal IPM", func(r aggregate.Rule) attack.Attack { return attack.OptimalIPM{Search: attack.Search{Rule: r}} }},
	{"optimal ALIE", func(r aggregate.Rule) attack.Attack { return attack.OptimalALIE{Search: attack.Search{Rule: r}} }},
}

// layers are ByzFL's cnn_mnist.
func layers() []nn.Layer {
	return []nn.Layer{
		nn.Conv2D{Out: 20, Kernel: 5}, nn.ReLU{}, nn.MaxPool{Kernel: 2, Stride: 2},
		nn.Conv2D{Out: 50, Kernel: 5}, nn.ReLU{}, nn.MaxPool{Kernel: 2, Stride: 2},
		nn.Flatten{}, nn.Linear{Out: 500}, nn.ReLU{}, nn.Linear{Out: poisoning.Classes},
	}
}

// cell is one run of the grid, as -json writes it, beside the worst of its gamma and f.
type cell struct {
	Gamma          float64  `json:"gamma"`
	F              int      `json:"f"`
	Attack         string   `json:"attack"`
	Rule           string   `json:"rule"`
	Steps          int      `json:"steps"`
	Batch          int      `json:"batch"`
	Rate           float64  `json:"lr"`
	Momentum       float64  `json:"momentum"`
	Cool           int      `json:"cool"`
	Decay          float64  `json:"decay"`
	Seed           uint64   `json:"seed"`
	Accuracy       float64  `json:"accuracy"`
	Diverged       bool     `json:"diverged"`
	Seconds        float64  `json:"seconds"`
	Worst          float64  `json:"worst"`           // accuracy over the attacks
	PublishedWorst *float64 `json:"published_worst"` // ByzFL's, null if it has none
	PublishedSteps int      `json:"published_steps"` // of which that is
	of             func(aggregate.Rule) attack.Attack
}

type settings struct {
	poisoning.Setting
	gammas         []float64
	liars          []int
	rule           string // "" for that of the recipe
	rate, momentum float64
	cool           int
	data, json     string
	small          bool
	tests, jobs    int
}

func parse(args []string, out io.Writer) (s settings, err error) {
	fs := flag.NewFlagSet("byzantine", flag.ContinueOnError)
	fs.SetOutput(out)
	var gammas, liars string
	fs.StringVar(&gammas, "gammas", "1,0.66,0.33,0", "heterogeneities: the share of data that is spread evenly")
	fs.StringVar(&liars, "liars", "1,2,3,4", "how many lie, beside ten honest clients")
	fs.StringVar(&s.rule, "rule", "", "nnm+trimmed, nnm+median, arc+nnm+trimmed, caf, arc+caf, smea or mean (default: by gamma)")
	fs.IntVar(&s.Steps, "steps", publishedSteps, "steps of training")
	fs.IntVar(&s.Batch, "batch", 25, "examples of each client and step")
	fs.Float64Var(&s.rate, "lr", 0, "learning rate (0: by gamma)")
	fs.IntVar(&s.cool, "cool", -1, "last steps, in which the rate falls to 0 (-1: by gamma)")
	fs.Float64Var(&s.momentum, "momentum", -1, "of the clients (-1: by gamma)")
	fs.Float64Var(&s.Decay, "decay", 1e-4, "weight decay")
	fs.Uint64Var(&s.Seed, "seed", 1, "of the split, the weights and the batches")
	fs.BoolVar(&s.small, "small", false, "gammas 1 and 0.33, f = 1 and 4, 200 steps, the rate falling in the last 50, where -steps and -cool say nothing else")
	fs.IntVar(&s.tests, "tests", 10_000, "test images")
	fs.IntVar(&s.jobs, "jobs", runtime.GOMAXPROCS(0), "runs at a time")
	fs.StringVar(&s.data, "data", "", "folder of the four MNIST .gz files (default: fetched as a Go module)")
	fs.StringVar(&s.json, "json", "", "write the results to this file")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	if fs.NArg() > 0 {
		return s, fmt.Errorf("byzantine: unexpected argument %q", fs.Arg(0))
	}
	if s.small {
		given := map[string]bool{}
		fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
		if given["gammas"] {
			return s, fmt.Errorf("byzantine: -gammas is given with -small, which is gammas 1 and 0.33: give one of the two")
		}
		if given["liars"] {
			return s, fmt.Errorf("byzantine: -liars is given with -small, which is f = 1 and 4: give one of the two")
		}
		gammas, liars = "1,0.33", "1,4"
		if !given["steps"] {
			s.Steps = 200
		}
		if !given["cool"] {
			s.cool = 50
		}
	}
	for _, word := range strings.Split(gammas, ",") {
		g, err := strconv.ParseFloat(word, 64)
		if err != nil || !(g >= 0 && g <= 1) {
			return s, fmt.Errorf("byzantine: -gammas holds %q, allowed are numbers from 0 to 1", word)
		}
		s.gammas = append(s.gammas, g)
	}
	for _, word := range strings.Split(liars, ",") {
		f, err := strconv.Atoi(word)
		if err != nil || f < 1 || f > 9 {
			return s, fmt.Errorf("byzantine: -liars holds %q, allowed are 1 to 9", word)
		}
		s.liars = append(s.liars, f)
	}
	if s.rule != "" && rules[s.rule] == nil {
		return s, fmt.Errorf("byzantine: -rule is %q, see -h", s.rule)
	}
	if s.Steps < 1 || s.Batch < 1 || s.tests < 1 || s.jobs < 1 {
		return s, fmt.Errorf("byzantine: -steps, -batch, -tests and -jobs are %d, %d, %d and %d, must be positive", s.Steps, s.Batch, s.tests, s.jobs)
	}
	if !(s.rate >= 0) || !(s.momentum < 1) || !(s.Decay >= 0) {
		return s, fmt.Errorf("byzantine: -lr is %v, -momentum %v and -decay %v, must be positive, below 1 and not negative", s.rate, s.momentum, s.Decay)
	}
	s.Honest, s.Shape = 10, nn.Shape{1, mnist.Side, mnist.Side}
	return s, nil
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
	tests := min(s.tests, test.Len())
	data := &poisoning.Data{Train: normal(train.Rows()), TrainLabels: train.Labels,
		Test: normal(test.Rows()[:tests]), TestLabels: test.Labels[:tests]}
	var cells []*cell
	for _, gamma := range s.gammas {
		for _, f := range s.liars {
			for _, a := range attacks {
				cells = append(cells, &cell{Gamma: gamma, F: f, Attack: a.name, of: a.of})
			}
		}
	}
	if err := s.runAll(data, cells, out); err != nil {
		return err
	}
	for _, c := range cells {
		c.Worst, c.PublishedWorst, c.PublishedSteps = worst(cells, c.Gamma, c.F).Accuracy, publishedWorst(c.Gamma, c.F), publishedSteps
	}
	if s.json != "" {
		if err := report.JSON(s.json, cells); err != nil {
			return err
		}
	}
	return s.table(out, cells)
}

// runAll runs the cells, some at a time.
func (s settings) runAll(data *poisoning.Data, cells []*cell, out io.Writer) error {
	bar := report.NewProgress(out, "training", len(cells)*s.Steps)
	var mutex sync.Mutex
	var failed error
	done := 0
	queue := make(chan *cell)
	var group sync.WaitGroup
	for range min(s.jobs, len(cells)) {
		group.Go(func() {
			for c := range queue {
				setting, recipe := s.Setting, s.recipeFor(c.Gamma, c.F)
				c.Rule, setting.Rule = recipe.rule, func(f int, _ *poisoning.Round) aggregate.Rule { return rules[recipe.rule](f) }
				setting.Rate, setting.Momentum, setting.Cool = recipe.rate, recipe.momentum, recipe.cool
				setting.Layers, setting.Liars, setting.Gamma, setting.Attack = layers(), c.F, c.Gamma, c.of
				c.Steps, c.Batch, c.Decay, c.Seed = setting.Steps, setting.Batch, setting.Decay, setting.Seed
				c.Rate, c.Momentum, c.Cool = setting.Rate, setting.Momentum, setting.Cool
				start, last := time.Now(), 0
				result, err := poisoning.Train(data, setting, func(step int) error {
					mutex.Lock()
					defer mutex.Unlock()
					done += step - last
					last = step
					bar.Update(done, "")
					return failed
				})
				mutex.Lock()
				done += s.Steps - last // of a run that diverged
				if err != nil && failed == nil {
					failed = err
				}
				mutex.Unlock()
				c.Accuracy, c.Diverged, c.Seconds = result.Accuracy, result.Diverged, time.Since(start).Seconds()
			}
		})
	}
	for _, c := range cells {
		queue <- c
	}
	close(queue)
	group.Wait()
	bar.Done("")
	return failed
}

// worst is the cell of the worst accuracy under an attack.
func worst(cells []*cell, gamma float64, f int) (worst *cell) {
	for _, c := range cells {
		if c.Gamma == gamma && c.F == f && (worst == nil || c.Accuracy < worst.Accuracy) {
			worst = c
		}
	}
	return worst
}

// publishedWorst is ByzFL's, or nil if it has none.
func publishedWorst(gamma float64, f int) *float64 {
	if p, ok := published[gamma]; ok && f >= 1 && f <= len(p) {
		return &p[f-1]
	}
	return nil
}

// table prints the worst accuracy of each cell, and the attack that did it.
func (s settings) table(out io.Writer, cells []*cell) error {
	head := []string{"gamma"}
	for _, f := range s.liars {
		head = append(head, fmt.Sprintf("f = %d", f), "published", "rule, worst attack")
	}
	rows := [][]string{head}
	for _, gamma := range s.gammas {
		row := []string{fmt.Sprint(gamma)}
		for _, f := range s.liars {
			own, peer := worst(cells, gamma, f), "-"
			if p := publishedWorst(gamma, f); p != nil {
				peer = fmt.Sprintf("%.2f", *p)
			}
			row = append(row, fmt.Sprintf("%.4f", math.Floor(own.Accuracy*1e4)/1e4), peer, s.recipeFor(gamma, f).rule+", "+own.Attack)
		}
		rows = append(rows, row)
	}
	fmt.Fprintf(out, "\nworst test accuracy over sign flip, optimal IPM and optimal ALIE; %d steps\n", s.Steps)
	if s.Steps != publishedSteps {
		fmt.Fprintf(out, "the published figures are of %d steps, not of %d: they do not compare\n", publishedSteps, s.Steps)
	}
	return report.Table(out, true, rows...)
}

// normal scales pixels to the mean and deviation of the training set that is usual.
func normal(rows [][]float32) [][]float32 {
	for _, row := range rows {
		for j, x := range row {
			row[j] = (x - 0.1307) / 0.3081
		}
	}
	return rows
}
