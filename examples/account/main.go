// Command account is a privacy calculator: what a mechanism, a training run or
// any event costs, by every accountant of the library, and what an attacker can
// make of it.
//
//	go run ./examples/account -sampling poisson -rate 0.01 -noise 1.1 -steps 10000 -delta 1e-5
//	go run ./examples/account -rate 0.01 -steps 10000 -target-epsilon 3 -plot account.png
//	go run ./examples/account -event event.json -relation replace-one -json account.json
//	go run ./examples/account -ledger spent.ledger
//
// An event file holds one event as dp.Plan and accounting.MarshalEvent write it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/dp/accounting/ledger"
	"github.com/sotto-ml/sotto/internal/atomicfile"
	"github.com/sotto-ml/sotto/internal/report"
)

func main() { report.Exit(run(os.Args[1:], os.Stdout)) }

// settings are the command line.
type settings struct {
	sampling, relation, event, plot, json, ledger string
	rate, noise, delta, target                    float64
	steps                                         int
}

func parse(args []string, out io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("account", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&s.sampling, "sampling", "poisson", "poisson, or none: every record in every step")
	f.Float64Var(&s.rate, "rate", 0.01, "sampling rate")
	f.Float64Var(&s.noise, "noise", 1.1, "noise multiplier: standard deviation over sensitivity")
	f.IntVar(&s.steps, "steps", 10000, "number of steps")
	f.Float64Var(&s.delta, "delta", 1e-5, "delta of the guarantee")
	f.StringVar(&s.relation, "relation", "add-remove", "neighbours: add-remove, replace-one or replace-special")
	f.Float64Var(&s.target, "target-epsilon", 0, "find the least noise that meets this epsilon, instead of -noise")
	f.StringVar(&s.event, "event", "", "account for the event in this JSON file, instead of sampling, rate, noise and steps")
	f.StringVar(&s.plot, "plot", "", "draw the curves to this .png, .svg or .pdf file")
	f.StringVar(&s.json, "json", "", "write the results to this file")
	f.StringVar(&s.ledger, "ledger", "", "show this ledger and nothing else")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("account: unexpected argument %q", f.Arg(0))
	case s.sampling != "poisson" && s.sampling != "none":
		return s, fmt.Errorf("account: -sampling is %q, must be poisson or none; -event takes any other", s.sampling)
	case s.sampling == "none" && given["rate"]:
		return s, errors.New("account: -rate goes with -sampling poisson")
	case s.event != "" && (given["sampling"] || given["rate"] || given["noise"] || given["steps"] || given["target-epsilon"]):
		return s, errors.New("account: -event stands for -sampling, -rate, -noise, -steps and -target-epsilon: give one or the other")
	case given["target-epsilon"] && given["noise"]:
		return s, errors.New("account: -target-epsilon finds the noise: give it or -noise")
	case given["target-epsilon"] && (!(s.target > 0) || math.IsInf(s.target, 0)):
		return s, fmt.Errorf("account: -target-epsilon is %v, must be positive and finite", s.target)
	}
	if s.plot != "" {
		if err := report.CheckPlotName(s.plot); err != nil {
			return s, err
		}
	}
	for _, name := range []string{s.plot, s.json} {
		if name != "" {
			if err := atomicfile.Probe(name); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// relations by the names that the flag takes.
func (s settings) relationOf() (accounting.Relation, error) {
	for _, r := range []accounting.Relation{accounting.AddRemove, accounting.ReplaceOne, accounting.ReplaceSpecial} {
		if strings.ReplaceAll(r.String(), "/", "-") == strings.ReplaceAll(s.relation, "/", "-") {
			return r, nil
		}
	}
	return 0, fmt.Errorf("account: -relation is %q, must be add-remove, replace-one or replace-special", s.relation)
}

func run(args []string, out io.Writer) error {
	s, err := parse(args, out)
	if err != nil {
		return err
	}
	if s.ledger != "" {
		return s.show(out)
	}
	res, err := s.account(out)
	if err != nil {
		return err
	}
	if s.json != "" {
		if err := report.JSON(s.json, res); err != nil {
			return err
		}
	}
	if s.plot != "" {
		if err := report.Plot(s.plot, res.panels()...); err != nil {
			return err
		}
	}
	return res.print(out)
}

// show prints a ledger.
func (s settings) show(out io.Writer) error {
	book, err := ledger.Read(s.ledger)
	if err != nil {
		return err
	}
	if s.json != "" {
		if err := report.JSON(s.json, book); err != nil {
			return err
		}
	}
	return book.WriteTable(out)
}
