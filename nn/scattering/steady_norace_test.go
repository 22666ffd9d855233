//go:build !race

package scattering

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSteadyStateAllocations(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	tr := must(t, 12, 12, Options{J: 2, L: 4})
	images := [][]float32{noise(144, 1), noise(144, 2)}
	dst := tr.Batch(nil, images)
	require.Zero(t, testing.AllocsPerRun(10, func() { tr.Apply(dst[0], images[0]) }))
	require.Zero(t, testing.AllocsPerRun(10, func() { tr.Batch(dst, images) }))
}
