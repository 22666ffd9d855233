package nn

import "fmt"

// Dropout sets each element to 0 with probability Rate while training and
// scales the others by 1/(1-Rate); in evaluation it does nothing (Srivastava et
// al. 2014, in the inverted form of torch.nn.Dropout).
//
// An example's mask depends on the seed and step given to Pass.SetStep, the
// layer's place in the model and the example's id, and on nothing else: not on
// who stands beside it, nor on chunks or cores. The seed is public; the mask is
// part of the model that a step trains, not of its privacy.
type Dropout struct {
	Rate float64 // in [0, 1)
}

func (l Dropout) build(in Shape) (node, error) {
	if !(l.Rate >= 0 && l.Rate < 1) {
		return nil, fmt.Errorf("has Rate %v, want at least 0 and below 1", l.Rate)
	}
	return &dropoutNode{in: in, rule: dropout{below: uint32(min(l.Rate*(1<<32), 1<<32-1)), scale: float32(1 / (1 - l.Rate))}}, nil
}

// placed is a node that needs to know where in the model it stands. place is
// called once for each chain around it, the innermost first, with the index in
// that chain.
type placed interface{ place(index int) }

type dropoutNode struct {
	in   Shape
	rule dropout
	path uint64 // differs from place to place
}

func (n *dropoutNode) place(index int)    { n.path = dropoutKey(n.path, uint64(index)) }
func (n *dropoutNode) shape() Shape       { return n.in }
func (n *dropoutNode) tensors() []*tensor { return nil }
func (n *dropoutNode) stage() stage       { return &dropoutStage{dropoutNode: n} }

type dropoutStage struct {
	*dropoutNode
	owned bool // x may be overwritten
	y     []float32
}

func (s *dropoutStage) own() { s.owned = true }

func (s *dropoutStage) forward(b *batch, x []float32) []float32 {
	if !b.train || s.rule.below == 0 {
		return x
	}
	y := x
	if !s.owned {
		s.y = grow(s.y, len(x))
		y = s.y
	}
	s.mask(b, y, x)
	return y
}

func (s *dropoutStage) backward(b *batch, dy []float32, need bool) []float32 {
	if s.rule.below > 0 {
		s.mask(b, dy, dy)
	}
	return dy
}

func (s *dropoutStage) mask(b *batch, dst, src []float32) {
	size := s.in.Size()
	for i, id := range b.ids {
		s.rule.apply(dst[i*size:(i+1)*size], src[i*size:(i+1)*size], dropoutKey(b.seed, b.step, s.path, uint64(id)))
	}
}

// dropout applies a mask that is a function of its key alone. Elements come in
// pairs from one 64-bit word of SplitMix64 (Steele, Lea and Flood 2014).
type dropout struct {
	below uint32  // an element whose 32 bits lie below is dropped
	scale float32 // what the others are multiplied with
}

// dropoutKey folds what a mask depends on into a key, one mix per part.
func dropoutKey(parts ...uint64) uint64 {
	key := uint64(0x736f74746f)
	for _, p := range parts {
		key = splitMix(key ^ p)
	}
	return key
}

func splitMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// apply writes src under the mask of key to dst, which may be src.
func (d dropout) apply(dst, src []float32, key uint64) {
	dst = dst[:len(src)]
	i := 0
	for ; i+2 <= len(src); i += 2 {
		word := splitMix(key)
		key += 0x9e3779b97f4a7c15
		dst[i] = d.element(src[i], uint32(word))
		dst[i+1] = d.element(src[i+1], uint32(word>>32))
	}
	if i < len(src) {
		dst[i] = d.element(src[i], uint32(splitMix(key)))
	}
}

func (d dropout) element(x float32, bits uint32) float32 {
	if bits < d.below {
		return 0
	}
	return x * d.scale
}
