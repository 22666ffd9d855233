package he

import (
	"fmt"
	"math"
	"sync"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/ring"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// batchCircuit is a program in batch mode: one ciphertext holds one feature of all
// inputs, so a weight multiplies a whole ciphertext as an integer, and nothing rotates.
//
// Weights are integers so small that the sum of a row's products with residues fits 63
// bits: products are added up without any reduction, and each sum is reduced once.
type batchCircuit struct {
	params hefloat.Parameters
	stages []batchStage
}

type batchStage struct {
	parts  []batchPart
	bias   []float64
	scale  float64 // of z
	primes int     // that z has
	square bool
	before int // primes divided away before the square
	after  int // and after it
	relin  bool
	name   string
}

type batchPart struct {
	from    int
	matrix  *affine
	weights []int64 // of the matrix's entries
	bits    float64 // planned log2 of the factor from entries to weights
}

// Bounds of the search for moduli, in bits.
const (
	leastPrime = 28
	mostPrime  = 36
	sumBits    = 62 // of a row's sum
	mostWeight = 17
	// A batch value's last bits are errors: those of fresh encryptions and of a rescaling
	// are near sqrt(N) times a deviation of 3.2 to 21.
	batchNoiseBits = 13
)

// compileBatch chooses the fewest primes at the least degree that keep every value's
// scale above the precision and its size below the modulus.
func (p *Program) compileBatch() error {
	why := "none tried"
	for k := range p.stages {
		if p.stages[k].series == nil {
			continue
		}
		what, instead := "this one has", "set Options.Mode to latency"
		if _, ok := p.graph.stages[k].act.(smooth); ok {
			what, instead = "the fit has", "set Options.Degree to 2"
		}
		return fmt.Errorf("he: stage %s: batch mode evaluates activations of degree 2, %s degree %d; %s", p.stages[k].name, what, len(p.stages[k].series)-1, instead)
	}
	squares := len(p.stages) - 1
	for logN := 12; logN <= 16; logN++ {
		if p.options.LogN != 0 && p.options.LogN != logN {
			continue
		}
		least := float64(p.bits() + batchNoiseBits)
		for primes := 1; primes <= 24; primes++ {
			for size := mostPrime; size >= leastPrime; size-- {
				var logP []int
				if squares > 1 {
					logP = []int{size + 1}
				}
				if primes*size+len(logP)*(size+1) > maxLogQP[logN] || size <= logN+1 {
					continue
				}
				for scale := float64(size); scale >= least; scale-- {
					stages, err := planBatch(p.stages, primes, float64(size), scale, least)
					if err != nil {
						why = err.Error()
						continue
					}
					logQ := make([]int, primes)
					for i := range logQ {
						logQ[i] = size
					}
					params, err := newParameters(logN, logQ, logP, int(scale))
					if err != nil {
						why = err.Error()
						continue
					}
					return p.finishBatch(params, stages)
				}
			}
		}
	}
	return fmt.Errorf("he: no secure parameters for batch mode: %s", why)
}

// batchRoom says that a stage's values are too large for the primes that are left there.
func batchRoom(stage string, bits float64, primes int, size float64) error {
	return fmt.Errorf("stage %s: values of %.0f bits, where %d primes of %.0f bits are left", stage, bits, primes, size)
}

// planBatch follows the scales through the stages. All arguments are in bits.
func planBatch(stages []canonical, primes int, size, scale, least float64) ([]batchStage, error) {
	const room = 3 // bits above the scale for values a little beyond 1, and for signs
	scales, counts := []float64{scale}, []int{primes}
	var out []batchStage
	for k := range stages {
		s := &stages[k]
		b := batchStage{bias: s.bias, square: s.square, name: s.name}
		// The finest integer weights whose rows' sums fit.
		target := math.Inf(1)
		left := primes
		sources := expression{parts: s.parts}.sources()
		rows := make([]float64, len(s.bias))
		top := math.Inf(-1)
		for _, i := range sources {
			m := s.parts[i]
			left = min(left, counts[i])
			top = max(top, scales[i])
			if big := m.biggest(); big > 0 {
				target = min(target, scales[i]+mostWeight-math.Log2(big))
			}
		}
		if math.IsInf(target, 1) {
			target = top + mostWeight
		}
		worst := 0.
		for r := range rows {
			for _, i := range sources {
				_, vals := s.parts[i].row(r)
				for _, v := range vals {
					rows[r] += math.Abs(v)*math.Exp2(target-scales[i]) + .5
				}
			}
			worst = max(worst, rows[r])
		}
		if over := math.Log2(worst) + size + .01 - sumBits; over > 0 {
			target -= over
		}
		b.scale, b.primes = target, left
		if target+room > float64(left)*size {
			return nil, batchRoom(s.name, target+room, left, size)
		}
		for _, i := range sources {
			// Sources of very different scales: the larger one's weights would vanish.
			if big := s.parts[i].biggest(); len(sources) > 1 && big > 0 && math.Log2(big)+target-scales[i] < least-batchNoiseBits+2 {
				return nil, fmt.Errorf("stage %s: its sources' scales are too far apart, by %.0f bits", s.name, top-scales[i])
			}
			b.parts = append(b.parts, batchPart{from: i, matrix: s.parts[i], bits: target - scales[i]})
		}
		next := target
		if s.square {
			for next-size >= least && left > 1 {
				next -= size
				left--
				b.before++
			}
			next *= 2
			if next+room > float64(left)*size {
				return nil, batchRoom(s.name, next+room, left, size)
			}
			for next-size >= least && left > 1 {
				next -= size
				left--
				b.after++
			}
			b.relin = k < len(stages)-2
		}
		scales, counts = append(scales, next), append(counts, left)
		out = append(out, b)
	}
	// A degree-2 value may be read by the last stage alone.
	for k := range stages {
		for _, i := range (expression{parts: stages[k].parts}).sources() {
			if i > 0 && !out[i-1].relin && k < len(stages)-1 {
				out[i-1].relin = true
			}
		}
	}
	// Sources of different degree cannot be told apart by a row's sum alone, which is
	// why every value that another stage reads too is relinearised.
	return out, nil
}

// integers rounds a matrix's entries times 2^bits.
func integers(m *affine, bits float64) []int64 {
	out := make([]int64, len(m.val))
	f := math.Exp2(bits)
	for i, v := range m.val {
		out[i] = int64(math.RoundToEven(v * f))
	}
	return out
}

func (p *Program) finishBatch(params Parameters, stages []batchStage) error {
	s := p.schema
	s.params = params
	var err error
	if s.lattigo, err = params.lattigo(); err != nil {
		return err
	}
	p.batch = &batchCircuit{params: s.lattigo, stages: stages}
	// The primes are near powers of two, not powers: take the scales as they are.
	scales := []float64{s.lattigo.DefaultScale().Float64()}
	s.degree = 1
	for k := range stages {
		b := &stages[k]
		b.scale = scales[b.parts[0].from] * math.Exp2(b.parts[0].bits)
		for i := range b.parts {
			q := &b.parts[i]
			q.weights = integers(q.matrix, math.Log2(b.scale/scales[q.from]))
		}
		next := b.scale
		if b.square {
			left := b.primes
			for range b.before {
				left--
				next /= float64(params.Q[left])
			}
			next *= next
			if b.relin {
				s.relinearize = max(s.relinearize, left-1)
			}
			for range b.after {
				left--
				next /= float64(params.Q[left])
			}
			if !b.relin {
				s.degree = 2
			}
		}
		scales = append(scales, next)
	}
	last := stages[len(stages)-1]
	s.scale, s.level = last.scale, last.primes-1
	return nil
}

// newRelinearizers makes a stock of evaluators with room for a client's relinearisation
// key; nil if the program needs none.
func newRelinearizers(s *Schema, most int) *stock[*rlwe.Evaluator] {
	if s.relinearize < 0 {
		return nil
	}
	first := rlwe.NewEvaluator(s.lattigo, nil)
	return &stock[*rlwe.Evaluator]{make: first.ShallowCopy, most: most}
}

// value is the ciphertexts of one stage's elements, each of the same degree and primes.
type value []*rlwe.Ciphertext

// run evaluates the circuit on one ciphertext for each input feature. It lets go of each
// stage's ciphertexts once no later stage reads them.
func (c *batchCircuit) run(inputs []*rlwe.Ciphertext, relin *stock[*rlwe.Evaluator]) ([]*rlwe.Ciphertext, error) {
	values := []value{inputs}
	last := c.lastReaders()
	for k := range c.stages {
		b := &c.stages[k]
		z := c.affine(b, values)
		for i := range values {
			if last[i] == k {
				values[i] = nil
			}
		}
		if b.square {
			if err := c.square(b, z, relin); err != nil {
				return nil, fmt.Errorf("stage %s: %w", b.name, err)
			}
		}
		values = append(values, z)
	}
	out := values[len(values)-1]
	for _, ct := range out {
		ct.Scale = rlwe.NewScale(c.stages[len(c.stages)-1].scale)
	}
	return out, nil
}

// affine makes z: every (polynomial of the ciphertexts, prime, tile) by itself.
func (c *batchCircuit) affine(b *batchStage, values []value) value {
	rows := len(b.bias)
	degree := 0
	for _, p := range b.parts {
		degree = max(degree, values[p.from][0].Degree())
	}
	z := make(value, rows)
	for r := range z {
		z[r] = hefloat.NewCiphertext(c.params, degree, b.primes-1)
	}
	const tile = kernel.WeightedTile // the tiles of a thousand features stay in the second-level cache
	tiles := c.params.N() / tile
	// columns lists, for each part, polynomial and prime, the features' residues.
	columns := make([][][]uint64, len(b.parts)*(degree+1)*b.primes)
	for j := range b.parts {
		for _, ct := range values[b.parts[j].from] {
			for d := range ct.Value {
				for prime := range b.primes {
					at := &columns[(j*(degree+1)+d)*b.primes+prime]
					*at = append(*at, ct.Value[d].Coeffs[prime])
				}
			}
		}
	}
	parallel((degree+1)*b.primes*tiles, func(from, to int) {
		var sum [tile]int64
		for i := from; i < to; i++ {
			d, prime, start := i/(b.primes*tiles), i/tiles%b.primes, i%tiles*tile
			q := c.params.Q()[prime]
			for r := range z {
				clear(sum[:])
				for j := range b.parts {
					p := &b.parts[j]
					if x := columns[(j*(degree+1)+d)*b.primes+prime]; x != nil {
						first, end := p.matrix.start[r], p.matrix.start[r+1]
						kernel.WeightedSum(&sum, x, start, p.matrix.col[first:end], p.weights[first:end])
					}
				}
				constant := uint64(0)
				if d == 0 {
					constant = residue(math.RoundToEven(b.bias[r]*b.scale), q)
				}
				dst := z[r].Value[d].Coeffs[prime][start : start+tile]
				for j, s := range sum {
					v := s % int64(q)
					v += v >> 63 & int64(q)
					u := uint64(v) + constant
					if u >= q {
						u -= q
					}
					dst[j] = u
				}
			}
		}
	})
	return z
}

// residue is x modulo q, x an integer of up to 2^100.
func residue(x float64, q uint64) uint64 {
	r := math.Mod(x, float64(q)) // exact
	if r < 0 {
		r += float64(q)
	}
	return uint64(r)
}

// square replaces each ciphertext by its square, divided by primes before and after.
func (c *batchCircuit) square(b *batchStage, z value, relin *stock[*rlwe.Evaluator]) error {
	var mutex sync.Mutex
	var failed error
	parallel(len(z), func(from, to int) {
		buffer := c.params.RingQ().NewPoly()
		for i := from; i < to; i++ {
			c.divide(z[i], b.before, buffer)
			z[i] = c.squared(z[i])
			if b.relin {
				eval := relin.take()
				err := eval.Relinearize(z[i], z[i])
				relin.put(eval)
				if err != nil {
					mutex.Lock()
					failed = err
					mutex.Unlock()
					return
				}
			}
			c.divide(z[i], b.after, buffer)
		}
	})
	return failed
}

// divide rescales by the last primes.
func (c *batchCircuit) divide(ct *rlwe.Ciphertext, primes int, buffer ring.Poly) {
	if primes == 0 {
		return
	}
	r := c.params.RingQ().AtLevel(ct.Level())
	for _, p := range ct.Value {
		r.DivRoundByLastModulusManyNTT(primes, p, buffer, p)
	}
	ct.Resize(ct.Degree(), ct.Level()-primes)
}

// squared is ct² as a polynomial of degree 2 in the secret.
func (c *batchCircuit) squared(ct *rlwe.Ciphertext) *rlwe.Ciphertext {
	r := c.params.RingQ().AtLevel(ct.Level())
	out := hefloat.NewCiphertext(c.params, 2, ct.Level())
	*out.MetaData = *ct.MetaData
	m0, m1 := r.NewPoly(), r.NewPoly()
	r.MForm(ct.Value[0], m0)
	r.MForm(ct.Value[1], m1)
	r.MulCoeffsMontgomery(m0, ct.Value[0], out.Value[0])
	r.MulCoeffsMontgomery(m0, ct.Value[1], out.Value[1])
	r.Add(out.Value[1], out.Value[1], out.Value[1])
	r.MulCoeffsMontgomery(m1, ct.Value[1], out.Value[2])
	return out
}

// describe fills in what the circuit does at stage k.
func (c *batchCircuit) describe(l *LayerReport, k int) {
	b := &c.stages[k]
	l.Packing = "a ciphertext a feature"
	l.Level = b.primes - 1
	for _, p := range b.parts {
		l.PlainProducts += len(p.weights)
	}
	if b.square {
		l.Products = len(b.bias)
	}
	// Integer products of about 0.3 ns, on polynomials of two halves.
	l.PredictedMS = float64(l.PlainProducts) * 2 * float64(b.primes*c.params.N()) * 0.3e-6
	if b.relin {
		l.PredictedMS += float64(l.Products) * costAt(c.params.LogN()).rotation(b.primes-b.before-1)
	}
}
