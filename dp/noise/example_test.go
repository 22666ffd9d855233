package noise_test

import (
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/dp/noise"
	"github.com/sotto-ml/sotto/internal/stream"
	"github.com/sotto-ml/sotto/internal/stream/streamtest"
)

// A sum of integers whose l2 sensitivity is 2^20 grid units, released with noise
// multiplier 1.
func ExampleRoundedGaussian() {
	sum := make([]int64, 100_000)
	mechanism, err := noise.NewRoundedGaussian(1 << 20)
	if err != nil {
		fmt.Println(err)
		return
	}
	key := stream.NewKey()
	defer key.Erase()
	mechanism.AddBlocks(sum, &key, 0)

	squares := 0.0
	for _, x := range sum {
		squares += float64(x) * float64(x)
	}
	deviation := math.Sqrt(squares/float64(len(sum))) / (1 << 20)
	fmt.Println("deviation is 1 within 5%:", math.Abs(deviation-1) < 0.05)
	// Output: deviation is 1 within 5%: true
}

// The noise of a block depends on the key and the block's number alone.
func ExampleRoundedGaussian_AddBlocks() {
	mechanism, err := noise.NewRoundedGaussian(3)
	if err != nil {
		fmt.Println(err)
		return
	}
	key := streamtest.Key(1) // a test's
	whole, parts := make([]int64, 10_000), make([]int64, 10_000)
	mechanism.AddBlocks(whole, &key, 0)
	mechanism.AddBlocks(parts[noise.BlockSize:], &key, 1)
	mechanism.AddBlocks(parts[:noise.BlockSize], &key, 0)
	fmt.Println(fmt.Sprint(whole) == fmt.Sprint(parts))
	// Output: true
}

func ExampleDiscreteLaplace() {
	mechanism, err := noise.NewDiscreteLaplace(2.5)
	if err != nil {
		fmt.Println(err)
		return
	}
	key := stream.NewKey()
	defer key.Erase()
	counts := []int64{1_000_000, 2_000_000}
	mechanism.AddBlocks(counts, &key, 0)
	fmt.Println(counts[0] > 999_000, counts[1] < 2_001_000) // but for e^-400
	// Output: true true
}

func ExampleNewDiscreteGaussian() {
	_, err := noise.NewDiscreteGaussian(math.NaN())
	fmt.Println(err)
	// Output: noise: sigma is NaN, must lie in [2^-7, 2^36] grid units
}
