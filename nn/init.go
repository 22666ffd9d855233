package nn

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// Initializer is the law from which a layer's weights are first drawn. Biases
// start at 0 and the gains of normalisation layers at 1.
//
// fanIn and fanOut are the numbers of inputs that one output reads and of
// outputs that one input feeds; for a convolution kernel height × width times
// the channels of a group.
type Initializer uint8

const (
	// HeNormal is N(0, 2/fanIn), for ReLU and its kin (He, Zhang, Ren and
	// Sun 2015, equation 10; kaiming_normal_ with gain √2).
	HeNormal Initializer = iota
	// HeUniform is uniform on ±√(6/fanIn) (kaiming_uniform_ with gain √2).
	HeUniform
	// XavierNormal is N(0, 2/(fanIn+fanOut)), for tanh and linear outputs
	// (Glorot and Bengio 2010; xavier_normal_).
	XavierNormal
	// XavierUniform is uniform on ±√(6/(fanIn+fanOut)) (Glorot and Bengio
	// 2010, equation 16; xavier_uniform_).
	XavierUniform
	// Zero sets every weight to 0: right for a single linear layer, whose
	// problem is convex, and for nothing deeper.
	Zero
)

// String returns the name of the constant.
func (i Initializer) String() string {
	switch i {
	case HeNormal:
		return "HeNormal"
	case HeUniform:
		return "HeUniform"
	case XavierNormal:
		return "XavierNormal"
	case XavierUniform:
		return "XavierUniform"
	case Zero:
		return "Zero"
	}
	return "invalid"
}

// fill draws the weights of the tensor-th tensor of a model, the same ones on
// every machine and in every version: ChaCha8 of math/rand/v2, keyed by "sotto
// nn init" ‖ 0 ‖ 0 ‖ 0 ‖ seed ‖ tensor (little-endian), then IEEE sums,
// products, quotients and square roots alone. It panics on an unknown law.
func (i Initializer) fill(dst []float32, fanIn, fanOut int, seed, tensor uint64) {
	var key [32]byte
	copy(key[:16], "sotto nn init")
	binary.LittleEndian.PutUint64(key[16:], seed)
	binary.LittleEndian.PutUint64(key[24:], tensor)
	source := rand.NewChaCha8(key)
	in, both := math.Max(float64(fanIn), 1), math.Max(float64(fanIn)+float64(fanOut), 1)
	switch i {
	case HeNormal:
		fillNormal(dst, math.Sqrt(2/in), source)
	case HeUniform:
		fillUniform(dst, math.Sqrt(6/in), source)
	case XavierNormal:
		fillNormal(dst, math.Sqrt(2/both), source)
	case XavierUniform:
		fillUniform(dst, math.Sqrt(6/both), source)
	case Zero:
		clear(dst)
	default:
		panic("nn: unknown initializer")
	}
}

// symmetric returns a value uniform on the odd multiples of 2^-53 in (-1, 1).
func symmetric(source *rand.ChaCha8) float64 {
	return float64(int64(source.Uint64()>>11)*2-(1<<53-1)) * 0x1p-53
}

func fillUniform(dst []float32, bound float64, source *rand.ChaCha8) {
	for i := range dst {
		dst[i] = float32(bound * symmetric(source))
	}
}

// fillNormal is Marsaglia's polar method.
func fillNormal(dst []float32, sigma float64, source *rand.ChaCha8) {
	for i := 0; i < len(dst); i += 2 {
		var x, y, s float64
		for {
			x, y = symmetric(source), symmetric(source)
			if s = float64(x*x) + float64(y*y); s < 1 {
				break
			}
		}
		scale := sigma * math.Sqrt(-2*naturalLog(s)/s)
		dst[i] = float32(x * scale)
		if i+1 < len(dst) {
			dst[i+1] = float32(y * scale)
		}
	}
}

// naturalLog returns log x for normal x > 0 within 1e-15 of max(1, |log x|).
// math.Log is assembly on some processors and fused on others; this is the
// same bits on all of them.
func naturalLog(x float64) float64 {
	m, e := math.Frexp(x) // m in [1/2, 1)
	if m < math.Sqrt2/2 {
		m, e = m*2, e-1
	}
	// log m = 2 artanh(z), z = (m-1)/(m+1), |z| < 0.1716; the series' tail
	// after z^19 is below 2·z^21/21/(1-z²) < 1e-17.
	z := (m - 1) / (m + 1)
	q := float64(z * z)
	sum := 0.0
	for k := 19.0; k >= 1; k -= 2 {
		sum = float64(sum*q) + 1/k
	}
	return float64(float64(e)*math.Ln2) + float64(2*z*sum)
}
