package nn

import (
	"fmt"
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Embedding turns a vector of t tokens into a sequence of t positions of Dim
// features: token k becomes row k of the weights, [Vocabulary][Dim]. Tokens are
// whole numbers from 0 to Vocabulary-1, held in float32 as all inputs are.
//
// A token that is none of them (NaN among others) becomes a row of NaN and
// gives its example a gradient norm of NaN, so that private training leaves the
// example out. Signals end here: a layer before Embedding learns nothing.
//
// Weights are drawn with fan-in 1, as one row is read at a time.
type Embedding struct {
	Vocabulary int // at most 2^24, so that float32 holds every token
	Dim        int
}

func (l Embedding) build(in Shape) (node, error) {
	switch {
	case len(in) != 1:
		return nil, fmt.Errorf("wants a vector of tokens")
	case l.Vocabulary < 1 || l.Vocabulary > 1<<24:
		return nil, fmt.Errorf("has Vocabulary %d, want 1 to 2^24", l.Vocabulary)
	case l.Dim < 1:
		return nil, fmt.Errorf("has Dim %d, want at least 1", l.Dim)
	}
	return &embedding{
		out:        Shape{in[0], l.Dim},
		vocabulary: l.Vocabulary,
		list:       []*tensor{{name: "weight", shape: []int{l.Vocabulary, l.Dim}, fanIn: 1, fanOut: l.Dim}},
	}, nil
}

type embedding struct {
	out        Shape // tokens × features
	vocabulary int
	list       []*tensor // the weights alone
}

func (e *embedding) shape() Shape       { return e.out }
func (e *embedding) tensors() []*tensor { return e.list }
func (e *embedding) stage() stage       { return &embeddingStage{embedding: e} }

// embeddingStage holds for every example its tokens with their positions,
// sorted, as token<<32 | position. Invalid tokens stand last, as invalidToken.
type embeddingStage struct {
	*embedding
	order  []uint64
	y, dx  []float32
	dy     []float32 // of the latest batch; repeated tokens summed at the first
	scaled []float32
}

const invalidToken = math.MaxUint32

func (s *embeddingStage) parameters() []*tensor { return s.list }
func (s *embeddingStage) forgetsOutput()        {}

func (s *embeddingStage) forward(b *batch, x []float32) []float32 {
	t, dim := s.out[0], s.out[1]
	s.y, s.order = grow(s.y, len(x)*dim), grow(s.order, len(x))
	table := s.list[0].of(b.params)
	nan := float32(math.NaN())
	for i, v := range x {
		token := uint64(invalidToken)
		row := s.y[i*dim : (i+1)*dim]
		if v >= 0 && v < float32(s.vocabulary) && v == float32(int(v)) {
			token = uint64(v)
			copy(row, table[int(token)*dim:])
		} else {
			for j := range row {
				row[j] = nan
			}
		}
		s.order[i] = token<<32 | uint64(i%t)
	}
	if b.train {
		for at := 0; at < len(x); at += t {
			slices.Sort(s.order[at : at+t])
		}
	}
	return s.y
}

func (s *embeddingStage) backward(b *batch, dy []float32, need bool) []float32 {
	s.dy = dy
	for i := range b.n {
		first, order := []float32(nil), s.tokens(i)
		for j, entry := range order {
			row := s.row(i, entry)
			if j > 0 && entry>>32 == order[j-1]>>32 {
				kernel.Add(first, row)
			} else {
				first = row
			}
		}
	}
	if !need {
		return nil
	}
	s.dx = grow(s.dx, b.n*s.out[0])
	clear(s.dx)
	return s.dx
}

// tokens returns the sorted tokens of example i.
func (s *embeddingStage) tokens(i int) []uint64 {
	t := s.out[0]
	return s.order[i*t : (i+1)*t]
}

// row returns the signal at the position of entry in example i.
func (s *embeddingStage) row(i int, entry uint64) []float32 {
	at := (i*s.out[0] + int(uint32(entry))) * s.out[1]
	return s.dy[at : at+s.out[1] : at+s.out[1]]
}

// distinct calls visit with each valid token of example i and its gradient.
func (s *embeddingStage) distinct(i int, visit func(token int, row []float32)) {
	order := s.tokens(i)
	for j, entry := range order {
		token := entry >> 32
		if token == invalidToken {
			return
		}
		if j == 0 || order[j-1]>>32 != token {
			visit(int(token), s.row(i, entry))
		}
	}
}

func (s *embeddingStage) squares(b *batch, dst []float64) {
	for i := range dst {
		order := s.tokens(i)
		if order[len(order)-1]>>32 == invalidToken {
			dst[i] = math.NaN()
			continue
		}
		dst[i] = 0
		s.distinct(i, func(_ int, row []float32) { dst[i] += kernel.SumSquares(row) })
	}
}

// weightedSum cuts runs into single examples.
func (s *embeddingStage) weightedSum(_ *batch, sum []int64, w []float32, _ []int) {
	dim := s.out[1]
	s.scaled = grow(s.scaled, dim)
	for i, f := range w {
		if f == 0 {
			continue
		}
		s.distinct(i, func(token int, row []float32) {
			kernel.Scale(s.scaled, f, row)
			kernel.RoundAdd(sum[token*dim:(token+1)*dim], s.scaled)
		})
	}
}

func (s *embeddingStage) mean(b *batch, dst []float32) {
	dim := s.out[1]
	clear(dst)
	for i := range b.n {
		s.distinct(i, func(token int, row []float32) {
			kernel.Axpy(dst[token*dim:(token+1)*dim], 1/float32(b.n), row)
		})
	}
}
