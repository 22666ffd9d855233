package scattering

import "math"

// Matrices are row-major float32. A complex value is two reals, named c = 0 (real
// part) and c = 1 (imaginary part).

// split returns the sample that stands at place i of n: even samples come
// first, then odd ones. Inverse transforms produce them apart, and every later
// step is a matrix whose columns can stand in any order.
func split(i, n int) int {
	if i < n/2 {
		return 2 * i
	}
	return 2*(i-n/2) + 1
}

// turn returns cos and sin of 2π·k/n.
func turn(k, n int) (cos, sin float64) {
	sin, cos = math.Sincos(2 * math.Pi * float64(k%n) / float64(n))
	return
}

// inverse returns the (n × n)-matrix, n = 2·half, that turns a folded spectrum
// of half frequencies into the samples of parity odd of an inverse transform of
// n samples. Columns are (c, frequency). Rows are (sample, c), or (c, sample)
// when planes is set.
func inverse(half, odd int, planes bool) []float32 {
	n := 2 * half
	m := make([]float32, n*n)
	for s := range half {
		re, im := m[2*s*n:], m[(2*s+1)*n:]
		if planes {
			re, im = m[s*n:], m[(half+s)*n:]
		}
		for k := range half {
			cos, sin := turn(k*(2*s+odd), n)
			re[k], re[half+k] = float32(cos), float32(-sin)
			im[k], im[half+k] = float32(sin), float32(cos)
		}
	}
	return m
}

// halfRows is the first row of frequency k in a half spectrum of real samples:
// rows are the real part of frequency 0, real and imaginary parts of the
// frequencies up to n/2-1, the real part of frequency n/2.
func halfRows(k int) int { return max(0, 2*k-1) }

// forwardReal returns the matrix (n × cols) that turns real samples into their
// half spectrum. Sample i, of n, stands in column at[i]; several may share one.
func forwardReal(n, cols int, at []int) []float32 {
	sum := make([]float64, n*cols)
	for k := 0; k <= n/2; k++ {
		row := sum[halfRows(k)*cols:]
		for i, column := range at {
			cos, sin := turn(k*i, n)
			row[column] += cos
			if k > 0 && k < n/2 {
				row[cols+column] -= sin
			}
		}
	}
	return narrow(sum)
}

// forward returns the matrix (2n × 2·cols) that turns complex samples into
// their spectrum. Rows are (c, frequency), columns (c, place).
func forward(n, cols int, at []int) []float32 {
	sum := make([]float64, 4*n*cols)
	for k := range n {
		re, im := sum[k*2*cols:], sum[(n+k)*2*cols:]
		for i, column := range at {
			cos, sin := turn(k*i, n)
			re[column] += cos
			re[cols+column] += sin
			im[column] -= sin
			im[cols+column] += cos
		}
	}
	return narrow(sum)
}

// partReal returns the matrix (half × half), half = n/2, that turns every second
// of n real samples, those of parity odd, into their share of the spectrum.
// The share repeats after half frequencies, up to sign, so a half spectrum of it
// is enough: rows are those of forwardReal for half samples, but the last one,
// of frequency n/4, holds the imaginary part for odd samples, as the real part
// is zero.
func partReal(n, odd int) []float32 {
	half := n / 2
	m := make([]float32, half*half)
	for k := 0; k <= half/2; k++ {
		for i := range half {
			cos, sin := turn(k*(2*i+odd), n)
			at := halfRows(k)*half + i
			if k == half/2 && odd == 1 {
				m[at] = float32(-sin)
				continue
			}
			m[at] = float32(cos)
			if k > 0 && k < half/2 {
				m[at+half] = float32(-sin)
			}
		}
	}
	return m
}

// part returns the matrix (n × n) that turns every second of n complex samples,
// those of parity odd, into their share of the first n/2 frequencies. Rows are
// (c, frequency), columns (c, sample).
func part(n, odd int) []float32 {
	half := n / 2
	m := make([]float32, n*n)
	for k := range half {
		re, im := m[k*n:], m[(half+k)*n:]
		for i := range half {
			cos, sin := turn(k*(2*i+odd), n)
			re[i], re[half+i] = float32(cos), float32(sin)
			im[i], im[half+i] = float32(-sin), float32(cos)
		}
	}
	return m
}

// average returns the matrix (out × cols) that convolves with one dimension of
// φ, of scale 2^j, and keeps one sample in 2^(j-res), without the first. There
// are size>>res samples.
func average(size, res, j, out, cols int, at []int) []float32 {
	n := size >> res
	kernel := make([]float64, n)
	for k := range size {
		if held(k, size, res) {
			g := lowpass(j, 2*math.Pi*float64(k)/float64(size)) / float64(n)
			for i := range kernel {
				cos, _ := turn(k*i, n)
				kernel[i] += g * cos
			}
		}
	}
	sum := make([]float64, out*cols)
	for o := range out {
		for i, column := range at {
			sum[o*cols+column] += kernel[((o+1)<<(j-res)+n-i)%n]
		}
	}
	return narrow(sum)
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

// source holds the matrices from an image to its spectrum (p×q, half in q) and
// its average; the reflected border is folded into them.
type source struct {
	p, q                 int // padded height and width
	spectrumV, spectrumU []float32
	averageV, averageU   []float32
}

func newSource(height, width, j int) *source {
	u, v := reflection(height, j), reflection(width, j)
	p, q := len(u), len(v)
	return &source{
		p: p, q: q,
		spectrumV: forwardReal(q, width, v),
		spectrumU: forward(p, height, u),
		averageV:  average(q, 0, j, width>>j, width, v),
		averageU:  average(p, 0, j, height>>j, height, u),
	}
}

// grid is a sampling grid of p×q samples and its matrices. Samples stand in
// split order.
type grid struct {
	p, q                 int
	inverseV, inverseU   [2][]float32 // by parity
	averageV, averageU   []float32
	spectrumV, spectrumU [2][]float32 // by parity; nil if no order follows
}

func newGrid(t *Transform, res int) *grid {
	g := &grid{p: t.source.p >> res, q: t.source.q >> res}
	u, v := places(g.p), places(g.q)
	for odd := range 2 {
		g.inverseV[odd] = inverse(g.q/2, odd, false)
		g.inverseU[odd] = inverse(g.p/2, odd, true)
	}
	g.averageV = average(t.source.q, res, t.j, t.outW, g.q, v)
	g.averageU = average(t.source.p, res, t.j, t.outH, g.p, u)
	if t.order == 2 && res < t.j-1 {
		for odd := range 2 {
			g.spectrumV[odd] = partReal(g.q, odd)
			g.spectrumU[odd] = part(g.p, odd)
		}
	}
	return g
}

// places returns where each of n samples stands in split order.
func places(n int) []int {
	at := make([]int, n)
	for i := range n {
		at[split(i, n)] = i
	}
	return at
}
