package dp

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/stream"
	"github.com/sotto-ml/sotto/internal/stream/streamtest"
)

// slowDraw is the draw as the sampler's comment defines it, a record at a time.
func slowDraw(key *stream.Key, step, records int, rate float64, r runs) (order, ends []int) {
	coins, more := stream.New(key, 2*uint64(step)), stream.New(key, 2*uint64(step)+1)
	k, scaled := 0, rate
	for ; scaled < 0.5 && k < 8; k++ {
		scaled *= 2
	}
	threshold, _ := new(big.Float).SetMantExp(big.NewFloat(scaled), 64).Int(nil)
	groups := 512 / (k + 1) &^ 1
	planes := make([]uint64, groups*k)
	var drawn []int
	for i := range records {
		if i%(64*groups) == 0 && rate < 1 {
			coins.Fill(planes)
		}
		ones := true
		for p := range k {
			ones = ones && planes[p*groups+i/64%groups]>>(i%64)&1 == 1
		}
		if ones {
			drawn = append(drawn, i)
		}
	}
	drawn = slices.DeleteFunc(drawn, func(int) bool {
		return rate < 1 && new(big.Int).SetUint64(more.Uint64()).Cmp(threshold) >= 0
	})
	inRun := make([][]int, r.count)
	for _, i := range drawn {
		run := more.Uint64n(uint64(r.count))
		if len(inRun[run]) < r.limit {
			inRun[run] = append(inRun[run], i)
		}
	}
	for _, l := range inRun {
		order = append(order, l...)
		ends = append(ends, len(order))
	}
	return order, ends
}

func TestDrawIsTheDefinition(t *testing.T) {
	key := streamtest.Key(3)
	for _, rate := range []float64{1e-300, 1e-6, 1. / 256, 0.0043, 0.01, 0.3, 0.4999, 0.5, 0.50001, 0x1p-8, 0x1p-7, 0x1.fffffffffffffp-8, 0.25, 0.97, 1 - 0x1p-53, 1} {
		for _, records := range []int{0, 1, 7, 8, 9, 4095, 4096, 4097, 9999} {
			r := runs{count: 1 + records/50, limit: 60}
			s := newSampler(&key, records, rate, r)
			for step := range 3 {
				s.draw(step)
				order, ends := slowDraw(&key, step, records, rate, r)
				require.True(t, slices.Equal(order, s.order), "rate %v records %d", rate, records)
				require.Equal(t, ends, s.ends)
				require.Equal(t, len(s.drawn)-len(order), s.tally.dropped)
			}
		}
	}
}

// The number of records drawn, which records, and their runs.
func TestDrawIsPoisson(t *testing.T) {
	const records, steps = 6000, 400
	key := streamtest.Key(4)
	r := runs{count: 5, limit: records}
	for _, rate := range []float64{0.01, 0.2, 0.7} {
		s := newSampler(&key, records, rate, r)
		each, inRun := make([]float64, records), make([]float64, r.count)
		var total, squares, together, last float64
		former := make([]bool, records)
		for step := range steps {
			s.draw(step)
			n := float64(len(s.order))
			total += n
			squares += (n - records*rate) * (n - records*rate)
			now := make([]bool, records)
			for _, i := range s.order {
				each[i]++
				now[i] = true
				if former[i] {
					together++
				}
			}
			former = now
			from := 0
			for k, end := range s.ends {
				inRun[k] += float64(end - from)
				from = end
			}
			last = n
		}
		require.Positive(t, last)
		// 6 standard deviations: a false alarm in 5e8.
		const sd = 6
		accept := func(rate float64) bool {
			mean, variance := records*steps*rate, records*steps*rate*(1-rate)
			return math.Abs(total-mean) < sd*math.Sqrt(variance)
		}
		require.True(t, accept(rate))
		require.False(t, accept(rate*1.05) || accept(rate/1.05))
		// The variance of a draw's size is a binomial's: a χ² of 400 over 400.
		require.InDelta(t, 1, squares/steps/(records*rate*(1-rate)), sd*math.Sqrt(2./steps))
		// Every record is drawn as often as others: χ² of 6000 degrees.
		chi := 0.0
		for _, n := range each {
			chi += (n - steps*rate) * (n - steps*rate) / (steps * rate * (1 - rate))
		}
		require.InDelta(t, records, chi, sd*math.Sqrt(2*records))
		// A record's draws in successive steps are independent.
		pairs := float64(records * (steps - 1))
		require.InDelta(t, pairs*rate*rate, together, sd*math.Sqrt(pairs*rate*rate*(1-rate*rate)*2))
		// Runs are alike.
		for _, n := range inRun {
			require.InDelta(t, total/float64(r.count), n, sd*math.Sqrt(total/float64(r.count)))
		}
	}
}

func TestRunsAreMixedEachStep(t *testing.T) {
	// Two records share a run with probability 1/R.
	key := streamtest.Key(5)
	r := runs{count: 4, limit: 100}
	s := newSampler(&key, 2, 1, r)
	const steps = 4000
	same := 0.0
	for step := range steps {
		s.draw(step)
		if slices.Contains(s.ends, 1) {
			continue
		}
		same++
	}
	require.InDelta(t, steps/4., same, 6*math.Sqrt(steps*3./16))
}

func TestDrawAllocates(t *testing.T) {
	key := streamtest.Key(6)
	s := newSampler(&key, 60000, 0.01, runs{count: 20, limit: 100})
	for step := range 50 {
		s.draw(step)
	}
	step := 0
	require.Zero(t, testing.AllocsPerRun(50, func() { s.draw(step); step++ }))
}

func BenchmarkDraw(b *testing.B) {
	for _, batch := range []int{256, 4096} {
		b.Run("n=60000/batch="+map[int]string{256: "256", 4096: "4096"}[batch], func(b *testing.B) {
			key := streamtest.Key(7)
			plan := somePlan()
			plan.Sampling, plan.BatchSize = Poisson{Rate: float64(batch) / 60000}, batch
			s := newSampler(&key, 60000, plan.rate(), plan.runs())
			step := 0
			for b.Loop() {
				s.draw(step)
				step++
			}
		})
	}
}
