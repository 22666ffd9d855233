package nn

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// What package dp asks of an optimiser.
var _ interface {
	Begin(d int)
	Update(params, grad []float32, offset int)
	MarshalBinary() ([]byte, error)
	UnmarshalBinary([]byte) error
} = (*Optimizer)(nil)

// testRules has a rule of every update path.
var testRules = map[string]Rule{
	"plain":    SGD{LearningRate: 0.5, WeightDecay: 0.1},
	"momentum": SGD{LearningRate: 0.1, Momentum: 0.9, Schedule: Schedule{WarmUp: 3, Cosine: 9, Floor: 0.25}},
	"nesterov": SGD{LearningRate: 0.1, Momentum: 0.9, Nesterov: true, WeightDecay: 1e-3},
	"adam":     Adam{LearningRate: 0.01, WeightDecay: 0.1},
	"adamw":    AdamW{LearningRate: 0.01, Schedule: Schedule{Cosine: 7}},
}

func newOptimizer(t testing.TB, r Rule) *Optimizer {
	t.Helper()
	o, err := NewOptimizer(r)
	require.NoError(t, err)
	return o
}

// TestOptimizersFollowPyTorch compares every step with 50-digit decimals of
// the published rules, made by testdata/optimizers.py.
func TestOptimizersFollowPyTorch(t *testing.T) {
	raw, err := os.ReadFile("testdata/optimizers.json")
	require.NoError(t, err)
	var table struct {
		Params []float32
		Grads  [][]float32
		Cases  []struct {
			Rule   string
			Config json.RawMessage
			Want   [][]float64
		}
	}
	require.NoError(t, json.Unmarshal(raw, &table))
	require.Len(t, table.Cases, 9)
	for i, c := range table.Cases {
		d := json.NewDecoder(bytes.NewReader(c.Config))
		d.DisallowUnknownFields()
		var r Rule
		switch c.Rule {
		case "SGD":
			var s SGD
			require.NoError(t, d.Decode(&s))
			r = s
		case "Adam":
			var s Adam
			require.NoError(t, d.Decode(&s))
			r = s
		case "AdamW":
			var s AdamW
			require.NoError(t, d.Decode(&s))
			r = s
		}
		o := newOptimizer(t, r)
		p := slices.Clone(table.Params)
		require.Len(t, c.Want, len(table.Grads))
		for s, want := range c.Want {
			o.Begin(len(p))
			o.Update(p, table.Grads[s], 0)
			for j := range p {
				// Each step rounds a few times at the size of its largest term.
				tol := 1e-6 * float64(s+1) * max(math.Abs(want[j]), 0.1)
				require.InDelta(t, want[j], p[j], tol, "case %d %s %s step %d parameter %d", i, c.Rule, c.Config, s, j)
			}
		}
		require.Equal(t, len(c.Want), o.Steps())
	}
}

// TestSGDIsItsFormula compares bits with the formula written out for values
// whose every operation is exact.
func TestSGDIsItsFormula(t *testing.T) {
	o := newOptimizer(t, SGD{LearningRate: 0.5, Momentum: 0.5, WeightDecay: 0.25})
	p := []float32{8, -4}
	o.Begin(2)
	o.Update(p, []float32{1, 2}, 0) // v = g + p/4 = 3, 1
	require.Equal(t, []float32{6.5, -4.5}, p)
	o.Begin(2)
	o.Update(p, []float32{0, 1}, 0) // v = v/2 + g + p/4 = 3.125, 0.375
	require.Equal(t, []float32{4.9375, -4.6875}, p)
	require.Equal(t, SGD{LearningRate: 0.5, Momentum: 0.5, WeightDecay: 0.25}, o.Rule())
}

func randomVector(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// run takes steps over p in blocks of the given lengths, again and again.
func run(o *Optimizer, p []float32, steps int, seed uint64, blocks ...int) {
	r := rand.New(rand.NewPCG(seed, 1))
	for range steps {
		g := randomVector(r, len(p))
		o.Begin(len(p))
		for at, i := 0, 0; at < len(p); i++ {
			end := min(at+blocks[i%len(blocks)], len(p))
			o.Update(p[at:end], g[at:end], at)
			at = end
		}
	}
}

func TestOptimizerBlocksDoNotMatter(t *testing.T) {
	for name, rule := range testRules {
		t.Run(name, func(t *testing.T) {
			start := randomVector(rand.New(rand.NewPCG(3, 4)), 1031)
			want := slices.Clone(start)
			whole := newOptimizer(t, rule)
			run(whole, want, 12, 7, len(start))
			for _, blocks := range [][]int{{1}, {4096}, {16, 1, 0, 7}, {1000, 3}} {
				got := slices.Clone(start)
				cut := newOptimizer(t, rule)
				run(cut, got, 12, 7, blocks...)
				require.Equal(t, want, got, "blocks %v", blocks)
				require.Equal(t, state(t, whole), state(t, cut))
			}
		})
	}
}

func state(t testing.TB, o *Optimizer) []byte {
	t.Helper()
	b, err := o.MarshalBinary()
	require.NoError(t, err)
	return b
}

// TestOptimizerConcurrentBlocks is for the race detector as much as for the
// comparison.
func TestOptimizerConcurrentBlocks(t *testing.T) {
	const d = 10000
	for name, rule := range testRules {
		r := rand.New(rand.NewPCG(5, 6))
		want, g := randomVector(r, d), randomVector(r, d)
		got := slices.Clone(want)
		a, b := newOptimizer(t, rule), newOptimizer(t, rule)
		for range 3 {
			a.Begin(d)
			a.Update(want, g, 0)
			b.Begin(d)
			var wg sync.WaitGroup
			for at := 0; at < d; at += 1250 {
				wg.Go(func() { b.Update(got[at:at+1250], g[at:at+1250], at) })
			}
			wg.Wait()
		}
		require.Equal(t, want, got, name)
	}
}

func TestOptimizerStateRoundTrips(t *testing.T) {
	for name, rule := range testRules {
		t.Run(name, func(t *testing.T) {
			p := randomVector(rand.New(rand.NewPCG(8, 8)), 301)
			whole := newOptimizer(t, rule)
			run(whole, p, 5, 1, 301)
			q := slices.Clone(p)
			resumed := newOptimizer(t, rule)
			run(resumed, slices.Clone(p), 2, 9, 301) // a dirty receiver
			require.NoError(t, resumed.UnmarshalBinary(state(t, whole)))
			require.Equal(t, whole.Steps(), resumed.Steps())
			require.Equal(t, whole.LearningRate(), resumed.LearningRate())
			run(whole, p, 6, 2, 301)
			run(resumed, q, 6, 2, 301)
			require.Equal(t, p, q)
			require.Equal(t, state(t, whole), state(t, resumed))

			fresh := newOptimizer(t, rule)
			require.NoError(t, fresh.UnmarshalBinary(state(t, newOptimizer(t, rule))))
			require.Zero(t, fresh.Steps())
		})
	}
}

func TestOptimizerStateRefusals(t *testing.T) {
	o := newOptimizer(t, testRules["momentum"])
	p := make([]float32, 9)
	run(o, p, 3, 1, 9)
	good := state(t, o)
	for cut := range good {
		q := newOptimizer(t, testRules["momentum"])
		require.Error(t, q.UnmarshalBinary(good[:cut]), cut)
		require.Zero(t, q.Steps())
	}
	require.Error(t, newOptimizer(t, testRules["momentum"]).UnmarshalBinary(append(slices.Clone(good), 0)))
	require.ErrorContains(t, newOptimizer(t, testRules["adam"]).UnmarshalBinary(good), `rule "SGD"`)
	changed := testRules["momentum"].(SGD)
	changed.Momentum = 0.8
	require.ErrorContains(t, newOptimizer(t, changed).UnmarshalBinary(good), "SGD.Momentum = 0.9, this optimiser has SGD.Momentum = 0.8")
	require.Error(t, new(Optimizer).UnmarshalBinary(good))
}

func FuzzOptimizerState(f *testing.F) {
	for _, rule := range testRules {
		o, err := NewOptimizer(rule)
		require.NoError(f, err)
		f.Add(state(f, o))
		run(o, make([]float32, 3), 2, 1, 3)
		f.Add(state(f, o))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, rule := range testRules {
			o := newOptimizer(t, rule)
			if o.UnmarshalBinary(data) == nil {
				require.Equal(t, data, state(t, o))
			}
		}
	})
}

func TestOptimizerNamesBadHyperparameters(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{SGD{}, "SGD.LearningRate is 0"},
		{SGD{LearningRate: -1}, "SGD.LearningRate is -1"},
		{SGD{LearningRate: nan}, "SGD.LearningRate is NaN"},
		{SGD{LearningRate: inf}, "SGD.LearningRate is +Inf"},
		{SGD{LearningRate: 1, Momentum: 1}, "SGD.Momentum is 1"},
		{SGD{LearningRate: 1, Momentum: -0.1}, "SGD.Momentum is -0.1"},
		{SGD{LearningRate: 1, WeightDecay: -1}, "SGD.WeightDecay is -1"},
		{SGD{LearningRate: 1, Nesterov: true}, "SGD.Nesterov"},
		{Adam{LearningRate: -1}, "Adam.LearningRate is -1"},
		{Adam{Beta1: 1}, "Adam.Beta1 is 1"},
		{Adam{Beta2: nan}, "Adam.Beta2 is NaN"},
		{Adam{Eps: -1}, "Adam.Eps is -1"},
		{AdamW{WeightDecay: -1}, "AdamW.WeightDecay is -1"},
		{AdamW{LearningRate: 10, WeightDecay: 0.2}, "AdamW.LearningRate times AdamW.WeightDecay is 2"},
		{SGD{LearningRate: 1, Schedule: Schedule{WarmUp: -1}}, "Schedule.WarmUp is -1"},
		{SGD{LearningRate: 1, Schedule: Schedule{Cosine: -1}}, "Schedule.Cosine is -1"},
		{SGD{LearningRate: 1, Schedule: Schedule{WarmUp: 5, Cosine: 5}}, "Schedule.Cosine is 5"},
		{Adam{Schedule: Schedule{Cosine: 5, Floor: 1.5}}, "Schedule.Floor is 1.5"},
		{Adam{Schedule: Schedule{Floor: 0.5}}, "Schedule.Floor is 0.5"},
		{nil, "want the value SGD, Adam or AdamW"},
		{&SGD{LearningRate: 1}, "want the value SGD, Adam or AdamW"},
	} {
		_, err := NewOptimizer(c.rule)
		require.ErrorContains(t, err, c.want)
	}
}

func TestOptimizerMistakesPanic(t *testing.T) {
	o := newOptimizer(t, SGD{LearningRate: 1})
	x := make([]float32, 4)
	require.PanicsWithValue(t, "nn: optimiser updates before Begin", func() { o.Update(x, x, 0) })
	require.PanicsWithValue(t, "nn: negative number of parameters", func() { o.Begin(-1) })
	o.Begin(5)
	require.PanicsWithValue(t, "nn: optimiser steps over another number of parameters than before", func() { o.Begin(6) })
	require.PanicsWithValue(t, "nn: block of parameters and block of gradient differ in length", func() { o.Update(x, x[:3], 0) })
	for _, offset := range []int{-1, 2, math.MaxInt} {
		require.PanicsWithValue(t, "nn: optimiser block lies outside the parameters", func() { o.Update(x, x, offset) })
	}
	o.Update(x, make([]float32, 4), 1)
}

func TestScheduleShape(t *testing.T) {
	require.Equal(t, 1.0, Schedule{}.Factor(1e6))
	s := Schedule{WarmUp: 4, Cosine: 104, Floor: 0.1}
	require.Equal(t, 0.25, s.Factor(0))
	require.Equal(t, 1.0, s.Factor(3))
	require.Equal(t, 1.0, s.Factor(4))
	require.InDelta(t, 0.55, s.Factor(54), 1e-14)
	require.Equal(t, 0.1, s.Factor(104))
	require.Equal(t, 0.1, s.Factor(1000))
	for i := 4; i < 104; i++ {
		x := float64(i-4) / 100
		require.InDelta(t, 0.1+0.9*(1+math.Cos(math.Pi*x))/2, s.Factor(i), 1e-14)
		require.Less(t, s.Factor(i+1), s.Factor(i))
	}
	require.Panics(t, func() { s.Factor(-1) })
}

func TestOptimizerStepsDoNotAllocate(t *testing.T) {
	for name, rule := range testRules {
		o := newOptimizer(t, rule)
		p := make([]float32, 100)
		o.Begin(100)
		require.Zero(t, testing.AllocsPerRun(10, func() {
			o.Begin(100)
			o.Update(p[:50], p[50:], 0)
			o.Update(p[50:], p[:50], 50)
		}), name)
	}
}

func BenchmarkOptimizer(b *testing.B) {
	for name, rule := range testRules {
		b.Run("rule="+name, func(b *testing.B) {
			const d = 100000
			o := newOptimizer(b, rule)
			r := rand.New(rand.NewPCG(1, 2))
			p, g := randomVector(r, d), randomVector(r, d)
			for b.Loop() {
				o.Begin(d)
				o.Update(p, g, 0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/d, "ns/param")
		})
	}
}
