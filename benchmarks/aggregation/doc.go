// Package aggregation holds benchmarks of robust aggregation against what the
// machine can do at most and against what one would write instead, in the same
// process and in turns.
//
//	go test -run '^$' -bench . -cpu 1 ./benchmarks/aggregation
//
// Metrics, each the median of ratios over at least seven rounds:
//
// On one core and Linux, seconds are those that the process computed, so that those
// in which another program had the core do not count; that it shares memory with them
// still does. On more cores they are those that passed.
//
//	of-read  the rows' bytes over time, as a share of a streaming read of the
//	         rows, at the fastest level
//	of-peak  two operations for each element of each pair of rows over time, as
//	         a share of the peak of multiply-adds, at the same level
//	x-sort   speed as a multiple of gathering each column and sorting it with
//	         package slices (timed on fewer columns)
//	x-byzfl  speed as a multiple of the faster of ByzFL's two back ends, whose
//	         seconds were taken on another machine of this kind
//	x-beside the same, with the library calls of those back ends made in turns in
//	         the same run, by an interpreter that -python names:
//	         go test -run '^$' -bench Rules -cpu 1 ./benchmarks/aggregation -python python3
//	x-gonum  speed as a multiple of gonum's floats.Distance of every pair
//
// Names carry parameters as k=v: n clients, d coordinates, isa the level that
// is forced.
package aggregation
