// Package limits holds benchmarks that measure kernels against what the machine
// can do at most, in the same process and in turns: the numbers that count are
// ratios, which a busy or slow machine moves little.
//
//	go test -run '^$' -bench . ./benchmarks/limits
//
// Denominators: BenchmarkPeakFMA (multiply-adds on registers alone),
// BenchmarkStream (reading memory; copying it beside) and BenchmarkKeystream
// (AES-256-CTR, the standard library's and ours). Metrics:
//
//	of-peak   share of the peak of multiply-adds, at the same level
//	of-read   bytes that a kernel must move, per second, as a share of a
//	          streaming read of as much memory, at the fastest level
//	x-gonum   speed as a multiple of gonum's
//	x-plain   time as a multiple of the plain kernel's
//	x-generic speed as a multiple of the pure Go level's
//	x-peer    speed as a multiple of gonum's blas32, of package math's float64
//	          function called on each element, or of crypto/cipher
//
// Every ratio is the median over at least nine rounds, each of two timings of
// the same round. Buffers are touched before they are timed. Names carry parameters as
// k=v; isa is the level that is forced.
package limits
