//go:build !purego

package scattering

import (
	"unsafe"

	"github.com/sotto-ml/sotto/internal/kernel"
)

//go:generate go run -C _gen .

//go:noescape
func fold256(dst *float32, plane int, src *float32, offsets *int32, coefs *float32, groups, terms, l int)

//go:noescape
func modulus256(dst, re, im *float32, n int)

// callTerms bounds the products of one call of fold256, which the scheduler
// cannot interrupt: about 100 µs.
const callTerms = 1 << 18

func (f *fold) dispatch(dst, src []float32, plane int) {
	if kernel.Current() == kernel.Generic {
		foldGeneric(f, dst, src, plane)
		return
	}
	span := max(1, callTerms/(4*f.terms*f.l))
	for g := 0; g < f.groups; g += span {
		fold256(&dst[g*f.l*lanes], plane, unsafe.SliceData(src), &f.offsets[4*g*f.terms], &f.coefs[4*g*f.terms*f.l], min(span, f.groups-g), f.terms, f.l)
	}
}

// modulus sets dst[i] = |re[i] + i·im[i]|. Lengths are multiples of lanes.
func modulus(dst, re, im []float32) {
	if kernel.Current() == kernel.Generic {
		modulusGeneric(dst, re, im)
		return
	}
	modulus256(&dst[0], &re[0], &im[0], len(dst))
}
