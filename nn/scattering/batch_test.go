package scattering

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/stretchr/testify/require"
)

func sameBits(t *testing.T, want, got []float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, math.Float32bits(want[i]), math.Float32bits(got[i]), "feature %d", i)
	}
}

// The features of an image are the same bits alone, in any company and place,
// on any number of cores, into memory that holds anything.
func TestBatchInvariance(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		tr := must(t, 13, 10, Options{J: 2, L: 5})
		images := make([][]float32, 43)
		want := make([][]float32, len(images))
		for i := range images {
			images[i] = noise(130, uint64(i))
			want[i] = tr.Apply(nil, images[i])
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for _, procs := range []int{1, 2, 3, 8} {
			former := runtime.GOMAXPROCS(procs)
			for _, n := range []int{0, 1, 7, 8, 9, 43} {
				order := rng.Perm(len(images))[:n]
				batch := make([][]float32, n)
				dst := make([][]float32, n)
				for i, k := range order {
					batch[i] = images[k]
					if i%3 > 0 {
						dst[i] = make([]float32, tr.Len())
						for j := range dst[i] {
							dst[i][j] = float32(math.NaN())
						}
					}
				}
				got := tr.Batch(dst, batch)
				for i, k := range order {
					sameBits(t, want[k], got[i])
					sameBits(t, want[k], dst[i])
				}
				for i, f := range tr.Batch(nil, batch) {
					sameBits(t, want[order[i]], f)
				}
			}
			runtime.GOMAXPROCS(former)
		}
	})
}

// AVX2 and AVX-512 give the same bits, as the doc of the kernels says.
func TestVectorLevelsAgree(t *testing.T) {
	if kernel.Best() < kernel.AVX512 {
		t.Skip("needs AVX-512")
	}
	tr := must(t, 28, 28, Options{J: 2})
	x := noise(784, 1)
	defer kernel.Use(kernel.AVX512)()
	want := tr.Apply(nil, x)
	kernel.Use(kernel.AVX2)
	sameBits(t, want, tr.Apply(nil, x))
}

// NaN and Inf stay in their image.
func TestBadPixels(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		tr := must(t, 12, 12, Options{J: 2, L: 4})
		images := make([][]float32, 17)
		for i := range images {
			images[i] = noise(144, uint64(i))
		}
		want := tr.Batch(nil, images)
		images[3][70] = float32(math.NaN())
		images[9][0] = float32(math.Inf(-1))
		got := tr.Batch(nil, images)
		for i := range images {
			if i != 3 && i != 9 {
				sameBits(t, want[i], got[i])
				continue
			}
			for _, f := range got[i] {
				require.True(t, math.IsNaN(float64(f)) || math.IsInf(float64(f), 0))
			}
		}
		sameBits(t, want[4], tr.Apply(nil, images[4])) // nothing stays behind
	})
}

func TestConcurrentUse(t *testing.T) {
	tr := must(t, 12, 12, Options{J: 2, L: 4})
	images := make([][]float32, 20)
	for i := range images {
		images[i] = noise(144, uint64(i))
	}
	want := tr.Batch(nil, images)
	var wg sync.WaitGroup
	got := make([][][]float32, 6)
	for g := range got {
		wg.Go(func() {
			if g%2 == 0 {
				got[g] = tr.Batch(nil, images)
				return
			}
			for _, x := range images {
				got[g] = append(got[g], tr.Apply(nil, x))
			}
		})
	}
	wg.Wait()
	for _, features := range got {
		for i := range features {
			sameBits(t, want[i], features[i])
		}
	}
}

// Working memory that waits for the next call keeps no caller's slice alive.
func TestSlicesAreReleased(t *testing.T) {
	tr := must(t, 8, 8, Options{J: 2, L: 2})
	tr.Batch(nil, [][]float32{noise(64, 1), noise(64, 2), noise(64, 3)})
	tr.Apply(nil, noise(64, 1))
	require.NotEmpty(t, tr.free)
	for _, s := range tr.free {
		for b := range lanes {
			require.Nil(t, s.images[b])
			require.Nil(t, s.outputs[b])
		}
	}
}

func TestMisuse(t *testing.T) {
	tr := must(t, 8, 12, Options{J: 2})
	const badImage, badDst, overlap = "scattering: image length is not height·width", "scattering: dst length is not Len", "scattering: dst overlaps an image"
	image := noise(96, 1)
	require.PanicsWithValue(t, badImage, func() { tr.Apply(nil, image[:95]) })
	require.PanicsWithValue(t, badImage, func() { tr.Apply(nil, nil) })
	require.PanicsWithValue(t, badDst, func() { tr.Apply(make([]float32, tr.Len()+1), image) })
	require.PanicsWithValue(t, badDst, func() { tr.Apply([]float32{}, image) })
	shared := make([]float32, tr.Len()+95)
	require.PanicsWithValue(t, overlap, func() { tr.Apply(shared[95:], shared[:96]) })
	require.PanicsWithValue(t, overlap, func() { tr.Apply(shared[:tr.Len()], shared[tr.Len()-1:]) })
	require.NotPanics(t, func() { tr.Apply(shared[:tr.Len()], append(shared, 0)[tr.Len():]) })
	require.PanicsWithValue(t, "scattering: dst and images differ in length", func() { tr.Batch(make([][]float32, 1), [][]float32{image, image}) })
	require.PanicsWithValue(t, badImage, func() { tr.Batch(nil, [][]float32{image, image[1:]}) })
	require.PanicsWithValue(t, badDst, func() { tr.Batch([][]float32{make([]float32, 3)}, [][]float32{image}) })
}

func TestNew(t *testing.T) {
	for _, c := range []struct {
		height, width int
		o             Options
		message       string
	}{
		{28, 28, Options{}, "scattering: J is 0, must be from 1 to 8"},
		{28, 28, Options{J: 9}, "scattering: J is 9, must be from 1 to 8"},
		{28, 28, Options{J: 2, L: -1}, "scattering: L is -1, must be from 1 to 32 (0 means 8)"},
		{28, 28, Options{J: 2, L: 33}, "scattering: L is 33, must be from 1 to 32 (0 means 8)"},
		{28, 28, Options{J: 2, Order: 3}, "scattering: Order is 3, must be 1 or 2 (0 means 2)"},
		{28, 7, Options{J: 3}, "scattering: size 28x7 is too small for J = 3, each side must be at least 2^J = 8"},
		{7, 28, Options{J: 3}, "scattering: size 7x28 is too small for J = 3, each side must be at least 2^J = 8"},
		{-28, 28, Options{J: 1}, "scattering: size -28x28 is too small for J = 1, each side must be at least 2^J = 2"},
		{512, 512, Options{J: 2}, "scattering: size 512x512 is too large, the padded area may be at most 262144 for L = 8"},
		{400, 400, Options{J: 2, L: 16}, "scattering: size 400x400 is too large, the padded area may be at most 131072 for L = 16"},
		{math.MaxInt32, 4, Options{J: 2}, "scattering: size 2147483647x4 is too large, the padded area may be at most 262144 for L = 8"},
	} {
		_, err := New(c.height, c.width, c.o)
		require.EqualError(t, err, c.message)
	}
	tr := must(t, 28, 28, Options{J: 2})
	channels, h, w := tr.OutputShape()
	require.Equal(t, [4]int{81, 81, 7, 7}, [4]int{tr.Channels(), channels, h, w})
	channels, h, w = must(t, 33, 21, Options{J: 3, L: 6, Order: 1}).OutputShape()
	require.Equal(t, [3]int{19, 4, 2}, [3]int{channels, h, w})
	require.Equal(t, 217, must(t, 16, 16, Options{J: 3}).Channels())
}
