package nn

import "errors"

// LayerNorm brings a vector, or every position of a sequence by itself, to
// mean 0 and variance 1 over its features, then scales and shifts it feature by
// feature (Ba, Kiros and Hinton 2016; torch.nn.LayerNorm over the last
// dimension). Images take GroupNorm.
type LayerNorm struct {
	Eps      float64 `json:",omitempty"` // added to the variance; 0: 1e-5
	NoAffine bool    `json:",omitempty"` // leave out scale and shift
}

func (l LayerNorm) build(in Shape) (node, error) {
	if in.isImage() {
		return nil, errors.New("wants a vector or a sequence; for an image use GroupNorm (Groups: 1 normalises over all of it)")
	}
	return newNormalization(in, normalizer{in.positions(), 1, in.channels(), 1, 0}, l.Eps, l.NoAffine)
}
