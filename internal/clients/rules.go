package clients

import "github.com/sotto-ml/sotto/aggregate"

// Rules are those to choose from; f is how many liars they bear.
var Rules = []struct {
	Name string
	Of   func(f int) aggregate.Rule
}{
	{"mean", func(int) aggregate.Rule { return aggregate.Mean{} }},
	{"median", func(int) aggregate.Rule { return aggregate.Median{} }},
	{"trimmed", func(f int) aggregate.Rule { return aggregate.TrimmedMean{F: f} }},
	{"krum", func(f int) aggregate.Rule { return aggregate.Krum{F: f} }},
	{"multikrum", func(f int) aggregate.Rule { return aggregate.MultiKrum{F: f} }},
	{"geometric", func(int) aggregate.Rule { return aggregate.GeometricMedian{} }},
	{"caf", func(f int) aggregate.Rule { return aggregate.CAF{F: f} }},
	{"nnm+trimmed", func(f int) aggregate.Rule { return aggregate.Chain{aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}} }},
	{"arc+nnm+trimmed", func(f int) aggregate.Rule {
		return aggregate.Chain{aggregate.ARC{F: f}, aggregate.NNM{F: f}, aggregate.TrimmedMean{F: f}}
	}},
}
