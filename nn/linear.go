package nn

import (
	"errors"
	"fmt"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Linear is y = W·x + b, with W of shape [Out][features]. On a sequence it acts
// on every position by itself. Images go through Flatten first.
type Linear struct {
	Out    int
	NoBias bool `json:",omitempty"`
}

func (l Linear) build(in Shape) (node, error) {
	if in.isImage() {
		return nil, errors.New("wants a vector or a sequence; put Flatten before it")
	}
	if l.Out < 1 || l.Out > sizeLimit {
		return nil, fmt.Errorf("has Out %d, want 1 to 2^31", l.Out)
	}
	features := in.channels()
	n := &linear{in: in, out: append(append(Shape{}, in[:len(in)-1]...), l.Out)}
	n.weight = &tensor{name: "weight", shape: []int{l.Out, features}, fanIn: features, fanOut: l.Out}
	n.list = []*tensor{n.weight}
	if !l.NoBias {
		n.bias = &tensor{name: "bias", shape: []int{l.Out}}
		n.list = append(n.list, n.bias)
	}
	return n, nil
}

type linear struct {
	in, out      Shape
	weight, bias *tensor // bias may be nil
	list         []*tensor
}

func (l *linear) shape() Shape       { return l.out }
func (l *linear) tensors() []*tensor { return l.list }

func (l *linear) stage() stage {
	s := &linearStage{linear: l}
	if l.in.positions() > 1 {
		s.sum = newPositionSum(l.in.positions(), l.in.channels(), l.out.channels(), 1, l.bias != nil, l.in.Size()+l.out.Size())
	}
	return s
}

type linearStage struct {
	*linear
	sum    *positionSum // of sequences; nil for vectors
	x, dy  []float32    // rows of the latest batch, others' memory
	y, dx  []float32
	scaled []float32 // dy with the weights folded in
	ones   []float32
	ends   []int // weigh's
}

func (s *linearStage) parameters() []*tensor { return s.list }
func (s *linearStage) forgetsOutput()        {}

func (s *linearStage) forward(b *batch, x []float32) []float32 {
	rows, in, out := b.n*s.in.positions(), s.in.channels(), s.out.channels()
	s.x, s.y = x, grow(s.y, rows*out)
	if s.bias != nil {
		fillRows(s.y, s.bias.of(b.params))
	}
	kernel.GEMM(kernel.NT, rows, out, in, x, in, s.weight.of(b.params), in, s.y, out, s.bias != nil)
	return s.y
}

func (s *linearStage) backward(b *batch, dy []float32, need bool) []float32 {
	s.dy = dy
	if !need {
		return nil
	}
	rows, in, out := b.n*s.in.positions(), s.in.channels(), s.out.channels()
	s.dx = grow(s.dx, rows*in)
	kernel.GEMM(kernel.NN, rows, in, out, dy, out, s.weight.of(b.params), in, s.dx, in, false)
	return s.dx
}

// unfold gives a sequence's positions: they lie as they are needed.
func (s *linearStage) unfold(_, first, count int) []float32 {
	size := s.in.Size()
	return s.x[first*size : (first+count)*size]
}

// squares of vectors is the ghost identity: the gradient is d⊗x (and d for the bias), so
// its squared norm is |d|²·(|x|² + 1) (Goodfellow 2015, "Efficient per-example
// gradient computations").
func (s *linearStage) squares(b *batch, dst []float64) {
	if s.sum != nil {
		s.sum.squares(s.dy, s, dst)
		return
	}
	in, out := s.in.channels(), s.out.channels()
	for i := range dst {
		x2 := capSquare(kernel.SumSquares(s.x[i*in : (i+1)*in]))
		if s.bias != nil {
			x2++
		}
		dst[i] = capSquare(kernel.SumSquares(s.dy[i*out:(i+1)*out])) * x2
	}
}

func (s *linearStage) weightedSum(b *batch, sum []int64, w []float32, ends []int) {
	if s.sum != nil {
		s.sum.weightedSum(s.dy, s, sum, w, ends)
		return
	}
	s.weigh(b, w, ends)
	s.addPart(b, sum, 0)
}

func (s *linearStage) divides() bool { return s.sum == nil }

func (s *linearStage) weigh(b *batch, w []float32, ends []int) {
	in, out := s.in.channels(), s.out.channels()
	s.scaled, s.ones, s.ends = grow(s.scaled, b.n*out), growOnes(s.ones, b.n), ends
	foldWeights(s.scaled, s.dy, w, out)
	excludeRows(s.x, w, in)
}

// cut keeps rows of the weights whole.
func (s *linearStage) cut(at int, up bool) int {
	in := s.in.channels()
	if at >= s.weight.size() {
		return at
	}
	if up {
		at += in - 1
	}
	return at / in * in
}

func (s *linearStage) addPart(b *batch, sum []int64, first int) {
	if b.n == 0 {
		return
	}
	in, out, weights := s.in.channels(), s.out.channels(), s.weight.size()
	last := first + len(sum)
	if row, end := first/in, min(last, weights)/in; row < end {
		kernel.GEMMRuns(end-row, in, s.scaled[row:], out, s.x, in, s.ends, sum, in)
	}
	if last > weights {
		at := max(first, weights)
		kernel.GEMMRuns(1, last-at, s.ones, 1, s.scaled[at-weights:], out, s.ends, sum[at-first:], last-at)
	}
}

func (s *linearStage) mean(b *batch, dst []float32) {
	if s.sum != nil {
		s.sum.mean(b.n, s.dy, s, dst)
		return
	}
	in, out := s.in.channels(), s.out.channels()
	// The factor 1/n goes where there is less to multiply.
	dy, after := s.dy, b.n > in
	if !after {
		s.scaled = grow(s.scaled, b.n*out)
		kernel.Scale(s.scaled, 1/float32(b.n), dy)
		dy = s.scaled
	}
	kernel.GEMM(kernel.TN, out, in, b.n, dy, out, s.x, in, dst, in, false)
	if s.bias != nil {
		s.ones = growOnes(s.ones, b.n)
		kernel.GEMM(kernel.NN, 1, out, b.n, s.ones, b.n, dy, out, dst[out*in:], out, false)
	}
	if after {
		kernel.Scale(dst, 1/float32(b.n), dst)
	}
}

// fillRows sets every row of y to row.
func fillRows(y, row []float32) {
	for at := 0; at < len(y); at += len(row) {
		copy(y[at:at+len(row)], row)
	}
}

// foldWeights sets row i of dst to w[i] times row i of dy, and to zero where
// w[i] is 0, whatever dy holds. Rows are width wide.
func foldWeights(dst, dy, w []float32, width int) {
	for i, f := range w {
		row := dst[i*width : (i+1)*width]
		if f == 0 {
			clear(row)
		} else {
			kernel.Scale(row, f, dy[i*width:(i+1)*width])
		}
	}
}

// excludeRows clears the rows of x with w[i] == 0 that hold a NaN or an
// infinity: times zero they would spread.
func excludeRows(x, w []float32, width int) {
	for i, f := range w {
		if row := x[i*width : (i+1)*width]; f == 0 && !kernel.AllFinite(row) {
			clear(row)
		}
	}
}

// growOnes returns n ones.
func growOnes(ones []float32, n int) []float32 {
	if cap(ones) >= n {
		return ones[:n]
	}
	ones = make([]float32, n)
	for i := range ones {
		ones[i] = 1
	}
	return ones
}
