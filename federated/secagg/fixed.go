package secagg

import (
	"fmt"
	"math"
)

// FixedPoint turns real numbers within ±Bound to whole ones modulo 2^32 such that no sum
// of up to Clients vectors overflows: with Unit the step, a power of two, each number is
// at most round(Bound/Unit) steps, and Clients·round(Bound/Unit) ≤ 2^31-1.
type FixedPoint struct {
	Bound   float64
	Clients int
}

// Unit is the smallest power of two that cannot overflow; a number is off by up to half
// of it, a sum of n by n/2 of it.
func (f FixedPoint) Unit() (float64, error) {
	if !(f.Bound >= 0x1p-900 && f.Bound <= 0x1p900) {
		return 0, fmt.Errorf("secagg: FixedPoint.Bound is %v, must be in [2^-900, 2^900]", f.Bound)
	}
	if f.Clients < 1 || f.Clients > maxClients {
		return 0, fmt.Errorf("secagg: FixedPoint.Clients is %d, must be in [1, %d]", f.Clients, maxClients)
	}
	_, exp := math.Frexp(f.Bound * float64(f.Clients) / (1<<31 - 1))
	for exp -= 2; ; exp++ {
		unit := math.Ldexp(1, exp)
		// Both factors are whole and below 2^53: the product is exact.
		if math.RoundToEven(f.Bound/unit)*float64(f.Clients) <= 1<<31-1 {
			return unit, nil
		}
	}
}

// Encode writes x to dst, or to a new slice if dst is nil. A number that is NaN or
// beyond the bound is refused by index, with dst unspecified. It panics if dst is of
// another length.
func (f FixedPoint) Encode(dst []uint32, x []float32) ([]uint32, error) {
	unit, err := f.Unit()
	if err != nil {
		return nil, err
	}
	if dst == nil {
		dst = make([]uint32, len(x))
	}
	if len(dst) != len(x) {
		panic("secagg: FixedPoint: dst and x differ in length")
	}
	inverse := 1 / unit
	for i, v := range x {
		if !(math.Abs(float64(v)) <= f.Bound) {
			return nil, fmt.Errorf("secagg: element %d is %v, must be within ±%v", i, v, f.Bound)
		}
		dst[i] = uint32(int32(math.RoundToEven(float64(v) * inverse)))
	}
	return dst, nil
}

// Decode writes the real numbers that a sum stands for to dst, or to a new slice if dst
// is nil. It panics if dst is of another length.
func (f FixedPoint) Decode(dst []float64, sum []uint32) ([]float64, error) {
	unit, err := f.Unit()
	if err != nil {
		return nil, err
	}
	if dst == nil {
		dst = make([]float64, len(sum))
	}
	if len(dst) != len(sum) {
		panic("secagg: FixedPoint: dst and sum differ in length")
	}
	for i, v := range sum {
		dst[i] = float64(int32(v)) * unit
	}
	return dst, nil
}
