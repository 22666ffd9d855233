package federated

import (
	"errors"
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/dp/noise"
	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
)

// combiner turns updates into one. They are added in the order of seats, so that the
// result has the same bits whenever they came. It holds rows only for a rule that has
// no buckets; else its memory does not grow with the clients.
type combiner struct {
	plan    *Plan
	central *Central
	clip    float64 // of a central plan
	unit    float64 // of a central plan's whole numbers
	added   int     // updates
	pots    []pot
	rows    [][]float32
	names   []ClientID
	weight  float64 // of all updates
	steps   float64 // Σ weight·steps
	control []float64
	within  int64 // updates within the clip norm, less those that are not
	scratch []int64
}

// pot is what a bucket's updates are added into.
type pot struct {
	count int
	scale float64
	sum   []float64
	whole []int64 // for central noise
	mean  []float32
}

func newCombiner(p *Plan, at *server) *combiner {
	c := &combiner{plan: p, pots: make([]pot, p.buckets())}
	if central, ok := p.Privacy.(Central); ok {
		c.central, c.clip = &central, at.clip
		c.unit = central.grid(c.clip, p.Parameters)
	}
	if p.Strategy.needs().control {
		c.control = make([]float64, p.Parameters)
	}
	return c
}

// updateNoise and countNoise are the noise multipliers of a round's two releases.
func (c *Central) updateNoise() float64 {
	if c.Adaptive == nil {
		return c.NoiseMultiplier
	}
	return c.NoiseMultiplier / math.Sqrt(1-c.Adaptive.NoiseShare)
}

func (c *Central) countNoise() float64 { return c.NoiseMultiplier / math.Sqrt(c.Adaptive.NoiseShare) }

// grid is the unit of whole numbers: a power of two, at most 2^-20 of the noise, so
// that √d/2 units cost at most 2^-11 of the clip norm, and so that sums of 2^20
// clients stay below 2^62 and the noise within the sampler's range.
func (c *Central) grid(clip float64, d int) float64 {
	z := c.updateNoise()
	unit := clip * max(min(z*0x1p-20, 0x1p-10/math.Sqrt(float64(d))), 0x1p-41, z*0x1p-34)
	_, exp := math.Frexp(unit)
	return math.Ldexp(1, exp-1) // at most unit
}

// add takes the next seat's update. It keeps u.Delta only if keeps says so.
func (c *combiner) add(client ClientID, bucket int, u *Update, stale int) {
	p := c.plan
	c.added++
	if c.keeps() {
		row := u.Delta
		if scale := p.Strategy.scale(u, stale); scale != 1 {
			row = make([]float32, len(u.Delta))
			for j, x := range u.Delta {
				row[j] = float32(scale) * x
			}
		}
		c.rows, c.names = append(c.rows, row), append(c.names, client)
		return
	}
	pot := &c.pots[bucket]
	pot.count++
	if c.central != nil {
		if c.scratch == nil {
			c.scratch = make([]int64, p.Parameters)
		}
		if pot.whole == nil {
			pot.whole = make([]int64, p.Parameters)
		}
		if place(c.scratch, u.Delta, c.clip, c.unit) {
			c.within++
		} else {
			c.within--
		}
		for j, v := range c.scratch {
			pot.whole[j] += v
		}
		return
	}
	if pot.sum == nil {
		pot.sum = make([]float64, p.Parameters)
	}
	scale := p.Strategy.scale(u, stale)
	pot.scale += scale
	c.weight += weightOf(u)
	c.steps += weightOf(u) * float64(u.Steps)
	fold(pot.sum, u.Delta, scale)
	if c.control != nil {
		fold(c.control, u.Control, 1)
	}
}

// keeps reports whether rows are held until the end.
func (c *combiner) keeps() bool { return c.plan.Rule != nil && c.plan.Buckets == nil }

func fold(sum []float64, x []float32, scale float64) {
	sum = sum[:len(x)]
	for j, v := range x {
		sum[j] += scale * float64(v)
	}
}

// addSum takes the secure sum of a bucket.
func (c *combiner) addSum(bucket int, sum []uint32, survivors int) {
	c.pots[bucket].count = survivors
	c.pots[bucket].mean = make([]float32, len(sum))
	c.plan.encoding().decode(c.pots[bucket].mean, sum, 1/float64(survivors))
	c.added += survivors
}

// mean combines what was added. Refused are clients whose rows the rule found to be what
// no honest client sends.
func (c *combiner) mean(key *stream.Key, round int) (out []float32, refused []ClientID, err error) {
	p := c.plan
	if c.keeps() {
		var v aggregate.Verdict
		if out, err = p.Rule.Aggregate(nil, c.rows, &v); err != nil {
			return nil, nil, err
		}
		for i, r := range v.Clients {
			// To be outvoted is no offence: Krum outvotes all but one.
			if i < len(c.names) && r.Rejected != aggregate.Kept && r.Rejected != aggregate.Outvoted {
				refused = append(refused, c.names[i])
			}
		}
		return out, refused, nil
	}
	if c.central != nil {
		if err := c.noise(key, round); err != nil {
			return nil, nil, err
		}
	}
	var rows [][]float32
	for b := range c.pots {
		if row := c.finish(&c.pots[b]); row != nil {
			rows = append(rows, row)
		}
	}
	if p.Buckets != nil {
		out, err = p.Rule.Aggregate(nil, rows, nil)
		return out, nil, err
	}
	if len(rows) == 0 {
		return make([]float32, p.Parameters), nil, nil // nobody answered
	}
	return rows[0], nil, nil
}

// finish returns a pot's mean, or nil if it is empty.
func (c *combiner) finish(pot *pot) []float32 {
	p := c.plan
	if pot.mean != nil || pot.sum == nil {
		return pot.mean
	}
	by := 1 / pot.scale
	switch p.Strategy.(type) {
	case FedNova: // pot.scale is Σ weight/steps, which is not what it is divided by
		by = c.steps / (c.weight * c.weight)
	case FedBuff:
		by = 1 / float64(pot.count)
	}
	pot.mean = make([]float32, len(pot.sum))
	for j, v := range pot.sum {
		pot.mean[j] = float32(by * v)
	}
	return pot.mean
}

// noise adds a central plan's noise to all buckets, empty ones too, and divides by the
// public size of each. Every bucket holds noise for one client's whole part.
func (c *combiner) noise(key *stream.Key, round int) error {
	p := c.plan
	sigma := c.central.updateNoise() * placed(c.clip, c.unit, p.Parameters) * (1 + 0x1p-40)
	gaussian, err := noise.NewRoundedGaussian(sigma)
	if err != nil {
		return fmt.Errorf("federated: %w", err)
	}
	sub := key.Derive("sotto/federated central noise", uint64(round))
	defer sub.Erase()
	blocks := uint64((p.Parameters + noise.BlockSize - 1) / noise.BlockSize)
	expected := p.Selection.sizes().rate * float64(c.central.Population) / float64(len(c.pots))
	for b := range c.pots {
		pot := &c.pots[b]
		if pot.whole == nil {
			pot.whole = make([]int64, p.Parameters)
		}
		gaussian.AddBlocks(pot.whole, &sub, uint64(b)*blocks)
		pot.mean = make([]float32, p.Parameters)
		kernel.FromInt(pot.mean, pot.whole, float32(c.unit/expected))
		clear(pot.whole)
	}
	return nil
}

// countUnit is what one client moves the count of updates within the clip norm by.
const countUnit = 1 << 10

// adapt returns the next round's clip norm.
func (c *combiner) adapt(key *stream.Key, round int) (float64, error) {
	a := c.central.Adaptive
	if a == nil {
		return c.clip, nil
	}
	g, err := noise.NewRoundedGaussian(c.central.countNoise() * countUnit * (1 + 0x1p-40))
	if err != nil {
		return 0, fmt.Errorf("federated: %w", err)
	}
	sub := key.Derive("sotto/federated count noise", uint64(round))
	defer sub.Erase()
	count := [1]int64{c.within * countUnit}
	g.AddBlocks(count[:], &sub, 0)
	expected := c.plan.Selection.sizes().rate * float64(c.central.Population)
	share := float64(count[0])/countUnit/2/expected + 0.5
	next := c.clip * math.Exp(-a.LearningRate*(share-a.Quantile))
	return min(max(next, c.central.ClipNorm/4096), c.central.ClipNorm*4096), nil
}

// candidate makes the version that the combined updates lead to.
func (c *combiner) candidate(at *server, key *stream.Key, round, members int) (next *server, mean []float32, refused []ClientID, err error) {
	if mean, refused, err = c.mean(key, round); err != nil {
		return nil, nil, nil, err
	}
	if !kernel.AllFinite(mean) {
		return nil, nil, nil, errors.New("the combined update holds a NaN or an infinity")
	}
	next = at.clone()
	next.accepted++
	c.plan.Strategy.apply(next, mean)
	if c.control != nil && members > 0 {
		for j, v := range c.control {
			next.control[j] += float32(v / float64(members))
		}
	}
	if c.central != nil {
		if next.clip, err = c.adapt(key, round); err != nil {
			return nil, nil, nil, err
		}
	}
	return next, mean, refused, nil
}
