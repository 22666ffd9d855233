package he

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/ring"

	"github.com/sotto-ml/sotto/nn"
)

// Each test holds what this package does in place of something that lattigo v5.0.7 gets
// wrong.

// A transformation whose only diagonal is 0 is evaluated as a product.
func TestLoneDiagonal(t *testing.T) {
	r := newTestRing(t)
	from := inOrder(8, 8)
	m := newAffine(8, 8, func(row int, put func(int, float64)) { put(row, float64(row+1)/8) })
	tr, ok := direct(m, from, from)
	require.True(t, ok)
	require.Equal(t, []int{0}, tr.diagonals)
	plan := &latencyPlan{z: []int{0}, width: 8, multiple: 1, ops: [][]operation{{{from: 1, trans: &tr}}}}
	stages := []canonical{{name: "scaling", shape: []int{8}, parts: map[int]*affine{1: m}, bias: make([]float64, 8)}}
	c := circuitStepFor(t, r.params, stages, plan)
	require.NotNil(t, c.ops[0].lone)
	w := newWorker(&circuit{params: r.params, width: 8}, rlwe.NewMemEvaluationKeySet(nil))
	y, err := w.operate(&c.ops[0], 0, nil, []*rlwe.Ciphertext{nil, r.encrypt(t, 1)})
	require.NoError(t, err)
	got := r.decrypt(t, y)
	for i := range 8 {
		require.InDelta(t, float64(i+1)/8*r.values[i], got[i], 1e-3)
	}
}

type testRing struct {
	params hefloat.Parameters
	secret *rlwe.SecretKey
	values []float64
}

func newTestRing(t *testing.T) *testRing {
	p, err := newParameters(12, []int{40, 30}, []int{35}, 30)
	require.NoError(t, err)
	params, err := p.lattigo()
	require.NoError(t, err)
	r := &testRing{params: params, secret: rlwe.NewKeyGenerator(params).GenSecretKeyNew()}
	r.values = make([]float64, params.MaxSlots())
	for i := range r.values {
		r.values[i] = float64(i%8)/8 - .4
	}
	return r
}

func (r *testRing) encrypt(t *testing.T, level int) *rlwe.Ciphertext {
	pt := hefloat.NewPlaintext(r.params, level)
	require.NoError(t, hefloat.NewEncoder(r.params).Encode(r.values, pt))
	ct, err := rlwe.NewEncryptor(r.params, r.secret).EncryptNew(pt)
	require.NoError(t, err)
	return ct
}

func (r *testRing) decrypt(t *testing.T, ct *rlwe.Ciphertext) []float64 {
	out := make([]float64, r.params.MaxSlots())
	require.NoError(t, hefloat.NewEncoder(r.params).Decode(rlwe.NewDecryptor(r.params, r.secret).DecryptNew(ct), out))
	return out
}

// circuitStepFor encodes one stage whose source is a value, not the input.
func circuitStepFor(t *testing.T, params hefloat.Parameters, stages []canonical, plan *latencyPlan) circuitStep {
	// newCircuit numbers values from the stages before: give it one that is never run.
	first := canonical{name: "source", shape: stages[0].shape, parts: map[int]*affine{}, bias: make([]float64, 8)}
	two := &latencyPlan{z: []int{0, 0}, width: plan.width, multiple: 1, ops: [][]operation{plan.ops[0], plan.ops[0]}}
	first.parts[1] = stages[0].parts[1]
	steps := []canonical{first, stages[0]}
	two.ops[0] = []operation{{from: 0, trans: plan.ops[0][0].trans}}
	steps[0].parts[0] = stages[0].parts[1]
	c, err := newCircuit(params, steps, two)
	require.NoError(t, err)
	return c.steps[1]
}

// Weights are encoded in the transformed domain, which the encoder would also write if
// told otherwise: the flag and the content agree.
func TestEncodedWeightsAreTransformed(t *testing.T) {
	r := newTestRing(t)
	p, err := encodePoly(hefloat.NewEncoder(r.params), r.values, 1, r.params.DefaultScale())
	require.NoError(t, err)
	pt := hefloat.NewPlaintext(r.params, 1)
	pt.Value = p
	got := make([]float64, r.params.MaxSlots())
	require.NoError(t, hefloat.NewEncoder(r.params).Decode(pt, got))
	for i := range got {
		require.InDelta(t, r.values[i], got[i], 1e-6)
	}
}

// Dividing by primes leaves no ciphertext of a query changed: DivRoundByLastModulus
// overwrites what it reads, so only results are divided.
func TestEvaluationLeavesQueries(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		p := small(t, mode)
		c := NewClient(p.Schema())
		s, err := NewServer(p, c.Keys())
		require.NoError(t, err)
		q, err := c.Encrypt(examples(1, 10, 1))
		require.NoError(t, err)
		before := written(t, q)
		var halves []ring.Poly
		for _, ct := range q.cts {
			halves = append(halves, *ct.Value[1].CopyNew())
		}
		_, err = s.Evaluate(q)
		require.NoError(t, err)
		require.Equal(t, before, written(t, q))
		for i, ct := range q.cts {
			require.True(t, ct.Value[1].Equal(&halves[i]))
		}
	}
}

// Every rotation that a plan makes has its key, at a level that suffices: nothing else
// checks it, as InnerSum would not.
func TestPlansNameTheirRotations(t *testing.T) {
	p := small(t, Latency)
	have := map[int]int{}
	for _, r := range p.Schema().Rotations() {
		have[r.Step] = r.Level
	}
	need := func(step, level int) {
		require.Contains(t, have, step)
		require.GreaterOrEqual(t, have[step], level)
	}
	for k, ops := range p.plan.ops {
		for i := range ops {
			for _, step := range slices.Concat(ops[i].baby, ops[i].giant) {
				need(step, p.plan.z[k]+1)
			}
			for _, step := range ops[i].folds() {
				need(step, p.plan.z[k])
			}
		}
	}
	require.NotEmpty(t, have)
}

// Two transformations of one ciphertext, each needing rotations of its own, are both
// right: they are evaluated one at a time.
func TestSeveralTransformations(t *testing.T) {
	m := network(t, []int{6}, residualPair()...)
	p, err := Compile(m, examples(30, 6, 1), Options{})
	require.NoError(t, err)
	several := 0
	for _, ops := range p.plan.ops {
		n := 0
		for i := range ops {
			if ops[i].trans != nil && len(ops[i].trans.diagonals) > 1 {
				n++
			}
		}
		several = max(several, n)
	}
	require.GreaterOrEqual(t, several, 2)
	x := examples(1, 6, 2)
	in := make([]float64, 6)
	for j, v := range x[0] {
		in[j] = float64(v)
	}
	values := p.graph.evaluate(in, true, nil)
	for j, got := range through(t, p, x)[0] {
		require.InDelta(t, values[len(values)-1][j], got, p.Schema().ErrorBound())
	}
}

func residualPair() []nn.Layer {
	return []nn.Layer{
		nn.Linear{Out: 8}, nn.Square{},
		nn.Residual{Layers: []nn.Layer{nn.Linear{Out: 8}, nn.Square{}}},
		nn.Linear{Out: 5}, nn.Square{}, nn.Linear{Out: 4},
	}
}
