package nn

import (
	"fmt"
	"math"
	"slices"
)

// Shape is the shape of one example, or of what a layer makes of it:
//
//	{n}       a vector
//	{t, n}    a sequence of t positions of n features
//	{c, h, w} an image of c channels, as PyTorch writes it
//
// Callers give images in the order (c, h, w); inside a model they lie in the
// order (h, w, c), so that one place's channels are neighbours in memory.
type Shape []int

// sizeLimit bounds the elements of a shape and of a tensor, so that products
// of sizes never overflow.
const sizeLimit = 1 << 31

// Size returns the number of elements.
func (s Shape) Size() int {
	n := 1
	for _, dim := range s {
		n *= dim
	}
	return n
}

// Equal reports whether s and t are the same shape.
func (s Shape) Equal(t Shape) bool { return slices.Equal(s, t) }

// String returns the sizes joined by "×".
func (s Shape) String() string {
	var out []byte
	for i, dim := range s {
		if i > 0 {
			out = append(out, "×"...)
		}
		out = fmt.Append(out, dim)
	}
	return string(out)
}

// check returns an error unless s has one to three positive sizes and at most
// sizeLimit elements.
func (s Shape) check() error {
	if len(s) < 1 || len(s) > 3 {
		return fmt.Errorf("shape %v has %d sizes, want 1 (vector), 2 (sequence) or 3 (image)", []int(s), len(s))
	}
	n := 1
	for _, dim := range s {
		if dim < 1 || dim > sizeLimit/n {
			return fmt.Errorf("shape %v: want sizes of at least 1 and a product of at most 2^31", []int(s))
		}
		n *= dim
	}
	return nil
}

// channels is the length of what lies side by side in memory at one position:
// an image's channels, a sequence's features, a whole vector.
func (s Shape) channels() int {
	switch len(s) {
	case 2:
		return s[1]
	default:
		return s[0]
	}
}

// positions is how many groups of channels an example has.
func (s Shape) positions() int { return s.Size() / s.channels() }

// isImage reports whether s has channels, height and width.
func (s Shape) isImage() bool { return len(s) == 3 }

// reordered reports whether the order inside a model differs from the caller's.
func (s Shape) reordered() bool { return s.isImage() && s[0] > 1 && s[1]*s[2] > 1 }

// transpose writes the rows×cols matrix x to dst as cols×rows.
func transpose(dst, x []float32, rows, cols int) {
	for i := range rows {
		row := x[i*cols : (i+1)*cols]
		for j, v := range row {
			dst[j*rows+i] = v
		}
	}
}

// inner writes x, in the caller's order, to dst in the order inside a model.
func (s Shape) inner(dst, x []float32) {
	if s.reordered() {
		transpose(dst, x, s[0], s[1]*s[2])
	} else {
		copy(dst, x)
	}
}

// outer writes x, in the order inside a model, to dst in the caller's order.
func (s Shape) outer(dst, x []float32) {
	if s.reordered() {
		transpose(dst, x, s[1]*s[2], s[0])
	} else {
		copy(dst, x)
	}
}

// mulLimit returns the product of sizes that are at least 0, or math.MaxInt
// where it exceeds sizeLimit.
func mulLimit(sizes ...int) int {
	n := 1
	for _, size := range sizes {
		if size > 0 && n > sizeLimit/size {
			return math.MaxInt
		}
		n *= size
	}
	return n
}
