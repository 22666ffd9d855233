package scattering

import (
	"fmt"
	"math"
	"math/cmplx"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/dsp/fourier"
)

// naive is the transform as one writes it first: image after image, path after
// path, with gonum's fast Fourier transform in complex128. It checks sizes that
// direct convolution is too slow for, and is what benchmarks compare with.
type naive struct {
	t     *Transform
	p, q  int
	phi   []complex128
	psi   [][]complex128 // [j·l+t]
	plans map[int]*fourier.CmplxFFT
}

func newNaive(t *Transform) *naive {
	n := &naive{t: t, p: t.source.p, q: t.source.q, plans: map[int]*fourier.CmplxFFT{}}
	for res := range t.j {
		n.plans[n.p>>res], n.plans[n.q>>res] = fourier.NewCmplxFFT(n.p>>res), fourier.NewCmplxFFT(n.q>>res)
	}
	n.plans[n.p>>t.j], n.plans[n.q>>t.j] = fourier.NewCmplxFFT(n.p>>t.j), fourier.NewCmplxFFT(n.q>>t.j)
	n.phi = make([]complex128, n.p*n.q)
	for u := range n.p {
		for v := range n.q {
			n.phi[u*n.q+v] = complex(lowpass(t.j, 2*math.Pi*float64(u)/float64(n.p))*lowpass(t.j, 2*math.Pi*float64(v)/float64(n.q)), 0)
		}
	}
	for _, scale := range newBank(n.p, n.q, t.j, t.l) {
		for _, f := range scale {
			filter := make([]complex128, len(f))
			for i, x := range f {
				filter[i] = complex(x, 0)
			}
			n.psi = append(n.psi, filter)
		}
	}
	return n
}

// fft transforms x in place, forwards or, without scaling, backwards.
func (n *naive) fft(x []complex128, p, q int, backwards bool) {
	run := func(plan *fourier.CmplxFFT, line []complex128) {
		if backwards {
			plan.Sequence(line, line)
		} else {
			plan.Coefficients(line, line)
		}
	}
	for u := range p {
		run(n.plans[q], x[u*q:(u+1)*q])
	}
	column := make([]complex128, p)
	for v := range q {
		for u := range p {
			column[u] = x[u*q+v]
		}
		run(n.plans[p], column)
		for u := range p {
			x[u*q+v] = column[u]
		}
	}
}

// filter returns the samples, on the grid to, of the product of a spectrum of
// the grid from and a filter.
func (n *naive) filter(x, f []complex128, from, to int) []complex128 {
	sp, sq, p, q := n.p>>from, n.q>>from, n.p>>to, n.q>>to
	out := make([]complex128, p*q)
	for u := range sp {
		for v := range sq {
			fu, fv := u, v
			if u >= sp/2 {
				fu += n.p - sp
			}
			if v >= sq/2 {
				fv += n.q - sq
			}
			out[u%p*q+v%q] += x[u*sq+v] * f[fu*n.q+fv] / complex(float64(sp*sq), 0)
		}
	}
	n.fft(out, p, q, true)
	return out
}

func (n *naive) average(dst []float32, x []complex128, res int) []float32 {
	s := n.filter(x, n.phi, res, n.t.j)
	q := n.q >> n.t.j
	for u := range n.t.outH {
		for v := range n.t.outW {
			dst = append(dst, float32(real(s[(u+1)*q+v+1])))
		}
	}
	return dst
}

func (n *naive) modulus(x []complex128, res int) []complex128 {
	for i, z := range x {
		x[i] = complex(cmplx.Abs(z), 0)
	}
	n.fft(x, n.p>>res, n.q>>res, false)
	return x
}

func (n *naive) apply(image []float32) []float32 {
	t := n.t
	x := make([]complex128, 0, n.p*n.q)
	for _, f := range pad(image, t.height, t.width, t.j) {
		x = append(x, complex(float64(f), 0))
	}
	n.fft(x, n.p, n.q, false)
	out := n.average(nil, x, 0)
	var deep []float32
	for n1, f := range n.psi {
		j1 := n1 / t.l
		first := n.modulus(n.filter(x, f, 0, j1), j1)
		out = n.average(out, first, j1)
		for n2 := (j1 + 1) * t.l; n2 < len(n.psi) && t.order == 2; n2++ {
			j2 := n2 / t.l
			deep = n.average(deep, n.modulus(n.filter(first, n.psi[n2], j1, j2), j2), j2)
		}
	}
	return append(out, deep...)
}

// Larger sizes and scales agree with the naive transform.
func TestAgainstNaive(t *testing.T) {
	for _, c := range []struct{ h, w, j, l int }{{28, 28, 2, 8}, {50, 41, 4, 6}, {96, 33, 5, 3}, {64, 64, 3, 8}} {
		t.Run(fmt.Sprintf("%dx%d,J=%d,L=%d", c.h, c.w, c.j, c.l), func(t *testing.T) {
			tr := must(t, c.h, c.w, Options{J: c.j, L: c.l})
			image := noise(c.h*c.w, 1)
			want, got := newNaive(tr).apply(image), tr.Apply(nil, image)
			require.Len(t, got, len(want))
			for i := range want {
				require.InDelta(t, want[i], got[i], 1e-6)
			}
		})
	}
}

// BenchmarkBatch reports images per second and how many times the naive
// transform's speed that is, the median of alternating turns.
func BenchmarkBatch(b *testing.B) {
	for _, c := range []struct{ side, j int }{{28, 2}, {32, 2}, {32, 3}, {96, 3}} {
		b.Run(fmt.Sprintf("%dx%d/J=%d", c.side, c.side, c.j), func(b *testing.B) {
			tr := must(b, c.side, c.side, Options{J: c.j})
			images := make([][]float32, 64)
			for i := range images {
				images[i] = noise(c.side*c.side, uint64(i))
			}
			dst := tr.Batch(nil, images)
			slow := newNaive(tr)
			var ratios []float64
			for range 7 {
				start := time.Now()
				slow.apply(images[0])
				one := time.Since(start)
				start = time.Now()
				tr.Batch(dst, images)
				ratios = append(ratios, float64(one)*float64(len(images))/float64(time.Since(start)))
			}
			slices.Sort(ratios)
			for b.Loop() {
				tr.Batch(dst, images)
			}
			b.ReportMetric(float64(len(images)*b.N)/b.Elapsed().Seconds(), "images/s")
			b.ReportMetric(ratios[3], "x-naive")
		})
	}
}

// BenchmarkApply is the time of one image alone.
func BenchmarkApply(b *testing.B) {
	tr := must(b, 28, 28, Options{J: 2})
	image := noise(784, 1)
	dst := tr.Apply(nil, image)
	for b.Loop() {
		tr.Apply(dst, image)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		must(b, 28, 28, Options{J: 2})
	}
}
