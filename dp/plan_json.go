package dp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
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

// strict decodes one JSON object into a struct. Its members must be the struct's,
// by their exact names, each once and all but those that may be omitted: what one
// reader overlooks and another obeys would be two documents in one.
func strict(data []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	seen, err := members(data)
	if err != nil {
		return err
	}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(to).Elem()) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch n := seen[name]; {
		case n > 1:
			return fmt.Errorf("%s is given twice", name)
		case n == 0 && options != "omitempty":
			return fmt.Errorf("%s is missing", name)
		}
		delete(seen, name)
	}
	for name := range seen {
		return fmt.Errorf("unknown field %q", name)
	}
	return nil
}

// members counts the members of a valid JSON object by name.
func members(data []byte) (map[string]int, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	seen := map[string]int{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		seen[name.(string)]++
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
	}
	return seen, nil
}
