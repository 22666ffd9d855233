package he

import (
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/nn"
)

// graph is a model as encrypted evaluation sees it: stages of an affine map followed
// by a function of each element, and an affine map at the end. All else is folded.
type graph struct {
	input  nn.Shape
	stages []stage
}

// stage is value k+1 = act(expression of values 0 to k); the last has no act.
type stage struct {
	name string   // of the layers folded into it
	size nn.Shape // of z, as an image where it is one
	act  function // nil in the last stage
	z    expression
	lo   float64 // range of z over the calibration inputs
	hi   float64
	fit  fit
}

// builder walks over a model's layers.
type builder struct {
	tensors map[string]nn.Tensor
	freeze  bool
	inputs  [][]float64 // calibration, for frozen norms
	// deviations are the frozen ones: those known, or else those found so far.
	deviations [][]float64
	known      bool
	norms      int
	graph      graph
	names      []string
}

// Bounds of a model that is folded: a layer's values, and the entries of a matrix.
const (
	maxValues  = 1 << 20
	maxEntries = 1 << 27
)

// newGraph folds the model's layers. Frozen norms divide by the deviations, if they are
// not nil, or else by those of the calibration inputs, which it returns.
func newGraph(m *nn.Model, inputs [][]float64, deviations [][]float64, freeze bool) (*graph, [][]float64, error) {
	file, err := m.Safetensors(nil)
	if err != nil {
		return nil, nil, err
	}
	spec := m.Spec()
	b := &builder{tensors: file.Tensors, freeze: freeze, inputs: inputs, deviations: deviations, known: deviations != nil, graph: graph{input: spec.Input}}
	n := spec.Input.Size()
	if n > maxValues {
		return nil, nil, fmt.Errorf("he: the model takes %d values, at most %d are allowed", n, maxValues)
	}
	e := expression{parts: map[int]*affine{0: identity(n)}, bias: make([]float64, n)}
	e, out, err := b.chain(e, spec.Input, spec.Layers, "")
	if err != nil {
		return nil, nil, err
	}
	b.graph.stages = append(b.graph.stages, stage{name: b.folded(), size: out, z: e})
	return &b.graph, b.deviations, nil
}

// folded names the layers since the last stage.
func (b *builder) folded() string {
	s := ""
	for i, n := range b.names {
		if i > 0 {
			s += " + "
		}
		s += n
	}
	b.names = nil
	if s == "" {
		return "identity"
	}
	return s
}

func (b *builder) chain(e expression, shape nn.Shape, layers []nn.Layer, prefix string) (expression, nn.Shape, error) {
	for i, layer := range layers {
		name := fmt.Sprintf("%s%d", prefix, i)
		// The shape after this layer, by the model's own rules.
		part, err := nn.New(shape, layer)
		if err != nil {
			return e, nil, err
		}
		if n := part.Output().Size(); n > maxValues {
			return e, nil, refusal(name, layer, fmt.Sprintf("it gives %d values, at most %d are allowed", n, maxValues))
		}
		if n := e.foldedEntries(part.Output().Size(), fanIn(layer, shape)); n > maxEntries {
			return e, nil, refusal(name, layer, fmt.Sprintf("folded into the layers before, it takes a matrix of up to %.0f entries, at most %d are allowed", n, maxEntries))
		}
		if e, err = b.layer(e, shape, part.Output(), layer, name); err != nil {
			return e, nil, err
		}
		shape = part.Output()
	}
	return e, shape, nil
}

// fanIn bounds the values that one output of a layer reads.
func fanIn(layer nn.Layer, in nn.Shape) int {
	switch l := layer.(type) {
	case nn.Linear:
		return in[len(in)-1]
	case nn.Conv2D:
		return in[0] / max(l.Groups, 1) * l.Kernel * l.Kernel
	case nn.AvgPool:
		return l.Kernel * l.Kernel
	case nn.GlobalAvgPool:
		return in.Size() / in[0]
	case nn.GroupNorm:
		return in.Size() / l.Groups
	case nn.LayerNorm:
		return in[len(in)-1]
	}
	return 1
}

// foldedEntries bounds the work on a matrix of the given rows, that many entries in each,
// and the entries of its product with e.
func (e expression) foldedEntries(rows, each int) float64 {
	most := float64(rows) * float64(each)
	for _, p := range e.parts {
		most = max(most, float64(rows)*min(float64(each)*float64(p.widest()), float64(p.cols)))
	}
	return most
}

// refusal names a layer that cannot be compiled.
func refusal(name string, layer nn.Layer, why string) error {
	return fmt.Errorf("he: layer %s (%s) cannot be compiled: %s", name, kind(layer), why)
}

func kind(layer nn.Layer) string {
	s := fmt.Sprintf("%T", layer)
	return s[len("nn."):]
}

func (b *builder) layer(e expression, in, out nn.Shape, layer nn.Layer, name string) (expression, error) {
	label := name + " " + kind(layer)
	switch l := layer.(type) {
	case nn.Flatten, nn.Dropout:
		return e, nil
	case nn.Linear:
		b.names = append(b.names, label)
		return b.linear(e, in, l, name), nil
	case nn.Conv2D:
		b.names = append(b.names, label)
		return b.conv(e, in, out, l, name), nil
	case nn.AvgPool:
		b.names = append(b.names, label)
		return e.through(pooling(in, out, l), nil), nil
	case nn.GlobalAvgPool:
		b.names = append(b.names, label)
		places := in.Size() / in[0]
		return e.through(newAffine(in[0], in.Size(), func(r int, put func(int, float64)) {
			for p := range places {
				put(r*places+p, 1/float64(places))
			}
		}), nil), nil
	case nn.Residual:
		inner, _, err := b.chain(e, in, l.Layers, name+".")
		if err != nil {
			return e, err
		}
		return e.plus(inner), nil
	case nn.GroupNorm, nn.LayerNorm:
		if !b.freeze {
			return e, refusal(name, layer, "it divides by each example's own deviation, which is no polynomial; set Options.FreezeNorms to divide by the calibration inputs' mean deviation, or train without it")
		}
		b.names = append(b.names, label)
		return b.norm(e, in, layer, name)
	case nn.MaxPool:
		return e, refusal(name, layer, "a maximum is no polynomial; use AvgPool")
	case nn.Embedding:
		return e, refusal(name, layer, "a table cannot be read at an encrypted index; send the embedded tokens")
	}
	f, err := functionOf(layer)
	if err != nil {
		return e, refusal(name, layer, err.Error())
	}
	b.names = append(b.names, label)
	n := out.Size()
	if p, ok := f.(exactly); ok && len(p) == 2 { // no activation at all
		bias := make([]float64, n)
		for i := range bias {
			bias[i] = p[0]
		}
		return e.through(identity(n).scaled(p[1]), bias), nil
	}
	b.graph.stages = append(b.graph.stages, stage{name: b.folded(), size: out, act: f, z: e})
	return expression{parts: map[int]*affine{len(b.graph.stages): identity(n)}, bias: make([]float64, n)}, nil
}

func (b *builder) tensor(name string) []float64 {
	t, ok := b.tensors[name]
	if !ok {
		return nil
	}
	out := make([]float64, len(t.Data))
	for i, v := range t.Data {
		out[i] = float64(v)
	}
	return out
}

// linear acts on a vector or on each position of a sequence.
func (b *builder) linear(e expression, in nn.Shape, l nn.Linear, name string) expression {
	w, bias := b.tensor(name+".weight"), b.tensor(name+".bias")
	features := in[len(in)-1]
	positions := in.Size() / features
	m := newAffine(positions*l.Out, in.Size(), func(r int, put func(int, float64)) {
		p, o := r/l.Out, r%l.Out
		for c := range features {
			put(p*features+c, w[o*features+c])
		}
	})
	var all []float64
	for range positions {
		all = append(all, bias...)
	}
	return e.through(m, all)
}

func (b *builder) conv(e expression, in, out nn.Shape, l nn.Conv2D, name string) expression {
	w, bias := b.tensor(name+".weight"), b.tensor(name+".bias")
	stride, dilation, groups := max(l.Stride, 1), max(l.Dilation, 1), max(l.Groups, 1)
	perIn, perOut := in[0]/groups, l.Out/groups
	place := out[1] * out[2]
	m := newAffine(out.Size(), in.Size(), func(r int, put func(int, float64)) {
		o, y, x := r/place, r/out[2]%out[1], r%out[2]
		for i := range perIn {
			channel := o/perOut*perIn + i
			for ky := range l.Kernel {
				for kx := range l.Kernel {
					iy, ix := y*stride+ky*dilation-l.Padding, x*stride+kx*dilation-l.Padding
					if iy >= 0 && iy < in[1] && ix >= 0 && ix < in[2] {
						put((channel*in[1]+iy)*in[2]+ix, w[((o*perIn+i)*l.Kernel+ky)*l.Kernel+kx])
					}
				}
			}
		}
	})
	var all []float64
	if bias != nil {
		all = make([]float64, out.Size())
		for r := range all {
			all[r] = bias[r/place]
		}
	}
	return e.through(m, all)
}

// pooling is AvgPool, the padding's zeros counted.
func pooling(in, out nn.Shape, l nn.AvgPool) *affine {
	stride := l.Stride
	if stride == 0 {
		stride = l.Kernel
	}
	place := out[1] * out[2]
	return newAffine(out.Size(), in.Size(), func(r int, put func(int, float64)) {
		c, y, x := r/place, r/out[2]%out[1], r%out[2]
		for ky := range l.Kernel {
			for kx := range l.Kernel {
				iy, ix := y*stride+ky-l.Padding, x*stride+kx-l.Padding
				if iy >= 0 && iy < in[1] && ix >= 0 && ix < in[2] {
					put((c*in[1]+iy)*in[2]+ix, 1/float64(l.Kernel*l.Kernel))
				}
			}
		}
	})
}

// norm is GroupNorm or LayerNorm with each group's deviation frozen at its mean over
// the calibration inputs: subtracting the mean is linear and stays exact.
func (b *builder) norm(e expression, in nn.Shape, layer nn.Layer, name string) (expression, error) {
	n := in.Size()
	groups, eps := 1, 1e-5
	member := func(i int) int { return 0 } // the group of element i
	channel := func(i int) int { return i }
	features := n
	switch l := layer.(type) {
	case nn.GroupNorm:
		groups = l.Groups
		if l.Eps != 0 {
			eps = l.Eps
		}
		switch len(in) {
		case 3:
			features = in[0]
			channel = func(i int) int { return i / (in[1] * in[2]) }
		default:
			features = in[len(in)-1]
			channel = func(i int) int { return i % features }
		}
		member = func(i int) int { return channel(i) * groups / features }
	case nn.LayerNorm:
		if l.Eps != 0 {
			eps = l.Eps
		}
		if len(in) == 2 { // every position by itself
			groups, features = in[0], in[1]
			member = func(i int) int { return i / features }
			channel = func(i int) int { return i % features }
		}
	}
	size := n / groups
	var deviation []float64
	if b.known {
		if b.norms >= len(b.deviations) || len(b.deviations[b.norms]) != groups {
			return e, fmt.Errorf("he: layer %s: no %d deviations are known", name, groups)
		}
		deviation = b.deviations[b.norms]
		b.norms++
	} else {
		deviation = b.measured(e, groups, size, eps, member)
		b.deviations = append(b.deviations, deviation)
	}
	gain, shift := b.tensor(name+".weight"), b.tensor(name+".bias")
	members := make([][]int, groups)
	for i := range n {
		members[member(i)] = append(members[member(i)], i)
	}
	m := newAffine(n, n, func(r int, put func(int, float64)) {
		k := 1 / deviation[member(r)]
		if gain != nil {
			k *= gain[channel(r)]
		}
		put(r, k)
		for _, c := range members[member(r)] {
			put(c, -k/float64(size))
		}
	})
	all := make([]float64, n)
	if shift != nil {
		for r := range all {
			all[r] = shift[channel(r)]
		}
	}
	return e.through(m, all), nil
}

// measured gives each group's mean deviation over the calibration inputs.
func (b *builder) measured(e expression, groups, size int, eps float64, member func(int) int) []float64 {
	deviation := make([]float64, groups)
	for _, x := range b.inputs {
		values := b.graph.run(x, nil)
		v := e.eval(values)
		sum, square := make([]float64, groups), make([]float64, groups)
		for i, a := range v {
			sum[member(i)] += a
		}
		for i, a := range v {
			d := a - sum[member(i)]/float64(size)
			square[member(i)] += d * d
		}
		for g, s := range square {
			deviation[g] += math.Sqrt(s/float64(size)+eps) / float64(len(b.inputs))
		}
	}
	return deviation
}

// run evaluates the stages on one input in the clear and gives all values; with fits,
// activations are replaced by them. If seen is not nil it is given each stage's z.
func (g *graph) run(x []float64, seen func(stage int, z []float64)) [][]float64 {
	return g.evaluate(x, false, seen)
}

func (g *graph) evaluate(x []float64, fitted bool, seen func(stage int, z []float64)) [][]float64 {
	values := [][]float64{x}
	for k := range g.stages {
		s := &g.stages[k]
		z := s.z.eval(values)
		if seen != nil {
			seen(k, z)
		}
		if s.act != nil {
			for i, v := range z {
				if fitted {
					z[i] = s.fit.at(v)
				} else {
					z[i] = s.act.at(v)
				}
			}
		}
		values = append(values, z)
	}
	return values
}
