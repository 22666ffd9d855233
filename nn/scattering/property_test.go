package scattering

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// stroke draws an open curve like a digit's, moved by (du, dv) pixels.
func stroke(height, width int, du, dv float64) []float32 {
	x := make([]float32, height*width)
	for i := range 200 {
		s := float64(i) / 199
		cu := float64(height)*(0.25+0.5*s) + du
		cv := float64(width)*(0.5+0.18*math.Sin(2*math.Pi*s)) + dv
		for u := range height {
			for v := range width {
				a, b := float64(u)-cu, float64(v)-cv
				at := &x[u*width+v]
				*at = max(*at, float32(math.Exp(-(a*a+b*b)/2)))
			}
		}
	}
	return x
}

func norm2[T float32 | float64](x []T) (s float64) {
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}

func difference(x, y []float32) []float32 {
	d := make([]float32, len(x))
	for i := range d {
		d[i] = x[i] - y[i]
	}
	return d
}

// littlewoodPaley returns the least and the largest value of
// |φ|² + ½Σ(|ψ(ω)|² + |ψ(-ω)|²) over the frequencies of a p×p image.
func littlewoodPaley(p, j, l int) (low, high float64) {
	bank := newBank(p, p, j, l)
	low = math.Inf(1)
	for u := range p {
		for v := range p {
			a := lowpass(j, 2*math.Pi*float64(u)/float64(p)) * lowpass(j, 2*math.Pi*float64(v)/float64(p))
			sum := a * a
			for _, scale := range bank {
				for _, f := range scale {
					sum += (math.Pow(f[u*p+v], 2) + math.Pow(f[(p-u)%p*p+(p-v)%p], 2)) / 2
				}
			}
			low, high = min(low, sum), max(high, sum)
		}
	}
	return low, high
}

// The filters cover every frequency and amplify none: what the doc states.
func TestLittlewoodPaley(t *testing.T) {
	low, high := littlewoodPaley(36, 2, 8)
	require.InDelta(t, 0.123, low, 1e-3)
	require.LessOrEqual(t, high, 1+1e-12)
	_, high = littlewoodPaley(48, 3, 8)
	require.InDelta(t, 1.0185, high, 1e-4)
}

// layerBound bounds the squared norm of the map from real p×p signals to their
// sampled convolutions with φ (weight 2^(j-res)) and with ψ of the scales from
// first on (weight 2^(scale-res)), by Schur's test in the frequency domain:
// sampling couples the frequencies that alias.
func layerBound(bank [][][]float64, p, res, first int) float64 {
	j := len(bank)
	n := p >> res
	wide := func(k int) int {
		if k >= n/2 {
			return k + p - n
		}
		return k
	}
	rows := make([]float64, n*n)
	charge := func(f func(u, v int) float64, step int) {
		m := n / step
		for u := range n {
			for v := range n {
				class := 0.0
				for a := range step {
					for b := range step {
						class += math.Abs(f(wide((u+a*m)%n), wide((v+b*m)%n)))
					}
				}
				rows[u*n+v] += math.Abs(f(wide(u), wide(v))) * class
			}
		}
	}
	omega := func(k int) float64 { return 2 * math.Pi * float64(k) / float64(p) }
	charge(func(u, v int) float64 { return lowpass(j, omega(u)) * lowpass(j, omega(v)) }, 1<<(j-res))
	for scale := first; scale < j; scale++ {
		for _, f := range bank[scale] {
			charge(func(u, v int) float64 { return f[u*p+v] }, 1<<(scale-res))
		}
	}
	worst := 0.0
	for u := range n {
		for v := range n {
			worst = max(worst, (rows[u*n+v]+rows[(n-u)%n*n+(n-v)%n])/2)
		}
	}
	return worst
}

// distanceBound bounds 4^J·|Sx-Sy|² over |x̃-ỹ|², x̃ the padded image: every
// feature leaves the first layer, that of its first modulus, or that of its
// second.
func distanceBound(p, j, l int) float64 {
	bank := newBank(p, p, j, l)
	second, third := 1.0, 1.0
	for res := range j {
		second = max(second, layerBound(bank, p, res, res+1))
		third = max(third, layerBound(bank, p, res, j))
	}
	return layerBound(bank, p, 0, 0) * second * third
}

func pad(x []float32, height, width, j int) []float32 {
	var out []float32
	for _, u := range reflection(height, j) {
		for _, v := range reflection(width, j) {
			out = append(out, x[u*width+v])
		}
	}
	return out
}

// The transform contracts (Bruna and Mallat 2013, section 2.3): on every pair
// tried, and, whatever the pair, up to the factor that sampling can add.
func TestContraction(t *testing.T) {
	bound := distanceBound(36, 2, 8)
	require.InDelta(t, 1.6315, bound, 1e-3) // the doc states its square root
	tr := must(t, 28, 28, Options{J: 2})
	check := func(x, y []float32) float64 {
		sx, sy := tr.Apply(nil, x), tr.Apply(nil, y)
		ratio := 16 * norm2(difference(sx, sy)) / norm2(pad(difference(x, y), 28, 28, 2))
		require.LessOrEqual(t, ratio, 1.0)
		return ratio
	}
	for seed := range uint64(20) {
		x, y := noise(784, seed), noise(784, seed+100)
		check(x, y)
		bump := stroke(28, 28, float64(seed%5)-2, float64(seed%7)-3.5)
		for i := range y {
			y[i] = x[i] + bump[i]
		}
		check(x, y)
		check(stroke(28, 28, 0, 0), bump)
	}
	flat := make([]float32, 784)
	for i := range flat {
		flat[i] = 1
	}
	require.InDelta(t, 784.0/1296, check(flat, make([]float32, 784)), 1e-5)
}

// Moving the image by less than 2^J moves the features much less than the
// pixels.
func TestTranslation(t *testing.T) {
	tr := must(t, 28, 28, Options{J: 2})
	x := stroke(28, 28, 0, 0)
	sx := tr.Apply(nil, x)
	for _, d := range []float64{0.25, 0.5, 1} {
		for _, y := range [][]float32{stroke(28, 28, d, 0), stroke(28, 28, 0, d), stroke(28, 28, d, -d)} {
			raw := norm2(difference(x, y)) / norm2(x)
			moved := norm2(difference(sx, tr.Apply(nil, y))) / norm2(sx)
			require.Less(t, moved, 0.4*raw)
			require.Greater(t, moved, 0.01*raw) // but they do move
		}
	}
}

// Energy falls with the order, and three orders hold most of it.
func TestEnergy(t *testing.T) {
	tr := must(t, 28, 28, Options{J: 2})
	x := stroke(28, 28, 0, 0)
	s := tr.Apply(nil, x)
	total := norm2(pad(x, 28, 28, 2)) / 16
	e0, e1, e2 := norm2(s[:49])/total, norm2(s[49:17*49])/total, norm2(s[17*49:])/total
	t.Logf("orders hold %.3f, %.3f, %.4f", e0, e1, e2)
	require.Greater(t, e0, 1.5*e1)
	require.Greater(t, e1, 10*e2)
	require.Greater(t, e2, 0.01)
	require.Greater(t, e0+e1+e2, 0.75)
	require.Less(t, e0+e1+e2, 1.0)
}

// Transposing the image turns every orientation t into L/2-2-t, up to the one
// frequency that a coarse grid holds with one sign only.
func TestTransposition(t *testing.T) {
	const h, w, j, l = 13, 20, 3, 6
	x := noise(h*w, 3)
	y := make([]float32, h*w)
	for u := range h {
		for v := range w {
			y[v*h+u] = x[u*w+v]
		}
	}
	sx := must(t, h, w, Options{J: j, L: l}).Apply(nil, x)
	sy := must(t, w, h, Options{J: j, L: l}).Apply(nil, y)
	const oh, ow = h >> j, w >> j
	turned := func(t int) int { return (2*l + l/2 - 2 - t) % l }
	same := func(a, b int) {
		for u := range oh {
			for v := range ow {
				require.InDelta(t, sx[(a*oh+u)*ow+v], sy[(b*ow+v)*oh+u], 1e-5)
			}
		}
	}
	same(0, 0)
	for j1 := range j {
		for t1 := range l {
			same(1+j1*l+t1, 1+j1*l+turned(t1))
		}
	}
	base := 1 + j*l
	for j1 := range j {
		paths := (j - 1 - j1) * l // of one first orientation
		for t1 := range l {
			for j2 := range j - 1 - j1 {
				for t2 := range l {
					same(base+t1*paths+j2*l+t2, base+turned(t1)*paths+j2*l+turned(t2))
				}
			}
		}
		base += l * paths
	}
	require.Equal(t, len(sx), base*oh*ow)
}

// A wave is seen by the wavelet of its direction and length.
func TestOrientation(t *testing.T) {
	tr := must(t, 32, 32, Options{J: 2})
	for scale := range 2 {
		for want := range 8 {
			angle := float64(3-want) * math.Pi / 8
			xi := 3 * math.Pi / 4 / float64(1+scale)
			x := make([]float32, 32*32)
			for u := range 32 {
				for v := range 32 {
					x[u*32+v] = float32(math.Cos(xi * (math.Cos(angle)*float64(u) + math.Sin(angle)*float64(v))))
				}
			}
			s := tr.Apply(nil, x)
			best, most := 0, 0.0
			for channel := range 16 {
				if e := norm2(s[(1+channel)*64 : (2+channel)*64]); e > most {
					best, most = channel, e
				}
			}
			require.Equal(t, scale*8+want, best)
		}
	}
}

func TestPlainImages(t *testing.T) {
	tr := must(t, 16, 20, Options{J: 2})
	x := make([]float32, 16*20)
	for _, f := range tr.Apply(nil, x) {
		require.Zero(t, f)
	}
	for i := range x {
		x[i] = 3
	}
	for i, f := range tr.Apply(nil, x) {
		want := float32(0)
		if i < 20 {
			want = 3
		}
		require.InDelta(t, want, f, 3e-6)
	}
	// Scaling the image scales the features, as far as the doc says.
	x = noise(16*20, 1)
	s := tr.Apply(nil, x)
	for _, scale := range []float64{-1024, 1e12, 1e-12} {
		y := make([]float32, len(x))
		factor := math.Copysign(math.Exp2(math.Round(math.Log2(math.Abs(scale)))), scale)
		for i := range x {
			y[i] = x[i] * float32(factor)
		}
		for i, f := range tr.Apply(nil, y) {
			want := math.Abs(factor) * float64(s[i])
			if i < 20 {
				want = factor * float64(s[i])
			}
			require.InDelta(t, want, f, 1e-8*math.Abs(factor))
		}
	}
}
