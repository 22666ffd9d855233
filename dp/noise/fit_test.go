package noise

import (
	"math"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
	"github.com/sotto-ml/sotto/internal/stream/streamtest"
)

// The statistical tests run on fixed keys: once passed they raise no false
// alarm. Their limits are those that a random key would pass all but once in
// 10^9 tests, so that a red one is a fault.
const alarm = 1e-9

// chiLimit is above the chi-square quantile of alarm: df + 2 sqrt(df x) + 2x, x =
// -ln alarm (Laurent and Massart 2000, Lemma 1).
func chiLimit(df int) float64 {
	x := -math.Log(alarm)
	return float64(df) + 2*math.Sqrt(float64(df)*x) + 2*x
}

// cells cuts the integers: cell i holds those at most top[i], the last all others.
type cells struct {
	top  []int64
	prob []float64
}

// newCells cuts by a distribution function on the integers into cells of at
// least least probability each, symmetric or not.
func newCells(cdf func(x int64) float64, lo, hi int64, wanted int) cells {
	var c cells
	last, least := 0.0, 1/float64(wanted)
	step := max(1, (hi-lo)/int64(20*wanted))
	for x := lo; x < hi; x += step {
		if p := cdf(x); p-last >= least && 1-p >= least/2 {
			c.top, c.prob = append(c.top, x), append(c.prob, p-last)
			last = p
		}
	}
	c.prob = append(c.prob, 1-last)
	return c
}

func (c cells) index(x int64) int {
	return sort.Search(len(c.top), func(i int) bool { return x <= c.top[i] })
}

// misfit is the chi-square of samples over its limit: above 1 they are refused.
func (c cells) misfit(samples []int64) float64 {
	counts := make([]float64, len(c.prob))
	for _, x := range samples {
		counts[c.index(x)]++
	}
	chi := 0.0
	for i, p := range c.prob {
		mean := p * float64(len(samples))
		chi += (counts[i] - mean) * (counts[i] - mean) / mean
	}
	return chi / chiLimit(len(c.prob)-1)
}

func roundedCDF(sigma float64) func(x int64) float64 {
	return func(x int64) float64 { return math.Erfc(-(float64(x)+0.5)/(sigma*math.Sqrt2)) / 2 }
}

// summed is the distribution function of weights, summed from far left.
func summed(weight func(x int64) float64, reach int64) func(x int64) float64 {
	cum, total := make([]float64, 2*reach+1), 0.0
	for x := -reach; x <= reach; x++ {
		total += weight(x)
		cum[x+reach] = total
	}
	return func(x int64) float64 { return cum[min(max(x, -reach), reach)+reach] / total }
}

func discreteGaussianCDF(sigma float64) func(x int64) float64 {
	return summed(func(x int64) float64 { return math.Exp(-float64(x) * float64(x) / (2 * sigma * sigma)) }, int64(12*sigma)+12)
}

func discreteLaplaceCDF(scale float64) func(x int64) float64 {
	return summed(func(x int64) float64 { return math.Exp(-math.Abs(float64(x)) / scale) }, int64(45*scale)+45)
}

func samplesOf(m interface {
	AddBlocks([]int64, *stream.Key, uint64)
}, n int, seed uint64) []int64 {
	key, dst := streamtest.Key(seed), make([]int64, n)
	m.AddBlocks(dst, &key, 0)
	return dst
}

// The rounded Gaussian fits its law and no other: scales of 2/3 and 3/2, of 1%
// more, and a shift of 1% are refused by the same test on as many samples.
func TestRoundedGaussianFits(t *testing.T) {
	n := 1 << 22
	if testing.Short() {
		n = 1 << 20
	}
	for i, sigma := range []float64{0.3, 0.5, 1, 3, 30, 1 << 20} {
		law := newCells(roundedCDF(sigma), -int64(10*sigma)-10, int64(10*sigma)+10, 60)
		samples := samplesOf(newRounded(t, sigma), n, uint64(50+i))
		require.Less(t, law.misfit(samples), 1., "sigma=%v", sigma)
		for _, scale := range []float64{2. / 3, 1.5, 0.99, 1.01} {
			if n < 1<<22 && scale > 0.9 && scale < 1.1 {
				continue
			}
			require.Greater(t, law.misfit(samplesOf(newRounded(t, sigma*scale), n, uint64(60+i))), 1., "sigma=%v scale=%v", sigma, scale)
		}
		if shift := int64(math.Round(sigma / 100)); shift > 0 && n == 1<<22 {
			for j := range samples {
				samples[j] += shift
			}
			require.Greater(t, law.misfit(samples), 1., "sigma=%v shifted", sigma)
		}
	}
}

// A keystream with a stuck bit is refused: the tests have power against faults
// of the bits, not only of the scale.
func TestStuckBitsAreRefused(t *testing.T) {
	const n = 1 << 20
	const sigma = 1 << 20
	g := newRounded(t, sigma)
	law := newCells(roundedCDF(sigma), -10*sigma, 10*sigma, 60)
	draw := func(change func(i int, w uint64) uint64) []int64 {
		words, slow, dst := make([]uint64, n), make([]byte, n/groupSize), make([]int64, n)
		testStream(70).Fill(words)
		for i, w := range words {
			words[i] = change(i%groupSize, w)
		}
		rounded(dst, words, slow, sigma, g.limit)
		return dst
	}
	require.Less(t, law.misfit(draw(func(_ int, w uint64) uint64 { return w })), 1.)
	for bit := 56; bit < 64; bit++ {
		for first := range 2 { // of u, of v
			stuck := draw(func(i int, w uint64) uint64 {
				if i/pairs == first {
					w &^= 1 << bit
				}
				return w
			})
			fit := max(law.misfit(stuck), pairMisfit(stuck))
			if first == 0 && bit >= 59 || first == 1 && bit >= 58 {
				require.Greater(t, fit, 1., "bit %d of word %d", bit, first)
			}
		}
	}
}

// pairMisfit is the chi-square over its limit of where the two samples of a pair
// lie together, in cells of angle, which is uniform, by radius at quartiles.
func pairMisfit(samples []int64) float64 {
	const angles = 64
	radii := []float64{2 * math.Ln2 * 0.41503749927884376, 2 * math.Ln2, 4 * math.Ln2} // -2 ln(3/4), -2 ln(1/2), -2 ln(1/4)
	const sigma = 1 << 20
	counts := make([]float64, 4*angles)
	for at := 0; at < len(samples); at += groupSize {
		for i := range pairs {
			x, y := float64(samples[at+i]), float64(samples[at+pairs+i])
			angle := int((math.Atan2(y, x)/(2*math.Pi) + 0.5) * angles)
			counts[min(angle, angles-1)*4+sort.SearchFloat64s(radii, (x*x+y*y)/(sigma*sigma))]++
		}
	}
	mean, chi := float64(len(samples)/2)/float64(len(counts)), 0.0
	for _, c := range counts {
		chi += (c - mean) * (c - mean) / mean
	}
	return chi / chiLimit(len(counts)-1)
}

// The samples of a pair, of neighbouring pairs, chunks and blocks, and of the
// same place under neighbouring ids and another key are independent.
func TestIndependence(t *testing.T) {
	const n, sigma = 1 << 20, 1 << 20
	g := newRounded(t, sigma)
	a := samplesOf(g, n, 80)
	require.Less(t, pairMisfit(a), 1., "pairs")
	other := samplesOf(g, n, 81)
	// Correlations of the samples and of their squares: each is near a normal of
	// deviation sqrt(n), or 2 sqrt(n): 6.2 deviations are beyond 10^-9.
	correlated := func(a, b []int64) float64 {
		x, squares := 0.0, 0.0
		for i := range a {
			u, v := float64(a[i])/sigma, float64(b[i])/sigma
			x += u * v
			squares += (u*u - 1) * (v*v - 1)
		}
		return max(math.Abs(x), math.Abs(squares)/2) / (6.2 * math.Sqrt(float64(len(a))))
	}
	for _, lag := range []int{1, 2, 8, 16, chunk, BlockSize, BlockSize + 8} {
		require.Less(t, correlated(a[lag:], a[:n-lag]), 1., "lag %d", lag)
	}
	require.Less(t, correlated(a, other), 1., "keys")
	mixed := make([]int64, n)
	for i := range mixed {
		mixed[i] = a[i]/64*63 + other[i]/8
	}
	require.Greater(t, correlated(a, mixed), 1., "a correlation of one in eight is seen")
	for i := range mixed {
		if mixed[i] = other[i]; magnitude(a[i]) > sigma {
			mixed[i] += other[i] / 10
		}
	}
	require.Greater(t, correlated(a, mixed), 1., "a dependence of the sizes alone is seen")
}

// The low bits of a sample at a large scale are uniform.
func TestLowBits(t *testing.T) {
	const n = 1 << 20
	counts := make([]int64, 256)
	for _, x := range samplesOf(newRounded(t, 1<<20), n, 82) {
		counts[x&255]++
	}
	chi := 0.0
	for _, c := range counts {
		chi += (float64(c) - n/256) * (float64(c) - n/256) / (n / 256)
	}
	require.Less(t, chi, chiLimit(255))
}

// Samples beyond 4, 5 and 6 deviations come as often as they should.
func TestTails(t *testing.T) {
	const sigma = 1 << 20
	blocks := 1 << 14 // 2^26 samples
	if testing.Short() || kernel.Best() == kernel.Generic {
		blocks = 1 << 10
	}
	g, key := newRounded(t, sigma), streamtest.Key(83)
	var beyond [7]float64
	dst := make([]int64, BlockSize)
	for b := range blocks {
		clear(dst)
		g.AddBlocks(dst, &key, uint64(b))
		for _, x := range dst {
			if magnitude(x) >= 4*sigma {
				for k := 4; k < len(beyond) && magnitude(x) >= uint64(k)*sigma; k++ {
					beyond[k]++
				}
			}
		}
	}
	for k := 4; k < len(beyond); k++ {
		// Poisson: P(|X-m| >= x) <= 2 exp(-x²/(2(m+x/3))), x = 6.6 sqrt(m) + 15.
		mean := math.Erfc(float64(k)/math.Sqrt2) * float64(blocks) * BlockSize
		t.Logf("beyond %d sigma: %v, expected %.1f", k, beyond[k], mean)
		require.InDelta(t, mean, beyond[k], 6.6*math.Sqrt(mean)+15)
	}
	if blocks == 1<<14 {
		require.Positive(t, beyond[5], "the tail is cut") // expected 38: e^-38
	}
}

// The exact discrete laws fit their probabilities, and no other scale.
func TestDiscreteLawsFit(t *testing.T) {
	n := 400_000
	if testing.Short() {
		n = 50_000
	}
	for i, scale := range []float64{0.3, 0.5, 1, 2.75, 30.3} {
		gauss := func(scale float64) []int64 {
			g, err := NewDiscreteGaussian(scale)
			require.NoError(t, err)
			require.Equal(t, scale, g.Sigma())
			return samplesOf(g, n, uint64(90+i))
		}
		laplace := func(scale float64) []int64 {
			l, err := NewDiscreteLaplace(scale)
			require.NoError(t, err)
			require.Equal(t, scale, l.Scale())
			return samplesOf(l, n, uint64(90+i))
		}
		for name, c := range map[string]struct {
			law  cells
			draw func(float64) []int64
		}{
			"gaussian": {newCells(discreteGaussianCDF(scale), -int64(11*scale)-11, int64(11*scale)+11, 1000), gauss},
			"laplace":  {newCells(discreteLaplaceCDF(scale), -int64(30*scale)-30, int64(30*scale)+30, 1000), laplace},
		} {
			require.Less(t, c.law.misfit(c.draw(scale)), 1., "%s scale=%v", name, scale)
			for _, wrong := range []float64{2. / 3, 1.5} {
				require.Greater(t, c.law.misfit(c.draw(scale*wrong)), 1., "%s scale=%v times %v", name, scale, wrong)
			}
		}
	}
	// Not the rounded law: at sigma 1/2 they differ by 2% at 0.
	g, err := NewDiscreteGaussian(0.5)
	require.NoError(t, err)
	require.Greater(t, newCells(roundedCDF(0.5), -15, 15, 1000).misfit(samplesOf(g, n, 99)), 1.)
}

// At a large scale the discrete Gaussian is a rounded one within 1e-9 and more.
func TestDiscreteGaussianLargeScale(t *testing.T) {
	for i, sigma := range []float64{1000, 1 << 20, MaxSigma} {
		g, err := NewDiscreteGaussian(sigma)
		require.NoError(t, err)
		law := newCells(roundedCDF(sigma), -int64(10*sigma), int64(10*sigma), 60)
		require.Less(t, law.misfit(samplesOf(g, 100_000, uint64(100+i))), 1., "sigma=%v", sigma)
	}
}
