package scattering

import "math"

// modulus sets dst[i] = |re[i] + i·im[i]|.
func modulus(dst, re, im []float32) { modulusGeneric(dst, re, im) }

func modulusGeneric(dst, re, im []float32) {
	re, im = re[:len(dst)], im[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Sqrt(float64(float32(re[i]*re[i]) + float32(im[i]*im[i]))))
	}
}
