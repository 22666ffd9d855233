package dp

import (
	"fmt"
	"math"
	"slices"
)

// Clip is how the weight of an example follows from the norm of its gradient:
// [Flat], [PerLayer], [Automatic] or [AdaptiveQuantile].
type Clip interface {
	// check returns an error that names the field, without "dp: ".
	check() error
	clip()
}

// Flat scales a gradient that is longer than Norm down to Norm (Abadi et al.
// 2016, "Deep learning with differential privacy").
type Flat struct {
	Norm float64 `json:"norm"`
}

// PerLayer clips each layer's part of a gradient by itself (McMahan et al.
// 2018, "Learning differentially private recurrent language models"). Either
// Norms holds each layer's norm, or Total is shared equally: L layers are
// clipped to Total/√L each. The noise is that of the whole vector, whose norm is
// at most the root of the sum of the squared norms. The model's gradients must
// be [LayerGradients].
type PerLayer struct {
	Norms []float64 `json:"norms,omitempty"`
	Total float64   `json:"total,omitempty"`
}

// Automatic scales every gradient g to Norm·g/(|g|+Stability), so that there is
// no clip norm to tune: Norm and the learning rate are one parameter. It is
// AUTO-S of Bu, Wang, Zha and Karypis 2023, "Automatic clipping: differentially
// private deep learning made easier and stronger", where Norm is 1 and
// Stability 0.01.
type Automatic struct {
	Norm      float64 `json:"norm"`
	Stability float64 `json:"stability"`
}

// AdaptiveQuantile is Flat with a norm that follows a quantile of the norms
// (Andrew et al. 2021, "Differentially private learning with adaptive
// clipping"). Each step counts, as +1/2 or -1/2 for each example drawn, whether
// its norm is at most the current clip norm C, adds noise, and sets
//
//	C ← C·exp(-LearningRate·(count/BatchSize + 1/2 - Quantile)).
//
// C stays within a factor of 2^12 of Initial. The plan's noise multiplier z is
// that of both queries together: the count's is z/√NoiseShare and the gradient's
// z/√(1-NoiseShare), so that 1/z² is the sum of both (Andrew et al., Theorem 1).
type AdaptiveQuantile struct {
	Initial      float64 `json:"initial"`
	Quantile     float64 `json:"quantile"`      // in (0, 1)
	LearningRate float64 `json:"learning_rate"` // the paper's is 0.2
	NoiseShare   float64 `json:"noise_share"`   // in (0, 1), commonly below 0.01
}

func (Flat) clip()             {}
func (PerLayer) clip()         {}
func (Automatic) clip()        {}
func (AdaptiveQuantile) clip() {}

// The clip norms that a plan may have, far inside float32.
const (
	minClip      = 1e-12
	maxClip      = 1e12
	adaptiveSpan = 1 << 12
)

func checkNorm(field string, norm float64) error {
	if !(norm >= minClip && norm <= maxClip) {
		return fmt.Errorf("%s is %v, must lie in [1e-12, 1e12]", field, norm)
	}
	return nil
}

func (c Flat) check() error { return checkNorm("Clip: Flat.Norm", c.Norm) }

func (c PerLayer) check() error {
	if len(c.Norms) == 0 {
		return checkNorm("Clip: PerLayer.Norms is empty and PerLayer.Total", c.Total)
	}
	if c.Total != 0 {
		return fmt.Errorf("Clip: PerLayer has both Norms and Total %v, must have one", c.Total)
	}
	for i, n := range c.Norms {
		if err := checkNorm(fmt.Sprintf("Clip: PerLayer.Norms[%d]", i), n); err != nil {
			return err
		}
	}
	return nil
}

func (c Automatic) check() error {
	if err := checkNorm("Clip: Automatic.Norm", c.Norm); err != nil {
		return err
	}
	return checkNorm("Clip: Automatic.Stability", c.Stability)
}

func (c AdaptiveQuantile) check() error {
	if err := checkNorm("Clip: AdaptiveQuantile.Initial", c.Initial); err != nil {
		return err
	}
	if !(c.Quantile > 0 && c.Quantile < 1) {
		return fmt.Errorf("Clip: AdaptiveQuantile.Quantile is %v, must lie in (0, 1)", c.Quantile)
	}
	if !(c.LearningRate > 0 && c.LearningRate <= 10) {
		return fmt.Errorf("Clip: AdaptiveQuantile.LearningRate is %v, must lie in (0, 10]", c.LearningRate)
	}
	if !(c.NoiseShare > 0 && c.NoiseShare < 1) {
		return fmt.Errorf("Clip: AdaptiveQuantile.NoiseShare is %v, must lie in (0, 1)", c.NoiseShare)
	}
	return nil
}

// clipping is a Clip at work: the rule by which norms become weights, and what
// of it changes from step to step.
type clipping struct {
	rule      Clip
	norm      float64   // of a whole clipped gradient; changes in AdaptiveQuantile
	layers    []float64 // PerLayer: each layer's norm
	stability float64   // Automatic
}

// newClipping starts a rule for gradients of the given number of layers, which
// matters to PerLayer alone.
func newClipping(rule Clip, layers int) (clipping, error) {
	c := clipping{rule: rule}
	switch r := rule.(type) {
	case Flat:
		c.norm = r.Norm
	case Automatic:
		c.norm, c.stability = r.Norm, r.Stability
	case AdaptiveQuantile:
		c.norm = r.Initial
	case PerLayer:
		if layers < 1 {
			return c, fmt.Errorf("dp: Clip is PerLayer, but the gradients have no layers")
		}
		c.layers = slices.Clone(r.Norms)
		if len(c.layers) == 0 {
			c.layers = slices.Repeat([]float64{r.Total / math.Sqrt(float64(layers))}, layers)
		}
		if len(c.layers) != layers {
			return c, fmt.Errorf("dp: Clip: PerLayer.Norms has %d norms, the model %d layers", len(r.Norms), layers)
		}
		square := 0.0
		for _, n := range c.layers {
			square += n * n
		}
		c.norm = math.Sqrt(square) * (1 + 0x1p-40)
	}
	return c, nil
}

// multipliers splits the plan's noise multiplier between the gradient and the
// count of AdaptiveQuantile, whose multiplier is 0 for other rules.
func multipliers(rule Clip, noise float64) (gradient, count float64) {
	a, ok := rule.(AdaptiveQuantile)
	if !ok {
		return noise, 0
	}
	const up = 1 + 0x1p-40
	return noise / math.Sqrt(1-a.NoiseShare) * up, noise / math.Sqrt(a.NoiseShare) * up
}

// largestWeight is the largest weight that weigh gives, times the grid's unit.
func (c *clipping) largestWeight() float64 {
	switch r := c.rule.(type) {
	case Automatic:
		return r.Norm / r.Stability
	}
	return 1
}

// tally counts what happened to the examples of a step.
type tally struct {
	drawn     int
	clipped   int
	notFinite int
	dropped   int
	within    int // norms at most the clip norm, less those above
}

func (t *tally) add(u tally) {
	t.drawn += u.drawn
	t.clipped += u.clipped
	t.notFinite += u.notFinite
	t.dropped += u.dropped
	t.within += u.within
}

// weigh sets w to the weights of examples with the given norms, in grid units,
// rounded down: one of each for every example, or L of each under PerLayer. An
// example with a norm that is not finite has weight 0 and is counted.
func (c *clipping) weigh(w, norms []float32, unit float64) (t tally) {
	if c.layers != nil {
		return c.weighLayers(w, norms, unit)
	}
	scale := 1 / unit // exact: unit is a power of two
	top, limit := roundDown(scale), c.norm*scale
	for i, n := range norms {
		switch n := float64(n); {
		case !(n >= 0 && n <= math.MaxFloat32):
			w[i] = 0
			t.notFinite++
		case c.stability > 0:
			w[i] = roundDown(limit / (n + c.stability))
			t.clipped++
		case n <= c.norm:
			w[i] = top
			t.within++
		default:
			w[i] = roundDown(limit / n)
			t.clipped++
			t.within--
		}
	}
	t.drawn = len(norms)
	return t
}

func (c *clipping) weighLayers(w, norms []float32, unit float64) (t tally) {
	layers := len(c.layers)
	scale := 1 / unit
	for at := 0; at < len(norms); at += layers {
		n, w := norms[at:at+layers], w[at:at+layers]
		t.drawn++
		if !finite(n) {
			clear(w)
			t.notFinite++
			continue
		}
		clipped := false
		for l, limit := range c.layers {
			if n := float64(n[l]); n <= limit {
				w[l] = roundDown(scale)
			} else {
				w[l] = roundDown(limit * scale / n)
				clipped = true
			}
		}
		if clipped {
			t.clipped++
		}
	}
	return t
}

func finite(norms []float32) bool {
	for _, n := range norms {
		if !(n >= 0 && n <= math.MaxFloat32) {
			return false
		}
	}
	return true
}

// adapt moves the clip norm of AdaptiveQuantile by the noisy count of its
// examples, each +1 or -1.
func (c *clipping) adapt(noisy int64, batch int) {
	a, ok := c.rule.(AdaptiveQuantile)
	if !ok {
		return
	}
	fraction := float64(noisy)/2/float64(batch) + 0.5
	norm := c.norm * math.Exp(-a.LearningRate*(fraction-a.Quantile))
	c.norm = min(max(norm, a.Initial/adaptiveSpan, minClip), a.Initial*adaptiveSpan, maxClip)
}

// roundDown is the greatest float32 not above x >= 0.
func roundDown(x float64) float32 {
	f := float32(x)
	if float64(f) > x {
		f = math.Nextafter32(f, 0)
	}
	return f
}
