package noise

import (
	"fmt"
	"math"
	"sync"

	"github.com/sotto-ml/sotto/internal/stream"
)

// BlockSize is how many coordinates draw from one stream. Results depend on the
// key and on which block a coordinate lies in, not on who adds the block.
const BlockSize = 4096

// The scales that [NewRoundedGaussian] takes, in grid units.
const (
	MinSigma = 0x1p-7
	MaxSigma = 0x1p36
)

// RoundedGaussian is the law of a real Gaussian N(0, sigma²) rounded to the
// nearest integer. It is immutable and safe for concurrent use.
type RoundedGaussian struct {
	sigma float64
	limit float64 // farthest from an integer that a fast sample may lie
}

// NewRoundedGaussian returns the rounded Gaussian of a scale in grid units. The
// error names what is allowed.
func NewRoundedGaussian(sigma float64) (*RoundedGaussian, error) {
	if !(sigma >= MinSigma && sigma <= MaxSigma) {
		return nil, fmt.Errorf("noise: sigma is %v, must lie in [2^-7, 2^36] grid units", sigma)
	}
	return &RoundedGaussian{sigma: sigma, limit: 0.5 - sigma*errorBound}, nil
}

// Sigma returns the scale in grid units.
func (g *RoundedGaussian) Sigma() float64 { return g.sigma }

const (
	groupSize = 16 // samples that share 8 words of u and 8 of v
	groups    = BlockSize / groupSize
)

// scratch is what one block needs.
type scratch struct {
	cipher    stream.Cipher
	extension stream.Cipher
	words     [BlockSize]uint64
	last      [groupSize]int64
	extended  bool
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// AddBlocks adds one independent sample to each element of dst, modulo 2^64.
// The b-th run of BlockSize elements (the last may be short) draws from stream
// first+b of key, so a vector may be split at block boundaries in any way. It
// allocates only for samples that need the slow path, about one block in 40.
func (g *RoundedGaussian) AddBlocks(dst []int64, key *stream.Key, first uint64) {
	s := scratches.Get().(*scratch)
	s.cipher.Reset(key)
	for id := first; len(dst) > 0; id++ {
		n := min(len(dst), BlockSize)
		g.addBlock(dst[:n], s, key, id)
		dst = dst[n:]
	}
	s.cipher.Erase()
	s.extension.Erase()
	s.extended = false
	clear(s.words[:])
	clear(s.last[:])
	scratches.Put(s)
}

func (g *RoundedGaussian) addBlock(dst []int64, s *scratch, key *stream.Key, id uint64) {
	all := (len(dst) + groupSize - 1) / groupSize
	words := s.words[:all*groupSize]
	s.cipher.Fill(words, id, 0)
	for i := range all {
		out := s.last[:]
		g.group(out, words[i*groupSize:], i, s, key, id)
		for j, z := range out[:min(groupSize, len(dst)-i*groupSize)] {
			dst[i*groupSize+j] += z
		}
	}
}

func (g *RoundedGaussian) group(out []int64, words []uint64, group int, s *scratch, key *stream.Key, id uint64) {
	for i := range groupSize / 2 {
		u, v := words[i], words[i+groupSize/2]
		z0, z1, ok := g.fast(u, v)
		if !ok {
			z0, z1 = g.slow(u, v, uint64(group*groupSize/2+i), s, key, id)
		}
		out[i], out[i+groupSize/2] = z0, z1
	}
}

// slow resolves pair number pair of a block exactly.
func (g *RoundedGaussian) slow(u, v, pair uint64, s *scratch, key *stream.Key, id uint64) (int64, int64) {
	if !s.extended {
		k := key.Derive(extensionPurpose, 0)
		s.extension.Reset(&k)
		k.Erase()
		s.extended = true
	}
	return exactPair(u, v, g.sigma, func(i uint64) (uint64, uint64) {
		var w [2]uint64
		s.extension.Fill(w[:], id, pair*extensionBlocks+i)
		return w[0], w[1]
	})
}

const errorBound = 0x1p-42

func (g *RoundedGaussian) fast(u, v uint64) (int64, int64, bool) {
	if u < 1<<46 || u > math.MaxUint64-1<<46 {
		return 0, 0, false
	}
	r := math.Sqrt(-2*math.Log(float64(u)*0x1p-64)) * g.sigma
	sin, cos := math.Sincos(float64(int64(v<<2)) * (math.Pi / 4 * 0x1p-63))
	if v>>63 != 0 {
		sin, cos = cos, -sin
	}
	if v>>62&1 != 0 {
		sin, cos = -sin, -cos
	}
	x, y := r*cos, r*sin
	n, m := math.RoundToEven(x), math.RoundToEven(y)
	return int64(n), int64(m), max(math.Abs(x-n), math.Abs(y-m)) <= g.limit
}
