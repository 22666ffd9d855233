package stream

import (
	"slices"
	"testing"
	"time"
)

// inTurns times f and g in alternating turns and returns the median seconds of
// a call of each. The benchmark's own clock counts f alone.
func inTurns(b *testing.B, f, g func()) (ours, theirs float64) {
	const calls = 200
	turn := func(f func()) float64 {
		start := time.Now()
		for range calls {
			f()
		}
		return time.Since(start).Seconds() / calls
	}
	turn(f)
	turn(g)
	var fs, gs []float64
	for range 15 {
		fs, gs = append(fs, turn(f)), append(gs, turn(g))
	}
	for b.Loop() {
		f()
	}
	slices.Sort(fs)
	slices.Sort(gs)
	return fs[len(fs)/2], gs[len(gs)/2]
}
