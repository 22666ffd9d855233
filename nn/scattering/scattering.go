package scattering

import (
	"fmt"
	"sync"
	"unsafe"
)

// Options choose a scattering transform.
type Options struct {
	J     int // scales: features are invariant up to shifts of about 2^J pixels; from 1 to 8
	L     int // orientations, from 1 to 32; 0 means 8, which the filters are designed for
	Order int // highest order, 1 or 2; 0 means 2
}

// maxWork bounds the padded area times L: with it grow working memory (about
// 300 MB at the bound) and the time of New, and dense Fourier matrices stop
// being the right method.
const maxWork = 512 * 512 * 8

// Transform is a scattering transform for images of one size. It is safe for
// concurrent use.
type Transform struct {
	height, width int
	j, l, order   int
	outH, outW    int

	source *source   // the padded image's spectrum and average
	grids  []*grid   // one for each resolution
	first  []*fold   // [j1]: from the image to the grid j1
	second [][]*fold // [j1][j2]: from grid j1 to grid j2; nil unless j1 < j2

	mu   sync.Mutex
	free []*scratch
}

// New returns the transform of height×width images. Sizes must be at least 2^J
// and need not be multiples of it; see the package doc for padding.
func New(height, width int, o Options) (*Transform, error) {
	if o.L == 0 {
		o.L = 8
	}
	if o.Order == 0 {
		o.Order = 2
	}
	switch {
	case o.J < 1 || o.J > 8:
		return nil, fmt.Errorf("scattering: J is %d, must be from 1 to 8", o.J)
	case o.L < 1 || o.L > 32:
		return nil, fmt.Errorf("scattering: L is %d, must be from 1 to 32 (0 means 8)", o.L)
	case o.Order < 1 || o.Order > 2:
		return nil, fmt.Errorf("scattering: Order is %d, must be 1 or 2 (0 means 2)", o.Order)
	case height < 1<<o.J || width < 1<<o.J:
		return nil, fmt.Errorf("scattering: size %dx%d is too small for J = %d, each side must be at least 2^J = %d", height, width, o.J, 1<<o.J)
	case height > maxWork || width > maxWork || padded(height, o.J)*padded(width, o.J) > maxWork/o.L:
		return nil, fmt.Errorf("scattering: size %dx%d is too large, the padded area may be at most %d for L = %d", height, width, maxWork/o.L, o.L)
	}
	t := &Transform{
		height: height, width: width, j: o.J, l: o.L, order: o.Order,
		outH: height >> o.J, outW: width >> o.J,
	}
	t.source = newSource(height, width, o.J)
	bank := newBank(t.source.p, t.source.q, o.J, o.L)
	for res := range o.J {
		t.grids = append(t.grids, newGrid(t, res))
		t.first = append(t.first, newFold(bank[res], t.source.p, t.source.q, 0, res, o.L, false))
		row := make([]*fold, o.J)
		if o.Order == 2 {
			for to := res + 1; to < o.J; to++ {
				row[to] = newFold(bank[to], t.source.p, t.source.q, res, to, o.L, true)
			}
		}
		t.second = append(t.second, row)
	}
	return t, nil
}

// Channels returns the number of feature maps, 1 + J·L + L²·J(J-1)/2 (the last
// term only for Order 2).
func (t *Transform) Channels() int {
	n := 1 + t.j*t.l
	if t.order == 2 {
		n += t.l * t.l * t.j * (t.j - 1) / 2
	}
	return n
}

// OutputShape returns the shape of an image's features: channels, height/2^J
// and width/2^J.
func (t *Transform) OutputShape() (channels, height, width int) {
	return t.Channels(), t.outH, t.outW
}

// Len returns the number of features of an image, the product of OutputShape.
func (t *Transform) Len() int { return t.Channels() * t.outH * t.outW }

// Apply writes to dst the features of one image, row by row as height×width,
// and returns dst. Features are channel by channel, row by row. A nil dst
// allocates. Eight images take Batch about as long as one takes Apply.
//
// It panics if image or dst has the wrong length or dst overlaps image.
func (t *Transform) Apply(dst, image []float32) []float32 {
	if dst == nil {
		dst = make([]float32, t.Len())
	}
	t.check(dst, image)
	s := t.take()
	s.images[0], s.outputs[0] = image, dst
	t.block(s, 1)
	t.put(s)
	return dst
}

// check panics unless dst and image have the right lengths and lie apart.
func (t *Transform) check(dst, image []float32) {
	if len(image) != t.height*t.width {
		panic("scattering: image length is not height·width")
	}
	if len(dst) != t.Len() {
		panic("scattering: dst length is not Len")
	}
	d, x := uintptr(unsafe.Pointer(&dst[0])), uintptr(unsafe.Pointer(&image[0]))
	if d < x+4*uintptr(len(image)) && x < d+4*uintptr(len(dst)) {
		panic("scattering: dst overlaps an image")
	}
}
