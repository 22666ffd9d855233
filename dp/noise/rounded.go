package noise

import (
	"fmt"
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

// errorBound is above the error of a fast sample before it is rounded, over
// sigma, from all causes; the package doc proves 2^-46.
const errorBound = 0x1p-44

// The words of a block go to samples in groups: words 0-7 of a group are the
// first uniforms of its 8 pairs, words 8-15 the second ones; the cosines are
// samples 0-7, the sines samples 8-15.
const (
	groupSize = 16
	pairs     = groupSize / 2
	// chunk is how many samples are drawn at a time, so that their keystream
	// stays in the nearest cache.
	chunk = 1024
)

// scratch is what AddBlocks needs and wipes.
type scratch struct {
	cipher    stream.Cipher
	extension stream.Cipher
	extended  bool // extension is keyed
	words     [chunk]uint64
	slow      [chunk / groupSize]byte
	last      [groupSize]int64
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) wipe() {
	s.cipher.Erase()
	s.extension.Erase()
	s.extended = false
	clear(s.words[:])
	clear(s.slow[:])
	clear(s.last[:])
}

// AddBlocks adds one independent sample to each element of dst, modulo 2^64.
// The b-th run of BlockSize elements (the last may be short) draws from stream
// first+b of key, so a vector may be cut at block boundaries and its parts added
// in any order, at once or not, with the same result. A stream must not be used
// for anything else, nor twice for different data.
//
// It allocates for pairs that take the slow path alone, at sigma 2^20 about one
// pair in 830 000, and on machines without AES instructions once a kilobyte.
func (g *RoundedGaussian) AddBlocks(dst []int64, key *stream.Key, first uint64) {
	s := scratches.Get().(*scratch)
	s.cipher.Reset(key)
	for id := first; len(dst) > 0; id++ {
		n := min(len(dst), BlockSize)
		for at := 0; at < n; at += chunk {
			g.addChunk(dst[at:min(at+chunk, n)], s, key, id, at)
		}
		dst = dst[n:]
	}
	s.wipe()
	scratches.Put(s)
}

// addChunk adds the samples of block id that begin with number at.
func (g *RoundedGaussian) addChunk(dst []int64, s *scratch, key *stream.Key, id uint64, at int) {
	groups := (len(dst) + groupSize - 1) / groupSize
	words := s.words[:groups*groupSize]
	s.cipher.Fill(words, id, uint64(at/2)) // two words to a block of AES
	whole := len(dst) / groupSize
	rounded(dst[:whole*groupSize], words, s.slow[:], g.sigma, g.limit)
	if whole < groups {
		clear(s.last[:])
		rounded(s.last[:], words[whole*groupSize:], s.slow[whole:], g.sigma, g.limit)
	}
	for i, slow := range s.slow[:groups] {
		if slow == 0 {
			continue
		}
		z := s.last[:]
		if i < whole {
			z = dst[i*groupSize:][:groupSize]
		}
		for j := range pairs {
			if slow>>j&1 != 0 {
				u, v := words[i*groupSize+j], words[i*groupSize+pairs+j]
				z0, z1 := g.slow(u, v, uint64(at/2+i*pairs+j), s, key, id)
				z[j] += z0
				z[j+pairs] += z1
			}
		}
	}
	for i := range dst[whole*groupSize:] {
		dst[whole*groupSize+i] += s.last[i]
	}
}

// slow is pair number p of block id, exactly. Its further bits come from the
// stream of the same id under a derived key.
func (g *RoundedGaussian) slow(u, v, p uint64, s *scratch, key *stream.Key, id uint64) (int64, int64) {
	return exactPair(u, v, g.sigma, func(i uint64) (uint64, uint64) {
		if !s.extended {
			k := key.Derive(extensionPurpose, 0)
			s.extension.Reset(&k)
			k.Erase()
			s.extended = true
		}
		var w [2]uint64
		s.extension.Fill(w[:], id, p*extensionBlocks+i)
		return w[0], w[1]
	})
}
