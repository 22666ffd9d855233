package nn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Rule is how an optimiser turns a gradient into a step: SGD, Adam or AdamW.
type Rule interface {
	// rule returns the checked rule, defaults filled in, or an error that
	// names the field.
	rule() (rule, error)
}

// rule is a checked Rule.
type rule struct {
	name     string
	settings []setting // all of them, as a checkpoint records them
	rate     float64
	schedule Schedule
	vectors  int // state vectors per parameter
	// step prepares step t = 1, 2, … at the learning rate of that step.
	step func(t int, rate float64) coefficients
	// update moves params by grad and its state, each element by itself.
	update func(c *coefficients, params, grad []float32, state [2][]float32)
}

// coefficients are the scalars of one step; each rule names its own.
type coefficients [6]float32

// setting is one named hyperparameter.
type setting struct {
	name  string
	value float64
}

// Optimizer updates a parameter vector from gradients by a fixed Rule. It
// works on blocks, so that a caller never needs a second whole gradient, and
// every element is treated alone: the result does not depend, to the last bit,
// on how the vector is cut into blocks, nor on the machine.
//
// A step is one Begin followed by Updates that cover each parameter once.
// Update may run concurrently on disjoint blocks; the other methods may not
// run beside anything.
type Optimizer struct {
	given   Rule
	rule    rule
	steps   int
	begun   bool
	d       int
	current coefficients
	state   [2][]float32
}

// NewOptimizer returns an optimiser that has taken no step. It returns an
// error that names the field if a hyperparameter of r is out of range.
func NewOptimizer(r Rule) (*Optimizer, error) {
	switch r.(type) {
	case SGD, Adam, AdamW:
	default:
		return nil, fmt.Errorf("nn: optimiser rule is %T, want the value SGD, Adam or AdamW", r)
	}
	checked, err := r.rule()
	if err != nil {
		return nil, err
	}
	return &Optimizer{given: r, rule: checked}, nil
}

// Rule returns the rule that the optimiser was made with.
func (o *Optimizer) Rule() Rule { return o.given }

// Steps returns the number of steps begun so far.
func (o *Optimizer) Steps() int { return o.steps }

// LearningRate returns the learning rate of the step begun last, or of the
// first step if none was begun.
func (o *Optimizer) LearningRate() float64 {
	return o.rule.rate * o.rule.schedule.Factor(max(o.steps-1, 0))
}

// Begin starts a new step over d parameters. It panics if d is negative or
// differs from an earlier step's.
func (o *Optimizer) Begin(d int) {
	if d < 0 {
		panic("nn: negative number of parameters")
	}
	if o.begun && d != o.d {
		panic("nn: optimiser steps over another number of parameters than before")
	}
	if !o.begun {
		o.d, o.begun = d, true
		for i := range o.rule.vectors {
			o.state[i] = make([]float32, d)
		}
	}
	o.steps++
	o.current = o.rule.step(o.steps, o.LearningRate())
}

// Update moves the block params, which starts at offset in the parameter
// vector, by its gradient. It panics if the lengths differ, if the block lies
// outside the vector, or before the first Begin.
func (o *Optimizer) Update(params, grad []float32, offset int) {
	if !o.begun {
		panic("nn: optimiser updates before Begin")
	}
	if len(params) != len(grad) {
		panic("nn: block of parameters and block of gradient differ in length")
	}
	if offset < 0 || offset > o.d-len(params) {
		panic("nn: optimiser block lies outside the parameters")
	}
	var s [2][]float32
	for i := range o.rule.vectors {
		s[i] = o.state[i][offset : offset+len(params)]
	}
	o.rule.update(&o.current, params, grad, s)
}

const optimizerMagic = "sotto optimizer 1\n"

// MarshalBinary returns the exact state between two steps: the rule's
// settings, the number of steps and the moment vectors. It never fails.
func (o *Optimizer) MarshalBinary() ([]byte, error) {
	vectors := 0
	if o.begun {
		vectors = o.rule.vectors
	}
	out := make([]byte, 0, 256+4*vectors*o.d)
	out = append(out, optimizerMagic...)
	out = appendString(out, o.rule.name)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(o.rule.settings)))
	for _, h := range o.rule.settings {
		out = appendString(out, h.name)
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(h.value))
	}
	out = binary.LittleEndian.AppendUint64(out, uint64(o.steps))
	out = binary.LittleEndian.AppendUint64(out, uint64(o.d))
	for i := range vectors {
		for _, x := range o.state[i] {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
		}
	}
	return out, nil
}

// UnmarshalBinary restores a state from MarshalBinary. The optimiser must have
// been made with the same rule; a state of another rule or with other settings
// is refused by an error that names the difference. On error the optimiser is
// unchanged.
func (o *Optimizer) UnmarshalBinary(data []byte) error {
	if o.given == nil {
		return errors.New("nn: optimiser state read into an Optimizer that NewOptimizer did not make")
	}
	in := stateReader{data: data}
	if string(in.take(len(optimizerMagic))) != optimizerMagic {
		return errors.New("nn: not an optimiser state")
	}
	if got, want := in.string(), o.rule.name; !in.failed && got != want {
		return fmt.Errorf("nn: optimiser state is of rule %q, this optimiser is %q", got, want)
	}
	count := in.uint32()
	if !in.failed && count != uint32(len(o.rule.settings)) {
		return fmt.Errorf("nn: optimiser state has %d settings, this optimiser %d", count, len(o.rule.settings))
	}
	for _, h := range o.rule.settings {
		name, value := in.string(), math.Float64frombits(in.uint64())
		if in.failed {
			break
		}
		if name != h.name || math.Float64bits(value) != math.Float64bits(h.value) {
			return fmt.Errorf("nn: optimiser state has %s = %v, this optimiser has %s = %v", name, value, h.name, h.value)
		}
	}
	steps, d := in.uint64(), in.uint64()
	switch {
	case in.failed:
		return errors.New("nn: optimiser state is cut short")
	case steps > math.MaxInt64:
		return fmt.Errorf("nn: optimiser state has %d steps, want at most 2^63-1", steps)
	case steps == 0:
		if d != 0 || len(in.data) != 0 {
			return errors.New("nn: optimiser state of no steps carries moments")
		}
		*o = Optimizer{given: o.given, rule: o.rule}
		return nil
	}
	vectors := o.rule.vectors
	if d > math.MaxInt32*64 || uint64(len(in.data)) != 4*uint64(vectors)*d {
		return fmt.Errorf("nn: optimiser state over %d parameters holds %d bytes of moments, want %d vectors of float32", d, len(in.data), vectors)
	}
	restored := Optimizer{given: o.given, rule: o.rule, steps: int(steps), begun: true, d: int(d)}
	for i := range vectors {
		v := make([]float32, d)
		for j := range v {
			v[j] = math.Float32frombits(in.uint32())
		}
		restored.state[i] = v
	}
	restored.current = o.rule.step(restored.steps, restored.LearningRate())
	*o = restored
	return nil
}

func appendString(out []byte, s string) []byte {
	out = append(out, byte(len(s)))
	return append(out, s...)
}

// stateReader takes fields off the front of data; after a short read it gives
// zeros and failed is set.
type stateReader struct {
	data   []byte
	failed bool
}

func (r *stateReader) take(n int) []byte {
	if r.failed || n > len(r.data) {
		r.failed = true
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *stateReader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *stateReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *stateReader) string() string {
	b := r.take(1)
	if b == nil {
		return ""
	}
	return string(r.take(int(b[0])))
}

// inRange returns an error naming the field unless lo <= value <= hi, with
// what says the allowed range in words. NaN is never in range.
func inRange(field string, value, lo, hi float64, what string) error {
	if !(value >= lo && value <= hi) {
		return fmt.Errorf("nn: %s is %v, want %s", field, value, what)
	}
	return nil
}
