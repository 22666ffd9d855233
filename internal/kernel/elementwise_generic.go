package kernel

import "math"

// Bits of float32 values. Negative numbers, from the smallest to -Inf, have
// the bits signBit+1 to negInf; above are NaNs.
const (
	signBit = 0x80000000
	posInf  = 0x7f800000
	negInf  = 0xff800000
)

// The sign of an activation is a coin toss that no branch predictor wins, so
// the conditions here are on integers, which the compiler turns into moves.

func reluGeneric(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		b := math.Float32bits(v)
		if b-(signBit+1) <= negInf-(signBit+1) {
			b = 0
		}
		dst[i] = math.Float32frombits(b)
	}
}

func reluGradGeneric(dst, dy, x []float32) {
	dy, x = dy[:len(dst)], x[:len(dst)]
	for i, v := range x {
		b, d := math.Float32bits(v), math.Float32bits(dy[i])
		if b-signBit <= negInf-signBit {
			d = 0
		}
		if b == 0 {
			d = 0
		}
		dst[i] = math.Float32frombits(d)
	}
}

func mulGeneric(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

func maximumGeneric(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i, v := range x {
		dst[i] = max(v, y[i])
	}
}

func allFiniteGeneric(x []float32) bool {
	var most uint32
	for _, v := range x {
		most = max(most, math.Float32bits(v)&^signBit)
	}
	return most < posInf
}
