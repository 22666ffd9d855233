package federated

import (
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/dp/noise"
	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
)

// normSlack covers, relatively, the rounding of a norm in float64 and of an update's
// scaling: a sum of 2^33 squares, in any order, is off by less than 2^-19.
const normSlack = 0x1p-19

// place writes to dst the whole numbers next to x·scale/unit, scale being what brings
// x's norm down to clip, and reports whether the norm was within. In units, the result's
// norm is at most clip/unit·(1+normSlack) + √d/2.
func place(dst []int64, x []float32, clip, unit float64) (within bool) {
	norm := math.Sqrt(kernel.SumSquares(x))
	scale := 1.0
	if within = norm <= clip; !within {
		scale = clip / norm
	}
	scale /= unit
	for j, v := range x {
		dst[j] = int64(math.RoundToEven(float64(v) * scale))
	}
	return within
}

// placed bounds how far one client moves a sum of what place gave, in units.
func placed(clip, unit float64, d int) float64 {
	return (clip/unit*(1+normSlack) + math.Sqrt(float64(d))/2) * (1 + 0x1p-30)
}

// encoding is how updates become whole numbers modulo 2^32 for a secure sum: multiples
// of unit, a power of two so large that no sum of the most clients leaves ±2^30, noise
// aside.
type encoding struct {
	clip, unit  float64
	most        int     // clients in a sum
	sensitivity float64 // of a sum to one client, in units
	share       float64 // standard deviation of a client's noise, in units; 0 is none
}

func (p *Plan) encoding() encoding {
	e := encoding{clip: p.MaxNorm}
	b := p.buckets()
	e.most = (p.maxCohort() + b - 1) / b
	d, noisy := p.Privacy.(Distributed)
	least := 0.0
	if noisy {
		e.clip = d.ClipNorm
		least = 32 * d.NoiseMultiplier * d.ClipNorm // 16 standard deviations, twice
		// All shares together, should all clients survive.
		least *= math.Sqrt(float64(max(e.most, d.MinSurvivors)) / float64(d.MinSurvivors-d.Colluders))
	}
	unit := max(float64(e.most)*e.clip, least) / 0x1p30 * (1 + 2*normSlack)
	_, exp := math.Frexp(unit)
	e.unit = math.Ldexp(1, exp) // above unit
	e.sensitivity = placed(e.clip, e.unit, p.Parameters)
	if noisy {
		e.share = d.NoiseMultiplier * e.sensitivity / math.Sqrt(float64(d.MinSurvivors-d.Colluders)) * (1 + 0x1p-40)
	}
	return e
}

func (e encoding) check() error {
	if rounding := e.sensitivity*e.unit/e.clip - 1; rounding > 0.25 {
		return fmt.Errorf("federated: Secure with %d clients in a sum: 32 bits are too few, rounding would add %.0f%% to an update; use more buckets or a smaller model", e.most, 100*rounding)
	}
	if e.share != 0 && !(e.share >= 2 && e.share < noise.MaxSigma) {
		return fmt.Errorf("federated: Distributed gives noise shares of %.3g units, must be at least 2: use fewer clients in a sum or more noise", e.share)
	}
	return nil
}

// encode writes an update modulo 2^32, with the client's share of noise under a key
// that serves this once.
func (e encoding) encode(x []float32, key *stream.Key) ([]uint32, error) {
	whole := make([]int64, len(x))
	place(whole, x, e.clip, e.unit)
	if e.share != 0 {
		g, err := noise.NewDiscreteGaussian(e.share)
		if err != nil {
			return nil, fmt.Errorf("federated: %w", err)
		}
		g.AddBlocks(whole, key, 0)
	}
	out := make([]uint32, len(x))
	for j, v := range whole {
		out[j] = uint32(v)
	}
	clear(whole)
	return out, nil
}

// decode adds a sum, times scale, to dst.
func (e encoding) decode(dst []float32, sum []uint32, scale float64) {
	scale *= e.unit
	for j, v := range sum {
		dst[j] = float32(float64(int32(v)) * scale)
	}
}
