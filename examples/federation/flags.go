package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/sotto-ml/sotto/internal/atomicfile"
	"github.com/sotto-ml/sotto/internal/clients"
	"github.com/sotto-ml/sotto/internal/report"
)

// settings are the command line.
type settings struct {
	clients, cohort, extra, rounds int
	selection                      string
	gamma, dirichlet               float64
	model                          string
	local                          clients.Local
	strategy                       string
	serverRate, mu                 float64
	weighted                       bool
	rule                           string
	f, buckets, byzantine          int
	attack                         string
	dp                             string
	epsilon, delta, clip           float64
	adaptive                       bool
	survivors, colluders           int
	neighbours                     int
	malicious                      bool
	secure                         bool
	dropout                        float64
	compress                       string
	drop                           float64
	strikes                        int
	seed                           uint64
	data, log, verify, head        string
	ledger, json, plot             string
}

var strategies = []string{"fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "scaffold", "fednova", "fedbuff"}

func parse(args []string, out io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("federation", flag.ContinueOnError)
	f.SetOutput(out)
	f.IntVar(&s.clients, "clients", 100, "clients, the liars among them")
	f.IntVar(&s.cohort, "cohort", 20, "clients of a round, the expected number under poisson; 0: all")
	f.IntVar(&s.extra, "extra", 0, "clients that are asked beyond those that a round waits for")
	f.StringVar(&s.selection, "selection", "", "uniform, weighted (by their examples), poisson or all (default uniform; poisson for -dp central, all for -cohort 0)")
	f.IntVar(&s.rounds, "rounds", 30, "rounds")
	f.Float64Var(&s.gamma, "gamma", 0.5, "share of the data that is spread evenly; the rest is sorted by label")
	f.Float64Var(&s.dirichlet, "dirichlet", 0, "instead of -gamma: clients' labels are Dirichlet with this parameter")
	f.StringVar(&s.model, "model", "mlp", "linear, mlp or cnn")
	f.IntVar(&s.local.Epochs, "epochs", 1, "passes of a client over its data in a round")
	f.IntVar(&s.local.Steps, "steps", 0, "batches of a client in a round, instead of -epochs")
	f.IntVar(&s.local.Batch, "batch", 32, "examples in a client's batch")
	f.Float64Var(&s.local.Rate, "lr", 0.1, "learning rate of clients")
	f.Float64Var(&s.local.Fade, "fade", 1, "factor of -lr after each round")
	f.Float64Var(&s.local.Decay, "decay", 0, "weight decay of clients")
	f.Float64Var(&s.local.Momentum, "momentum", 0, "of a client over its rounds, for robust rules")
	f.StringVar(&s.strategy, "strategy", "fedavg", strings.Join(strategies, ", "))
	f.Float64Var(&s.serverRate, "server-lr", 0, "learning rate of the server (0: the strategy's own)")
	f.Float64Var(&s.mu, "mu", 0.01, "of fedprox")
	f.BoolVar(&s.weighted, "weighted", false, "weigh clients by how many examples they have")
	f.StringVar(&s.rule, "rule", "", "robust rule: "+names(len(clients.Rules), func(i int) string { return clients.Rules[i].Name }))
	f.IntVar(&s.f, "f", -1, "liars in a round that -rule bears (-1: the liars' share of it, rounded up)")
	f.IntVar(&s.buckets, "buckets", 0, "put clients in so many buckets before -rule (0: with -secure as many as f asks for, else none)")
	f.IntVar(&s.byzantine, "byzantine", 0, "clients who lie")
	f.StringVar(&s.attack, "attack", "signflip", "what they do: "+names(len(clients.Attacks), func(i int) string { return clients.Attacks[i].Name }))
	f.StringVar(&s.dp, "dp", "none", "who adds noise: central, distributed, local or none")
	f.Float64Var(&s.epsilon, "epsilon", 8, "privacy budget of a client")
	f.Float64Var(&s.delta, "delta", 1e-5, "delta of the guarantee")
	f.Float64Var(&s.clip, "clip", 0, "largest norm of an update (0: 1 with -dp, 10 with -secure alone)")
	f.BoolVar(&s.adaptive, "adaptive", false, "let the clip norm follow the median of norms, for -dp central")
	f.IntVar(&s.survivors, "survivors", 0, "fewest clients of a sum, for -dp distributed (0: by -dropout)")
	f.IntVar(&s.colluders, "colluders", 0, "clients of a sum who may be with the server, for -secure and -dp distributed")
	f.BoolVar(&s.secure, "secure", false, "the server sees sums alone, under masks")
	f.BoolVar(&s.malicious, "malicious", false, "with -secure: clients expect the server to break the protocol, and bear fewer drop-outs")
	f.IntVar(&s.neighbours, "neighbours", 0, "with -secure: others that a client shares masks with, an even number (0: all)")
	f.Float64Var(&s.dropout, "dropout", 0, "chance that a client fails in a round")
	f.StringVar(&s.compress, "compress", "none", "updates on the wire: 8bit, topk (a tenth) or none")
	f.Float64Var(&s.drop, "gate", 0, "reject models whose accuracy on 1,000 held-out images falls by more (0: no gate)")
	f.IntVar(&s.strikes, "strikes", 3, "refusals in a row that put a client in quarantine (0: none do)")
	f.Uint64Var(&s.seed, "seed", 1, "of the split, the weights, the cohorts and the batches, not of noise")
	f.StringVar(&s.data, "data", "", "folder of the four MNIST .gz files (default: fetched as a Go module)")
	f.StringVar(&s.log, "log", "", "write the tamper-evident log of all decisions to this new file")
	f.StringVar(&s.verify, "verify", "", "verify a log, print what it holds, and do nothing else")
	f.StringVar(&s.head, "head", "", "with -verify: a hash that was printed once, which must be in the log")
	f.StringVar(&s.ledger, "ledger", "", "keep the privacy budget in this file over many runs (default: forgotten)")
	f.StringVar(&s.json, "json", "", "write the results to this file")
	f.StringVar(&s.plot, "plot", "", "draw accuracy and epsilon to this .png, .svg or .pdf file")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("federation: unexpected argument %q", f.Arg(0))
	}
	return s, s.check()
}

func names(n int, name func(int) string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = name(i)
	}
	return strings.Join(all, ", ")
}

// check is of what no plan checks.
func (s *settings) check() error {
	switch {
	case s.head != "" && s.verify == "":
		return fmt.Errorf("federation: -head goes with -verify")
	case s.clients < 1 || s.clients > 30000:
		return fmt.Errorf("federation: -clients is %d, allowed is 1 to 30000", s.clients)
	case s.byzantine < 0 || 2*s.byzantine >= s.clients && s.byzantine > 0:
		return fmt.Errorf("federation: -byzantine is %d of %d clients, must be at least 0 and less than half", s.byzantine, s.clients)
	case s.cohort < 0 || s.cohort+s.extra > s.clients:
		return fmt.Errorf("federation: -cohort is %d with -extra %d, must be 0 to the %d clients", s.cohort, s.extra, s.clients)
	case s.extra < 0:
		return fmt.Errorf("federation: -extra is %d, must be at least 0", s.extra)
	case !(s.gamma >= 0 && s.gamma <= 1):
		return fmt.Errorf("federation: -gamma is %v, allowed is 0 to 1", s.gamma)
	case !(s.dirichlet >= 0) || math.IsInf(s.dirichlet, 0):
		return fmt.Errorf("federation: -dirichlet is %v, must be positive and finite, or 0 for -gamma", s.dirichlet)
	case !(s.dropout >= 0 && s.dropout < 1):
		return fmt.Errorf("federation: -dropout is %v, must be in [0, 1)", s.dropout)
	case !(s.clip >= 0):
		return fmt.Errorf("federation: -clip is %v, must be at least 0", s.clip)
	case s.f < -1:
		return fmt.Errorf("federation: -f is %d, must be at least 0, or -1", s.f)
	case s.buckets < 0:
		return fmt.Errorf("federation: -buckets is %d, must be at least 0", s.buckets)
	case !(s.drop >= 0 && s.drop < 1):
		return fmt.Errorf("federation: -gate is %v, must be in [0, 1)", s.drop)
	case !s.secure && (s.malicious || s.neighbours != 0 || s.colluders != 0):
		return fmt.Errorf("federation: -malicious, -neighbours and -colluders need -secure")
	case s.neighbours < 0 || s.neighbours%2 != 0:
		return fmt.Errorf("federation: -neighbours is %d, must be 0 or an even number", s.neighbours)
	case s.colluders < 0:
		return fmt.Errorf("federation: -colluders is %d, must be at least 0", s.colluders)
	case s.dp == "none" && (s.adaptive || s.survivors != 0):
		return fmt.Errorf("federation: -adaptive and -survivors need -dp, which is none")
	case s.adaptive && s.dp != "central":
		return fmt.Errorf("federation: -adaptive goes with -dp central, not %q: only who sees all norms can follow them", s.dp)
	case s.dp != "distributed" && s.survivors != 0:
		return fmt.Errorf("federation: -survivors goes with -dp distributed, not %q", s.dp)
	case s.byzantine > 0 && s.strategy == "fedbuff":
		return fmt.Errorf("federation: -byzantine with -strategy fedbuff: these liars wait for all others of a round, and a buffer has no rounds")
	}
	if s.plot != "" {
		if err := report.CheckPlotName(s.plot); err != nil {
			return err
		}
	}
	for _, name := range []string{s.json, s.plot} {
		if name != "" {
			if err := atomicfile.Probe(name); err != nil {
				return err
			}
		}
	}
	return nil
}
