package accounting

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
)

// field is one field of an event in JSON.
type field struct {
	name string
	at   any // *float64, *int, *[]float64, *[]int, *Event or *[]Event
}

// wired is a pointer to an event, whose fields can be read and written.
type wired interface {
	fields() []field
}

func (e *Gaussian) fields() []field {
	return []field{{"noise_multiplier", &e.NoiseMultiplier}}
}

func (e *DiscreteGaussian) fields() []field {
	return []field{{"sigma", &e.Sigma}, {"sensitivity", &e.Sensitivity}}
}

func (e *Laplace) fields() []field {
	return []field{{"noise_multiplier", &e.NoiseMultiplier}}
}

func (e *DiscreteLaplace) fields() []field {
	return []field{{"scale", &e.Scale}, {"sensitivity", &e.Sensitivity}}
}

func (e *RandomizedResponse) fields() []field {
	return []field{{"noise", &e.Noise}, {"options", &e.Options}}
}

func (e *PureDP) fields() []field       { return []field{{"epsilon", &e.Epsilon}} }
func (e *BoundedRange) fields() []field { return []field{{"epsilon", &e.Epsilon}} }

func (e *ZeroConcentrated) fields() []field { return []field{{"rho", &e.Rho}, {"xi", &e.Xi}} }

func (e *NonPrivate) fields() []field { return nil }

func (e *MixtureGaussian) fields() []field {
	return []field{{"standard_deviation", &e.StandardDeviation}, {"sensitivities", &e.Sensitivities}, {"probs", &e.Probs}}
}

func (e *PoissonSampled) fields() []field {
	return []field{{"rate", &e.Rate}, {"event", &e.Event}}
}

func (e *TruncatedPoisson) fields() []field {
	return []field{{"population", &e.Population}, {"rate", &e.Rate}, {"max_batch", &e.MaxBatch}, {"noise_multiplier", &e.NoiseMultiplier}}
}

func (e *FixedSize) fields() []field {
	return []field{{"population", &e.Population}, {"batch", &e.Batch}, {"event", &e.Event}}
}

func (e *RandomAllocation) fields() []field {
	return []field{{"chosen", &e.Chosen}, {"rounds", &e.Rounds}, {"event", &e.Event}}
}

func (e *BandMF) fields() []field {
	return []field{{"noise_multiplier", &e.NoiseMultiplier}, {"iterations", &e.Iterations}, {"bands", &e.Bands}, {"rate", &e.Rate}}
}

func (e *TreeAggregation) fields() []field {
	return []field{{"noise_multiplier", &e.NoiseMultiplier}, {"step_counts", &e.StepCounts}}
}

func (e *AdaptiveClip) fields() []field {
	return []field{{"noise_multiplier", &e.NoiseMultiplier}, {"count_noise", &e.CountNoise}}
}

func (e *RepeatAndSelect) fields() []field {
	return []field{{"mean", &e.Mean}, {"shape", &e.Shape}, {"event", &e.Event}}
}

func (e *SelfComposed) fields() []field {
	return []field{{"count", &e.Count}, {"event", &e.Event}}
}

func (e *Composed) fields() []field { return []field{{"events", &e.Events}} }

// kinds are the events by their name in JSON.
var kinds = []struct {
	name string
	kind reflect.Type
}{
	{"gaussian", reflect.TypeFor[Gaussian]()},
	{"discrete_gaussian", reflect.TypeFor[DiscreteGaussian]()},
	{"laplace", reflect.TypeFor[Laplace]()},
	{"discrete_laplace", reflect.TypeFor[DiscreteLaplace]()},
	{"randomized_response", reflect.TypeFor[RandomizedResponse]()},
	{"pure_dp", reflect.TypeFor[PureDP]()},
	{"bounded_range", reflect.TypeFor[BoundedRange]()},
	{"zero_concentrated", reflect.TypeFor[ZeroConcentrated]()},
	{"non_private", reflect.TypeFor[NonPrivate]()},
	{"mixture_gaussian", reflect.TypeFor[MixtureGaussian]()},
	{"poisson_sampled", reflect.TypeFor[PoissonSampled]()},
	{"truncated_poisson", reflect.TypeFor[TruncatedPoisson]()},
	{"fixed_size", reflect.TypeFor[FixedSize]()},
	{"random_allocation", reflect.TypeFor[RandomAllocation]()},
	{"band_mf", reflect.TypeFor[BandMF]()},
	{"tree_aggregation", reflect.TypeFor[TreeAggregation]()},
	{"adaptive_clip", reflect.TypeFor[AdaptiveClip]()},
	{"repeat_and_select", reflect.TypeFor[RepeatAndSelect]()},
	{"self_composed", reflect.TypeFor[SelfComposed]()},
	{"composed", reflect.TypeFor[Composed]()},
}

// MarshalEvent writes an event as JSON: an object whose "type" says which event
// it is, and whose other members are its fields, all of them. Floats are
// written so that they read back exactly; an infinite one is "inf". An event
// that is not valid is refused.
func MarshalEvent(e Event) ([]byte, error) {
	if err := checkTree(e, 0); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	writeEvent(&b, e)
	return b.Bytes(), nil
}

func writeEvent(b *bytes.Buffer, e Event) {
	v := reflect.New(reflect.TypeOf(e))
	v.Elem().Set(reflect.ValueOf(e))
	for _, k := range kinds {
		if k.kind == v.Type().Elem() {
			fmt.Fprintf(b, `{"type":%q`, k.name)
		}
	}
	for _, f := range v.Interface().(wired).fields() {
		fmt.Fprintf(b, `,%q:`, f.name)
		switch at := f.at.(type) {
		case *float64:
			writeFloat(b, *at)
		case *int:
			fmt.Fprint(b, *at)
		case *[]float64:
			writeList(b, *at, writeFloat)
		case *[]int:
			writeList(b, *at, func(b *bytes.Buffer, n int) { fmt.Fprint(b, n) })
		case *Event:
			writeEvent(b, *at)
		case *[]Event:
			writeList(b, *at, writeEvent)
		}
	}
	b.WriteByte('}')
}

func writeList[T any](b *bytes.Buffer, list []T, write func(*bytes.Buffer, T)) {
	b.WriteByte('[')
	for i, x := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		write(b, x)
	}
	b.WriteByte(']')
}

func writeFloat(b *bytes.Buffer, x float64) {
	if math.IsInf(x, 1) {
		b.WriteString(`"inf"`)
		return
	}
	b.Write(strconv.AppendFloat(nil, x, 'g', -1, 64))
}

// UnmarshalEvent reads what [MarshalEvent] wrote. It is strict: a member that
// is missing, unknown or given twice, a number that is not allowed, an unknown
// type or anything after the event is an error that names it.
func UnmarshalEvent(data []byte) (Event, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	e, err := readEvent(d, 0)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one value")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("accounting: event: %w", err)
	}
	if err := checkTree(e, 0); err != nil {
		return nil, err
	}
	return e, nil
}

func open(d *json.Decoder, want json.Delim, what string) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%v where %s was expected", t, what)
	}
	return nil
}

// readEvent reads an object whose first member is its type.
func readEvent(d *json.Decoder, depth int) (Event, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("events lie in events, must be at most %d deep", maxDepth)
	}
	if err := open(d, '{', "an object"); err != nil {
		return nil, err
	}
	key, err := d.Token()
	if err != nil {
		return nil, err
	}
	if key != "type" {
		return nil, fmt.Errorf("%v is the first member, must be type", key)
	}
	name, err := d.Token()
	if err != nil {
		return nil, err
	}
	var v reflect.Value
	for _, k := range kinds {
		if name == k.name {
			v = reflect.New(k.kind)
		}
	}
	if !v.IsValid() {
		return nil, fmt.Errorf("type is %v, which is not an event", name)
	}
	fields := v.Interface().(wired).fields()
	seen := make([]bool, len(fields))
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		at := -1
		for i, f := range fields {
			if key == f.name {
				at = i
			}
		}
		if at < 0 {
			return nil, fmt.Errorf("%v has no member %v", name, key)
		}
		if seen[at] {
			return nil, fmt.Errorf("%v gives %v twice", name, key)
		}
		seen[at] = true
		if err := readField(d, fields[at].at, depth); err != nil {
			return nil, fmt.Errorf("%v: %v: %w", name, key, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for i, f := range fields {
		if !seen[i] {
			return nil, fmt.Errorf("%v: %s is missing", name, f.name)
		}
	}
	return v.Elem().Interface().(Event), nil
}

func readField(d *json.Decoder, at any, depth int) (err error) {
	switch at := at.(type) {
	case *float64:
		*at, err = readFloat(d)
	case *int:
		*at, err = readInt(d)
	case *[]float64:
		*at, err = readList(d, readFloat)
	case *[]int:
		*at, err = readList(d, readInt)
	case *Event:
		*at, err = readEvent(d, depth+1)
	case *[]Event:
		*at, err = readList(d, func(d *json.Decoder) (Event, error) { return readEvent(d, depth+1) })
	}
	return err
}

func readFloat(d *json.Decoder) (float64, error) {
	t, err := d.Token()
	if err != nil {
		return 0, err
	}
	if t == "inf" {
		return math.Inf(1), nil
	}
	n, ok := t.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%v where a number was expected", t)
	}
	return n.Float64()
}

func readInt(d *json.Decoder) (int, error) {
	t, err := d.Token()
	if err != nil {
		return 0, err
	}
	n, ok := t.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%v where an integer was expected", t)
	}
	return strconv.Atoi(string(n))
}

func readList[T any](d *json.Decoder, read func(*json.Decoder) (T, error)) ([]T, error) {
	if err := open(d, '[', "a list"); err != nil {
		return nil, err
	}
	list := []T{}
	for d.More() {
		x, err := read(d)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	_, err := d.Token()
	return list, err
}
