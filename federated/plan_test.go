package federated

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/dp/accounting"
)

// What cannot be run, or does not go together, is refused with the field, its value and
// the reason.
func TestPlanRefuses(t *testing.T) {
	good := Plan{Parameters: 10, Rounds: 2, Strategy: FedAvg{}, Selection: All{}}
	require.NoError(t, good.Validate())
	central := Central{ClipNorm: 1, NoiseMultiplier: 1, Population: 100, Relation: accounting.AddRemove, Delta: 1e-5}
	distributed := Distributed{ClipNorm: 1, NoiseMultiplier: 1, MinSurvivors: 10, Relation: accounting.ReplaceOne, Delta: 1e-5}
	local := Local{ClipNorm: 1, NoiseMultiplier: 1, Relation: accounting.ReplaceOne, Delta: 1e-5}
	buff := FedBuff{Buffer: 1, Concurrency: 1}
	weighted := FedAvg{Weighted: true}
	for want, change := range map[string]func(p *Plan){
		"Parameters is 0, must be in":                func(p *Plan) { p.Parameters = 0 },
		"Rounds is 0":                                func(p *Plan) { p.Rounds = 0 },
		"Strategy is missing":                        func(p *Plan) { p.Strategy = nil },
		"Selection is missing":                       func(p *Plan) { p.Selection = nil },
		"MinCohort is -1":                            func(p *Plan) { p.MinCohort = -1 },
		"MinMembers is -1":                           func(p *Plan) { p.MinMembers = -1 },
		"MaxMembers is 2000000":                      func(p *Plan) { p.MaxMembers = 2000000 },
		"Attempts is 1001":                           func(p *Plan) { p.Attempts = 1001 },
		"MaxWeight is NaN":                           func(p *Plan) { p.MaxWeight = math.NaN() },
		"MaxNorm is +Inf":                            func(p *Plan) { p.MaxNorm = math.Inf(1) },
		"Quarantine is {Strikes:-1 For:0s}":          func(p *Plan) { p.Quarantine.Strikes = -1 },
		"Deadlines are":                              func(p *Plan) { p.Deadlines.Sum = -1 },
		"Poisson.Rate is 1.5":                        func(p *Plan) { p.Selection = Poisson{1.5} },
		"Uniform.Clients is 0":                       func(p *Plan) { p.Selection = Uniform{} },
		"Weighted.Extra is -1":                       func(p *Plan) { p.Selection = Weighted{1, -1} },
		"MinCohort is 3, but Selection ends":         func(p *Plan) { p.Selection, p.MinCohort = Uniform{Clients: 2}, 3 },
		"FedAvg.Rate is -1":                          func(p *Plan) { p.Strategy = FedAvg{Rate: -1} },
		"FedProx.Mu is 0":                            func(p *Plan) { p.Strategy = FedProx{} },
		"FedAvgM.Momentum is 1":                      func(p *Plan) { p.Strategy = FedAvgM{Rate: 1, Momentum: 1} },
		"FedAdam.Tau is 0":                           func(p *Plan) { p.Strategy = FedAdam{Rate: 1} },
		"FedAdagrad.Beta2 is 0.9, must be 0":         func(p *Plan) { p.Strategy = FedAdagrad{Rate: 1, Tau: 1, Beta2: 0.9} },
		"FedNova.MaxSteps is 0":                      func(p *Plan) { p.Strategy = FedNova{} },
		"FedBuff.Concurrency is 1, must be at least": func(p *Plan) { p.Strategy = FedBuff{Buffer: 2, Concurrency: 1} },
		"TopK.Share is 0":                            func(p *Plan) { p.Compression = TopK{} },
		"Gate.MaxNorm is -1":                         func(p *Plan) { p.Gate.MaxNorm = -1 },
		"Gate.Validation.Score is missing":           func(p *Plan) { p.Gate.Validation = &Validation{} },
		"Gate.Drift.MinCosine is 2":                  func(p *Plan) { p.Gate.Drift = &Drift{MinCosine: 2} },
		"Secure with FedBuff":                        func(p *Plan) { p.Secure, p.MaxNorm, p.Strategy = true, 1, buff },
		"Buckets with FedBuff":                       func(p *Plan) { p.Rule, p.Buckets, p.Strategy = aggregate.Mean{}, &Buckets{}, buff },
		"FedBuff with Selection federated.Uniform":   func(p *Plan) { p.Selection, p.Strategy = Uniform{Clients: 2}, buff },
		"Rule aggregate.Median with weighted FedAvg": func(p *Plan) { p.Rule, p.Strategy = aggregate.Median{}, weighted },
		"Rule aggregate.Median with Scaffold":        func(p *Plan) { p.Rule, p.Strategy = aggregate.Median{}, Scaffold{} },
		"it trusts a row by its index":               func(p *Plan) { p.Rule = aggregate.Chain{aggregate.NNM{F: 1}, aggregate.MoNNA{F: 1}} },
		"it is kept by the index of rows": func(p *Plan) {
			p.Rule = aggregate.Guard{Rule: func(int) aggregate.Rule { return &aggregate.FoolsGold{} }}
		},
		"Secure with 8 clients in 5 sums": func(p *Plan) {
			p.Secure, p.MaxNorm, p.MaxMembers = true, 1, 8
			p.Rule, p.Buckets = aggregate.TrimmedMean{F: 2}, &Buckets{F: 2, Count: 5}
		},
		"Buckets without Rule": func(p *Plan) { p.Buckets = &Buckets{} },
		"Buckets.F is -1":      func(p *Plan) { p.Rule, p.Buckets = aggregate.Median{}, &Buckets{F: -1} },
		"gives fewer updates than the 9 buckets": func(p *Plan) {
			p.Rule, p.Buckets, p.Selection = aggregate.TrimmedMean{F: 2}, &Buckets{F: 2}, Uniform{Clients: 8}
		},
		"Rule aggregate.Median with one secure sum":      func(p *Plan) { p.Rule, p.Secure, p.MaxNorm = aggregate.Median{}, true, 1 },
		"Secure with weighted FedAvg":                    func(p *Plan) { p.Secure, p.MaxNorm, p.Strategy = true, 1, weighted },
		"Secure with Scaffold":                           func(p *Plan) { p.Secure, p.MaxNorm, p.Strategy = true, 1, Scaffold{} },
		"Secure without MaxNorm":                         func(p *Plan) { p.Secure = true },
		"Secure with Compression federated.Quantized":    func(p *Plan) { p.Secure, p.MaxNorm, p.Compression = true, 1, Quantized{} },
		"Secure with Local":                              func(p *Plan) { p.Secure, p.Privacy = true, local },
		"Compression federated.TopK with Scaffold":       func(p *Plan) { p.Strategy, p.Compression = Scaffold{}, TopK{0.5} },
		"TopK with Rule":                                 func(p *Plan) { p.Rule, p.Compression = aggregate.Median{}, TopK{0.5} },
		"TopK with Local":                                func(p *Plan) { p.Privacy, p.Compression = local, TopK{0.5} },
		"Central.ClipNorm is 0":                          func(p *Plan) { p.Privacy = Central{} },
		"Central.Population is 0":                        func(p *Plan) { p.Privacy = Central{ClipNorm: 1, NoiseMultiplier: 1, Delta: 1e-5} },
		"Central with Secure":                            func(p *Plan) { p.Privacy, p.Secure, p.MaxNorm = central, true, 1 },
		"Central with Selection federated.Uniform":       func(p *Plan) { p.Privacy, p.Selection = central, Uniform{Clients: 3} },
		"Central with MinCohort 3":                       func(p *Plan) { p.Privacy, p.MinCohort = central, 3 },
		"Central with Rule aggregate.Median":             func(p *Plan) { p.Privacy, p.Rule = central, aggregate.Median{} },
		"Central with weighted FedAvg":                   func(p *Plan) { p.Privacy, p.Strategy = central, weighted },
		"Central with Scaffold":                          func(p *Plan) { p.Privacy, p.Strategy = central, Scaffold{} },
		"Central with FedBuff":                           func(p *Plan) { p.Privacy, p.Strategy = central, buff },
		"Distributed without Secure":                     func(p *Plan) { p.Privacy = distributed },
		"Distributed.Relation is":                        func(p *Plan) { d := distributed; d.Relation = accounting.AddRemove; p.Privacy, p.Secure = d, true },
		"Distributed.Colluders is 10, must be in [0, Mi": func(p *Plan) { d := distributed; d.Colluders = 10; p.Privacy, p.Secure = d, true },
		"Local.Relation is":                              func(p *Plan) { l := local; l.Relation = accounting.AddRemove; p.Privacy = l },
		"Local with MaxNorm":                             func(p *Plan) { p.Privacy, p.MaxNorm = local, 3 },
		"Local with weighted FedAvg":                     func(p *Plan) { p.Privacy, p.Strategy = local, weighted },
	} {
		p := good
		change(&p)
		require.ErrorContains(t, p.Validate(), want)
		_, err := New(p, Config{})
		require.Error(t, err)
		require.Contains(t, p.String(), "invalid plan")
	}
}

func TestConfigRefuses(t *testing.T) {
	p := Plan{Parameters: 2, Rounds: 1, Strategy: FedAvg{}, Selection: All{}}
	private, secure := p, p
	private.Privacy = Central{ClipNorm: 1, NoiseMultiplier: 1, Population: 5, Relation: accounting.AddRemove, Delta: 1e-5}
	secure.Secure, secure.MaxNorm = true, 1
	two, inside := []float32{1, 2}, NewInProcess()
	for want, c := range map[string]struct {
		p Plan
		c Config
	}{
		"Config.Initial has 1 elements": {p, Config{Initial: two[:1]}},
		"Config.Initial holds a NaN":    {p, Config{Initial: []float32{1, float32(math.NaN())}}},
		"Config.Transport is missing":   {p, Config{Initial: two}},
		"Config.Ledger is missing":      {private, Config{Initial: two, Transport: inside}},
		"Config.Sums is missing":        {secure, Config{Initial: two, Transport: inside, Ledger: nil}},
		"Config.Keep is -1":             {p, Config{Initial: two, Transport: inside, Keep: -1}},
	} {
		_, err := New(c.p, c.c)
		require.ErrorContains(t, err, want)
	}
	for want, s := range map[string]*Simulation{
		"Simulation.Clients is 0":            {},
		"Simulation.NewWorker is missing":    {Clients: 3},
		"DropOut and Straggle are 0.6 and 0": {Clients: 3, NewWorker: func() (Worker, error) { return nil, nil }, DropOut: 0.6, Straggle: 0.6},
	} {
		c, err := New(p, Config{Initial: two, Transport: s})
		require.NoError(t, err)
		require.ErrorContains(t, c.Run(t.Context()), want)
	}
}
