package aggregate_test

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
)

var casesFile = flag.String("cases", "testdata/aggregation.json", "file of reference cases")

// number is a float64, "inf", "-inf" or "nan".
type number float64

func (n *number) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case `"inf"`:
		*n = number(math.Inf(1))
	case `"-inf"`:
		*n = number(math.Inf(-1))
	case `"nan"`:
		*n = number(math.NaN())
	default:
		return json.Unmarshal(data, (*float64)(n))
	}
	return nil
}

type params struct {
	F, S, Idx, T, L, Evals int
	Nu, C, Tau, Mu, Sigma  number
	Start, Delta, Ratio    number
	M, Normals             []number
	Permutation            []int
	PowerStarts            [][]number `json:"power_starts"`
	Agg                    *stage
	Before                 []stage `json:"pre_agg_list"`
}

type stage struct {
	Rule   string
	Params params
}

type referenceCase struct {
	ID, Kind, Rule string
	Params         params
	Steps          []stage
	X              [][]number
	Expect, Exact  json.RawMessage
	Tau            *float64
	Accept         []json.RawMessage
	AcceptRows     [][][]number `json:"accept_rows"`
	AcceptCoords   [][]number   `json:"accept_coords"`
	Scale          float64
	Error          string
}

func ruleOf(name string, p params) aggregate.Rule {
	switch name {
	case "average":
		return aggregate.Mean{}
	case "median":
		return aggregate.Median{}
	case "trimmed_mean":
		return aggregate.TrimmedMean{F: p.F}
	case "meamed":
		return aggregate.Meamed{F: p.F}
	case "krum":
		return aggregate.Krum{F: p.F}
	case "multi_krum":
		return aggregate.MultiKrum{F: p.F}
	case "monna":
		return aggregate.MoNNA{F: p.F, Trusted: p.Idx}
	case "mda":
		return aggregate.MinimumDiameter{F: p.F}
	case "geometric_median":
		return aggregate.Weiszfeld{Smoothing: float64(p.Nu), Steps: p.T}
	case "centered_clipping":
		return &aggregate.CenteredClipping{Tau: float64(p.Tau), Steps: p.L, Momentum: single(p.M)}
	case "smea":
		return aggregate.SMEA{F: p.F, PowerStarts: singles(p.PowerStarts)}
	case "caf":
		return aggregate.CAF{F: p.F, PowerStarts: singles(p.PowerStarts)}
	case "nnm":
		return aggregate.NNM{F: p.F}
	case "bucketing":
		return aggregate.Bucketing{Size: p.S, Permutation: p.Permutation}
	case "clipping":
		return aggregate.Clipping{Norm: float64(p.C)}
	case "arc":
		return aggregate.ARC{F: p.F}
	}
	return nil
}

// TestReferences compares with ByzFL's outputs, at float32's tolerance.
func TestReferences(t *testing.T) {
	data, err := os.ReadFile(*casesFile)
	require.NoError(t, err)
	var file struct{ Cases []referenceCase }
	require.NoError(t, json.Unmarshal(data, &file))
	require.NotEmpty(t, file.Cases)
	for _, c := range file.Cases {
		t.Run(c.ID, c.check)
	}
}

func (c *referenceCase) check(t *testing.T) {
	rows := singles(c.X)
	before := singles(c.X)
	defer func() { require.Equal(t, before, rows, "the rows are as they were") }()
	out, err := c.run(t, rows)
	if c.Error != "" {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	if !c.accepts(out) {
		t.Errorf("got %v, want %s", out, c.Expect)
	}
	if c.Exact != nil { // by the exact eigenpairs, which are the default
		p := c.Params
		p.PowerStarts = nil
		exact, err := ruleOf(c.Rule, p).Aggregate(nil, rows, nil)
		require.NoError(t, err)
		if !c.same(exact, matrix(c.Exact)[0]) {
			t.Errorf("exactly: got %v, want %s", exact, c.Exact)
		}
	}
}

// run is the case's output, or that it was refused.
func (c *referenceCase) run(t *testing.T, rows [][]float32) ([][]float32, error) {
	one := func(out []float32, err error) ([][]float32, error) { return [][]float32{out}, err }
	switch c.Kind {
	case "aggregator":
		r := ruleOf(c.Rule, c.Params)
		require.NotNil(t, r, c.Rule)
		return one(guarded(r).Aggregate(nil, rows, new(aggregate.Verdict)))
	case "attack":
		return c.forge(t, rows)
	case "preaggregator":
		pre, ok := ruleOf(c.Rule, c.Params).(aggregate.PreAggregation)
		require.True(t, ok, c.Rule)
		return pre.Mix(nil, rows, nil)
	case "pipeline":
		var chain aggregate.Chain
		for _, s := range c.Steps {
			chain = append(chain, ruleOf(s.Rule, s.Params))
		}
		return one(chain.Aggregate(nil, rows, nil))
	}
	t.Fatalf("no kind %s", c.Kind)
	return nil, nil
}

// guarded drops rows with infinities before the geometric median, as the reference
// does.
func guarded(r aggregate.Rule) aggregate.Rule {
	if g, ok := r.(aggregate.Weiszfeld); ok {
		return aggregate.Guard{Rule: func(int) aggregate.Rule { return g }}
	}
	return r
}

// forge is the row that a liar sends, all f of them the same; an optimal attack's depends
// on f, as does the strength that it finds.
func (c *referenceCase) forge(t *testing.T, honest [][]float32) ([][]float32, error) {
	liars := make([][]float32, max(c.Params.F, 1))
	for i := range liars {
		liars[i] = make([]float32, len(honest[0]))
	}
	a := c.attack(t)
	if err := a.Forge(liars, honest); err != nil {
		return nil, err
	}
	if c.Tau != nil {
		tau, err := a.(interface {
			Tau([][]float32, int) (float64, error)
		}).Tau(honest, c.Params.F)
		require.NoError(t, err)
		require.InDelta(t, *c.Tau, tau, 1e-9)
	}
	for _, row := range liars {
		require.Equal(t, liars[0], row)
	}
	return liars[:1], nil
}

// attack is the case's.
func (c *referenceCase) attack(t *testing.T) attack.Attack {
	p := c.Params
	switch c.Rule {
	case "sign_flipping":
		return attack.SignFlip{}
	case "inner_product_manipulation":
		return attack.IPM{Tau: float64(p.Tau)}
	case "a_little_is_enough":
		return attack.ALIE{Tau: float64(p.Tau)}
	case "mimic":
		return attack.Mimic{Client: p.Idx}
	case "inf":
		return attack.Inf()
	case "label_flipping":
		return attack.LabelFlip{}
	case "gaussian":
		next := 0
		return attack.Gaussian{Mean: float64(p.Mu), Deviation: float64(p.Sigma), Normal: func() float64 { next++; return float64(p.Normals[next-1]) }}
	case "optimal_inner_product_manipulation":
		return attack.OptimalIPM{Search: c.search()}
	case "optimal_a_little_is_enough":
		return attack.OptimalALIE{Search: c.search()}
	}
	t.Fatalf("no attack %s", c.Rule)
	return nil
}

func (c *referenceCase) search() attack.Search {
	var chain aggregate.Chain
	for _, s := range append(c.Params.Before, *c.Params.Agg) {
		chain = append(chain, ruleOf(s.Rule, s.Params))
	}
	p := c.Params
	return attack.Search{Rule: chain, Evals: p.Evals, Start: float64(p.Start), Delta: float64(p.Delta), Ratio: float64(p.Ratio)}
}

func single(x []number) (y []float32) {
	for _, v := range x {
		y = append(y, float32(v))
	}
	return y
}

func singles(x [][]number) (y [][]float32) {
	for _, row := range x {
		y = append(y, single(row))
	}
	return y
}

func matrix(raw json.RawMessage) (m [][]number) {
	if json.Unmarshal(raw, &m) != nil {
		var one []number
		if json.Unmarshal(raw, &one) != nil {
			return nil
		}
		m = [][]number{one}
	}
	return m
}

func (c *referenceCase) near(got float32, want number) bool {
	w := float64(want)
	if math.IsInf(w, 0) || math.IsNaN(w) {
		return float64(got) == w || math.IsNaN(w) && got != got
	}
	return math.Abs(float64(got)-w) <= 1e-5*c.Scale
}

func (c *referenceCase) same(got []float32, want []number) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if !c.near(got[i], want[i]) {
			return false
		}
	}
	return true
}

func (c *referenceCase) accepts(got [][]float32) bool {
	whole := func(want [][]number) bool {
		if len(want) != len(got) {
			return false
		}
		for i := range want {
			if !c.same(got[i], want[i]) {
				return false
			}
		}
		return true
	}
	if whole(matrix(c.Expect)) {
		return true
	}
	for _, a := range c.Accept {
		if whole(matrix(a)) {
			return true
		}
	}
	if c.AcceptRows != nil {
		for i, row := range got {
			ok := false
			for _, a := range c.AcceptRows[i] {
				ok = ok || c.same(row, a)
			}
			if !ok {
				return false
			}
		}
		return true
	}
	if c.AcceptCoords != nil {
		for i, x := range got[0] {
			ok := false
			for _, a := range c.AcceptCoords[i] {
				ok = ok || c.near(x, a)
			}
			if !ok {
				return false
			}
		}
		return true
	}
	return false
}
