package he

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/sotto-ml/sotto/nn"
)

// programFile is what a program's file holds beside the weights.
type programFile struct {
	Options    Options     `json:"options"`
	Salt       []byte      `json:"salt"`
	Start      start       `json:"start"`
	Stages     []stageFile `json:"stages"`
	ErrorBound float64     `json:"error_bound"`
	Report     Report      `json:"report"`
}

type stageFile struct {
	Low     float64   `json:"low"`
	High    float64   `json:"high"`
	Middle  float64   `json:"middle,omitempty"`
	Half    float64   `json:"half,omitempty"`
	Factors []float64 `json:"factors,omitempty"` // of Chebyshev polynomials
	Worst   float64   `json:"worst,omitempty"`
	Typical float64   `json:"typical,omitempty"`
}

// Bounds of a program's file.
const (
	maxProgramJSON    = 16 << 20
	maxProgramWeights = 1 << 30
)

// WriteTo writes the program, weights and all: it belongs to the server. The calibration
// inputs are not in it, but the ranges and fits found with them are.
func (p *Program) WriteTo(w io.Writer) (int64, error) {
	f := p.file()
	f.ErrorBound, f.Report = p.schema.errorBound, p.report
	text, err := json.Marshal(f)
	if err != nil {
		return 0, fmt.Errorf("he: program: %w", err)
	}
	c := newCounter(w)
	c.write(header(kindProgram, p.schema.digest))
	c.write(binary.LittleEndian.AppendUint32(nil, uint32(len(text))))
	c.write(text)
	if c.err == nil {
		c.err = p.model.WriteSafetensors(writerFunc(func(b []byte) (int, error) {
			c.write(b)
			return len(b), c.err
		}), nil)
	}
	return c.finish()
}

// file is all that compilation has found before it builds the circuit.
func (p *Program) file() programFile {
	f := programFile{Options: p.options, Salt: p.salt[:], Start: p.start}
	for i := range p.graph.stages {
		s := &p.graph.stages[i]
		f.Stages = append(f.Stages, stageFile{
			Low: s.lo, High: s.hi, Middle: s.fit.mid, Half: s.fit.half,
			Factors: s.fit.c, Worst: s.fit.worst, Typical: s.fit.typical,
		})
	}
	return f
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// ReadProgram reads what [Program.WriteTo] writes, to the end of r. It compiles the model
// again with the ranges and fits of the file, and returns an error unless that gives the
// very program whose digest the file names, so that clients' keys stay valid.
func ReadProgram(r io.Reader) (*Program, error) {
	digest, err := readHeader(r, kindProgram, Digest{})
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Program, error) { return nil, fmt.Errorf("he: %s: %w", kindProgram, err) }
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return fail(noEOF(err))
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > maxProgramJSON {
		return fail(fmt.Errorf("description of %d bytes, at most %d are allowed", n, maxProgramJSON))
	}
	text, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return fail(err)
	}
	if len(text) < int(n) {
		return fail(io.ErrUnexpectedEOF)
	}
	var f programFile
	if err := json.Unmarshal(text, &f); err != nil {
		return fail(err)
	}
	if err := f.check(); err != nil {
		return fail(err)
	}
	weights, err := io.ReadAll(io.LimitReader(r, maxProgramWeights+1))
	if err != nil {
		return fail(err)
	}
	if len(weights) > maxProgramWeights {
		return fail(fmt.Errorf("weights of more than %d bytes", maxProgramWeights))
	}
	model, _, err := nn.ReadModel(bytes.NewReader(weights), int64(len(weights)))
	if err != nil {
		return fail(err)
	}
	p := &Program{model: model, options: f.Options, salt: [32]byte(f.Salt), start: f.Start}
	if f.Start.Deviations == nil {
		f.Start.Deviations = [][]float64{} // known to be none
	}
	if p.graph, _, err = newGraph(model, nil, f.Start.Deviations, f.Options.FreezeNorms); err != nil {
		return nil, err
	}
	if len(f.Stages) != len(p.graph.stages) {
		return fail(fmt.Errorf("%d stages, the model has %d", len(f.Stages), len(p.graph.stages)))
	}
	for i, s := range f.Stages {
		g := &p.graph.stages[i]
		if (g.act != nil) != (len(s.Factors) > 0) {
			return fail(fmt.Errorf("stage %d has %d factors, which its activation contradicts", i, len(s.Factors)))
		}
		g.lo, g.hi = s.Low, s.High
		g.fit = fit{mid: s.Middle, half: s.Half, c: s.Factors, worst: s.Worst, typical: s.Typical}
	}
	if err := p.build(); err != nil {
		return nil, err
	}
	p.schema.errorBound = f.ErrorBound
	if err := p.schema.finish(); err != nil {
		return nil, err
	}
	p.fillReport(f.Report.FitAgreement) // only what a run has found comes from the file
	p.report.measured(f.Report)
	if p.schema.digest != digest {
		return fail(errors.New("it compiles to another program than it says: it was changed, or written by another version; compile the model again"))
	}
	return p, nil
}

// check refuses numbers that compilation could not have written.
func (f *programFile) check() error {
	if err := f.Options.check(); err != nil {
		return err
	}
	if len(f.Salt) != 32 {
		return fmt.Errorf("salt has %d bytes, must have 32", len(f.Salt))
	}
	finite := func(x float64) bool { return math.Abs(x) < maxFinite }
	if !(f.Start.InputBound > 0 && finite(f.Start.InputBound)) {
		return fmt.Errorf("input_bound is %g, must be positive and below 1e100", f.Start.InputBound)
	}
	if f.Start.Extra < 0 || f.Start.Extra > mostExtra {
		return fmt.Errorf("extra_bits is %d, allowed are 0 to %d", f.Start.Extra, mostExtra)
	}
	for i, group := range f.Start.Deviations {
		for _, d := range group {
			if !(d > 0 && finite(d)) {
				return fmt.Errorf("deviation %g of norm %d must be positive and below 1e100", d, i)
			}
		}
	}
	for i, s := range f.Stages {
		if !finite(s.Low) || !finite(s.High) || !finite(s.Middle) || !finite(s.Half) {
			return fmt.Errorf("stage %d holds a number that is not below 1e100", i)
		}
		if len(s.Factors) == 0 {
			continue
		}
		if len(s.Factors) < 3 || len(s.Factors) > 32 || !(s.Half > 0) {
			return fmt.Errorf("stage %d has %d factors over half a width of %g, allowed are 3 to 32 and widths above 0", i, len(s.Factors), s.Half)
		}
		for _, c := range s.Factors {
			if !finite(c) {
				return fmt.Errorf("stage %d has the factor %g, must be below 1e100", i, c)
			}
		}
		if s.Factors[len(s.Factors)-1] == 0 {
			return fmt.Errorf("stage %d has a leading factor of 0", i)
		}
	}
	return nil
}
