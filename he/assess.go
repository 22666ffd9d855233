package he

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/sotto-ml/sotto/nn"
)

// Assessment is how a program's answers differ from its model's outputs in the clear.
type Assessment struct {
	Inputs int `json:"inputs"`
	// Agreement is the part of the inputs whose label (largest output, or the sign of a
	// single one) is the model's.
	Agreement float64 `json:"agreement"`
	// Disagreements counts the others, Ties those of them whose two labels' outputs in
	// the clear are no further apart than twice the largest error of the inputs whose
	// labels agree, or whose single output is no further from 0 than that error: such an
	// error may turn them.
	Disagreements int `json:"disagreements"`
	Ties          int `json:"ties"`
	// LargestError is that of all outputs, fits included.
	LargestError float64 `json:"largest_error"`
	// OutputBits is, for each output, -log2 of its largest error relative to the largest
	// absolute output of the model on these inputs; PrecisionBits is the least of them.
	OutputBits    []float64 `json:"output_bits"`
	PrecisionBits float64   `json:"precision_bits"`
	// ArithmeticBits is the same against the model with its activations fitted: what
	// encryption alone costs.
	ArithmeticBits float64 `json:"arithmetic_bits"`
	// OutOfRange counts the inputs that bring an activation beyond its calibrated range,
	// margin included. Their outputs may be anything, and in mode Batch those of the
	// inputs beside them too.
	OutOfRange int `json:"out_of_range"`
}

// mostBits is reported where no error was seen: that of float64 itself.
const mostBits = 52

// Assess encrypts inputs under a key of its own, evaluates and decrypts them, and
// compares the answers with the model's outputs. Use a test set: the calibration inputs
// flatter. It returns an error if an input does not suit [Client.Encrypt].
func (p *Program) Assess(inputs [][]float32) (Assessment, error) {
	a, _, err := p.assess(inputs)
	return a, err
}

// assess gives the largest error of the arithmetic too.
func (p *Program) assess(inputs [][]float32) (a Assessment, arithmetic float64, err error) {
	if len(inputs) == 0 {
		return a, 0, errors.New("he: no inputs to assess with, at least 1 is needed")
	}
	client := NewClient(p.schema)
	server, err := NewServer(p, client.Keys())
	if err != nil {
		return a, 0, err
	}
	plain := nn.Predict(p.model, inputs)
	for i, row := range plain {
		for j, v := range row {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return a, 0, fmt.Errorf("he: the model's own output %d of input %d is %g, must be finite", j, i, v)
			}
		}
	}
	capacity := p.schema.Capacity()
	encrypted := make([][]float64, len(inputs))
	var mutex sync.Mutex
	ask := func(i int) error {
		from, to := i*capacity, min((i+1)*capacity, len(inputs))
		q, err := client.Encrypt(inputs[from:to])
		if err != nil {
			return fmt.Errorf("inputs %d to %d: %w", from, to-1, err)
		}
		answer, err := server.Evaluate(q)
		if err != nil {
			return err
		}
		rows, err := client.Decrypt(answer)
		copy(encrypted[from:], rows)
		return err
	}
	parallel((len(inputs)+capacity-1)/capacity, func(from, to int) {
		for i := from; i < to; i++ {
			if e := ask(i); e != nil {
				mutex.Lock()
				err = errors.Join(err, e)
				mutex.Unlock()
				return
			}
		}
	})
	if err != nil {
		return a, 0, err
	}
	a = Compare(plain, encrypted)
	biggest := 0.
	for i, x := range inputs {
		values, left := p.graph.fitted(widened(x))
		if left >= 0 {
			a.OutOfRange++
		}
		for j, want := range values {
			biggest = max(biggest, math.Abs(want))
			arithmetic = max(arithmetic, math.Abs(encrypted[i][j]-want))
		}
	}
	a.ArithmeticBits = bitsOf(arithmetic, biggest)
	return a, arithmetic, nil
}

// Compare finds how decrypted outputs differ from a model's own, row by row, at least one
// of each and all of one length, or it panics. ArithmeticBits and OutOfRange are left 0.
func Compare(plain [][]float32, encrypted [][]float64) Assessment {
	if len(plain) == 0 || len(plain) != len(encrypted) {
		panic(fmt.Sprintf("he: Compare of %d rows with %d, must be as many and at least 1", len(plain), len(encrypted)))
	}
	outputs := len(plain[0])
	a := Assessment{Inputs: len(plain), OutputBits: make([]float64, outputs)}
	errs := make([]float64, outputs)
	biggest, agreeing := 0., 0.
	for i, row := range plain {
		if len(row) != outputs || len(encrypted[i]) != outputs {
			panic(fmt.Sprintf("he: Compare: row %d has %d outputs and %d, must have %d", i, len(row), len(encrypted[i]), outputs))
		}
		most := 0.
		for j, v := range row {
			biggest = max(biggest, math.Abs(float64(v)))
			e := math.Abs(encrypted[i][j] - float64(v))
			errs[j], most = max(errs[j], e), max(most, e)
		}
		if label(row) == label(encrypted[i]) {
			agreeing = max(agreeing, most)
		} else {
			a.Disagreements++
		}
	}
	for j, e := range errs {
		a.LargestError = max(a.LargestError, e)
		a.OutputBits[j] = bitsOf(e, biggest)
	}
	a.PrecisionBits = bitsOf(a.LargestError, biggest)
	for i, row := range plain {
		want, got := label(row), label(encrypted[i])
		if want == got || a.Disagreements == a.Inputs {
			continue
		}
		apart := 2 * math.Abs(float64(row[0]))
		if outputs > 1 {
			apart = float64(row[want]) - float64(row[got])
		}
		if apart <= 2*agreeing {
			a.Ties++
		}
	}
	a.Agreement = 1 - float64(a.Disagreements)/float64(a.Inputs)
	return a
}

func bitsOf(err, biggest float64) float64 {
	return min(-math.Log2(max(err, 1e-300)/max(biggest, 1e-300)), mostBits)
}

func widened(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// fitted evaluates one input in the clear with the fits in place. left is the first stage
// whose activation is brought beyond its range, exact or not: the moduli have room for the
// range alone. It is -1 if none is.
func (g *graph) fitted(x []float64) (outputs []float64, left int) {
	left = -1
	values := g.evaluate(x, true, func(k int, z []float64) {
		s := &g.stages[k]
		if s.act == nil || left >= 0 {
			return
		}
		for _, v := range z {
			if !(math.Abs(v-s.fit.mid) <= s.fit.half*(1+1e-12)) {
				left = k
				return
			}
		}
	})
	return values[len(values)-1], left
}
