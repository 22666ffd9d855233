package nn

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Predict returns the model's outputs for the examples x, a new row for each,
// in evaluation mode, using all cores. Rows are as in Pass.Forward, and the
// result is the same bits for any number of cores. It panics if a row's length
// is not the input's size.
//
// The parameters must not be written while it runs.
func Predict(m *Model, x [][]float32) [][]float32 {
	size := m.chain.shape().Size()
	rows, all := make([][]float32, len(x)), make([]float32, len(x)*size)
	eachChunk(m, x, func(at int, y [][]float32) {
		for i, row := range y {
			rows[at+i] = all[(at+i)*size : (at+i+1)*size : (at+i+1)*size]
			copy(rows[at+i], row)
		}
	})
	return rows
}

// Accuracy returns the fraction of the examples x whose greatest output is at
// their label, using all cores. Of equal outputs the first counts; a row with a
// NaN counts as wrong; of no examples the fraction is 0. It panics if y does not
// hold a label for each example, with as many classes as the model has outputs,
// or if a row's length is not the input's size.
//
// The accuracy on examples that were trained on is not private.
func Accuracy(m *Model, x [][]float32, y Targets) float64 {
	if y.classes != m.chain.shape().Size() || y.Len() != len(x) {
		panic("nn: labels do not fit the examples and the model's output")
	}
	if len(x) == 0 {
		return 0
	}
	var right atomic.Int64
	eachChunk(m, x, func(at int, out [][]float32) {
		n := 0
		for i, row := range out {
			if best := slices.Max(row); row[y.labels[at+i]] == best && slices.Index(row, best) == int(y.labels[at+i]) {
				n++
			}
		}
		right.Add(int64(n))
	})
	return float64(right.Load()) / float64(len(x))
}

// eachChunk calls use, on several goroutines, with the outputs of every chunk
// of x and the index of its first example.
func eachChunk(m *Model, x [][]float32, use func(at int, y [][]float32)) {
	size := m.chain.in.Size()
	for _, row := range x { // here, where a caller can recover
		if len(row) != size {
			panic("nn: example's length is not the input's size")
		}
	}
	chunks := (len(x) + forwardRows - 1) / forwardRows
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), chunks) {
		wg.Go(func() {
			p := NewPass(m, nil)
			for {
				at := int(next.Add(1)-1) * forwardRows
				if at >= len(x) {
					return
				}
				use(at, p.Forward(x[at:min(at+forwardRows, len(x))]))
			}
		})
	}
	wg.Wait()
}
