package kernel

import "math"

// roundAddGeneric rounds by adding 1.5·2^52, beside which a float64 keeps
// integers alone: the integer is the difference of the bit patterns.
func roundAddGeneric(sum []int64, x []float32) {
	const magic = 3 << 51
	const magicBits = 0x4338 << 48
	sum = sum[:len(x)]
	for i, v := range x {
		sum[i] += int64(math.Float64bits(float64(v)+magic) - magicBits)
	}
}

func fromIntGeneric(dst []float32, x []int64, scale float32) {
	wide := float64(scale)
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = float32(float64(v) * wide)
	}
}
