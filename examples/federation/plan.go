package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/federated"
	"github.com/sotto-ml/sotto/federated/secagg"
	"github.com/sotto-ml/sotto/internal/clients"
	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/nn"
)

// heldOut is how many training images the gate keeps from the clients.
const heldOut = 1000

// build makes the run, but for the data, and the plan with the noise that the budget
// asks for.
func (s *settings) build() (*clients.Run, error) {
	r := &clients.Run{Model: s.model, Local: s.local, Liars: s.byzantine, DropOut: s.dropout, Seed: s.seed, Policy: secagg.Policy{HonestServer: !s.malicious, Colluders: s.colluders}, Neighbours: s.neighbours}
	model, err := clients.NewModel(s.model, s.seed)
	if err != nil {
		return nil, fmt.Errorf("federation: -model: %w", err)
	}
	if r.Attack, err = s.pickAttack(); err != nil {
		return nil, err
	}
	p := &r.Plan
	*p = federated.Plan{
		Parameters: len(model.Params()), Rounds: s.rounds, MinMembers: s.clients, MaxMembers: s.clients,
		MaxWeight: mnist.Classes * 6000, Secure: s.secure, Seed: s.seed,
		Quarantine: federated.Quarantine{Strikes: s.strikes},
	}
	if p.Strategy, err = s.pickStrategy(); err != nil {
		return nil, err
	}
	if p.Selection, err = s.pickSelection(); err != nil {
		return nil, err
	}
	if s.dp != "central" {
		p.MinCohort = 1 // a private draw may be empty, others are better tried again
	}
	if err := s.pickRule(p); err != nil {
		return nil, err
	}
	switch s.compress {
	case "none":
	case "8bit":
		p.Compression = federated.Quantized{}
	case "topk":
		p.Compression = federated.TopK{Share: 0.1}
	default:
		return nil, fmt.Errorf("federation: -compress is %q, allowed is 8bit, topk or none", s.compress)
	}
	if err := s.addPrivacy(p); err != nil {
		return nil, err
	}
	if s.secure && p.Privacy == nil {
		p.MaxNorm = s.clip
		if s.clip == 0 {
			p.MaxNorm = 10
		}
	}
	return r, p.Validate()
}

func (s *settings) pickAttack() (clients.Attack, error) {
	for _, a := range clients.Attacks {
		if a.Name == s.attack {
			return a, nil
		}
	}
	return clients.Attack{}, fmt.Errorf("federation: -attack is %q, allowed is %s", s.attack, names(len(clients.Attacks), func(i int) string { return clients.Attacks[i].Name }))
}

func (s *settings) pickStrategy() (federated.Strategy, error) {
	rate := func(own float64) float64 {
		if s.serverRate != 0 {
			return s.serverRate
		}
		return own
	}
	adaptive := federated.Adaptive{Rate: rate(0.01), Beta1: 0.9, Beta2: 0.99, Tau: 1e-3, Weighted: s.weighted}
	if s.weighted && slices.Contains([]string{"scaffold", "fedbuff"}, s.strategy) {
		return nil, fmt.Errorf("federation: -weighted with -strategy %s: it has no weights", s.strategy)
	}
	switch s.strategy {
	case "fedavg":
		return federated.FedAvg{Weighted: s.weighted, Rate: s.serverRate}, nil
	case "fedprox":
		if s.serverRate != 0 {
			return nil, fmt.Errorf("federation: -server-lr with -strategy fedprox: its server has none")
		}
		return federated.FedProx{Mu: s.mu, Weighted: s.weighted}, nil
	case "fedavgm":
		return federated.FedAvgM{Rate: rate(0.5), Momentum: 0.9, Weighted: s.weighted}, nil
	case "fedadam":
		return federated.FedAdam(adaptive), nil
	case "fedyogi":
		return federated.FedYogi(adaptive), nil
	case "fedadagrad":
		adaptive.Beta2 = 0
		return federated.FedAdagrad(adaptive), nil
	case "scaffold":
		return federated.Scaffold{Rate: s.serverRate}, nil
	case "fednova":
		return federated.FedNova{Rate: s.serverRate, MaxSteps: 1 << 20}, nil
	case "fedbuff":
		return federated.FedBuff{Rate: s.serverRate, Buffer: max(1, s.inRound()/2), Concurrency: s.inRound(), MaxStaleness: 10}, nil
	}
	return nil, fmt.Errorf("federation: -strategy is %q, allowed is %s", s.strategy, names(len(strategies), func(i int) string { return strategies[i] }))
}

// inRound is how many clients a round has, or is expected to have.
func (s *settings) inRound() int {
	if s.cohort == 0 {
		return s.clients
	}
	return s.cohort
}

func (s *settings) pickSelection() (federated.Selection, error) {
	how := s.selection
	if how == "" {
		switch {
		case s.cohort == 0 || s.strategy == "fedbuff":
			how = "all"
		case s.dp == "central":
			how = "poisson"
		default:
			how = "uniform"
		}
	}
	if s.extra > 0 && how != "uniform" && how != "weighted" {
		return nil, fmt.Errorf("federation: -extra with -selection %s: its rounds wait for all", how)
	}
	switch how {
	case "uniform":
		return federated.Uniform{Clients: s.inRound(), Extra: s.extra}, nil
	case "weighted":
		return federated.Weighted{Clients: s.inRound(), Extra: s.extra}, nil
	case "poisson":
		return federated.Poisson{Rate: float64(s.inRound()) / float64(s.clients)}, nil
	case "all":
		return federated.All{}, nil
	}
	return nil, fmt.Errorf("federation: -selection is %q, allowed is uniform, weighted, poisson or all", how)
}

// liars is how many of a round the rule must bear.
func (s *settings) liars() int {
	if s.f >= 0 {
		return s.f
	}
	return (s.byzantine*s.inRound() + s.clients - 1) / s.clients
}

func (s *settings) pickRule(p *federated.Plan) error {
	if s.rule == "" {
		if s.buckets > 0 || s.f >= 0 {
			return fmt.Errorf("federation: -buckets and -f need -rule")
		}
		return nil
	}
	f := s.liars()
	var of func(f int) aggregate.Rule
	for _, r := range clients.Rules {
		if r.Name == s.rule {
			of = r.Of
		}
	}
	if of == nil {
		return fmt.Errorf("federation: -rule is %q, allowed is %s", s.rule, names(len(clients.Rules), func(i int) string { return clients.Rules[i].Name }))
	}
	if p.Rule = of(f); s.buckets > 0 || s.secure || s.dp == "central" {
		p.Buckets = &federated.Buckets{F: f, Count: s.buckets}
	}
	return nil
}

// addPrivacy sets who adds noise, and how much of it the budget asks for.
func (s *settings) addPrivacy(p *federated.Plan) error {
	clip := s.clip
	if clip == 0 {
		clip = 1
	}
	switch s.dp {
	case "none":
		return nil
	case "central":
		c := federated.Central{ClipNorm: clip, Population: s.clients, Relation: accounting.AddRemove, Delta: s.delta}
		if s.adaptive {
			c.Adaptive = &federated.AdaptiveQuantile{Quantile: 0.5, LearningRate: 0.2, NoiseShare: 0.01}
		}
		p.Privacy = c
	case "distributed":
		buckets, err := p.Sums()
		if err != nil {
			return err
		}
		d := federated.Distributed{ClipNorm: clip, MinSurvivors: s.survivors, Colluders: s.colluders, Relation: accounting.ReplaceOne, Delta: s.delta}
		if d.MinSurvivors == 0 {
			n := float64(s.inRound() / buckets)
			d.MinSurvivors = max(2, int(n*(1-s.dropout)-3*math.Sqrt(n*s.dropout*(1-s.dropout))))
		}
		p.Privacy = d
	case "local":
		p.Privacy = federated.Local{ClipNorm: clip, Relation: accounting.ReplaceOne, Delta: s.delta}
	default:
		return fmt.Errorf("federation: -dp is %q, allowed is central, distributed, local or none", s.dp)
	}
	var err error
	*p, err = p.CalibrateNoise(s.epsilon)
	return err
}

// split gives the clients their examples, and the gate its own.
func (s *settings) split(r *clients.Run) error {
	d := r.Data
	if s.drop > 0 {
		v := federated.Validation{MaxDrop: s.drop}
		n := len(d.Train) - heldOut
		rows, labels := d.Train[n:], d.TrainLabels[n:]
		d.Train, d.TrainLabels = d.Train[:n], d.TrainLabels[:n]
		y, err := nn.Labels(labels, mnist.Classes)
		if err != nil {
			return err
		}
		model, err := clients.NewModel(s.model, s.seed)
		if err != nil {
			return err
		}
		v.Score = func(params []float32) (float64, error) {
			copy(model.Params(), params)
			return nn.Accuracy(model, rows, y), nil
		}
		r.Plan.Gate.Validation = &v
	}
	honest := s.clients
	if r.Attack.Forge != nil {
		honest -= s.byzantine // whoever forges needs no data
	}
	if s.dirichlet > 0 {
		var err error
		if r.Parts, err = clients.Dirichlet(d.TrainLabels, honest, s.dirichlet, s.seed); err != nil {
			return fmt.Errorf("federation: -dirichlet: %w", err)
		}
	} else {
		r.Parts = clients.Gamma(d.TrainLabels, honest, s.gamma, s.seed)
	}
	r.Parts = r.Parts[:s.clients-s.byzantine]
	return nil
}
