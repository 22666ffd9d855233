//go:build !amd64 || purego

package scattering

func (f *fold) dispatch(dst, src []float32, plane int) { foldGeneric(f, dst, src, plane) }

// modulus sets dst[i] = |re[i] + i·im[i]|. Lengths are multiples of lanes.
func modulus(dst, re, im []float32) { modulusGeneric(dst, re, im) }
