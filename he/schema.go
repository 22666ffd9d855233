package he

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/tuneinsight/lattigo/v5/he/hefloat"
)

// Mode is how inputs are packed into ciphertexts.
type Mode string

const (
	// Latency answers one input as fast as possible: the slots hold the parts of one
	// input, and layers rotate them.
	Latency Mode = "latency"
	// Batch answers many inputs at the least time for each: every ciphertext holds
	// one feature of all inputs, and nothing is rotated.
	Batch Mode = "batch"
)

// Digest names a program: it is the SHA-256 of all that the client and the server must
// agree on and of a salted commitment to the weights and the fits.
type Digest [32]byte

// String is the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("he: digest has %d characters, want 64 hexadecimal digits", len(text))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("he: digest is %.80q, want 64 hexadecimal digits", text)
	}
	return nil
}

// Rotation is a rotation key that the server needs: the step, and the level (number of
// primes less one) up to which it is used.
type Rotation struct {
	Step  int `json:"step"`
	Level int `json:"level"`
}

// Schema is the public half of a program: all that a client needs to know and nothing
// of the weights. It does show the program's shape: sizes, which inputs each first
// output reads, levels and rotations.
type Schema struct {
	mode    Mode
	params  Parameters
	lattigo hefloat.Parameters

	inputs      int
	outputs     int
	inputBound  float64 // inputs beyond ±inputBound are refused
	outputGain  float64 // the outputs are outputGain times what is decoded
	taps        [][]int32
	width       int        // latency: the outputs are means over the slots r modulo width
	scale       float64    // of the answer
	degree      int        // of the answer as a polynomial in the secret
	level       int        // of the answer
	rotations   []Rotation // by step
	relinearize int        // level up to which the relinearisation key is used; -1: none
	errorBound  float64    // of an output, see Client.DecryptPublic

	commitment [32]byte // to the weights, the fits and the options
	digest     Digest
}

// schemaJSON is a Schema's form on the wire.
type schemaJSON struct {
	Format      int        `json:"format"`
	Mode        Mode       `json:"mode"`
	Parameters  Parameters `json:"parameters"`
	Inputs      int        `json:"inputs"`
	Outputs     int        `json:"outputs"`
	InputBound  float64    `json:"input_bound"`
	OutputGain  float64    `json:"output_gain"`
	Taps        [][]int32  `json:"taps,omitempty"`
	Width       int        `json:"width,omitempty"`
	Scale       float64    `json:"scale"`
	Degree      int        `json:"degree"`
	Level       int        `json:"level"`
	Rotations   []Rotation `json:"rotations,omitempty"`
	Relinearize int        `json:"relinearize"`
	ErrorBound  float64    `json:"error_bound"`
	Commitment  Digest     `json:"commitment"`
}

const schemaFormat = 1

// The most bytes that messages of any program may have: a server cannot have a client
// make keys, queries and room for answers without end.
const (
	maxKeys    = 8 << 30
	maxMessage = 2 << 30
)

// MarshalJSON implements json.Marshaler. The same schema is the same bytes.
func (s *Schema) MarshalJSON() ([]byte, error) {
	return json.Marshal(schemaJSON{
		Format: schemaFormat, Mode: s.mode, Parameters: s.params, Inputs: s.inputs, Outputs: s.outputs,
		InputBound: s.inputBound, OutputGain: s.outputGain, Taps: s.taps, Width: s.width, Scale: s.scale,
		Degree: s.degree, Level: s.level, Rotations: s.rotations, Relinearize: s.relinearize,
		ErrorBound: s.errorBound, Commitment: s.commitment,
	})
}

// UnmarshalJSON implements json.Unmarshaler. It refuses parameters that the security
// gate refuses, so that a server cannot talk a client into weak ones, and anything
// out of range. On error the schema is unchanged.
func (s *Schema) UnmarshalJSON(data []byte) error {
	var j schemaJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("he: schema: %w", err)
	}
	if j.Format != schemaFormat {
		return fmt.Errorf("he: schema format is %d, this version reads %d", j.Format, schemaFormat)
	}
	t := Schema{
		mode: j.Mode, params: j.Parameters, inputs: j.Inputs, outputs: j.Outputs, inputBound: j.InputBound,
		outputGain: j.OutputGain, taps: j.Taps, width: j.Width, scale: j.Scale, degree: j.Degree, level: j.Level,
		rotations: j.Rotations, relinearize: j.Relinearize, errorBound: j.ErrorBound, commitment: j.Commitment,
	}
	if err := t.finish(); err != nil {
		return err
	}
	*s = t
	return nil
}

// finish checks the schema, and sets what follows from its fields.
func (s *Schema) finish() (err error) {
	if err := s.params.check(); err != nil {
		return err
	}
	slots, top := s.params.Slots(), len(s.params.Q)-1
	keys := len(s.rotations) > 0 || s.relinearize >= 0
	positive := func(x float64) bool { return x > 0 && x < math.MaxFloat64 }
	switch {
	case s.mode != Latency && s.mode != Batch:
		return fmt.Errorf("he: schema's mode is %q, allowed are %q and %q", s.mode, Latency, Batch)
	case s.inputs < 1 || s.inputs > 1<<20:
		return fmt.Errorf("he: schema's inputs is %d, allowed are 1 to %d", s.inputs, 1<<20)
	case s.outputs < 1 || s.outputs > 1<<20:
		return fmt.Errorf("he: schema's outputs is %d, allowed are 1 to %d", s.outputs, 1<<20)
	case !positive(s.inputBound) || !positive(s.outputGain) || !positive(s.scale) || !positive(s.errorBound):
		return fmt.Errorf("he: schema's input_bound %g, output_gain %g, scale %g and error_bound %g must be positive and finite", s.inputBound, s.outputGain, s.scale, s.errorBound)
	case s.errorBound < s.leastError():
		return fmt.Errorf("he: schema's error_bound is %g, fresh noise alone makes errors of %g", s.errorBound, s.leastError())
	case s.level < 0 || s.level > top:
		return fmt.Errorf("he: schema's level is %d, allowed are 0 to %d", s.level, top)
	case s.degree < 1 || s.degree > 2:
		return fmt.Errorf("he: schema's degree is %d, allowed are 1 and 2", s.degree)
	case s.relinearize < -1 || s.relinearize > top:
		return fmt.Errorf("he: schema's relinearize is %d, allowed are -1 to %d", s.relinearize, top)
	case keys != (len(s.params.P) > 0):
		return fmt.Errorf("he: schema has %d auxiliary primes; they are needed with keys and forbidden without", len(s.params.P))
	case s.mode == Batch && (len(s.taps) > 0 || s.width != 0 || len(s.rotations) > 0):
		return fmt.Errorf("he: schema of mode batch must have no taps, width or rotations")
	case s.mode == Latency && (s.width < 1 || s.width > slots || s.width&(s.width-1) != 0 || s.outputs > s.width):
		return fmt.Errorf("he: schema's width is %d, must be a power of two from the %d outputs to %d", s.width, s.outputs, slots)
	case s.mode == Latency && (len(s.taps) < 1 || len(s.taps) > 1<<12):
		return fmt.Errorf("he: schema has %d taps, allowed are 1 to %d", len(s.taps), 1<<12)
	case s.mode == Batch && s.level > 0 && s.outputs*(s.level+1) > 1<<16:
		return fmt.Errorf("he: schema has %d outputs of %d primes, more than %d", s.outputs, s.level+1, 1<<16)
	}
	for i, r := range s.rotations {
		if r.Step < 1 || r.Step >= slots || r.Level < 0 || r.Level > top || i > 0 && r.Step <= s.rotations[i-1].Step {
			return fmt.Errorf("he: schema's rotation %d is by %d at level %d; steps must ascend from 1 to %d, levels be 0 to %d", i, r.Step, r.Level, slots-1, top)
		}
	}
	for i, tap := range s.taps {
		if n := len(tap); n < 1 || n > slots || n&(n-1) != 0 {
			return fmt.Errorf("he: schema's tap %d has %d places, must be a power of two up to %d", i, n, slots)
		}
		for p, x := range tap {
			if x < -1 || int(x) >= s.inputs {
				return fmt.Errorf("he: schema's tap %d reads input %d at place %d, allowed are -1 to %d", i, x, p, s.inputs-1)
			}
		}
	}
	for _, m := range []struct {
		name       string
		size, most int64
	}{{"keys", s.KeyBytes(), maxKeys}, {"query", s.QueryBytes(), maxMessage}, {"answer", s.AnswerBytes(), maxMessage}} {
		if m.size > m.most {
			return fmt.Errorf("he: schema's %s take %d bytes, at most %d are allowed", m.name, m.size, m.most)
		}
	}
	if s.lattigo, err = s.params.lattigo(); err != nil { // the costly part
		return err
	}
	data, err := s.MarshalJSON()
	if err != nil {
		return err
	}
	s.digest = sha256.Sum256(data)
	return nil
}

// Digest names the program.
func (s *Schema) Digest() Digest { return s.digest }

// Mode says how inputs are packed.
func (s *Schema) Mode() Mode { return s.mode }

// Parameters are the CKKS parameters.
func (s *Schema) Parameters() Parameters {
	p := s.params
	p.Q, p.P = slices.Clone(p.Q), slices.Clone(p.P)
	return p
}

// Inputs and Outputs are the number of values of one input and of one output.
func (s *Schema) Inputs() int { return s.inputs }

// Outputs is the number of values of one output.
func (s *Schema) Outputs() int { return s.outputs }

// InputBound is the largest absolute value that an input may hold: beyond it the
// calibration says nothing and the arithmetic may overflow.
func (s *Schema) InputBound() float64 { return s.inputBound }

// Capacity is the largest number of inputs in one query.
func (s *Schema) Capacity() int {
	if s.mode == Latency {
		return 1
	}
	return s.params.Slots()
}

// Rotations lists the rotation keys.
func (s *Schema) Rotations() []Rotation { return slices.Clone(s.rotations) }

// ErrorBound is the bound on an output's error that [Client.DecryptPublic] hides: 16
// times the largest that compilation saw on the calibration inputs' encryptions. It is
// measured, not proved, and says nothing of inputs that leave the calibrated ranges.
func (s *Schema) ErrorBound() float64 { return s.errorBound }

// leastError is the error that the noise of a fresh encryption at the answer's scale alone
// would make in an output: its deviation of 3.2 in each coefficient is √N times that in a
// slot. A schema that states less would have its clients publish what is exact.
func (s *Schema) leastError() float64 {
	n := float64(int(1) << s.params.LogN)
	return s.outputGain * 3.2 * math.Sqrt(n) / s.scale
}

// ciphertexts is the number of ciphertexts in a query.
func (s *Schema) ciphertexts() int {
	if s.mode == Latency {
		return len(s.taps)
	}
	return s.inputs
}

// answers is the number of ciphertexts in an answer.
func (s *Schema) answers() int {
	if s.mode == Latency {
		return 1
	}
	return s.outputs
}
