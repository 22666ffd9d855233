package he

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is published is the outputs and Gaussian noise of the stated deviation, on a
// grid; a deviation off by 3% would be seen.
func TestDecryptPublic(t *testing.T) {
	p := small(t, Batch)
	c := NewClient(p.Schema())
	s, err := NewServer(p, c.Keys())
	require.NoError(t, err)
	n := 2000
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = examples(1, 10, 5)[0]
	}
	q, err := c.Encrypt(rows)
	require.NoError(t, err)
	a, err := s.Evaluate(q)
	require.NoError(t, err)
	plain, err := c.Decrypt(a)
	require.NoError(t, err)
	publication := Publication{Answers: n, Distance: .125}
	sigma, err := publication.Deviation(p.Schema())
	require.NoError(t, err)
	require.InEpsilon(t, p.Schema().ErrorBound()*math.Sqrt(3*2000)*4, sigma, 1e-12)
	out, err := c.DecryptPublic(a, publication)
	require.NoError(t, err)
	grid := math.Exp2(math.Floor(math.Log2(sigma / 16)))
	var sum, square float64
	for i := range out {
		for j, v := range out[i] {
			require.Zero(t, math.Mod(v, grid))
			d := v - plain[i][j]
			sum, square = sum+d, square+d*d
		}
	}
	m := float64(3 * n)
	require.Less(t, math.Abs(sum/m), 5*sigma/math.Sqrt(m))
	require.InEpsilon(t, sigma*sigma+grid*grid/12, square/m, .1) // 5 deviations of a chi-square over 6000
	again, err := c.DecryptPublic(a, publication)
	require.NoError(t, err)
	require.NotEqual(t, out, again)

	for want, p := range map[string]Publication{
		"Answers is 0":    {Distance: .1},
		"Distance is 0":   {Answers: 1},
		"Distance is 1":   {Answers: 1, Distance: 1},
		"Distance is NaN": {Answers: 1, Distance: math.NaN()},
	} {
		_, err := c.DecryptPublic(a, p)
		require.ErrorContains(t, err, want)
	}
}

// The bound is 16 times what compilation saw, and no fresh query comes near it.
func TestErrorBoundHolds(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		p := small(t, mode)
		x := examples(40, 10, 21)
		for i, got := range through(t, p, x) {
			in := make([]float64, 10)
			for j, v := range x[i] {
				in[j] = float64(v)
			}
			values := p.graph.evaluate(in, true, nil)
			for j, want := range values[len(values)-1] {
				require.InDelta(t, want, got[j], p.Schema().ErrorBound()/2)
			}
		}
	}
}

// A server cannot have its clients publish what is exact.
func TestStatedErrorHasAFloor(t *testing.T) {
	for _, mode := range []Mode{Latency, Batch} {
		schema := small(t, mode).Schema()
		require.Greater(t, schema.ErrorBound(), schema.leastError())
		text, err := json.Marshal(schema)
		require.NoError(t, err)
		var fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &fields))
		fields["error_bound"] = json.RawMessage(fmt.Sprint(schema.leastError() / 1.01))
		text, err = json.Marshal(fields)
		require.NoError(t, err)
		var s Schema
		require.ErrorContains(t, json.Unmarshal(text, &s), "fresh noise alone")
	}
}
