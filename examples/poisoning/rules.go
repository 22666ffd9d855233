package main

import (
	"math/rand/v2"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/internal/poisoning"
)

// rule is one that -rule names.
type rule struct {
	name string
	of   func(s *server, f int) aggregate.Rule
}

var rules = []rule{
	{"mean", func(*server, int) aggregate.Rule { return aggregate.Mean{} }},
	{"median", func(*server, int) aggregate.Rule { return aggregate.Median{} }},
	{"trimmed", func(_ *server, f int) aggregate.Rule { return aggregate.TrimmedMean{F: f} }},
	{"meamed", func(_ *server, f int) aggregate.Rule { return aggregate.Meamed{F: f} }},
	{"krum", func(_ *server, f int) aggregate.Rule { return aggregate.Krum{F: f} }},
	{"multikrum", func(_ *server, f int) aggregate.Rule { return aggregate.MultiKrum{F: f} }},
	{"bulyan", func(_ *server, f int) aggregate.Rule { return aggregate.Bulyan{F: f} }},
	{"geometric", func(*server, int) aggregate.Rule { return aggregate.GeometricMedian{} }},
	{"clipping", func(s *server, _ int) aggregate.Rule { return s.clipping }},
	{"normbound", func(*server, int) aggregate.Rule { return aggregate.Clipping{Norm: 1} }},
	{"signs", func(*server, int) aggregate.Rule { return aggregate.SignMajority{Scale: 0.005} }},
	{"dnc", func(s *server, f int) aggregate.Rule {
		return aggregate.DnC{F: f, Iterations: 2, Seed: s.draw(s.secret)}
	}},
	{"flame", func(*server, int) aggregate.Rule { return aggregate.FLAME{} }},
	{"foolsgold", func(*server, int) aggregate.Rule { return &aggregate.FoolsGold{Forget: true} }},
	{"caf", func(_ *server, f int) aggregate.Rule { return aggregate.CAF{F: f} }},
	{"nnm+trimmed", func(_ *server, f int) aggregate.Rule {
		return aggregate.Chain{aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}}
	}},
	{"arc+nnm+trimmed", func(_ *server, f int) aggregate.Rule {
		return aggregate.Chain{aggregate.ARC{F: f}, aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}}
	}},
}

// server is what a run's rule is made of beside the number of liars.
type server struct {
	at       *poisoning.Round
	seed     uint64
	secret   uint64                      // which of the seed's draws clients do not know
	clipping *aggregate.CenteredClipping // keeps its momentum
}

func newServer(seed uint64, at *poisoning.Round) *server {
	return &server{at: at, seed: seed, secret: 1 << 32,
		clipping: &aggregate.CenteredClipping{Tau: 1, Steps: 3}}
}

// guessed is the server as liars see it: they know its rule and the state of that, and
// guess what it keeps from them.
func (s server) guessed() *server {
	s.secret = 2 << 32
	return &s
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
