package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/internal/poisoning"
)

// rule is one that -rule names.
type rule struct {
	name   string
	of     func(s *server, f int) aggregate.Rule
	public int     // examples that it needs the server to have
	sets   float64 // it tries sets of all rows but the liars', and is in -rule all if there are no more; 0 if it tries none
	slow   string  // what it does that leaves it out of -rule all anyway
}

// costly is why the rule is not in -rule all, or empty.
func (r rule) costly(clients, liars int) string {
	if sets := choose(clients, liars); r.sets != 0 && sets > r.sets {
		return fmt.Sprintf("may try each of %.4g sets of rows", sets)
	}
	return r.slow
}

// choose is the number of sets of k of n, infinite if it is beyond a float64.
func choose(n, k int) float64 {
	sets := 1.0
	for i := range k {
		sets *= float64(n-i) / float64(k-i)
	}
	return math.Round(sets)
}

// publicExamples are what the server of fltrust has, as in the paper (Cao et al. 2021).
const publicExamples = 100

// claim is how many times the weight of an honest client a liar has: a weight is the number of
// examples that a client says it has, which are as many for each honest one.
const claim = 2

const sorts = "sorts each column apart"

// The sets of smea each take an eigenvalue; of those of mda most are never looked at.
var rules = []rule{
	{name: "mean", of: func(*server, int) aggregate.Rule { return aggregate.Mean{} }},
	{name: "median", of: func(*server, int) aggregate.Rule { return aggregate.Median{} }},
	{name: "trimmed", of: func(_ *server, f int) aggregate.Rule { return aggregate.TrimmedMean{F: f} }},
	{name: "meamed", of: func(_ *server, f int) aggregate.Rule { return aggregate.Meamed{F: f} }},
	{name: "signs", of: func(*server, int) aggregate.Rule { return aggregate.SignMajority{Scale: 0.005} }},
	{name: "weighted-mean", of: func(s *server, _ int) aggregate.Rule { return aggregate.Mean{Weights: s.weights()} }},
	{name: "weighted-median", slow: sorts, of: func(s *server, _ int) aggregate.Rule {
		return aggregate.WeightedMedian{Weights: s.weights()}
	}},
	{name: "weighted-trimmed", slow: sorts, of: func(s *server, f int) aggregate.Rule {
		share := claim * float64(f) / float64(s.honest+claim*f)
		return aggregate.WeightedTrimmedMean{Weights: s.weights(), Share: share}
	}},
	{name: "krum", of: func(_ *server, f int) aggregate.Rule { return aggregate.Krum{F: f} }},
	{name: "multikrum", of: func(_ *server, f int) aggregate.Rule { return aggregate.MultiKrum{F: f} }},
	{name: "bulyan", of: func(_ *server, f int) aggregate.Rule { return aggregate.Bulyan{F: f} }},
	{name: "mda", sets: 1e5, of: func(_ *server, f int) aggregate.Rule { return aggregate.MinimumDiameter{F: f} }},
	{name: "geometric", of: func(*server, int) aggregate.Rule { return aggregate.GeometricMedian{} }},
	{name: "weiszfeld", of: func(*server, int) aggregate.Rule { return aggregate.Weiszfeld{Smoothing: 0.1, Steps: 3} }},
	{name: "clipping", of: func(s *server, _ int) aggregate.Rule { return s.clipping }},
	{name: "normbound", of: func(*server, int) aggregate.Rule { return aggregate.Clipping{Norm: 1} }},
	{name: "smea", sets: 500, of: func(_ *server, f int) aggregate.Rule { return aggregate.SMEA{F: f} }},
	{name: "caf", of: func(_ *server, f int) aggregate.Rule { return aggregate.CAF{F: f} }},
	{name: "dnc", of: func(s *server, f int) aggregate.Rule {
		return aggregate.DnC{F: f, Iterations: 2, Seed: s.draw(s.secret)}
	}},
	{name: "flame", of: func(*server, int) aggregate.Rule { return aggregate.FLAME{} }},
	{name: "foolsgold", of: func(*server, int) aggregate.Rule { return &aggregate.FoolsGold{Forget: true} }},
	{name: "fltrust", public: publicExamples, of: func(s *server, _ int) aggregate.Rule {
		return aggregate.FLTrust{Root: s.at.Root}
	}},
	{name: "monna", of: func(_ *server, f int) aggregate.Rule { return aggregate.MoNNA{F: f, Trusted: 0} }}, // an honest one
	{name: "arc", of: func(_ *server, f int) aggregate.Rule { return aggregate.ARC{F: f} }},
	{name: "nnm", of: func(_ *server, f int) aggregate.Rule { return aggregate.NNM{F: f} }},
	{name: "bucketing+geometric", of: func(s *server, _ int) aggregate.Rule {
		return aggregate.Chain{aggregate.Bucketing{Size: 2, Seed: s.draw(3 << 32)}, aggregate.GeometricMedian{}}
	}},
	{name: "nnm+trimmed", of: func(_ *server, f int) aggregate.Rule {
		return aggregate.Chain{aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}}
	}},
	{name: "arc+nnm+trimmed", of: func(_ *server, f int) aggregate.Rule {
		return aggregate.Chain{aggregate.ARC{F: f}, aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}}
	}},
}

// server is what a run's rule is made of beside the number of liars.
type server struct {
	at            *poisoning.Round
	honest, liars int // rows, the honest first
	seed          uint64
	secret        uint64                      // from where on the draws are that clients do not know, beyond all steps
	clipping      *aggregate.CenteredClipping // keeps its momentum
}

// newServer is that of a run under an attack, or if it is false under none.
func (s settings) newServer(attacked bool, at *poisoning.Round) *server {
	liars := s.Liars
	if !attacked {
		liars = 0
	}
	return &server{at: at, honest: s.Honest, liars: liars, seed: s.Seed, secret: 1 << 32,
		clipping: &aggregate.CenteredClipping{Tau: 1, Steps: 3}}
}

// guessed is the server as liars see it: they know its rule and the state of that, and
// guess what it keeps from them.
func (s server) guessed() *server {
	s.secret = 2 << 32
	return &s
}

// weights are those that clients claim.
func (s *server) weights() []float64 {
	return slices.Concat(slices.Repeat([]float64{1}, s.honest), slices.Repeat([]float64{claim}, s.liars))
}

// draw is a seed that is new in each step.
func (s *server) draw(what uint64) uint64 {
	return rand.New(rand.NewPCG(s.seed, what+uint64(s.at.Step))).Uint64()
}

// guarded is the rule behind a guard: who sends what is not finite is refused, and counts
// as one of the liars. The rule is made in each step, for as many as are left of them.
func (s *server) guarded(f int, of func(s *server, f int) aggregate.Rule) aggregate.Rule {
	return aggregate.Guard{F: f, Rule: func(f int) aggregate.Rule { return of(s, f) }}
}
