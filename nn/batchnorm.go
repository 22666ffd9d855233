package nn

import "errors"

// BatchNorm is refused by New: it normalises each example by the others of its
// batch, so no example has a gradient of its own and none can be bounded. It
// exists so that the refusal can say what to use instead.
type BatchNorm struct{}

func (BatchNorm) build(Shape) (node, error) {
	return nil, errors.New("mixes the examples of a batch, so that no example has a gradient of its own; use GroupNorm (LayerNorm for vectors and sequences), which normalise each example by itself")
}
