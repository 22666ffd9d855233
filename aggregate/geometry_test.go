package aggregate

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// liarsRows are n rows, f of which are -size times the mean of the others; those are spread
// around it by deviation.
func liarsRows(seed uint64, n, f, d int, deviation, size float32) [][]float32 {
	mean, rows := someRows(seed+100, 1, d)[0], someRows(seed, n, d)
	for i, row := range rows {
		for j := range row {
			row[j] = mean[j] + deviation*row[j]
			if i < f {
				row[j] = -size * mean[j]
			}
		}
	}
	return rows
}

// offByVariance is how far a result is from the mean of honest rows, squared, in their mean
// squared distance to it.
func offByVariance(out []float32, honest [][]float32) float64 {
	mean := make([]float64, len(out))
	for _, row := range honest {
		for j, x := range row {
			mean[j] += float64(x) / float64(len(honest))
		}
	}
	off, spread := 0.0, 0.0
	for j, m := range mean {
		off += (float64(out[j]) - m) * (float64(out[j]) - m)
		for _, row := range honest {
			spread += (float64(row[j]) - m) * (float64(row[j]) - m) / float64(len(honest))
		}
	}
	return off / spread
}

func sourceOf(rows [][]float32) ReaderSource {
	source := ReaderSource{Columns: len(rows[0])}
	for _, row := range rows {
		source.Rows = append(source.Rows, bytes.NewReader(bytesOf(row)))
	}
	return source
}

func streamed(t *testing.T, rule Rule, source Source, v *Verdict) (out []float32) {
	t.Helper()
	require.NoError(t, Stream(rule, source, func(_ int, values []float32) error { out = append(out, values...); return nil }, v))
	return out
}

// TestFarLiarsClipped: however far liars were before they were clipped, distances after that
// are those of the clipped rows.
func TestFarLiarsClipped(t *testing.T) {
	const n, f, d = 10, 2, 2000
	for _, size := range []float32{1e2, 1e6, 1e12, 1e30} {
		for _, deviation := range []float32{0.01, 1} {
			rows := liarsRows(1, n, f, d, deviation, size)
			for _, chain := range []Chain{{ARC{f}, NNM{f}, TrimmedMean{f}}, {ARC{f}, Krum{F: f}}, {ARC{f}, NNM{f}, Krum{F: f}}, {ARC{f}, NNM{f}, CAF{F: f}}} {
				name := fmt.Sprintf("%T%+v size=%v deviation=%v", chain[len(chain)-1], chain, size, deviation)
				got, err := chain.Aggregate(nil, rows, nil)
				require.NoError(t, err)
				if kappa := chain.Kappa(n, f); !math.IsInf(kappa, 1) {
					require.Less(t, offByVariance(got, rows[f:]), kappa, name)
				}
				require.Equal(t, got, streamed(t, chain, sourceOf(rows), nil), name)
				staged := rows
				for _, stage := range chain[:len(chain)-1] {
					staged, err = stage.(PreAggregation).Mix(nil, staged, nil)
					require.NoError(t, err)
				}
				want, err := chain[len(chain)-1].Aggregate(nil, staged, nil)
				require.NoError(t, err)
				require.InDeltaSlice(t, want, got, 1e-5, name)
			}
		}
	}
}

// TestMixedAlgebra: what follows by algebra is within its bound of what is measured.
func TestMixedAlgebra(t *testing.T) {
	const n, f, d = 12, 3, 3000
	for _, size := range []float32{1, 30, 1e3, 1e5, 1e9, 1e20} {
		rows := liarsRows(2, n, f, d, 0.3, size)
		for _, stages := range []Chain{{ARC{f}}, {ARC{f}, NNM{f}}, {Clipping{3}, Bucketing{Size: 2}}, {NNM{f}, ARC{f}}} {
			s, err := open("test", nil, rows)
			require.NoError(t, err)
			for _, stage := range stages {
				weights, err := stage.(mixing).mixture(s, nil)
				require.NoError(t, err)
				s.apply(weights)
			}
			d2, err := s.distances()
			require.NoError(t, err)
			lengths, err := s.lengthsOf()
			require.NoError(t, err)
			lengths = slices.Clone(lengths)
			mixed := fresh(nil, s.n, d)
			require.NoError(t, s.pass(func(s *survey, p *part) {
				s.look(p)
				for k, row := range p.view {
					copy(mixed[k][p.at:], row)
				}
			}, nil))
			for i, x := range mixed {
				want := squaredDistance(x, make([]float32, d))
				require.InDelta(t, want, lengths[i], want/100, "%+v size=%v", stages, size)
				for j, y := range mixed {
					// Rows that are mixed in float32 have rounding errors of their own.
					want := squaredDistance(x, y)
					require.InDelta(t, want, d2[i*s.n+j], want/100+1e-10*lengths[i], "%+v size=%v", stages, size)
				}
			}
			s.close()
		}
	}
}

// TestStreamedSums: sums over columns do not depend on the blocks they are read in.
func TestStreamedSums(t *testing.T) {
	for n, d := range map[int]int{9: 70_000, 40: 40_000, 200: 20_000, 600: 5_000} { // blocks and units differ
		rows := someRows(21, n, d)
		for i, row := range rows { // so that the order of sums shows in the last bits
			row[0] = 1e3 + float32(i)
			for j := range row[d/2:] {
				row[j] *= 1e-4
			}
		}
		source := sourceOf(rows)
		for name, rule := range everyRule(2) {
			switch {
			case name == "foolsgold": // which needs memory
				continue
			case name == "smea" && n > 9, name == "caf" && n > 200, name == "bulyan" && n > 40, (name == "mda" || name == "chain") && n > 200: // which take long
				continue
			}
			var before, after Verdict
			want, err := fit(rule(), n, d).Aggregate(nil, rows, &before)
			require.NoError(t, err, name)
			got := streamed(t, fit(rule(), n, d), source, &after)
			require.True(t, slices.Equal(want, got), "%s n=%d", name, n)
			require.Equal(t, fmt.Sprint(before), fmt.Sprint(after), "%s n=%d", name, n)
		}
	}
}

// TestStreamedNorms: norms at whose bound a rule turns are the same streamed.
func TestStreamedNorms(t *testing.T) {
	const n, d = 300, 1 << 15
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = make([]float32, d)
		rows[i][0] = 1
		for c := 1; c < 8; c++ {
			rows[i][c*4096] = 0x1.8p-27
		}
	}
	var before, after Verdict
	_, err := Clipping{10}.Aggregate(nil, rows, &before)
	require.NoError(t, err)
	streamed(t, Clipping{10}, sourceOf(rows), &after)
	require.Equal(t, before.Clients[0].Distance, after.Clients[0].Distance)
	for _, most := range []float64{before.Clients[0].Distance, math.Nextafter(before.Clients[0].Distance, 0)} {
		g := Guard{MaxNorm: most, Rule: func(int) Rule { return Mean{} }}
		_, err := g.Aggregate(nil, rows, nil)
		streaming := Stream(g, sourceOf(rows), func(int, []float32) error { return nil }, nil)
		require.Equal(t, err, streaming)
		require.Equal(t, most < before.Clients[0].Distance, err != nil)
	}
}
