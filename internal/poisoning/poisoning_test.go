package poisoning

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
	"github.com/sotto-ml/sotto/nn"
)

// toy is ten blobs in the plane's ten directions.
func toy(n int) *Data {
	rng := rand.New(rand.NewPCG(1, 1))
	d := new(Data)
	draw := func() (x []float32, label int) {
		label = rng.IntN(Classes)
		x = make([]float32, Classes)
		for j := range x {
			x[j] = float32(0.3 * rng.NormFloat64())
		}
		x[label]++
		return x, label
	}
	for range n {
		x, label := draw()
		d.Train, d.TrainLabels = append(d.Train, x), append(d.TrainLabels, label)
		x, label = draw()
		d.Test, d.TestLabels = append(d.Test, x), append(d.TestLabels, label)
	}
	return d
}

func TestSplit(t *testing.T) {
	labels := toy(1000).TrainLabels
	for _, gamma := range []float64{0, 0.33, 1} {
		var all []int
		kinds := 0
		for _, part := range Split(labels, 10, gamma, 3) {
			require.InDelta(t, 100, len(part), 1)
			all = append(all, part...)
			seen := map[int]bool{}
			for _, i := range part {
				seen[labels[i]] = true
			}
			kinds += len(seen)
		}
		slices.Sort(all)
		require.Len(t, slices.Compact(all), 1000, "every example once")
		if gamma == 0 {
			require.Less(t, kinds, 31, "few labels each")
		} else {
			require.Greater(t, kinds, 90, "nearly all labels everywhere")
		}
	}
}

// TestTrain: the mean learns without liars and not with them, the median with them too.
func TestTrain(t *testing.T) {
	data := toy(2000)
	s := Setting{Layers: []nn.Layer{nn.Linear{Out: Classes}}, Shape: nn.Shape{Classes}, Honest: 8, Liars: 2, Gamma: 1,
		Steps: 60, Batch: 20, Rate: 1, Cool: 10, Momentum: 0.9, Seed: 1}
	mean := func(int, *Round) aggregate.Rule { return aggregate.Mean{} }
	median := func(int, *Round) aggregate.Rule { return aggregate.Median{} }
	flip := func(aggregate.Rule) attack.Attack { return attack.IPM{Tau: 10} }
	for _, c := range []struct {
		rule   func(int, *Round) aggregate.Rule
		attack func(aggregate.Rule) attack.Attack
		learns bool
	}{{mean, nil, true}, {mean, flip, false}, {median, flip, true}} {
		s.Rule, s.Attack = c.rule, c.attack
		got, err := Train(data, s, nil)
		require.NoError(t, err)
		require.Equal(t, c.learns, got.Accuracy > 0.8, "%+v", got)
		again, err := Train(data, s, nil)
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	s.Rule, s.Flip, s.Attack = median, true, func(aggregate.Rule) attack.Attack { return attack.LabelFlip{} }
	got, err := Train(data, s, nil)
	require.NoError(t, err)
	require.Greater(t, got.Accuracy, 0.8)

	s.Rule, s.Flip, s.Attack, s.Rate = mean, false, nil, 1e39
	got, err = Train(data, s, nil)
	require.NoError(t, err)
	require.True(t, got.Diverged)
	stop := errors.New("stop")
	s.Rate = 1
	_, err = Train(data, s, func(int) error { return stop })
	require.ErrorIs(t, err, stop)
}

// seen is a rule, and how many rows it got.
type seen struct {
	aggregate.Rule
	rows map[int]bool
}

func (s seen) Aggregate(dst []float32, rows [][]float32, v *aggregate.Verdict) ([]float32, error) {
	s.rows[len(rows)] = true
	return s.Rule.Aggregate(dst, rows, v)
}

// TestDeclared: the rule is made once a run for the liars declared, also where they send
// nothing, so that what robustness costs shows.
func TestDeclared(t *testing.T) {
	s := Setting{Layers: []nn.Layer{nn.Linear{Out: Classes}}, Shape: nn.Shape{Classes}, Honest: 8, Liars: 2, Gamma: 1,
		Steps: 3, Batch: 2, Rate: 1, Seed: 1}
	for _, c := range []struct {
		rows   int
		attack func(aggregate.Rule) attack.Attack
	}{{8, nil}, {10, func(aggregate.Rule) attack.Attack { return attack.SignFlip{} }}} {
		var made []int
		rows := map[int]bool{}
		s.Attack, s.Rule = c.attack, func(f int, _ *Round) aggregate.Rule {
			made = append(made, f)
			return seen{aggregate.TrimmedMean{F: f}, rows}
		}
		_, err := Train(toy(100), s, nil)
		require.NoError(t, err)
		require.Equal(t, []int{2}, made)
		require.Equal(t, map[int]bool{c.rows: true}, rows)
	}
}

// told is a rule that notes what it is told of each round.
type told struct {
	at    *Round
	steps []int
	roots [][]float32
	rows  [][]float32 // the first client's
}

func (r *told) Aggregate(dst []float32, rows [][]float32, v *aggregate.Verdict) ([]float32, error) {
	r.steps = append(r.steps, r.at.Step)
	r.roots, r.rows = append(r.roots, slices.Clone(r.at.Root)), append(r.rows, slices.Clone(rows[0]))
	return aggregate.Mean{}.Aggregate(dst, rows, v)
}

// TestRound: rules know the step, and the server's row where it has examples: of batches of
// these alone, with a client's momentum, and without a change of what the clients send.
func TestRound(t *testing.T) {
	s := Setting{Layers: []nn.Layer{nn.Linear{Out: Classes}}, Shape: nn.Shape{Classes}, Honest: 3, Gamma: 1,
		Steps: 4, Batch: 5, Rate: 0.1, Momentum: 0.9, Seed: 2}
	data := toy(200)
	run := func(public int) *told {
		s.Public = public
		r := new(told)
		s.Rule = func(_ int, at *Round) aggregate.Rule {
			r.at = at
			return r
		}
		_, err := Train(data, s, nil)
		require.NoError(t, err)
		require.Equal(t, []int{0, 1, 2, 3}, r.steps)
		return r
	}
	none, one, all := run(0), run(1), run(1000)
	require.Nil(t, none.roots[3])
	require.Equal(t, none.rows, one.rows, "the clients' batches")
	require.Equal(t, none.rows, all.rows, "the clients' batches")
	require.NotEqual(t, one.roots, all.roots)
	// The biases' gradients are softmax less the label: of one example's label alone negative.
	for _, root := range one.roots {
		negative := 0
		for _, x := range root[len(root)-Classes:] {
			if x < 0 {
				negative++
			}
		}
		require.Equal(t, 1, negative)
	}
	size := func(x []float32) (sum float64) {
		for _, v := range x {
			sum += float64(v) * float64(v)
		}
		return sum
	}
	require.Greater(t, size(one.roots[3]), 6*size(one.roots[0]), "momentum: 0.34 of a gradient after a tenth")
}
