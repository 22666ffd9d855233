package nn

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// SpecKey is the metadata key under which a model's file holds its Spec as
// JSON, from which ReadModel builds it again.
const SpecKey = "sotto.model"

const (
	specLimit = 1 << 20 // bytes of a Spec in a file
	specDepth = 64      // of its brackets
)

// Safetensors returns a copy of the model's parameters as PyTorch names and
// shapes them: "0.weight" is the weight of layer 0, and a convolution's is
// [out, in/groups, height, width]. Its metadata are those given, SpecKey and,
// unless given, format "pt". It returns an error if metadata has SpecKey.
func (m *Model) Safetensors(metadata map[string]string) (*Safetensors, error) {
	if _, ok := metadata[SpecKey]; ok {
		return nil, fmt.Errorf("nn: metadata key %q is the model's own", SpecKey)
	}
	spec, err := json.Marshal(m.spec)
	if err != nil {
		return nil, fmt.Errorf("nn: %w", err)
	}
	s := &Safetensors{Metadata: map[string]string{"format": "pt"}, Tensors: map[string]Tensor{}}
	maps.Copy(s.Metadata, metadata)
	s.Metadata[SpecKey] = string(spec)
	for _, t := range m.list {
		own := t.of(m.params)
		data := make([]float32, len(own))
		copy(data, own)
		shape := t.fileShape()
		if t.kernel {
			in, area := shape[1], shape[2]*shape[3]
			for at := 0; at < len(own); at += in * area {
				transpose(data[at:at+in*area], own[at:at+in*area], area, in)
			}
		}
		s.Tensors[t.name] = Tensor{Shape: shape, Data: data}
	}
	return s, nil
}

// fileShape is the tensor's shape in PyTorch's order.
func (t *tensor) fileShape() []int {
	if t.kernel {
		return []int{t.shape[0], t.shape[3], t.shape[1], t.shape[2]}
	}
	return slices.Clone(t.shape)
}

// LoadSafetensors sets the model's parameters from s, which must hold exactly
// the tensors that Safetensors gives, by name and shape; metadata are not read.
// A module of PyTorch saves as such a file if it is a Sequential of the same
// layers. On error, which names the tensor, the model is unchanged. A
// parameter that is not finite is an error.
func (m *Model) LoadSafetensors(s *Safetensors) error {
	wanted := make(map[string]bool, len(m.list))
	for _, t := range m.list {
		wanted[t.name] = true
		given, ok := s.Tensors[t.name]
		if !ok {
			return fmt.Errorf("nn: tensor %q is missing; given are %s", t.name, list(slices.Sorted(maps.Keys(s.Tensors))))
		}
		if shape := t.fileShape(); !slices.Equal(given.Shape, shape) {
			return fmt.Errorf("nn: tensor %q has shape %v, want %v", t.name, given.Shape, shape)
		}
		if len(given.Data) != t.size() {
			return fmt.Errorf("nn: tensor %q of shape %v has %d elements, want %d", t.name, given.Shape, len(given.Data), t.size())
		}
		for i, v := range given.Data {
			if v-v != 0 {
				return fmt.Errorf("nn: tensor %q has %v at element %d, want a finite number", t.name, v, i)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tensors)) {
		if !wanted[name] {
			var names []string
			for _, t := range m.list {
				names = append(names, t.name)
			}
			return fmt.Errorf("nn: tensor %q is none of the model's, which are %s", name, list(names))
		}
	}
	for _, t := range m.list {
		own, data := t.of(m.params), s.Tensors[t.name].Data
		if !t.kernel {
			copy(own, data)
			continue
		}
		area, in := t.shape[1]*t.shape[2], t.shape[3]
		for at := 0; at < len(own); at += in * area {
			transpose(own[at:at+in*area], data[at:at+in*area], in, area)
		}
	}
	return nil
}

// list joins the first few names.
func list(names []string) string {
	const most = 12
	if len(names) == 0 {
		return "none"
	}
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// WriteSafetensors writes the model to w in the form of Safetensors. The same
// model and metadata are the same bytes.
func (m *Model) WriteSafetensors(w io.Writer, metadata map[string]string) error {
	s, err := m.Safetensors(metadata)
	if err != nil {
		return err
	}
	return EncodeSafetensors(w, s)
}

// Save replaces the file name by the model in the form of Safetensors, whole
// or not at all.
func (m *Model) Save(name string, metadata map[string]string) error {
	s, err := m.Safetensors(metadata)
	if err != nil {
		return err
	}
	return WriteSafetensors(name, s)
}

// ReadModel reads a model and its metadata, less SpecKey, from the size bytes of r, which
// WriteSafetensors wrote. Files of other programs lack the layers: build the
// model with New and give it the file's tensors with LoadSafetensors.
//
// It allocates no more than a small multiple of size, whatever r holds.
func ReadModel(r io.ReaderAt, size int64) (*Model, map[string]string, error) {
	s, err := DecodeSafetensors(r, size)
	if err != nil {
		return nil, nil, err
	}
	return modelOf(s)
}

// Load reads a model and its metadata from the file name, as ReadModel does.
func Load(name string) (*Model, map[string]string, error) {
	s, err := ReadSafetensors(name)
	if err != nil {
		return nil, nil, err
	}
	m, metadata, err := modelOf(s)
	if err != nil {
		return nil, nil, fmt.Errorf("%w (in %s)", err, name)
	}
	return m, metadata, nil
}

func modelOf(s *Safetensors) (*Model, map[string]string, error) {
	text, ok := s.Metadata[SpecKey]
	if !ok {
		return nil, nil, fmt.Errorf("nn: file has no %q in its metadata; build the model with New and use LoadSafetensors", SpecKey)
	}
	spec, err := parseSpec(text)
	if err != nil {
		return nil, nil, fmt.Errorf("nn: metadata %q: %w", SpecKey, err)
	}
	if err := spec.Input.check(); err != nil {
		return nil, nil, fmt.Errorf("nn: metadata %q: input %w", SpecKey, err)
	}
	c, err := buildChain(spec.Input, spec.Layers)
	if err != nil {
		return nil, nil, fmt.Errorf("nn: metadata %q: %w", SpecKey, err)
	}
	// The description is checked against the data before it costs memory.
	described, given := 0, 0
	for _, t := range c.tensors() {
		described += t.size()
	}
	for _, t := range s.Tensors {
		given += len(t.Data)
	}
	if described != given {
		return nil, nil, fmt.Errorf("nn: metadata %q describes %d parameters, the file holds %d", SpecKey, described, given)
	}
	m, err := New(spec.Input, spec.Layers...)
	if err != nil {
		return nil, nil, err
	}
	if err := m.LoadSafetensors(s); err != nil {
		return nil, nil, err
	}
	delete(s.Metadata, SpecKey)
	return m, s.Metadata, nil
}

func parseSpec(text string) (Spec, error) {
	if len(text) > specLimit {
		return Spec{}, fmt.Errorf("%d bytes, want at most %d", len(text), specLimit)
	}
	depth := 0
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Spec{}, err
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			if depth++; depth > specDepth {
				return Spec{}, fmt.Errorf("brackets go deeper than %d", specDepth)
			}
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	var spec Spec
	if err := d.Decode(&spec); err != nil {
		return Spec{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Spec{}, errors.New("more than one value")
	}
	return spec, nil
}
