package dp

import (
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Matrix holds the gradient of each example in a row: the way to train a model
// of any other framework privately. It satisfies [Gradients] and serves one
// goroutine.
type Matrix struct {
	rows []float32
	d    int
	run  []float32
}

// matrixTile is how many columns are summed at a time, so that they stay in the
// nearest cache. Columns are independent: it does not change results.
const matrixTile = 4096

// NewMatrix returns a matrix of rows of d elements each over data, which is
// read, not copied or written. It panics if data is not whole rows.
func NewMatrix(data []float32, d int) *Matrix {
	m := &Matrix{}
	m.Reset(data, d)
	return m
}

// Reset points m to other rows. It panics if data is not whole rows.
func (m *Matrix) Reset(data []float32, d int) {
	if d < 1 || len(data)%d != 0 {
		panic("dp: matrix is not whole rows")
	}
	m.rows, m.d = data, d
}

// Norms writes the l2 norm of each row to dst, which has one element per row;
// nil allocates. The relative error is below 37·2^-24. It panics if dst's length
// is wrong.
func (m *Matrix) Norms(dst []float32) []float32 {
	n := len(m.rows) / m.d
	if dst == nil {
		dst = make([]float32, n)
	}
	if len(dst) != n {
		panic("dp: norms and rows differ in number")
	}
	for i := range dst {
		dst[i] = float32(math.Sqrt(kernel.SumSquares(m.rows[i*m.d : (i+1)*m.d])))
	}
	return dst
}

// WeightedSum adds the weighted rows to sum, as [Gradients] says. It panics if
// lengths do not fit.
func (m *Matrix) WeightedSum(sum []int64, w []float32, ends []int) {
	n := len(m.rows) / m.d
	if len(sum) != m.d || len(w) != n {
		panic("dp: weighted sum of a matrix of another size")
	}
	last := 0
	for _, end := range ends {
		if end < last {
			panic("dp: ends of runs decrease")
		}
		last = end
	}
	if last != n {
		panic("dp: runs do not end with the rows")
	}
	m.run = sized(m.run, min(m.d, matrixTile))
	for from := 0; from < m.d; from += matrixTile {
		to := min(from+matrixTile, m.d)
		run, start := m.run[:to-from], 0
		for _, end := range ends {
			begun := false
			for i := start; i < end; i++ {
				switch row := m.rows[i*m.d+from : i*m.d+to]; {
				case w[i] == 0:
				case begun:
					kernel.Axpy(run, w[i], row)
				default:
					kernel.Scale(run, w[i], row)
					begun = true
				}
			}
			if begun {
				kernel.RoundAdd(sum[from:to], run)
			}
			start = end
		}
	}
}
