package aggregate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

// cafByDefinition is the paper's loop over the rows themselves, and its number of steps.
func cafByDefinition(rows [][]float32, f int) (best []float64, steps int) {
	n, d := len(rows), len(rows[0])
	c := make([]float64, n)
	for i := range c {
		c[i] = 1
	}
	least := math.Inf(1)
	for {
		total, mean := 0.0, make([]float64, d)
		for i, row := range rows {
			total += c[i]
			for j, x := range row {
				mean[j] += c[i] * float64(x)
			}
		}
		if total <= float64(n-2*f) {
			return best, steps
		}
		steps++
		covariance := mat.NewSymDense(d, nil)
		off := mat.NewDense(n, d, nil)
		for j := range mean {
			mean[j] /= total
		}
		for i, row := range rows {
			for j, x := range row {
				off.Set(i, j, float64(x)-mean[j])
			}
			covariance.SymRankOne(covariance, c[i]/total, off.RowView(i))
		}
		var eigen mat.EigenSym
		eigen.Factorize(covariance, true)
		var vectors mat.Dense
		eigen.VectorsTo(&vectors)
		if top := eigen.Values(nil)[d-1]; top < least {
			least, best = top, mean
		}
		var along mat.VecDense
		along.MulVec(off, vectors.ColView(d-1))
		most := mat.Norm(&along, math.Inf(1))
		for i := range c {
			c[i] *= 1 - math.Pow(along.AtVec(i)/most, 2)
		}
	}
}

// TestCAFOfManySteps: far liars, once they have no weight, slow the filter down, which goes
// by its definition all the same.
func TestCAFOfManySteps(t *testing.T) {
	for _, c := range []struct {
		n, f, steps int
		far         float32
	}{{10, 4, 3000, 20}, {15, 2, 4000, 200}, {20, 4, 15000, 200}} {
		rows := someRows(uint64(c.n), c.n, 5)
		for i, row := range rows[:c.f] {
			for j := range row {
				row[j] += c.far * float32(1+i%3) * float32(1-2*(i%2))
			}
		}
		want, steps := cafByDefinition(rows, c.f)
		require.Greater(t, steps, c.steps)
		got, err := CAF{F: c.f}.Aggregate(nil, rows, nil)
		require.NoError(t, err)
		for j, x := range want {
			require.InDelta(t, x, got[j], 1e-6, "n=%d", c.n)
		}
	}
}

// TestDnCDrawsAnew: who knows the columns of a seed hides in the others; without one nobody does.
func TestDnCDrawsAnew(t *testing.T) {
	const n, f, d = 20, 4, 5000
	rows := someRows(1, n, d)
	rule := DnC{F: f, Columns: 100, Iterations: 2, Seed: 7}
	seen := make([]bool, d) // by the rule, as equal values elsewhere do not change it
	rng := rand.New(rand.NewPCG(rule.Seed, 0x646e63))
	for range 2 {
		for _, j := range drawn(rng, d, 100) {
			seen[j] = true
		}
	}
	for _, row := range rows[:f] {
		for j := range row {
			if !seen[j] {
				row[j] = 1e6
			}
		}
	}
	most := func(rule Rule) float64 {
		out, err := rule.Aggregate(nil, rows, nil)
		require.NoError(t, err)
		return float64(slices.Max(out))
	}
	require.Greater(t, most(rule), 1e4, "they are not seen")
	rule.Seed = 0
	for range 5 {
		require.Less(t, most(rule), 10.)
	}
	same, err := rule.Aggregate(nil, rows[f:], nil)
	require.NoError(t, err)
	other := 0
	for range 5 {
		out, err := rule.Aggregate(nil, rows[f:], nil)
		require.NoError(t, err)
		if !slices.Equal(out, same) {
			other++
		}
	}
	require.Positive(t, other)
}

// TestFilterRange: a filter that would drop all rows is refused, however great.
func TestFilterRange(t *testing.T) {
	for _, filter := range []float64{10, 1e18, 1e300, math.Inf(1), math.NaN(), -1, -1e300} {
		_, err := DnC{F: 1, Filter: filter}.Aggregate(nil, someRows(1, 10, 3), nil)
		require.ErrorContains(t, err, "DnC.Filter is", "%v", filter)
	}
	_, err := DnC{F: 1, Filter: 9.9}.Aggregate(nil, someRows(1, 10, 3), nil)
	require.NoError(t, err)
	_, err = DnC{Filter: math.Inf(1)}.Aggregate(nil, someRows(1, 10, 3), nil)
	require.ErrorContains(t, err, "DnC.Filter is")
}
