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
	F, S, Idx, T, L int
	Nu, C           float64
	Tau             *float64
	M               []float32
	Permutation     []int
	PowerStarts     [][]float32 `json:"power_starts"`
	Mu, Sigma       float64
	Normals         []float64
	Evals           int
	Start           float64
	Delta, Ratio    float64
	Agg             *stage
	Before          []stage `json:"pre_agg_list"`
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
		return aggregate.Weiszfeld{Smoothing: p.Nu, Steps: p.T}
	case "centered_clipping":
		return &aggregate.CenteredClipping{Tau: *p.Tau, Steps: p.L, Momentum: p.M}
	case "smea":
		return aggregate.SMEA{F: p.F, PowerStarts: p.PowerStarts}
	case "caf":
		return aggregate.CAF{F: p.F, PowerStarts: p.PowerStarts}
	case "nnm":
		return aggregate.NNM{F: p.F}
	case "bucketing":
		return aggregate.Bucketing{Size: p.S, Permutation: p.Permutation}
	case "clipping":
		return aggregate.Clipping{Norm: p.C}
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
	seen := 0
	for _, c := range file.Cases {
		seen++
		rows := make([][]float32, len(c.X))
		for i, row := range c.X {
			for _, x := range row {
				rows[i] = append(rows[i], float32(x))
			}
		}
		before := make([][]float32, len(rows))
		for i := range rows {
			before[i] = append([]float32(nil), rows[i]...)
		}
		var out [][]float32
		var err error
		switch c.Kind {
		case "aggregator":
			r := ruleOf(c.Rule, c.Params)
			require.NotNil(t, r, c.Rule)
			r = guarded(r, c)
			var one []float32
			one, err = r.Aggregate(nil, rows, new(aggregate.Verdict))
			out = [][]float32{one}
			if c.Exact != nil {
				c.checkExact(t, rows)
			}
		case "attack":
			liar := make([]float32, len(rows[0]))
			err = c.attack(t, rows).Forge([][]float32{liar}, rows)
			if c.Tau != nil && err == nil {
				c.checkTau(t, rows)
				continue // the liar's row depends on how many there are
			}
			out = [][]float32{liar}
		case "preaggregator":
			out, err = ruleOf(c.Rule, c.Params).(aggregate.PreAggregation).Mix(nil, rows, nil)
		case "pipeline":
			var chain aggregate.Chain
			for _, s := range c.Steps {
				chain = append(chain, ruleOf(s.Rule, s.Params))
			}
			var one []float32
			one, err = chain.Aggregate(nil, rows, nil)
			out = [][]float32{one}
		}
		require.Equal(t, before, rows, "%s: the rows are as they were", c.ID)
		if c.Error != "" {
			require.Error(t, err, c.ID)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.ID, err)
			continue
		}
		if !c.accepts(out) {
			t.Errorf("%s: got %v, want %s", c.ID, out, c.Expect)
		}
	}
	require.Greater(t, seen, 120)
}

// guarded drops rows with infinities before the geometric median, as the reference
// does.
func guarded(r aggregate.Rule, c referenceCase) aggregate.Rule {
	if g, ok := r.(aggregate.Weiszfeld); ok {
		return aggregate.Guard{Rule: func(int) aggregate.Rule { return g }}
	}
	return r
}

// checkExact compares with the exact eigenpairs, which are the default.
func (c *referenceCase) checkExact(t *testing.T, rows [][]float32) {
	p := c.Params
	p.PowerStarts = nil
	out, err := ruleOf(c.Rule, p).Aggregate(nil, rows, nil)
	require.NoError(t, err, c.ID)
	if !c.same(out, matrix(c.Exact)[0]) {
		t.Errorf("%s: exactly: got %v, want %s", c.ID, out, c.Exact)
	}
}

// attack is the case's.
func (c *referenceCase) attack(t *testing.T, honest [][]float32) attack.Attack {
	p := c.Params
	switch c.Rule {
	case "sign_flipping":
		return attack.SignFlip{}
	case "inner_product_manipulation":
		return attack.IPM{Tau: *p.Tau}
	case "a_little_is_enough":
		return attack.ALIE{Tau: *p.Tau}
	case "mimic":
		return attack.Mimic{Client: p.Idx}
	case "inf":
		return attack.Inf()
	case "label_flipping":
		return attack.LabelFlip{}
	case "gaussian":
		next := 0
		return attack.Gaussian{Mean: p.Mu, Deviation: p.Sigma, Normal: func() float64 { next++; return p.Normals[next-1] }}
	case "optimal_inner_product_manipulation":
		return attack.OptimalIPM{Search: c.search()}
	case "optimal_a_little_is_enough":
		return attack.OptimalALIE{Search: c.search()}
	}
	t.Fatalf("%s: no attack %s", c.ID, c.Rule)
	return nil
}

func (c *referenceCase) search() attack.Search {
	var chain aggregate.Chain
	for _, s := range append(c.Params.Before, *c.Params.Agg) {
		chain = append(chain, ruleOf(s.Rule, s.Params))
	}
	return attack.Search{Rule: chain, Evals: c.Params.Evals, Start: c.Params.Start, Delta: c.Params.Delta, Ratio: c.Params.Ratio}
}

// checkTau compares the strength found, and the row that f liars send.
func (c *referenceCase) checkTau(t *testing.T, honest [][]float32) {
	a := c.attack(t, honest)
	tau, err := a.(interface {
		Tau([][]float32, int) (float64, error)
	}).Tau(honest, c.Params.F)
	require.NoError(t, err, c.ID)
	require.InDelta(t, *c.Tau, tau, 1e-9, c.ID)
	liars := make([][]float32, c.Params.F)
	for i := range liars {
		liars[i] = make([]float32, len(honest[0]))
	}
	require.NoError(t, a.Forge(liars, honest), c.ID)
	for _, row := range liars {
		if !c.same(row, matrix(c.Expect)[0]) {
			t.Errorf("%s: got %v, want %s", c.ID, row, c.Expect)
		}
	}
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
