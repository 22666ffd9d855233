package kernel

// lanes is how many float32 partial sums a chunk is added to, on every level.
const lanes = 64

// sumSquaresGeneric sums a chunk. Eight lanes at a time stay in registers; a
// chunk stays in the L1 cache between the eight sweeps.
func sumSquaresGeneric(x []float32) float32 {
	var sums [lanes]float32
	whole := len(x) / lanes * lanes
	for j := 0; j < lanes && whole > 0; j += 8 {
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		for i := j; i < whole; i += lanes {
			v := (*[8]float32)(x[i:])
			s0 += float32(v[0] * v[0])
			s1 += float32(v[1] * v[1])
			s2 += float32(v[2] * v[2])
			s3 += float32(v[3] * v[3])
			s4 += float32(v[4] * v[4])
			s5 += float32(v[5] * v[5])
			s6 += float32(v[6] * v[6])
			s7 += float32(v[7] * v[7])
		}
		*(*[8]float32)(sums[j:]) = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
	}
	for i, v := range x[whole:] {
		sums[i] += float32(v * v)
	}
	return addLanes(&sums, len(x))
}

// sumSquaresScaledGeneric sums the squares of scale·x.
func sumSquaresScaledGeneric(x []float32, scale float32) float32 {
	var sums [lanes]float32
	for i, v := range x {
		v *= scale
		sums[i%lanes] += float32(v * v)
	}
	return addLanes(&sums, len(x))
}

func dotGeneric(x, y []float32) float32 {
	var sums [lanes]float32
	whole := len(x) / lanes * lanes
	for j := 0; j < lanes && whole > 0; j += 8 {
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		for i := j; i < whole; i += lanes {
			v, w := (*[8]float32)(x[i:]), (*[8]float32)(y[i:])
			s0 += float32(v[0] * w[0])
			s1 += float32(v[1] * w[1])
			s2 += float32(v[2] * w[2])
			s3 += float32(v[3] * w[3])
			s4 += float32(v[4] * w[4])
			s5 += float32(v[5] * w[5])
			s6 += float32(v[6] * w[6])
			s7 += float32(v[7] * w[7])
		}
		*(*[8]float32)(sums[j:]) = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
	}
	for i, v := range x[whole:] {
		sums[i] += float32(v * y[whole+i])
	}
	return addLanes(&sums, len(x))
}

// addLanes folds the upper half on the lower until one lane is left. Only the
// first n lanes are used: halves of zeros are left out, to the same bits.
func addLanes(sums *[lanes]float32, n int) float32 {
	half := lanes / 2
	for half >= n && half > 0 {
		half /= 2
	}
	for ; half > 0; half /= 2 {
		for i := range half {
			sums[i] += sums[half+i]
		}
	}
	return sums[0]
}
