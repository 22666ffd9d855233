package he

import (
	"errors"
	"fmt"
	"math"
)

// degrees are those that fits are tried with.
var degrees = []int{2, 3, 5, 7, 15, 31}

// maxFinite bounds what a stage may reach, far from where float64 ends.
const maxFinite = 1e100

// most values that a fit is weighed with.
const fitSamples = 1 << 14

// calibrate finds the ranges and the fits. It returns the part of the inputs that keep
// their answers with the fits in place.
func (g *graph) calibrate(inputs [][]float64, o Options) (float64, error) {
	samples := make([][]float64, len(g.stages))
	wanted := make([][]float64, len(inputs))
	for i := range g.stages {
		g.stages[i].lo, g.stages[i].hi = math.Inf(1), math.Inf(-1)
	}
	// An evenly spread choice of all values, the same on every machine.
	every := make([]int, len(g.stages))
	for k := range g.stages {
		every[k] = (len(g.stages[k].z.bias)*len(inputs) + fitSamples - 1) / fitSamples
	}
	seen := make([]int, len(g.stages))
	look := func(k int, z []float64) {
		s := &g.stages[k]
		for _, v := range z {
			s.lo, s.hi = min(s.lo, v), max(s.hi, v)
			if seen[k]%every[k] == 0 {
				samples[k] = append(samples[k], v)
			}
			seen[k]++
		}
	}
	for i, x := range inputs {
		values := g.run(x, look)
		wanted[i] = values[len(values)-1]
	}
	for i := range g.stages {
		if s := &g.stages[i]; !(s.lo > -maxFinite && s.hi < maxFinite) {
			return 0, fmt.Errorf("he: stage %s: its inputs are from %g to %g, must be below %g", s.name, s.lo, s.hi, maxFinite)
		}
	}
	try := degrees
	switch {
	case o.Degree != 0:
		try = []int{o.Degree}
	case o.Mode == Batch:
		try = []int{2}
	}
	best, bestFits := -1., []fit(nil)
	var failed error
	for _, degree := range try {
		a, err := g.fitAll(degree, o.Margin, samples, inputs, wanted)
		if err == nil {
			err = g.refuseFlat(o.Mode)
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if a > best {
			best, bestFits = a, nil
			for k := range g.stages {
				bestFits = append(bestFits, g.stages[k].fit)
			}
		}
		if a == 1 {
			break
		}
	}
	if bestFits == nil {
		return 0, failed
	}
	for k := range g.stages {
		g.stages[k].fit = bestFits[k]
	}
	return best, nil
}

// keptRange is the part of a single output's range that fits may move it by: a single
// output has no label that could tell a good fit from a bad one.
const keptRange = 1. / 16

// kept is the part of the inputs that keep their answers: those of several outputs their
// label, those of one its value but for keptRange of the wanted ones' range.
func kept(wanted, got [][]float64) float64 {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, w := range wanted {
		lo, hi = min(lo, w[0]), max(hi, w[0])
	}
	width := hi - lo
	if width == 0 { // of equal outputs their size
		width = math.Abs(hi)
	}
	same := 0
	for i, w := range wanted {
		if len(w) == 1 && math.Abs(got[i][0]-w[0]) <= keptRange*width || len(w) > 1 && label(w) == label(got[i]) {
			same++
		}
	}
	return float64(same) / float64(len(wanted))
}

// fitAll fits all activations at a degree, and gives the part of the inputs that keep
// the wanted outputs. Fits move what later stages see: where an input leaves a fit's range, the
// range is widened to it and fitted again. It returns an error that names the stage if
// that comes to no end.
func (g *graph) fitAll(degree int, margin float64, samples, inputs, wanted [][]float64) (float64, error) {
	lo, hi := make([]float64, len(g.stages)), make([]float64, len(g.stages))
	for k := range g.stages {
		lo[k], hi[k] = g.stages[k].lo, g.stages[k].hi
	}
	exact := true
	got := make([][]float64, len(inputs))
	for round := 0; ; round++ {
		for k := range g.stages {
			s := &g.stages[k]
			if s.act == nil {
				continue
			}
			if _, ok := s.act.(smooth); ok {
				exact = false
			}
			wider := max((hi[k]-lo[k])*margin, 1e-6)
			f, err := fitPolynomial(s.act, degree, lo[k]-wider, hi[k]+wider, samples[k])
			if err != nil {
				return 0, fmt.Errorf("he: stage %s: %w", s.name, err)
			}
			s.fit = f
		}
		if exact {
			return 1, nil
		}
		left := -1
		for i, x := range inputs {
			outputs, l := g.fitted(x)
			got[i] = outputs
			if l >= 0 && (left < 0 || l < left) {
				left = l
			}
		}
		if left < 0 {
			return kept(wanted, got), nil
		}
		// The first such stage alone: what later ones see follows from its outputs.
		from, to := lo[left], hi[left]
		for _, x := range inputs {
			g.evaluate(x, true, func(k int, z []float64) {
				for _, v := range z {
					if k == left {
						lo[k], hi[k] = min(lo[k], v), max(hi[k], v)
					}
				}
			})
		}
		if width := hi[left] - lo[left]; round >= 2*len(g.stages) || !(width < 100*(to-from)) {
			return 0, fmt.Errorf("he: stage %s: with the fits of degree %d before it, its inputs leave [%g, %g] for [%g, %g]; set Options.Degree or Options.Margin higher",
				g.stages[left].name, degree, from, to, lo[left], hi[left])
		}
	}
}

// refuseFlat refuses fits of degree 2 whose leading factor vanishes beside the others,
// which no plan could scale.
func (g *graph) refuseFlat(mode Mode) error {
	for i := range g.stages {
		s := &g.stages[i]
		if _, ok := s.act.(smooth); !ok || s.fit.degree() != 2 {
			continue
		}
		if lead := math.Abs(s.fit.c[2]); lead < 1e-9*(math.Abs(s.fit.c[0])+math.Abs(s.fit.c[1])) || lead == 0 {
			instead := "set Options.Degree to 3"
			if mode == Batch {
				instead = "set Options.Mode to latency, as batch mode has no fits of degree 3"
			}
			return fmt.Errorf("he: stage %s: the fit of degree 2 over [%g, %g] is a straight line; calibrate with inputs that reach more of it, or %s", s.name, s.fit.mid-s.fit.half, s.fit.mid+s.fit.half, instead)
		}
	}
	return nil
}

// label is the index of the largest output, the first of several, or of one output
// whether it is positive.
func label[T float32 | float64](v []T) int {
	best := 0
	if len(v) == 1 && v[0] > 0 {
		return 1
	}
	for i := range v {
		if v[i] > v[best] {
			best = i
		}
	}
	return best
}
