package scattering

import "math"

// modulusGeneric is the reference of modulus.
func modulusGeneric(dst, re, im []float32) {
	re, im = re[:len(dst)], im[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Sqrt(float64(float32(re[i]*re[i]) + float32(im[i]*im[i]))))
	}
}
