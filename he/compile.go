package he

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sotto-ml/sotto/nn"
)

// Options say how to compile. The zero value is for one input at a time and lets the
// compiler choose the rest.
type Options struct {
	// Mode is Latency or Batch. "" takes the one whose fits keep more of the calibration
	// inputs' labels, and if they keep as many the one that is predicted to answer Together
	// inputs in less time; the other if that one misses Precision.
	Mode Mode `json:"mode"`
	// Together is how many inputs are there to be asked at once, for the choice of the
	// mode. Up to 1 it is Latency, whose queries are smaller.
	Together int `json:"together,omitempty"`
	// Precision is how many bits encryption must leave of the outputs, relative to the
	// largest output over the calibration inputs. 0: 8. Compile measures it by running
	// the program, and refuses if it is missed. What fits of activations cost comes on
	// top: see Degree, Report.OutputBits and [Program.Assess].
	Precision int `json:"precision"`
	// Degree of the polynomials that stand for activations that are none. 0: the least
	// of 2, 3, 5, 7, 15 and 31 with which the calibration inputs keep their labels
	// (largest outputs; a single output must move by no more than a 16th of its range),
	// or the one with which most do.
	Degree int `json:"degree"`
	// Margin widens the calibrated range of each activation's input on both sides, by
	// this part of its width. 0: 0.1.
	Margin float64 `json:"margin"`
	// FreezeNorms divides by the calibration inputs' mean deviation in GroupNorm and
	// LayerNorm, instead of each input's own. It changes the function that is computed;
	// the report says by how much.
	FreezeNorms bool `json:"freeze_norms"`
	// LogN forces the ring degree. 0: the least that is secure.
	LogN int `json:"log_n"`
}

// Program is a model compiled for encrypted inputs: it belongs to the server. It is
// immutable and safe for concurrent use.
type Program struct {
	schema  *Schema
	model   *nn.Model
	options Options
	salt    [32]byte
	start   start
	graph   *graph
	stages  []canonical
	plan    *latencyPlan
	circuit *circuit
	batch   *batchCircuit
	report  Report
}

func (o Options) check() error {
	switch {
	case o.Mode != Latency && o.Mode != Batch:
		return fmt.Errorf("he: Options.Mode is %q, allowed are %q and %q, or \"\"", o.Mode, Latency, Batch)
	case o.Together < 0:
		return fmt.Errorf("he: Options.Together is %d, must not be negative", o.Together)
	case o.Precision < 1 || o.Precision > 24:
		return fmt.Errorf("he: Options.Precision is %d, allowed are 1 to 24", o.Precision)
	case o.Degree != 0 && (o.Degree < 2 || o.Degree > 31):
		return fmt.Errorf("he: Options.Degree is %d, allowed are 2 to 31, or 0", o.Degree)
	case !(o.Margin >= 0 && o.Margin <= 10):
		return fmt.Errorf("he: Options.Margin is %g, allowed are 0 to 10", o.Margin)
	case o.LogN != 0 && (o.LogN < 12 || o.LogN > 16):
		return fmt.Errorf("he: Options.LogN is %d, allowed are 12 to 16, or 0", o.LogN)
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Mode == "" && o.Together <= 1 {
		o.Mode = Latency
	}
	if o.Precision == 0 {
		o.Precision = 8
	}
	if o.Margin == 0 {
		o.Margin = 0.1
	}
	return o
}

// Compile makes a program of a model. Calibration inputs, rows as of [nn.Predict], show
// the ranges that values take: a few hundred that are like those to come. Their ranges
// enter the program, so calibrate with public inputs or account for them.
//
// It returns an error that names the layer and the reason if a layer has no encrypted
// form, or that says which depth no secure parameters hold.
func Compile(model *nn.Model, calibration [][]float32, options Options) (*Program, error) {
	var salt [32]byte
	rand.Read(salt[:])
	return compile(model, calibration, options, salt)
}

func compile(model *nn.Model, calibration [][]float32, options Options, salt [32]byte) (*Program, error) {
	o := options.withDefaults()
	if o.Mode != "" {
		p, agreement, err := plan(model, calibration, o, salt)
		if err != nil {
			return nil, err
		}
		return p.measured(calibration, agreement)
	}
	type planned struct {
		program   *Program
		agreement float64
	}
	var plans []planned
	var failed []error
	fail := func(err error) {
		if len(failed) == 0 || err.Error() != failed[0].Error() {
			failed = append(failed, err)
		}
	}
	for _, o.Mode = range []Mode{Latency, Batch} {
		p, agreement, err := plan(model, calibration, o, salt)
		if err != nil {
			fail(err)
			continue
		}
		p.fillReport(agreement)
		plans = append(plans, planned{p, agreement})
	}
	slices.SortStableFunc(plans, func(a, b planned) int {
		return cmp.Or(cmp.Compare(b.agreement, a.agreement), cmp.Compare(a.program.predicted(), b.program.predicted()))
	})
	for _, x := range plans {
		p, err := x.program.measured(calibration, x.agreement)
		if err == nil {
			return p, nil
		}
		fail(err)
	}
	return nil, errors.Join(failed...)
}

// predicted is the time for all inputs that are asked together.
func (p *Program) predicted() float64 {
	capacity := p.schema.Capacity()
	return p.report.PredictedMS * float64((max(p.options.Together, 1)+capacity-1)/capacity)
}

// mostExtra bounds the bits that are planned beyond the precision asked.
const mostExtra = 12

// measured is the program once it keeps the precision asked: what planning reckons with is
// an estimate, so if a run misses it, more bits are planned.
func (p *Program) measured(calibration [][]float32, agreement float64) (*Program, error) {
	err := p.measure(calibration, agreement)
	for {
		var missed imprecise
		if !errors.As(err, &missed) || p.start.Extra >= mostExtra {
			break
		}
		more := *p
		more.start.Extra += min(max(int(math.Ceil(missed.asked-missed.bits)), 1), mostExtra-p.start.Extra)
		if more.build() != nil {
			break
		}
		p, err = &more, more.measure(calibration, agreement)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// plan compiles as far as nothing is encrypted. It also returns the part of the
// calibration inputs that keep their labels with the fits.
func plan(model *nn.Model, calibration [][]float32, o Options, salt [32]byte) (*Program, float64, error) {
	if err := o.check(); err != nil {
		return nil, 0, err
	}
	if len(calibration) == 0 {
		return nil, 0, errors.New("he: no calibration inputs, at least 1 is needed")
	}
	inputs := make([][]float64, len(calibration))
	biggest := 0.
	for i, x := range calibration {
		if len(x) != model.Input().Size() {
			return nil, 0, fmt.Errorf("he: calibration input %d has %d values, must have %d", i, len(x), model.Input().Size())
		}
		inputs[i] = make([]float64, len(x))
		for j, v := range x {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return nil, 0, fmt.Errorf("he: calibration input %d holds %g at %d, must be finite", i, v, j)
			}
			inputs[i][j] = float64(v)
			biggest = max(biggest, math.Abs(float64(v)))
		}
	}
	if biggest == 0 {
		return nil, 0, errors.New("he: all calibration inputs are zero")
	}
	for i, v := range model.Params() {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, 0, fmt.Errorf("he: parameter %d of the model is %g, must be finite", i, v)
		}
	}
	g, deviations, err := newGraph(model, inputs, nil, o.FreezeNorms)
	if err != nil {
		return nil, 0, err
	}
	agreement, err := g.calibrate(inputs, o)
	if err != nil {
		return nil, 0, err
	}
	p := &Program{model: model, options: o, salt: salt, graph: g}
	p.start = start{InputBound: biggest * (1 + o.Margin), Deviations: deviations}
	if err := p.build(); err != nil {
		return nil, 0, err
	}
	return p, agreement, nil
}

// start is what a compilation takes from its calibration inputs, beside the graph's
// ranges and fits.
type start struct {
	InputBound float64 `json:"input_bound"`
	// Deviations are the groups' of each frozen norm, in the order of the layers.
	Deviations [][]float64 `json:"deviations,omitempty"`
	// Extra bits are planned beyond the precision asked.
	Extra int `json:"extra_bits,omitempty"`
}

// build makes the circuit of a graph whose ranges and fits are known. The same graph
// gives the same circuit.
func (p *Program) build() (err error) {
	last := p.graph.stages[len(p.graph.stages)-1]
	outputGain := max(math.Abs(last.lo), math.Abs(last.hi))
	if outputGain == 0 {
		outputGain = 1
	}
	p.stages = canonize(p.graph, p.start.InputBound, outputGain)
	p.schema = &Schema{
		mode: p.options.Mode, inputs: p.model.Input().Size(), outputs: p.model.Output().Size(),
		inputBound: p.start.InputBound, outputGain: outputGain, relinearize: -1, degree: 1,
	}
	if p.schema.commitment, err = p.commitment(); err != nil {
		return err
	}
	if p.options.Mode == Latency {
		err = p.compileLatency()
	} else {
		err = p.compileBatch()
	}
	if err != nil {
		return err
	}
	p.schema.errorBound = p.schema.leastError() // until a run measures more
	return p.schema.finish()
}

// commitment binds the schema to the weights, the fits and the options without telling
// them.
func (p *Program) commitment() (d [32]byte, err error) {
	h := sha256.New()
	h.Write(p.salt[:])
	text, err := json.Marshal(p.file())
	if err != nil {
		return d, fmt.Errorf("he: program: %w", err)
	}
	sum := sha256.Sum256(text)
	h.Write(sum[:])
	if err := p.model.WriteSafetensors(h, nil); err != nil {
		return d, err
	}
	h.Sum(d[:0])
	return d, nil
}

// Bits of the modulus beyond the scale: for the lowest prime, which must hold the
// outputs and partial sums on their way to them, and for the auxiliary prime.
const (
	headroom = 8
	maxScale = 40
	// noiseBits is what the last bits of a scaled value lose to errors.
	noiseBits = 17
)

// bits is the precision that is planned for.
func (p *Program) bits() int { return p.options.Precision + p.start.Extra }

// compileLatency chooses the least degree with room for the depth, the slots and the
// precision.
func (p *Program) compileLatency() error {
	z := levels(p.stages)
	top := z[0] + 1
	why := ""
	for logN := 12; logN <= 16; logN++ {
		if p.options.LogN != 0 && p.options.LogN != logN {
			continue
		}
		plan, err := planLatency(p.stages, logN)
		if err != nil {
			why = err.Error()
			continue
		}
		rotations, relin := plan.rotations(), relinearizeLevel(p.stages, z)
		var logP []int
		spare := maxLogQP[logN] - headroom
		primes := top + 1
		if len(rotations) > 0 || relin >= 0 {
			logP = []int{0}
			spare -= headroom
			primes++
		}
		scale := min(spare/primes, maxScale)
		if scale < p.bits()+noiseBits {
			why = fmt.Sprintf("depth %d leaves %d bits for each value, %d are needed for a precision of %d bits", top, scale, p.bits()+noiseBits, p.bits())
			continue
		}
		for ; scale >= p.bits()+noiseBits; scale-- {
			logQ := []int{scale + headroom}
			for range top {
				logQ = append(logQ, scale)
			}
			if logP != nil {
				logP[0] = scale + headroom
			}
			params, err := newParameters(logN, logQ, logP, scale)
			if err != nil {
				why = err.Error()
				continue
			}
			s := p.schema
			s.params = params
			if s.lattigo, err = params.lattigo(); err != nil {
				return err
			}
			s.rotations, s.relinearize, s.width = rotations, relin, plan.width
			s.taps = nil
			for _, ops := range plan.ops {
				for _, o := range ops {
					if o.taps != nil {
						s.taps = append(s.taps, o.taps.index...)
					}
				}
			}
			s.scale = s.lattigo.DefaultScale().Float64()
			s.outputGain *= plan.multiple
			p.plan = plan
			p.circuit, err = newCircuit(s.lattigo, p.stages, plan)
			return err
		}
	}
	return fmt.Errorf("he: no secure parameters: %s", why)
}
