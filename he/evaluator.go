package he

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/ring"
	"github.com/tuneinsight/lattigo/v5/ring/ringqp"
	"github.com/tuneinsight/lattigo/v5/utils/bignum"
	"github.com/tuneinsight/lattigo/v5/utils/sampling"
)

// circuit is a latency plan with its weights encoded: what is evaluated. It is not
// written to after it is made.
type circuit struct {
	params hefloat.Parameters
	steps  []circuitStep
	width  int
}

type circuitStep struct {
	level  int // of z
	ops    []circuitOp
	bias   ring.Poly // transformed
	square bool
	series *hefloat.Polynomial
	after  int // level after the activation
}

type circuitOp struct {
	from   int
	taps   []ring.Poly // transformed, in Montgomery form
	first  int         // the first of them among the query's ciphertexts
	lone   *ring.Poly  // the matrix's only diagonal, at rotation 0
	linear hefloat.LinearTransformation
	folds  []int
	scale  rlwe.Scale // of the weights
}

// newCircuit encodes the weights, stage by stage, on all cores.
func newCircuit(params hefloat.Parameters, stages []canonical, plan *latencyPlan) (*circuit, error) {
	c := &circuit{params: params, width: plan.width, steps: make([]circuitStep, len(stages))}
	encoders := stock[*hefloat.Encoder]{make: hefloat.NewEncoder(params).ShallowCopy, most: runtime.GOMAXPROCS(0)}
	var jobs []func(*hefloat.Encoder) error
	encode := func(to *ring.Poly, values []float64, level int, scale rlwe.Scale, montgomery bool) {
		jobs = append(jobs, func(encoder *hefloat.Encoder) (err error) {
			if *to, err = encodePoly(encoder, values, level, scale); err == nil && montgomery {
				params.RingQ().AtLevel(level).MForm(*to, *to)
			}
			return err
		})
	}
	slots := params.MaxSlots()
	unit := params.DefaultScale()
	scales := []rlwe.Scale{unit} // of the values
	for k := range stages {
		s := &stages[k]
		step := &c.steps[k]
		*step = circuitStep{level: plan.z[k], square: s.square, after: plan.z[k] - s.depth()}
		q := rlwe.NewScale(params.Q()[step.level+1])
		for _, o := range plan.ops[k] {
			op := circuitOp{from: o.from, folds: o.folds(), scale: unit.Mul(q).Div(scales[o.from])}
			level := step.level + 1
			m := s.parts[o.from]
			if o.taps != nil {
				op.first = o.first
				vectors := o.taps.vectors(m, slots)
				op.taps = make([]ring.Poly, len(vectors))
				for i, v := range vectors {
					encode(&op.taps[i], v, level, op.scale, true)
				}
			} else if vectors := o.trans.vectors(m, slots); len(vectors) == 1 && vectors[0] != nil {
				// lattigo's transformation of diagonal 0 alone returns garbage.
				op.lone = new(ring.Poly)
				encode(op.lone, vectors[0], level, op.scale, true)
			} else {
				op.linear = hefloat.NewLinearTransformation(params, hefloat.LinearTransformationParameters{
					DiagonalsIndexList: o.trans.diagonals, Level: level, Scale: op.scale,
					LogDimensions: params.LogMaxDimensions(), LogBabyStepGianStepRatio: o.ratio,
				})
				for i, v := range vectors {
					jobs = append(jobs, func(encoder *hefloat.Encoder) error {
						if err := encodeDiagonal(encoder, op.linear, i, v); err != nil {
							return fmt.Errorf("he: stage %s: %w", s.name, err)
						}
						return nil
					})
				}
			}
			step.ops = append(step.ops, op)
		}
		bias := make([]float64, slots)
		to := plan.ops[k][0].layout()
		if k == len(stages)-1 {
			// The decoder's mean over the slots r modulo width is 1/multiple of an output.
			for slot := range bias {
				if r := slot % plan.width; r < len(s.bias) {
					bias[slot] = s.bias[r] / plan.multiple
				}
			}
		} else {
			for r, b := range s.bias {
				for slot := int(to.pos[r]); slot < slots; slot += to.period {
					bias[slot] = b
				}
			}
		}
		encode(&step.bias, bias, step.level, unit, false)
		if s.series != nil {
			p := hefloat.NewPolynomial(bignum.NewPolynomial(bignum.Chebyshev, s.series, [2]float64{-1, 1}))
			step.series = &p
		}
		switch {
		case s.square:
			scales = append(scales, unit.Mul(unit).Div(rlwe.NewScale(params.Q()[step.level])))
		default:
			scales = append(scales, unit)
		}
		errs := make([]error, len(jobs))
		parallel(len(jobs), func(from, to int) {
			encoder := encoders.take()
			defer encoders.put(encoder)
			for i := from; i < to; i++ {
				errs[i] = jobs[i](encoder)
			}
		})
		for _, err := range errs {
			if err != nil {
				return nil, err
			}
		}
		jobs = jobs[:0]
	}
	return c, nil
}

// encodePoly encodes slots at a level and scale, transformed.
func encodePoly(encoder *hefloat.Encoder, values []float64, level int, scale rlwe.Scale) (ring.Poly, error) {
	params := encoder.GetRLWEParameters()
	pt := rlwe.NewPlaintext(params, level)
	pt.IsNTT, pt.IsBatched = true, true
	pt.LogDimensions = ring.Dimensions{Cols: params.LogN() - 1}
	pt.Scale = scale
	if err := encoder.Encode(values, pt); err != nil {
		return ring.Poly{}, fmt.Errorf("he: encode: %w", err)
	}
	return pt.Value, nil
}

// encodeDiagonal encodes one diagonal of a transformation.
func encodeDiagonal(encoder *hefloat.Encoder, of hefloat.LinearTransformation, i int, values []float64) error {
	metadata := *of.MetaData // lattigo writes to it
	of.MetaData = &metadata
	of.Vec = map[int]ringqp.Poly{i: of.Vec[i]}
	return hefloat.EncodeLinearTransformation(encoder, hefloat.Diagonals[float64]{i: values}, of)
}

// rotations lists the rotation keys that the plan uses, ascending.
func (p *latencyPlan) rotations() []Rotation {
	levels := map[int]int{}
	use := func(step, level int) {
		if l, ok := levels[step]; !ok || level > l {
			levels[step] = level
		}
	}
	for k, ops := range p.ops {
		for i := range ops {
			o := &ops[i]
			for _, f := range o.folds() {
				use(f, p.z[k])
			}
			for _, r := range o.baby {
				use(r, p.z[k]+1)
			}
			for _, r := range o.giant {
				use(r, p.z[k]+1)
			}
		}
	}
	var out []Rotation
	for step, level := range levels {
		out = append(out, Rotation{Step: step, Level: level})
	}
	slices.SortFunc(out, func(a, b Rotation) int { return a.Step - b.Step })
	return out
}

// relinearizeLevel is the highest level of a product of ciphertexts, -1 if none.
func relinearizeLevel(stages []canonical, z []int) int {
	level := -1
	for k := range stages {
		if stages[k].square || stages[k].series != nil {
			level = max(level, z[k])
		}
	}
	return level
}

// worker evaluates a circuit; it serves one goroutine. lattigo's evaluators are not safe
// for concurrent use, and those for linear transformations and polynomials keep a
// pointer to the one they were made with, so all three are made together.
type worker struct {
	circuit *circuit
	eval    *hefloat.Evaluator
	linear  *hefloat.LinearTransformationEvaluator
	poly    *hefloat.PolynomialEvaluator
	mask    *ring.UniformSampler
	noise   ring.Poly        // room for a mask
	product *rlwe.Ciphertext // room for products before they are rescaled
}

func newWorker(c *circuit, keys rlwe.EvaluationKeySet) *worker {
	w := &worker{circuit: c, eval: hefloat.NewEvaluator(c.params, keys)}
	w.finish()
	return w
}

func (w *worker) finish() {
	w.linear = hefloat.NewLinearTransformationEvaluator(w.eval)
	w.poly = hefloat.NewPolynomialEvaluator(w.circuit.params, w.eval)
	prng, err := sampling.NewPRNG()
	if err != nil {
		panic("he: no randomness: " + err.Error())
	}
	first := w.circuit.params.RingQ().AtLevel(0)
	w.mask, w.noise = ring.NewUniformSampler(prng, first), first.NewPoly()
}

// copy makes a worker for another goroutine.
func (w *worker) copy() *worker {
	v := &worker{circuit: w.circuit, eval: w.eval.ShallowCopy()}
	v.finish()
	return v
}

// run evaluates the circuit on a query's ciphertexts, which it leaves as they are.
func (w *worker) run(inputs []*rlwe.Ciphertext) (*rlwe.Ciphertext, error) {
	values := []*rlwe.Ciphertext{nil} // the inputs are taps
	for k := range w.circuit.steps {
		step := &w.circuit.steps[k]
		var z *rlwe.Ciphertext
		for i := range step.ops {
			y, err := w.operate(&step.ops[i], step.level, inputs, values)
			if err != nil {
				return nil, err
			}
			if z == nil {
				z = y
			} else if err := w.eval.Add(z, y, z); err != nil {
				return nil, err
			}
		}
		r := w.circuit.params.RingQ().AtLevel(step.level)
		r.Add(z.Value[0], step.bias, z.Value[0])
		z, err := w.activate(step, z)
		if err != nil {
			return nil, err
		}
		values = append(values, z)
	}
	z := values[len(values)-1]
	w.hide(z)
	return z, nil
}

// operate gives one source's part of z at the level.
func (w *worker) operate(op *circuitOp, level int, inputs, values []*rlwe.Ciphertext) (*rlwe.Ciphertext, error) {
	params := w.circuit.params
	var y *rlwe.Ciphertext
	var err error
	switch {
	case op.taps != nil:
		y, err = w.products(inputs[op.first:], op.taps, level, params.DefaultScale().Mul(op.scale))
	case op.lone != nil:
		in := values[op.from]
		y, err = w.products([]*rlwe.Ciphertext{in}, []ring.Poly{*op.lone}, level, in.Scale.Mul(op.scale))
	default:
		// One transformation a call: lattigo's EvaluateMany corrupts those after the first.
		if y, err = w.linear.EvaluateNew(values[op.from], op.linear); err == nil {
			err = w.eval.Rescale(y, y)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(op.folds) > 0 {
		t := hefloat.NewCiphertext(params, 1, y.Level())
		for _, f := range op.folds {
			if err := w.eval.Rotate(y, f, t); err != nil {
				return nil, err
			}
			if err := w.eval.Add(y, t, y); err != nil {
				return nil, err
			}
		}
	}
	return y, nil
}

// products is Σ in[i]·weights[i], of a scale, rescaled to the level.
func (w *worker) products(in []*rlwe.Ciphertext, weights []ring.Poly, level int, scale rlwe.Scale) (*rlwe.Ciphertext, error) {
	params := w.circuit.params
	if w.product == nil {
		w.product = hefloat.NewCiphertext(params, 1, params.MaxLevel())
	}
	y := &rlwe.Ciphertext{}
	y.MetaData = in[0].MetaData.CopyNew()
	y.Scale = scale
	for _, v := range w.product.Value {
		v.Resize(level + 1)
		y.Value = append(y.Value, v)
	}
	r := params.RingQ().AtLevel(level + 1)
	for i, p := range weights {
		for j := range y.Value {
			if i == 0 {
				r.MulCoeffsMontgomery(in[i].Value[j], p, y.Value[j])
			} else {
				r.MulCoeffsMontgomeryThenAdd(in[i].Value[j], p, y.Value[j])
			}
		}
	}
	out := hefloat.NewCiphertext(params, 1, level)
	return out, w.eval.Rescale(y, out)
}

func (w *worker) activate(step *circuitStep, z *rlwe.Ciphertext) (*rlwe.Ciphertext, error) {
	switch {
	case step.square:
		if err := w.eval.MulRelin(z, z, z); err != nil {
			return nil, err
		}
		return z, w.eval.Rescale(z, z)
	case step.series != nil:
		v, err := w.poly.Evaluate(z, *step.series, w.circuit.params.DefaultScale())
		if err != nil {
			return nil, err
		}
		if v.Level() < step.after {
			return nil, fmt.Errorf("he: activation ended at level %d, below the planned %d", v.Level(), step.after)
		}
		w.eval.DropLevel(v, v.Level()-step.after)
		return v, nil
	}
	return z, nil
}

// hide makes uniform all coefficients that the client does not decode. The outputs are
// means over the slots equal modulo width, which are functions of every gap-th
// coefficient alone; the others hold partial sums that would tell of the weights. A
// uniform mask hides them perfectly.
func (w *worker) hide(z *rlwe.Ciphertext) {
	r := w.circuit.params.RingQ().AtLevel(0)
	gap := w.circuit.params.MaxSlots() / w.circuit.width
	mask := w.noise
	w.mask.Read(mask)
	for i := 0; i < len(mask.Coeffs[0]); i += gap {
		mask.Coeffs[0][i] = 0
	}
	r.NTT(mask, mask)
	r.Add(z.Value[0], mask, z.Value[0])
}
