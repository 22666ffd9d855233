package dp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// wirePlan is a Plan in JSON. Floats are written so that they read back exactly.
type wirePlan struct {
	Sampling        string          `json:"sampling"`
	SampleRate      float64         `json:"sample_rate"`
	BatchSize       int             `json:"batch_size"`
	Steps           int             `json:"steps"`
	ClipMode        string          `json:"clip_mode"`
	Clip            json.RawMessage `json:"clip"`
	NoiseMultiplier float64         `json:"noise_multiplier"`
	Relation        string          `json:"relation"`
	Delta           float64         `json:"delta"`
}

const poissonName = "poisson"

// MarshalJSON writes a valid plan.
func (p Plan) MarshalJSON() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	w := wirePlan{
		Sampling: poissonName, SampleRate: p.rate(), BatchSize: p.BatchSize, Steps: p.Steps,
		NoiseMultiplier: p.NoiseMultiplier, Relation: relationNames[p.Relation], Delta: p.Delta,
	}
	switch p.Clip.(type) {
	case Flat:
		w.ClipMode = "flat"
	case PerLayer:
		w.ClipMode = "per-layer"
	case Automatic:
		w.ClipMode = "automatic"
	case AdaptiveQuantile:
		w.ClipMode = "adaptive-quantile"
	}
	var err error
	if w.Clip, err = json.Marshal(p.Clip); err != nil {
		return nil, err
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads a plan and validates it. It refuses unknown fields and
// names.
func (p *Plan) UnmarshalJSON(data []byte) error {
	var w wirePlan
	if err := strict(data, &w); err != nil {
		return fmt.Errorf("dp: plan: %w", err)
	}
	if w.Sampling != poissonName {
		return fmt.Errorf("dp: plan: sampling is %q, must be %q", w.Sampling, poissonName)
	}
	relation, ok := relationOf(w.Relation)
	if !ok {
		return fmt.Errorf("dp: plan: relation is %q, must be \"add/remove\", \"replace-one\" or \"replace-special\"", w.Relation)
	}
	clip, err := readClip(w.ClipMode, w.Clip)
	if err != nil {
		return fmt.Errorf("dp: plan: %w", err)
	}
	read := Plan{
		Sampling: Poisson{Rate: w.SampleRate}, BatchSize: w.BatchSize, Steps: w.Steps, Clip: clip,
		NoiseMultiplier: w.NoiseMultiplier, Relation: relation, Delta: w.Delta,
	}
	if err := read.Validate(); err != nil {
		return err
	}
	*p = read
	return nil
}

func readClip(mode string, data []byte) (Clip, error) {
	switch mode {
	case "flat":
		return strictClip[Flat](data)
	case "per-layer":
		return strictClip[PerLayer](data)
	case "automatic":
		return strictClip[Automatic](data)
	case "adaptive-quantile":
		return strictClip[AdaptiveQuantile](data)
	}
	return nil, fmt.Errorf("clip_mode is %q, must be \"flat\", \"per-layer\", \"automatic\" or \"adaptive-quantile\"", mode)
}

func strictClip[C Clip](data []byte) (Clip, error) {
	var c C
	if err := strict(data, &c); err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	return c, nil
}

// strict decodes one JSON value and refuses unknown fields and whatever follows.
func strict(data []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}
