package whitening

import (
	"fmt"
	"math"
	"runtime"
	"sync"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Options say how many coordinates there are and how far they are evened out.
type Options struct {
	// Components is the number of coordinates, at least 1, at most the number
	// of features and below the number of samples.
	Components int
	// Ridge is added to each variance, in squared units of the features; it
	// keeps directions that the samples hardly show from being blown up.
	// Positive.
	Ridge float64
	// Seed is public randomness: where the iteration starts.
	Seed uint64
}

// Whitening is a fixed affine map of rows. It is made by New.
type Whitening struct {
	features, components int
	axes                 []float32 // features×components
	shift                []float32 // what the samples' mean is mapped to
}

// New finds the map from public samples, rows of one length. It returns an
// error that names the option or the sample if an option is out of range, the
// rows differ in length, or a value is not finite.
func New(samples [][]float32, o Options) (*Whitening, error) {
	n := len(samples)
	if n < 2 {
		return nil, fmt.Errorf("whitening: %d samples, want at least 2", n)
	}
	features := len(samples[0])
	switch {
	case o.Components < 1 || o.Components > features || o.Components >= n:
		return nil, fmt.Errorf("whitening: Options.Components is %d, want 1 to %d (there are %d features and %d samples)", o.Components, min(features, n-1), features, n)
	case !(o.Ridge > 0) || math.IsInf(o.Ridge, 0):
		return nil, fmt.Errorf("whitening: Options.Ridge is %v, want positive and finite", o.Ridge)
	}
	mean := make([]float64, features)
	for i, row := range samples {
		if len(row) != features {
			return nil, fmt.Errorf("whitening: sample %d has %d features, sample 0 has %d", i, len(row), features)
		}
		if !kernel.AllFinite(row) {
			return nil, fmt.Errorf("whitening: sample %d holds a value that is not finite", i)
		}
		for j, v := range row {
			mean[j] += float64(v)
		}
	}
	centre := make([]float32, features)
	for j := range mean {
		centre[j] = float32(mean[j] / float64(n))
	}
	centred := make([]float32, n*features)
	for i, row := range samples {
		for j, v := range row {
			centred[i*features+j] = v - centre[j]
		}
	}
	w := &Whitening{features: features, components: o.Components,
		axes: make([]float32, features*o.Components), shift: make([]float32, o.Components)}
	if err := principal(w.axes, centred, n, features, o); err != nil {
		return nil, err
	}
	kernel.GEMM(kernel.NN, 1, w.components, features, centre, features, w.axes, w.components, w.shift, w.components, false)
	return w, nil
}

// Features returns the length of the rows that Apply takes.
func (w *Whitening) Features() int { return w.features }

// Components returns the length of the rows that Apply gives.
func (w *Whitening) Components() int { return w.components }

// Apply maps each row to its coordinates, in dst if it is not nil. Each result
// depends on its own row alone. It panics if a row is not Features long, or dst
// is not as many rows of Components.
func (w *Whitening) Apply(dst, rows [][]float32) [][]float32 {
	if dst == nil {
		flat := make([]float32, len(rows)*w.components)
		dst = make([][]float32, len(rows))
		for i := range dst {
			dst[i] = flat[i*w.components : (i+1)*w.components : (i+1)*w.components]
		}
	}
	if len(dst) != len(rows) {
		panic("whitening: dst and rows differ in number")
	}
	for i := range rows {
		if len(rows[i]) != w.features {
			panic("whitening: a row has not as many values as there are features")
		}
		if len(dst[i]) != w.components {
			panic("whitening: a row of dst has not as many values as there are components")
		}
	}
	each(len(rows), func(at, end int) {
		in := make([]float32, 0, (end-at)*w.features)
		for _, row := range rows[at:end] {
			in = append(in, row...)
		}
		out := make([]float32, (end-at)*w.components)
		kernel.GEMM(kernel.NN, end-at, w.components, w.features, in, w.features, w.axes, w.components, out, w.components, false)
		for i := at; i < end; i++ {
			y := out[(i-at)*w.components:]
			for j := range dst[i] {
				dst[i][j] = y[j] - w.shift[j]
			}
		}
	})
	return dst
}

// Fold returns the parameters of a linear model over the features that equals,
// up to rounding, the one of params over the coordinates. Both hold a weight
// matrix, outputs×inputs, and then a bias for each output, as nn.Linear does;
// dst holds outputs·(Features+1) values, nil allocates. It panics if a length is
// wrong.
func (w *Whitening) Fold(dst, params []float32, outputs int) []float32 {
	if outputs < 1 || len(params) != outputs*(w.components+1) {
		panic("whitening: parameters are not those of a linear model with bias over the components")
	}
	if dst == nil {
		dst = make([]float32, outputs*(w.features+1))
	}
	if len(dst) != outputs*(w.features+1) {
		panic("whitening: dst is not of the length of a linear model with bias over the features")
	}
	weight, bias := params[:outputs*w.components], params[outputs*w.components:]
	kernel.GEMM(kernel.NT, outputs, w.features, w.components, weight, w.components, w.axes, w.components, dst, w.features, false)
	for o := range outputs {
		dst[outputs*w.features+o] = float32(float64(bias[o]) - kernel.Dot(weight[o*w.components:(o+1)*w.components], w.shift))
	}
	return dst
}

// chunk is how many rows one core takes at a time. Results do not depend on
// how chunks are shared out.
const chunk = 250

// each calls do on the chunks of 0..n-1, on all cores.
func each(n int, do func(at, end int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{}, runtime.GOMAXPROCS(0))
	for at := 0; at < n; at += chunk {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			do(at, min(n, at+chunk))
		})
	}
	wg.Wait()
}
