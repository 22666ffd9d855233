package nn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// kinds are the layers by name. A kind is the name of its configuration type.
var kinds = map[string]reflect.Type{}

func init() {
	for _, layer := range []Layer{
		AvgPool{},
		BatchNorm{},
		Conv2D{},
		Dropout{},
		Embedding{},
		Flatten{},
		GELU{},
		GlobalAvgPool{},
		GroupNorm{},
		LayerNorm{},
		Linear{},
		MaxPool{},
		Polynomial{},
		ReLU{},
		Residual{},
		SiLU{},
		Square{},
		Tanh{},
	} {
		t := reflect.TypeOf(layer)
		kinds[t.Name()] = t
	}
}

// kindOf returns the name of a layer's kind.
func kindOf(layer Layer) (string, error) {
	if layer == nil {
		return "", errors.New("is nil, want a layer")
	}
	t := reflect.TypeOf(layer)
	if kinds[t.Name()] != t {
		return "", fmt.Errorf("is %T, want the value (not a pointer) of a layer of this package", layer)
	}
	return t.Name(), nil
}

// Layers is a list of layers that JSON can hold: an array of objects, each with
// the layer's kind as "type" and its fields that are not zero, for example
//
//	[{"type":"Linear","Out":128},{"type":"ReLU"},{"type":"Linear","Out":10}]
type Layers []Layer

// MarshalJSON returns the list as JSON.
func (l Layers) MarshalJSON() ([]byte, error) {
	out := []byte{'['}
	for i, layer := range l {
		kind, err := kindOf(layer)
		if err != nil {
			return nil, fmt.Errorf("nn: layer %d: %w", i, err)
		}
		if i > 0 {
			out = append(out, ',')
		}
		fields, err := json.Marshal(layer)
		if err != nil {
			return nil, fmt.Errorf("nn: layer %d (%s): %w", i, kind, err)
		}
		out = fmt.Appendf(out, `{"type":%q`, kind)
		if rest := fields[1:]; len(rest) > 1 {
			out = append(append(out, ','), rest...)
		} else {
			out = append(out, '}')
		}
	}
	return append(out, ']'), nil
}

// UnmarshalJSON reads what MarshalJSON writes. It returns an error that names
// the layer if a kind or a field is unknown. Values are checked by New.
func (l *Layers) UnmarshalJSON(data []byte) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("nn: layers: %w", err)
	}
	layers := make(Layers, len(raw))
	for i, object := range raw {
		layer, err := decodeLayer(object)
		if err != nil {
			return fmt.Errorf("nn: layer %d: %w", i, err)
		}
		layers[i] = layer
	}
	*l = layers
	return nil
}

func decodeLayer(object []byte) (Layer, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, err
	}
	var kind string
	if err := json.Unmarshal(fields["type"], &kind); err != nil {
		return nil, errors.New(`has no string "type"`)
	}
	t, ok := kinds[kind]
	if !ok {
		return nil, fmt.Errorf("type %q is unknown", kind)
	}
	delete(fields, "type")
	rest, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(rest))
	d.DisallowUnknownFields()
	v := reflect.New(t)
	if err := d.Decode(v.Interface()); err != nil {
		return nil, fmt.Errorf("(%s): %w", kind, err)
	}
	return v.Elem().Interface().(Layer), nil
}

// Spec describes a model without its parameters; New(s.Input, s.Layers...)
// builds it again.
type Spec struct {
	Input  Shape  `json:"input"`
	Layers Layers `json:"layers"`
}
