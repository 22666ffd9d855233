package clients

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
	"github.com/sotto-ml/sotto/federated"
)

// made is data whose label can be read off the pixels.
func made(n int) *Data {
	r := rand.New(rand.NewPCG(1, 1))
	draw := func(n int) (rows [][]float32, labels []int) {
		for range n {
			row, label := make([]float32, 784), r.IntN(10)
			for j := range row {
				row[j] = 0.1 * r.Float32()
			}
			row[300+label]++
			rows, labels = append(rows, row), append(labels, label)
		}
		return rows, labels
	}
	d := &Data{}
	d.Train, d.TrainLabels = draw(n)
	d.Test, d.TestLabels = draw(200)
	return d
}

// Every example goes to one client, and clients are as the split says.
func TestSplits(t *testing.T) {
	d := made(5000)
	kinds := func(part []int) (n int) {
		var has [10]bool
		for _, i := range part {
			has[d.TrainLabels[i]] = true
		}
		for _, x := range has {
			if x {
				n++
			}
		}
		return n
	}
	skewed, err := Dirichlet(d.TrainLabels, 50, 0.05, 7)
	require.NoError(t, err)
	even, err := Dirichlet(d.TrainLabels, 50, 1000, 7)
	require.NoError(t, err)
	shards := Shards(d.TrainLabels, 50, 7)
	for name, parts := range map[string][][]int{"skewed": skewed, "even": even, "shards": shards, "gamma": Gamma(d.TrainLabels, 50, 0.5, 7)} {
		all := slices.Sorted(slices.Values(slices.Concat(parts...)))
		require.Len(t, all, 5000, name)
		require.Len(t, slices.Compact(all), 5000, name)
		for _, part := range parts {
			require.InDelta(t, 100, len(part), 1, name)
		}
	}
	few, many := 0, 0
	for c := range 50 {
		require.LessOrEqual(t, kinds(shards[c]), 4)
		few, many = few+kinds(skewed[c]), many+kinds(even[c])
	}
	require.Less(t, few, 50*5)
	require.Equal(t, 50*10, many)
	_, err = Dirichlet(d.TrainLabels, 50, 0, 7)
	require.ErrorContains(t, err, "alpha is 0")
}

// A run has the same bits on one core and on many, liars and drop-outs included.
func TestRunIsDeterministic(t *testing.T) {
	d := made(600)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, strategy := range []federated.Strategy{federated.FedAvg{}, federated.Scaffold{}} {
		var first []float32
		for _, cores := range []int{1, 4} {
			runtime.GOMAXPROCS(cores)
			r := Run{
				Plan: federated.Plan{Rounds: 6, Strategy: strategy, Selection: federated.Uniform{Clients: 8}, MinCohort: 4},
				Data: d, Model: "linear", Local: Local{Epochs: 1, Batch: 10, Rate: 0.5, Momentum: 0.5}, Parts: Gamma(d.TrainLabels, 12, 0.2, 1), DropOut: 0.2, Seed: 3,
			}
			if strategy == (federated.FedAvg{}) {
				r.Liars, r.Attack, r.Plan.Rule = 2, Attacks[slices.IndexFunc(Attacks, func(a Attack) bool { return a.Name == "alie" })], aggregate.Median{}
			}
			got, err := r.Do(context.Background())
			require.NoError(t, err)
			require.Greater(t, got.Accuracy, 0.3)
			require.Positive(t, got.Dropped)
			if first == nil {
				first = got.Params
			}
			require.Equal(t, first, got.Params)
		}
	}
}

// Momentum is over rounds, and a task that is asked again has the same answer.
func TestMomentumRepeats(t *testing.T) {
	var m memory
	send := func(round int, x float32) float32 {
		delta := []float32{x}
		m.average(delta, round, 0.5)
		return delta[0]
	}
	require.EqualValues(t, 2, send(1, 4))
	require.EqualValues(t, 2, send(1, 4))
	require.EqualValues(t, 3, send(5, 4))
	require.EqualValues(t, 3, send(5, 4))
	require.EqualValues(t, 1.5, send(6, 0))
}

// Liars send what they make of what the honest of the same round have made.
func TestLiarsSeeTheHonest(t *testing.T) {
	d := made(300)
	run := func(attack string, liars int) []float32 {
		r := Run{
			Plan: federated.Plan{Rounds: 1, Strategy: federated.FedAvg{}, Selection: federated.All{}},
			Data: d, Model: "linear", Local: Local{Epochs: 1, Batch: 10, Rate: 0.5}, Parts: Gamma(d.TrainLabels, 8, 1, 1),
			Liars: liars, Attack: Attacks[slices.IndexFunc(Attacks, func(a Attack) bool { return a.Name == attack })], Seed: 3,
		}
		got, err := r.Do(context.Background())
		require.NoError(t, err)
		return got.Params
	}
	start, err := NewModel("linear", 3)
	require.NoError(t, err)
	honest, four := run("none", 0), run("signflip-4", 2)
	for j, w := range start.Params() {
		require.InDelta(t, w, four[j], 1e-5, "a fifth that sends four times the mean turned round leaves nothing of it")
	}
	require.NotEqual(t, honest, four)
}

// Liars before buckets search against what the server runs: the rule over as many buckets.
func TestLiarsKnowTheBuckets(t *testing.T) {
	var honest [][]float32
	for i := range 14 {
		honest = append(honest, []float32{float32(i)})
	}
	for want, plan := range map[int]federated.Plan{
		0: {Rule: aggregate.Median{}},
		9: {Rule: aggregate.Median{}, Buckets: &federated.Buckets{F: 1, Count: 9}}, // of 2 and 1
		7: {Rule: aggregate.Bulyan{F: 1}, Buckets: &federated.Buckets{F: 1}},       // more than 4F+1
	} {
		var rule aggregate.Rule
		s := &session{Run: &Run{Plan: plan, Attack: Attack{Forge: func(_, _ int, r aggregate.Rule, _ uint64) attack.Attack {
			rule = r
			return attack.OptimalIPM{Search: attack.Search{Rule: r}}
		}}}, crowd: &crowd{}}
		lies, err := s.forge(2, honest)
		require.NoError(t, err)
		if want == 0 {
			require.Equal(t, plan.Rule, rule)
			continue
		}
		d := rule.(dealt)
		require.Equal(t, want, d.count)
		d.rule = ruleFunc(func(means [][]float32) { require.Len(t, means, want) })
		_, err = d.Aggregate(nil, append(lies, honest...), nil)
		require.NoError(t, err)
	}
}

// ruleFunc looks at what a rule is given.
type ruleFunc func(rows [][]float32)

func (f ruleFunc) Aggregate(dst []float32, rows [][]float32, _ *aggregate.Verdict) ([]float32, error) {
	f(rows)
	return dst, nil
}

// Every row is in one bucket, and sizes differ by one at most.
func TestDealt(t *testing.T) {
	rows := make([][]float32, 20)
	for i := range rows {
		rows[i] = make([]float32, 20)
		rows[i][i] = 1
	}
	seen := make([]int, 20)
	d := dealt{ruleFunc(func(means [][]float32) {
		require.Len(t, means, 9)
		for _, m := range means {
			size := 0
			for i, x := range m {
				if x != 0 {
					seen[i]++
					size++
				}
			}
			require.Contains(t, []int{2, 3}, size)
		}
	}), 9, 5}
	_, err := d.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	require.Equal(t, slices.Repeat([]int{1}, 20), seen)
}
