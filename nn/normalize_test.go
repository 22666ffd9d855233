package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// naiveNormalize is the definition, in float64.
func naiveNormalize(n normalizer, x, gamma, beta []float64) []float64 {
	y := make([]float64, len(x))
	per := n.channels / n.groups
	at := func(i, p, c int) int { return (i*n.positions+p)*n.channels + c }
	for i := range n.instances {
		for g := range n.groups {
			var values []float64
			for p := range n.positions {
				values = append(values, x[at(i, p, g*per):at(i, p, g*per)+per]...)
			}
			var mean, variance float64
			for _, v := range values {
				mean += v / float64(len(values))
			}
			for _, v := range values {
				variance += (v - mean) * (v - mean) / float64(len(values))
			}
			for p := range n.positions {
				for c := g * per; c < (g+1)*per; c++ {
					y[at(i, p, c)] = (x[at(i, p, c)]-mean)/math.Sqrt(variance+n.eps)*gamma[c] + beta[c]
				}
			}
		}
	}
	return y
}

func float64s(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func TestNormalizer(t *testing.T) {
	for _, n := range []normalizer{
		{1, 12, 8, 2, 1e-5},
		{1, 5, 6, 6, 1e-5},
		{1, 9, 3, 1, 1e-3},
		{4, 1, 7, 1, 1e-5},
		{1, 1, 10, 1, 1e-5},
		{3, 2, 4, 2, 0.1},
		{1, 1, 4, 4, 1e-5}, // variance zero
	} {
		t.Run(fmt.Sprintf("%+v", n), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(n.channels)))
			x, dy := randomVector(r, n.size()), randomVector(r, n.size())
			for i := range x {
				x[i] += 3
			}
			gamma, beta := randomVector(r, n.channels), randomVector(r, n.channels)
			s := n.scratch()
			y, stats := randomVector(r, n.size()), make([]float32, n.stats())
			n.forward(y, x, gamma, beta, stats, s)
			x64, gamma64, beta64 := float64s(x), float64s(gamma), float64s(beta)
			require.InDeltaSlice(t, naiveNormalize(n, x64, gamma64, beta64), float64s(y), 3e-6*(1+math.Abs(float64(stats[0]))))

			dx := randomVector(r, n.size())
			dgamma, dbeta := make([]float32, n.channels), make([]float32, n.channels)
			n.backward(dx, dgamma, dbeta, dy, x, gamma, stats, s)
			loss := func() (sum float64) {
				for i, v := range naiveNormalize(n, x64, gamma64, beta64) {
					sum += v * float64(dy[i])
				}
				return sum
			}
			for _, c := range []struct {
				at   []float64
				want []float32
			}{{x64, dx}, {gamma64, dgamma}, {beta64, dbeta}} {
				for i, got := range c.want {
					const h = 1e-5
					v := c.at[i]
					c.at[i] = v + h
					up := loss()
					c.at[i] = v - h
					down := loss()
					c.at[i] = v
					want := (up - down) / (2 * h)
					require.InDelta(t, want, got, 1e-4*max(1, math.Abs(want)), "element %d", i)
				}
			}

			// Aliased and dirty destinations, and ones for gamma.
			same := slices.Clone(x)
			n.forward(same, same, gamma, beta, stats, s)
			require.Equal(t, y, same)
			same = slices.Clone(dy)
			n.backward(same, nil, nil, same, x, gamma, stats, s)
			require.Equal(t, dx, same)
			ones := slices.Repeat([]float32{1}, n.channels)
			z := slices.Clone(y)
			n.forward(y, x, ones, make([]float32, n.channels), stats, s)
			n.forward(z, x, nil, nil, stats, s)
			require.Equal(t, y, z)
			n.backward(y, nil, nil, dy, x, ones, stats, s)
			n.backward(z, nil, nil, dy, x, nil, stats, s)
			require.Equal(t, y, z)
		})
	}
}

// TestNormalizerLong crosses several flushes of the sums, with a mean far from
// zero, and compares with float64.
func TestNormalizerLong(t *testing.T) {
	n := normalizer{1, 1200, 20, 4, 1e-5}
	r := rand.New(rand.NewPCG(9, 9))
	x, dy := randomVector(r, n.size()), randomVector(r, n.size())
	for i := range x {
		x[i] += 100
	}
	gamma, beta := randomVector(r, n.channels), randomVector(r, n.channels)
	s := n.scratch()
	y, dx, stats := make([]float32, n.size()), make([]float32, n.size()), make([]float32, n.stats())
	n.forward(y, x, gamma, beta, stats, s)
	require.InDeltaSlice(t, naiveNormalize(n, float64s(x), float64s(gamma), float64s(beta)), float64s(y), 1e-4)

	dgamma, dbeta := make([]float32, n.channels), make([]float32, n.channels)
	n.backward(dx, dgamma, dbeta, dy, x, gamma, stats, s)
	ones, zeros := slices.Repeat([]float64{1}, n.channels), make([]float64, n.channels)
	h := naiveNormalize(n, float64s(x), ones, zeros)
	per, count := n.channels/n.groups, float64(n.positions*n.channels/n.groups)
	var plain, along [4]float64
	wantGamma, wantBeta := make([]float64, n.channels), make([]float64, n.channels)
	for i := range h {
		c := i % n.channels
		u := float64(dy[i]) * float64(gamma[c])
		plain[c/per] += u / count
		along[c/per] += u * h[i] / count
		wantGamma[c] += float64(dy[i]) * h[i]
		wantBeta[c] += float64(dy[i])
	}
	require.InDeltaSlice(t, wantGamma, float64s(dgamma), 5e-3) // of about √1200
	require.InDeltaSlice(t, wantBeta, float64s(dbeta), 1e-3)
	for i := range h {
		c := i % n.channels
		u := float64(dy[i]) * float64(gamma[c])
		want := float64(stats[2*(c/per)+1]) * (u - plain[c/per] - h[i]*along[c/per])
		require.InDelta(t, want, dx[i], 1e-5)
	}
}
