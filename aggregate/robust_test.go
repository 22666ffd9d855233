package aggregate

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// sumOfDistances is what the geometric median makes least.
func sumOfDistances(rows [][]float32, z []float32) (sum float64) {
	for _, row := range rows {
		sum += math.Sqrt(squaredDistance(row, z))
	}
	return sum
}

// TestGeometricMedianPin: a liar at the point where the iteration starts, or near to it,
// does not hold it there.
func TestGeometricMedianPin(t *testing.T) {
	for _, off := range []float32{0, 1e-9, 1e-5, 1e-3} {
		for _, size := range []float32{1, 1e-9, 1e15} {
			rows := someRows(1, 21, 1000)
			for j := range rows[0] { // the middle of the honest rows
				column := make([]float32, 0, 20)
				for _, row := range rows[1:] {
					column = append(column, row[j])
				}
				slices.Sort(column)
				rows[0][j] = column[10] + off
			}
			for _, row := range rows {
				for j := range row {
					row[j] *= size
				}
			}
			got, err := GeometricMedian{}.Aggregate(nil, rows, nil)
			require.NoError(t, err)
			best, err := Weiszfeld{Smoothing: 1e-6 * float64(size), Steps: 3000}.Aggregate(nil, rows, nil)
			require.NoError(t, err)
			require.Less(t, sumOfDistances(rows, got), 1.00002*sumOfDistances(rows, best), "off by %v, size %v", off, size)
			require.Equal(t, got, streamed(t, GeometricMedian{}, sourceOf(rows), nil))
		}
	}
}

// TestGeometricMedianPinFar: nor does it with another liar so far off that what is gained by
// leaving is lost in the rounding of its distance.
func TestGeometricMedianPinFar(t *testing.T) {
	const n, d = 20, 1000
	for _, off := range []float32{0, 1e-9, 1e-5, 1e-3} {
		for _, far := range []float32{1e5, 1e10, 1e20, 1e30} {
			rows := someRows(3, n, d)
			for i, row := range rows { // whose median is 0 in each column
				for j := range row {
					if row[j] += 0.7; j%3 != i%3 {
						row[j] = 0
					}
				}
			}
			rows[0] = slices.Repeat([]float32{off}, d)
			rows[1] = slices.Repeat([]float32{far}, d)
			got, err := GeometricMedian{}.Aggregate(nil, rows, nil)
			require.NoError(t, err)
			best, err := Weiszfeld{Smoothing: 1e-6, Steps: 3000}.Aggregate(nil, rows, nil)
			require.NoError(t, err)
			// A row that is far pulls by 1 in its direction.
			sum := func(z []float32) float64 {
				along := 0.0
				for _, x := range z {
					along += float64(x) / math.Sqrt(d)
				}
				return sumOfDistances(rows[:1], z) + sumOfDistances(rows[2:], z) - along
			}
			require.Less(t, sum(got), 1.0001*sum(best), "off by %v, far %v", off, far)
			require.Equal(t, got, streamed(t, GeometricMedian{}, sourceOf(rows), nil))
		}
	}
}

// TestGeometricMedianOfRow: where a row is the geometric median it is the result.
func TestGeometricMedianOfRow(t *testing.T) {
	rows := [][]float32{{1, 1}, {1, 1}, {5, 0}, {-2, 3}, {0, -4}}
	got, err := GeometricMedian{}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	require.Equal(t, []float32{1, 1}, got)
	got, err = GeometricMedian{}.Aggregate(nil, [][]float32{{0, 0}, {1, 0}, {0, 1}, {10, 10}, {0.3, 0.3}}, nil)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float32{0.3, 0.3}, got, 1e-6, "not where it starts")

	// Of three points with an angle above 120 degrees it is that one, of others none.
	got, err = GeometricMedian{}.Aggregate(nil, [][]float32{{0, 0}, {4, 1}, {-4, 1}}, nil)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float32{0, 0}, got, 1e-5)
	got, err = GeometricMedian{}.Aggregate(nil, [][]float32{{0, 0}, {1, 0}, {0.5, float32(math.Sqrt(0.75))}}, nil)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{0.5, math.Sqrt(0.75) / 3}, got, 1e-4)
}

// TestGeometricMedianScale: the result of rows times a power of two is that of the rows,
// times it; a smoothing that is given is a distance.
func TestGeometricMedianScale(t *testing.T) {
	rows := someRows(7, 12, 400)
	rows[3] = slices.Repeat([]float32{50}, 400)
	want, err := GeometricMedian{}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	for _, scale := range []float32{0x1p-60, 0x1p-30, 0x1p30, 0x1p60} {
		scaled := someRows(7, 12, 400)
		scaled[3] = slices.Clone(rows[3])
		for _, row := range scaled {
			for j := range row {
				row[j] *= scale
			}
		}
		got, err := GeometricMedian{}.Aggregate(nil, scaled, nil)
		require.NoError(t, err)
		for j := range got {
			require.InDelta(t, want[j], got[j]/scale, 1e-4, "%v", scale)
		}
	}
	smoothed, err := GeometricMedian{Smoothing: 1e6}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	mean, err := Mean{}.Aggregate(nil, rows, nil)
	require.NoError(t, err)
	require.InDeltaSlice(t, mean, smoothed, 1e-4, "all rows are nearer than that")
}

// TestMomentumFinite: a momentum that is not is refused.
func TestMomentumFinite(t *testing.T) {
	for _, x := range []float64{math.NaN(), math.Inf(-1)} {
		rule := &CenteredClipping{Tau: 100, Steps: 1, Momentum: []float32{1, float32(x)}}
		_, err := rule.Aggregate(nil, someRows(1, 10, 2), nil)
		require.ErrorContains(t, err, fmt.Sprintf("CenteredClipping.Momentum holds %v at column 1, must be finite", x))
	}
}

// TestNothingClipped: a momentum plays no part where no row is clipped, whatever 1/n rounds to.
func TestNothingClipped(t *testing.T) {
	for _, n := range []int{3, 10, 49, 101} {
		rows := make([][]float32, n)
		for i := range rows {
			rows[i] = make([]float32, 2)
		}
		rule := &CenteredClipping{Tau: 1e4, Steps: 1, Momentum: []float32{8.73, -1e3}}
		out, err := rule.Aggregate(nil, rows, nil)
		require.NoError(t, err)
		require.Equal(t, []float32{0, 0}, out, n)
	}
}

// TestGeometricMedianOfMixtures: equal mixtures of rows that are large beside their spread are
// at one point, though a sum of mixtures rounds otherwise than each of them.
func TestGeometricMedianOfMixtures(t *testing.T) {
	for _, n := range []int{6, 11} {
		for f := 1; 2*f < n; f++ {
			for near := 2; near < n; near++ {
				for seed := range uint64(5) {
					d := 2
					if seed == 0 {
						d = 300
					}
					rows := someRows(seed, n, d)
					for i, row := range rows {
						for j := range row {
							if i < near {
								row[j] *= 1e-3
							}
							row[j] += 1e4
						}
					}
					rule := Chain{NNM{f}, GeometricMedian{}}
					name := fmt.Sprintf("n=%d f=%d near=%d seed=%d", n, f, near, seed)
					got, err := rule.Aggregate(nil, rows, nil)
					require.NoError(t, err, name)
					mixed, err := NNM{f}.Mix(nil, rows, nil)
					require.NoError(t, err)
					best, err := Weiszfeld{Smoothing: 1e-4, Steps: 300}.Aggregate(nil, mixed, nil)
					require.NoError(t, err)
					rounding := 3e-3 * math.Sqrt(float64(d)) * float64(n)
					require.Less(t, sumOfDistances(mixed, got), 1.00002*sumOfDistances(mixed, best)+rounding, name)
					if seed < 2 {
						require.Equal(t, got, streamed(t, rule, sourceOf(rows), nil), name)
					}
				}
			}
		}
	}
}
