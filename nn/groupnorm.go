package nn

import (
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// GroupNorm normalises each example by itself: the channels of an image (the
// features of a sequence) are cut in Groups, and each group is brought to mean
// 0 and variance 1 over its channels and all positions, then scaled and
// shifted channel by channel (Wu and He 2018; torch.nn.GroupNorm). It takes
// the place of batch normalisation in private training, as no example's output
// depends on another's.
type GroupNorm struct {
	Groups   int     // a divisor of the channels
	Eps      float64 `json:",omitempty"` // added to the variance; 0: 1e-5
	NoAffine bool    `json:",omitempty"` // leave out scale and shift
}

func (l GroupNorm) build(in Shape) (node, error) {
	c := in.channels()
	if l.Groups < 1 || c%l.Groups != 0 {
		return nil, fmt.Errorf("has Groups %d, want a divisor of the %d channels", l.Groups, c)
	}
	return newNormalization(in, normalizer{1, in.positions(), c, l.Groups, 0}, l.Eps, l.NoAffine)
}

// newNormalization is the node of GroupNorm and LayerNorm.
func newNormalization(in Shape, n normalizer, eps float64, noAffine bool) (node, error) {
	if n.eps = orDefault(eps, 1e-5); !(n.eps > 0 && n.eps <= math.MaxFloat32) {
		return nil, fmt.Errorf("has Eps %v, want a finite number above 0", eps)
	}
	if n.positions*n.channels == n.groups {
		return nil, fmt.Errorf("every group holds a single value, which normalisation makes 0; want two or more")
	}
	node := &normalization{in: in, rule: n}
	if !noAffine {
		node.gamma = &tensor{name: "weight", shape: []int{n.channels}, value: 1}
		node.beta = &tensor{name: "bias", shape: []int{n.channels}}
		node.list = []*tensor{node.gamma, node.beta}
	}
	return node, nil
}

type normalization struct {
	in          Shape
	rule        normalizer
	gamma, beta *tensor // both or neither
	list        []*tensor
}

func (n *normalization) shape() Shape       { return n.in }
func (n *normalization) tensors() []*tensor { return n.list }

func (n *normalization) stage() stage {
	s := normalizationStage{normalization: n, scratch: n.rule.scratch()}
	if n.gamma == nil {
		return &s
	}
	return &affineStage{normalizationStage: s}
}

// normalizationStage has no parameters.
type normalizationStage struct {
	*normalization
	scratch *normScratch
	x       []float32 // of the latest batch, others' memory
	y       []float32
	stats   []float32
}

func (s *normalizationStage) forgetsOutput() {}

func (s *normalizationStage) forward(b *batch, x []float32) []float32 {
	return s.normalize(b, x, nil, nil)
}

func (s *normalizationStage) normalize(b *batch, x, gamma, beta []float32) []float32 {
	size, per := s.rule.size(), s.rule.stats()
	s.x, s.y, s.stats = x, grow(s.y, b.n*size), grow(s.stats, b.n*per)
	for i := range b.n {
		s.rule.forward(s.y[i*size:(i+1)*size], x[i*size:(i+1)*size], gamma, beta, s.stats[i*per:(i+1)*per], s.scratch)
	}
	return s.y
}

func (s *normalizationStage) backward(b *batch, dy []float32, need bool) []float32 {
	size, per := s.rule.size(), s.rule.stats()
	for i := range b.n {
		up := dy[i*size : (i+1)*size]
		s.rule.backward(up, nil, nil, up, s.x[i*size:(i+1)*size], nil, s.stats[i*per:(i+1)*per], s.scratch)
	}
	return dy
}

// affineStage keeps every example's gradient by scale and shift: 2·channels
// numbers, little beside its activations.
type affineStage struct {
	normalizationStage
	rows rowGradients
}

func (s *affineStage) parameters() []*tensor { return s.list }

func (s *affineStage) forward(b *batch, x []float32) []float32 {
	return s.normalize(b, x, s.gamma.of(b.params), s.beta.of(b.params))
}

func (s *affineStage) backward(b *batch, dy []float32, need bool) []float32 {
	size, per, c := s.rule.size(), s.rule.stats(), s.rule.channels
	gamma := s.gamma.of(b.params)
	s.rows.reset(b.n, 2*c)
	for i := range b.n {
		up := dy[i*size : (i+1)*size]
		down := up
		if !need {
			down = nil
		}
		row := s.rows.of(i)
		s.rule.backward(down, row[:c], row[c:], up, s.x[i*size:(i+1)*size], gamma, s.stats[i*per:(i+1)*per], s.scratch)
	}
	return dy
}

func (s *affineStage) squares(_ *batch, dst []float64) { s.rows.squares(dst) }

func (s *affineStage) weightedSum(_ *batch, sum []int64, w []float32, ends []int) {
	s.rows.weightedSum(sum, w, ends)
}

func (s *affineStage) mean(b *batch, dst []float32) { s.rows.mean(dst, b.n) }

// rowGradients are materialised gradients, a row for each example.
type rowGradients struct {
	rows  []float32
	width int
}

// reset makes room for n rows of zeros.
func (r *rowGradients) reset(n, width int) {
	r.rows, r.width = grow(r.rows, n*width), width
	clear(r.rows)
}

func (r *rowGradients) of(i int) []float32 { return r.rows[i*r.width : (i+1)*r.width] }

func (r *rowGradients) squares(dst []float64) {
	for i := range dst {
		dst[i] = kernel.SumSquares(r.of(i))
	}
}

func (r *rowGradients) weightedSum(sum []int64, w []float32, ends []int) {
	excludeRows(r.rows, w, r.width)
	kernel.GEMMRuns(1, r.width, w, 1, r.rows, r.width, ends, sum, r.width)
}

func (r *rowGradients) mean(dst []float32, n int) {
	clear(dst)
	for i := range n {
		kernel.Add(dst, r.of(i))
	}
	kernel.Scale(dst, 1/float32(n), dst)
}
