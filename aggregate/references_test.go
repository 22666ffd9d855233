package aggregate

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
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
	Nu, C, Tau      float64
	M               []float32
	Permutation     []int
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
	Expect         json.RawMessage
	Accept         []json.RawMessage
	AcceptRows     [][][]number `json:"accept_rows"`
	AcceptCoords   [][]number   `json:"accept_coords"`
	Scale          float64
	Error          string
}

// notYet are the rules of the reference that this package does not have.
var notYet = map[string]bool{"caf": true, "smea": true}

func ruleOf(name string, p params) Rule {
	switch name {
	case "average":
		return Mean{}
	case "median":
		return Median{}
	case "trimmed_mean":
		return TrimmedMean{p.F}
	case "meamed":
		return Meamed{p.F}
	case "krum":
		return Krum{F: p.F}
	case "multi_krum":
		return MultiKrum{F: p.F}
	case "monna":
		return MoNNA{p.F, p.Idx}
	case "mda":
		return MinimumDiameter{p.F}
	case "geometric_median":
		return Weiszfeld{p.Nu, p.T}
	case "centered_clipping":
		return &CenteredClipping{Tau: p.Tau, Steps: p.L, Momentum: p.M}
	case "nnm":
		return NNM{p.F}
	case "bucketing":
		return Bucketing{Size: p.S, Permutation: p.Permutation}
	case "clipping":
		return Clipping{p.C}
	case "arc":
		return ARC{p.F}
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
		if c.Kind == "attack" || notYet[c.Rule] {
			continue
		}
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
			one, err = r.Aggregate(nil, rows, new(Verdict))
			out = [][]float32{one}
		case "preaggregator":
			out, err = ruleOf(c.Rule, c.Params).(PreAggregation).Mix(nil, rows, nil)
		case "pipeline":
			var chain Chain
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
	require.Greater(t, seen, 90)
}

// guarded drops rows with infinities before the geometric median, as the reference
// does.
func guarded(r Rule, c referenceCase) Rule {
	if g, ok := r.(Weiszfeld); ok {
		return Guard{Rule: func(int) Rule { return g }}
	}
	return r
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
