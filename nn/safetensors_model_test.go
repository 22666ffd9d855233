package nn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pythonLayers are the layers of testdata/model.py.
var pythonLayers = []Layer{
	Conv2D{Out: 4, Kernel: 3, Stride: 2, Padding: 1}, GroupNorm{Groups: 2}, ReLU{},
	Conv2D{Out: 6, Kernel: 2, Groups: 2}, Tanh{}, Flatten{}, Linear{Out: 3},
}

// TestModelComesFromPython loads weights written by an independent script,
// named and shaped as PyTorch's Sequential does, and compares outputs.
func TestModelComesFromPython(t *testing.T) {
	m, err := New(Shape{2, 9, 5}, pythonLayers...)
	require.NoError(t, err)
	s, err := ReadSafetensors("testdata/model.safetensors")
	require.NoError(t, err)
	require.NoError(t, m.LoadSafetensors(s))
	raw, err := os.ReadFile("testdata/model.json")
	require.NoError(t, err)
	var want struct {
		Inputs  [][]float32
		Outputs [][]float64
	}
	require.NoError(t, json.Unmarshal(raw, &want))
	require.Len(t, want.Outputs, 5)
	for i, row := range NewPass(m, nil).Forward(want.Inputs) {
		require.InDeltaSlice(t, want.Outputs[i], float64s(row), 1e-5)
	}

	// And out again: the same tensors, now all F32.
	back, err := m.Safetensors(nil)
	require.NoError(t, err)
	require.Equal(t, s.Tensors, back.Tensors)
}

func TestModelRoundTrips(t *testing.T) {
	for _, c := range layerTrials {
		a, err := New(c.input, c.layers...)
		require.NoError(t, err)
		a.Init(HeNormal, 5)
		given := map[string]string{"epsilon": "3", "né": "\x00\""}
		var file, again bytes.Buffer
		require.NoError(t, a.WriteSafetensors(&file, given))
		require.Len(t, given, 2)
		b, metadata, err := ReadModel(bytes.NewReader(file.Bytes()), int64(file.Len()))
		require.NoError(t, err)
		require.Equal(t, a.Spec(), b.Spec())
		require.Equal(t, a.Params(), b.Params())
		want := maps.Clone(given)
		want["format"] = "pt"
		require.Equal(t, want, metadata)
		require.NoError(t, b.WriteSafetensors(&again, metadata))
		require.Equal(t, file.Bytes(), again.Bytes())

		name := filepath.Join(t.TempDir(), "model.safetensors")
		require.NoError(t, a.Save(name, given))
		d, metadata, err := Load(name)
		require.NoError(t, err)
		require.Equal(t, want, metadata)
		require.Equal(t, a.Params(), d.Params())
	}
}

func TestModelLoadRefusals(t *testing.T) {
	m, err := New(Shape{2, 3, 3}, Conv2D{Out: 4, Kernel: 2}, Flatten{}, Linear{Out: 3})
	require.NoError(t, err)
	m.Init(HeNormal, 1)
	before := slices.Clone(m.Params())
	for want, change := range map[string]func(s *Safetensors){
		`tensor "2.bias" is missing; given are 0.bias, 0.weight, 2.weight`:      func(s *Safetensors) { delete(s.Tensors, "2.bias") },
		`tensor "0.weight" is missing; given are none`:                          func(s *Safetensors) { clear(s.Tensors) },
		`tensor "3.bias" is none of the model's, which are 0.weight, 0.bias, 2`: func(s *Safetensors) { s.Tensors["3.bias"] = Tensor{} },
		`tensor "0.weight" has shape [4 2 2], want [4 2 2 2]`:                   func(s *Safetensors) { s.Tensors["0.weight"] = Tensor{Shape: []int{4, 2, 2}} },
		`tensor "0.weight" has shape [4 2 4 1], want [4 2 2 2]`:                 func(s *Safetensors) { s.Tensors["0.weight"] = Tensor{Shape: []int{4, 2, 4, 1}} },
		`tensor "2.bias" of shape [3] has 1 elements, want 3`:                   func(s *Safetensors) { s.Tensors["2.bias"] = Tensor{Shape: []int{3}, Data: make([]float32, 1)} },
		`tensor "2.bias" has NaN at element 1, want a finite number`:            func(s *Safetensors) { s.Tensors["2.bias"].Data[1] = float32(math.NaN()) },
		`tensor "2.weight" has -Inf at element 0`:                               func(s *Safetensors) { s.Tensors["2.weight"].Data[0] = float32(math.Inf(-1)) },
	} {
		s, err := m.Safetensors(nil)
		require.NoError(t, err)
		for _, tensor := range s.Tensors {
			for i := range tensor.Data {
				tensor.Data[i]++
			}
		}
		change(s)
		require.ErrorContains(t, m.LoadSafetensors(s), want)
		require.Equal(t, before, m.Params())
	}
	_, err = m.Safetensors(map[string]string{SpecKey: "{}"})
	require.ErrorContains(t, err, `metadata key "sotto.model"`)
	require.Error(t, m.WriteSafetensors(&bytes.Buffer{}, map[string]string{SpecKey: "{}"}))
	name := filepath.Join(t.TempDir(), "x")
	require.Error(t, m.Save(name, map[string]string{SpecKey: "{}"}))
	require.NoFileExists(t, name)
	require.Error(t, m.Save(filepath.Join(name, "none"), nil))
	_, _, err = Load(name)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, _, err = Load("testdata/model.safetensors")
	require.ErrorContains(t, err, "use LoadSafetensors (in testdata/model.safetensors)")
}

func TestModelDescriptionRefusals(t *testing.T) {
	data := map[string]Tensor{"0.weight": {Shape: []int{1, 2}, Data: make([]float32, 2)}}
	for spec, want := range map[string]string{
		``:   "EOF",
		`[]`: "cannot unmarshal",
		`{}`: "input shape",
		`{"input":[2],"layers":[{"type":"Linear","Out":1,"NoBias":true}]}`:           "",
		`{"input":[2],"layers":[{"type":"Linear","Out":1,"NoBias":true}]} {}`:        "more than one value",
		`{"input":[2],"layers":[{"type":"Linear","Out":1,"NoBias":true}],"x":1}`:     "unknown field",
		`{"input":[2],"layers":[{"type":"Linear","Out":1,"No":true}]}`:               "unknown field",
		`{"input":[2],"layers":[{"type":"Linear","Out":1}]}`:                         "describes 3 parameters, the file holds 2",
		`{"input":[2],"layers":[{"type":"Linear","Out":1000000000}]}`:                "describes 3000000000 parameters, the file holds 2",
		`{"input":[1],"layers":[{"type":"Linear","Out":2,"NoBias":true}]}`:           `tensor "0.weight" has shape [1 2], want [2 1]`,
		`{"input":[2],"layers":[{"type":"Oracle"}]}`:                                 `type "Oracle" is unknown`,
		`{"input":[2],"layers":[{"type":"BatchNorm"}]}`:                              "mixes the examples",
		strings.Repeat(`{"input":`, 65):                                              "deeper than 64",
		`{"input":[2],"layers":[` + strings.Repeat(`{"type":"ReLU"},`, 1<<16) + `]}`: "want at most 1048576",
	} {
		var file bytes.Buffer
		require.NoError(t, EncodeSafetensors(&file, &Safetensors{Metadata: map[string]string{SpecKey: spec}, Tensors: data}))
		_, _, err := ReadModel(bytes.NewReader(file.Bytes()), int64(file.Len()))
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want, spec)
	}
}

func FuzzReadModel(f *testing.F) {
	add := func(spec string) { f.Add(spec) }
	for _, c := range layerTrials {
		m, err := New(c.input, c.layers...)
		require.NoError(f, err)
		s, err := m.Safetensors(nil)
		require.NoError(f, err)
		add(s.Metadata[SpecKey])
	}
	m, err := New(Shape{2, 9, 5}, pythonLayers...)
	require.NoError(f, err)
	s, err := m.Safetensors(nil)
	require.NoError(f, err)
	add(s.Metadata[SpecKey])
	add(`{"input":[2147483647],"layers":[{"type":"Linear","Out":9223372036854775807}]}`)
	f.Fuzz(func(t *testing.T, spec string) {
		m, _, err := modelOf(&Safetensors{Metadata: map[string]string{SpecKey: spec}})
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "nn: "), err)
			return
		}
		require.Empty(t, m.Params())
		text, err := json.Marshal(m.Spec())
		require.NoError(t, err)
		again, _, err := modelOf(&Safetensors{Metadata: map[string]string{SpecKey: string(text)}})
		require.NoError(t, err, string(text))
		require.Equal(t, fmt.Sprint(m.Output()), fmt.Sprint(again.Output()))
	})
}
