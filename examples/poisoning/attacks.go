package main

import (
	"math/rand/v2"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
)

// lie is an attack that -attack names.
type lie struct {
	name string
	flip bool                                             // it sees rows made of flipped labels
	of   func(s settings, r aggregate.Rule) attack.Attack // what optimises does so against the run's rule, r
}

var attacks = []lie{
	{"none", false, nil},
	{"signflip", false, func(settings, aggregate.Rule) attack.Attack { return attack.SignFlip{} }},
	{"ipm", false, func(settings, aggregate.Rule) attack.Attack { return attack.IPM{Tau: 0.5} }},
	{"alie", false, func(s settings, _ aggregate.Rule) attack.Attack {
		return attack.ALIE{Tau: max(attack.ALIETau(s.Honest+s.Liars, s.Liars), 1)}
	}},
	{"best-ipm", false, func(_ settings, r aggregate.Rule) attack.Attack {
		return attack.OptimalIPM{Search: attack.Search{Rule: r}}
	}},
	{"best-alie", false, func(_ settings, r aggregate.Rule) attack.Attack {
		return attack.OptimalALIE{Search: attack.Search{Rule: r}}
	}},
	{"mimic", false, func(settings, aggregate.Rule) attack.Attack { return attack.Mimic{Client: -1} }},
	{"minmax", false, func(settings, aggregate.Rule) attack.Attack { return attack.MinMax{} }},
	{"minsum", false, func(settings, aggregate.Rule) attack.Attack { return attack.MinSum{} }},
	{"gaussian", false, func(s settings, _ aggregate.Rule) attack.Attack {
		return attack.Gaussian{Deviation: 10, Normal: rand.New(rand.NewPCG(s.Seed, 0x6761757373)).NormFloat64}
	}},
	{"nan", false, func(settings, aggregate.Rule) attack.Attack { return attack.NaN() }},
	{"labelflip", true, func(settings, aggregate.Rule) attack.Attack { return attack.LabelFlip{} }},
	{"replace", true, func(s settings, _ aggregate.Rule) attack.Attack {
		return boosted{float64(s.Honest+s.Liars) / float64(max(s.Liars, 1))}
	}},
	{"adaptive", false, func(s settings, r aggregate.Rule) attack.Attack { return attack.Adaptive{Rule: r, Seed: s.Seed} }},
}

// boosted is model replacement by what flipped labels ask for.
type boosted struct{ boost float64 }

// Forge implements [attack.Attack].
func (b boosted) Forge(liars, flipped [][]float32) error {
	target, err := aggregate.Mean{}.Aggregate(nil, flipped, nil)
	if err != nil {
		return err
	}
	return attack.ModelReplacement{Target: target, Boost: b.boost}.Forge(liars, flipped)
}
