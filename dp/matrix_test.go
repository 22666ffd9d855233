package dp

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func randomRows(seed uint64, n, d int) []float32 {
	random := rand.New(rand.NewPCG(seed, 3))
	out := make([]float32, n*d)
	for i := range out {
		out[i] = float32(random.NormFloat64())
	}
	return out
}

func TestMatrixSumsRuns(t *testing.T) {
	for _, d := range []int{1, 7, matrixTile - 1, matrixTile, matrixTile + 1, 2*matrixTile + 5} {
		const n = 23
		data := randomRows(uint64(d), n, d)
		m := NewMatrix(data, d)
		norms := m.Norms(slices.Repeat([]float32{float32(math.NaN())}, n))
		require.Equal(t, norms, m.Norms(nil))
		w := make([]float32, n)
		for i := range w {
			var s float64
			for _, v := range data[i*d : (i+1)*d] {
				s += float64(v) * float64(v)
			}
			require.InEpsilon(t, math.Sqrt(s), norms[i], 37*0x1p-24)
			w[i] = float32(1<<20) / norms[i]
		}
		w[4], w[5] = 0, 0
		data[4*d] = float32(math.NaN())
		data[5*d+d-1] = float32(math.Inf(1))
		require.True(t, math.IsNaN(float64(m.Norms(nil)[4])))
		require.True(t, math.IsInf(float64(m.Norms(nil)[5]), 1))
		for _, ends := range [][]int{{n}, {4, 6, 6, 20, n}, {0, 5, n}} {
			sum := make([]int64, d)
			for j := range sum {
				sum[j] = int64(j) - 3
			}
			m.WeightedSum(sum, w, ends)
			for j := range sum {
				want, start := float64(j)-3, 0
				for _, end := range ends {
					var run float32
					for i := start; i < end; i++ {
						if w[i] != 0 {
							run += float32(w[i] * data[i*d+j])
						}
					}
					want += math.RoundToEven(float64(run))
					start = end
				}
				require.Equal(t, want, float64(sum[j]), "d=%d column %d", d, j)
			}
		}
	}
}

// An example's part has the same bits wherever it stands.
func TestRule09MatrixExamplesDoNotMix(t *testing.T) {
	const n, d = 40, 300
	data := randomRows(5, n, d)
	norms := NewMatrix(data, d).Norms(nil)
	random := rand.New(rand.NewPCG(1, 1))
	order := random.Perm(n)
	for cut := 0; cut <= n; cut += 7 {
		for _, part := range [][]int{order[:cut], order[cut:]} {
			var rows []float32
			for _, i := range part {
				rows = append(rows, data[i*d:(i+1)*d]...)
			}
			m := NewMatrix(rows, d)
			for k, v := range m.Norms(nil) {
				require.Equal(t, norms[part[k]], v)
			}
			for k, i := range part {
				w, alone := make([]float32, len(part)), make([]int64, d)
				w[k] = 1 << 20
				m.WeightedSum(alone, w, []int{len(part)})
				want := make([]int64, d)
				NewMatrix(data[i*d:(i+1)*d], d).WeightedSum(want, []float32{1 << 20}, []int{1})
				require.Equal(t, want, alone)
			}
		}
	}
}

func TestMatrixRefuses(t *testing.T) {
	m := NewMatrix(make([]float32, 12), 4)
	for want, f := range map[string]func(){
		"dp: matrix is not whole rows":                 func() { NewMatrix(make([]float32, 5), 4) },
		"dp: norms and rows differ in number":          func() { m.Norms(make([]float32, 2)) },
		"dp: weighted sum of a matrix of another size": func() { m.WeightedSum(make([]int64, 3), make([]float32, 3), []int{3}) },
		"dp: ends of runs decrease":                    func() { m.WeightedSum(make([]int64, 4), make([]float32, 3), []int{3, 2, 3}) },
		"dp: runs do not end with the rows":            func() { m.WeightedSum(make([]int64, 4), make([]float32, 3), []int{2}) },
	} {
		require.PanicsWithValue(t, want, f)
	}
	require.Empty(t, NewMatrix(nil, 4).Norms(nil))
	NewMatrix(nil, 4).WeightedSum(make([]int64, 4), nil, nil)
}

func TestMatrixAllocates(t *testing.T) {
	m := NewMatrix(randomRows(1, 50, 5000), 5000)
	sum, w, norms, ends := make([]int64, 5000), make([]float32, 50), make([]float32, 50), []int{20, 50}
	w[3], w[30] = 1, 1
	m.WeightedSum(sum, w, ends)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		m.Norms(norms)
		m.WeightedSum(sum, w, ends)
	}))
}
