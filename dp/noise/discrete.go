package noise

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"

	"github.com/sotto-ml/sotto/internal/stream"
)

// DiscreteGaussian is the law on the integers with weights exp(-x²/(2 sigma²)),
// sampled exactly (Canonne, Kamath, Steinke 2020, Algorithm 3): sigma² is the
// rational that the float64 sigma squares to. It is immutable and safe for
// concurrent use.
type DiscreteGaussian struct {
	sigma float64
	t     uint64  // scale of the proposals, floor(sigma)+1
	mean  float64 // sigma²/t, rounded
	gamma func(y uint64) *big.Rat
}

// NewDiscreteGaussian returns the discrete Gaussian of a scale in grid units.
// The error names what is allowed.
func NewDiscreteGaussian(sigma float64) (*DiscreteGaussian, error) {
	if !(sigma >= MinSigma && sigma <= MaxSigma) {
		return nil, fmt.Errorf("noise: sigma is %v, must lie in [2^-7, 2^36] grid units", sigma)
	}
	t := math.Floor(sigma) + 1
	g := &DiscreteGaussian{sigma: sigma, t: uint64(t), mean: sigma * sigma / t}
	g.gamma = g.rational
	return g, nil
}

// Sigma returns the scale in grid units.
func (g *DiscreteGaussian) Sigma() float64 { return g.sigma }

// AddBlocks adds one independent sample to each element of dst, modulo 2^64. The
// b-th run of BlockSize elements (the last may be short) draws from stream
// first+b of key. The time of a sample depends on its value: publish nothing
// before the whole of dst is done.
func (g *DiscreteGaussian) AddBlocks(dst []int64, key *stream.Key, first uint64) {
	addBlocks(dst, key, first, g.sample)
}

func (g *DiscreteGaussian) sample(s *stream.Stream) int64 {
	for {
		y := laplace(s, g.t, 1)
		if bernoulliExp(s, g.exponent(magnitude(y))) {
			return y
		}
	}
}

// exponent is (y - sigma²/t)²/(2 sigma²): a proposal of magnitude y is accepted
// with probability exp(-that).
func (g *DiscreteGaussian) exponent(y uint64) real64 {
	// In float64: y and mean are off by at most 2^-52 of themselves, so their
	// difference by at most 2^-51 of the larger and 2^-53 of itself, and gamma by
	// what follows, with room.
	d := float64(y) - g.mean
	slack := 0x1p-50 * max(float64(y), g.mean)
	gamma := d * d / (2 * g.sigma * g.sigma)
	return real64{
		value: gamma,
		slack: 0x1p-50*gamma + (2*math.Abs(d)*slack+slack*slack)/(2*g.sigma*g.sigma)*(1+0x1p-40) + 0x1p-1000,
		exact: g.gamma, of: y,
	}
}

// rational is the exponent, exactly.
func (g *DiscreteGaussian) rational(y uint64) *big.Rat {
	variance := new(big.Rat).SetFloat64(g.sigma)
	variance.Mul(variance, variance)
	d := new(big.Rat).SetInt(new(big.Int).SetUint64(g.t))
	d.Quo(variance, d)
	d.Sub(new(big.Rat).SetInt(new(big.Int).SetUint64(y)), d)
	d.Mul(d, d)
	return d.Quo(d, variance.Mul(variance, big.NewRat(2, 1)))
}

// DiscreteLaplace is the law on the integers with weights exp(-|x|/scale),
// sampled exactly (Canonne, Kamath, Steinke 2020, Algorithm 2), the scale being
// the rational that the float64 is. It is immutable and safe for concurrent
// use.
type DiscreteLaplace struct {
	scale float64
	t, s  uint64 // scale = t/s
}

// NewDiscreteLaplace returns the discrete Laplace law of a scale in grid units.
// The error names what is allowed.
func NewDiscreteLaplace(scale float64) (*DiscreteLaplace, error) {
	if !(scale >= MinSigma && scale <= MaxSigma) {
		return nil, fmt.Errorf("noise: scale is %v, must lie in [2^-7, 2^36] grid units", scale)
	}
	r := new(big.Rat).SetFloat64(scale) // t < 2^53 and s <= 2^59
	return &DiscreteLaplace{scale, r.Num().Uint64(), r.Denom().Uint64()}, nil
}

// Scale returns the scale in grid units.
func (l *DiscreteLaplace) Scale() float64 { return l.scale }

// AddBlocks adds one independent sample to each element of dst, modulo 2^64,
// as [DiscreteGaussian.AddBlocks] does.
func (l *DiscreteLaplace) AddBlocks(dst []int64, key *stream.Key, first uint64) {
	addBlocks(dst, key, first, func(s *stream.Stream) int64 { return laplace(s, l.t, l.s) })
}

// addBlocks adds sample to each element, a stream per block.
func addBlocks(dst []int64, key *stream.Key, first uint64, sample func(*stream.Stream) int64) {
	for id := first; len(dst) > 0; id++ {
		s := stream.New(key, id)
		n := min(len(dst), BlockSize)
		for i := range dst[:n] {
			dst[i] += sample(s)
		}
		s.Erase()
		dst = dst[n:]
	}
}

func magnitude(y int64) uint64 {
	if y < 0 {
		return -uint64(y)
	}
	return uint64(y)
}

// laplace is Algorithm 2 of CKS 2020: weights exp(-|x| s/t), t < 2^53.
func laplace(st *stream.Stream, t, s uint64) int64 {
	for {
		u := st.Uint64n(t)
		if !bernoulliExpRatio(st, u, t) {
			continue
		}
		v := uint64(0)
		for bernoulliExpRatio(st, 1, 1) {
			v++
		}
		// u + t v could pass 2^63 only beyond v = 2^10-1, less likely than e^-1022.
		hi, x := bits.Mul64(t, v)
		x, carry := bits.Add64(x, u, 0)
		if hi+carry != 0 || x > math.MaxInt64 {
			panic("noise: a Laplace sample beyond 2^63")
		}
		y := int64(x / s)
		if st.Uint64()>>63 == 0 {
			return y
		}
		if y != 0 {
			return -y
		}
	}
}

// bernoulliExpRatio is true with probability exp(-p/q), p <= q: Algorithm 1 of
// CKS 2020, Bernoulli(p/(q k)) being Bernoulli(p/q) and Bernoulli(1/k).
func bernoulliExpRatio(s *stream.Stream, p, q uint64) bool {
	for k := uint64(1); ; k++ {
		if !(s.Uint64n(q) < p && s.Uint64n(k) == 0) {
			return k%2 == 1
		}
	}
}

// real64 is a real number of at least 0 known as a float64, within slack of it,
// and exactly on demand: exact(of) less whole.
type real64 struct {
	value, slack float64
	exact        func(of uint64) *big.Rat
	of, whole    uint64
}

func (r real64) rational() *big.Rat {
	x := r.exact(r.of)
	return x.Sub(x, new(big.Rat).SetInt(new(big.Int).SetUint64(r.whole)))
}

// bernoulliExp is true with probability exp(-gamma): Algorithm 1 of CKS 2020.
func bernoulliExp(s *stream.Stream, gamma real64) bool {
	// gamma > 1: once for each whole 1, then for what is left.
	for whole := gamma.floor(); whole > 0; whole-- {
		if !bernoulliExpRatio(s, 1, 1) {
			return false
		}
	}
	rest := gamma.fraction()
	for k := uint64(1); ; k++ {
		if !(bernoulli(s, rest) && s.Uint64n(k) == 0) {
			return k%2 == 1
		}
	}
}

// floor is the integer part, exactly.
func (r real64) floor() uint64 {
	lo, hi := math.Floor(r.value-r.slack), math.Floor(r.value+r.slack)
	if lo == hi && lo >= 0 {
		return uint64(lo)
	}
	x := r.rational()
	return new(big.Int).Quo(x.Num(), x.Denom()).Uint64()
}

// fraction is r less its integer part.
func (r real64) fraction() real64 {
	whole := r.floor()
	r.value, r.slack = r.value-float64(whole), r.slack+0x1p-52*r.value
	r.whole += whole
	return r
}

// bernoulli is true with probability r < 1, exactly: a uniform real is read
// 64 bits at a time until it is certainly on one side.
func bernoulli(s *stream.Stream, r real64) bool {
	w := s.Uint64()
	// w 2^-64 <= uniform < (w+1) 2^-64, to float64 within 2^-53.
	switch u := float64(w) * 0x1p-64; {
	case u+0x1p-52 < r.value-r.slack:
		return true
	case u-0x1p-52 > r.value+r.slack:
		return false
	}
	rest := r.rational()
	word := new(big.Rat)
	for shift := new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 64)); ; w = s.Uint64() {
		// Is uniform in [w, w+1) below rest 2^64?
		rest.Mul(rest, shift)
		rest.Sub(rest, word.SetInt(new(big.Int).SetUint64(w)))
		switch {
		case rest.Sign() <= 0:
			return false
		case rest.Cmp(big.NewRat(1, 1)) >= 0:
			return true
		}
	}
}
