package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLevels(t *testing.T) {
	levels := Levels()
	require.Equal(t, Generic, levels[0])
	require.Equal(t, Best(), levels[len(levels)-1])
	require.Equal(t, Best(), Current())
	restore := Use(Generic)
	require.Equal(t, Generic, Current())
	restore()
	require.Equal(t, Best(), Current())
	require.PanicsWithValue(t, "kernel: level not supported by this machine", func() { Use(AVX512 + 1) })
	require.Equal(t, "generic avx2 avx512", Generic.String()+" "+AVX2.String()+" "+AVX512.String())
}

func TestPeakFMACountsItsWork(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		require.Zero(t, PeakFMA(0))
		require.Positive(t, PeakFMA(1))
		require.Equal(t, 1000*PeakFMA(1), PeakFMA(1000))
	})
}
