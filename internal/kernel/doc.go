// Package kernel holds the hot loops of sotto: float32 matrix products, the
// weighted-gradient kernel of private training, and vector kernels. Each has a
// pure Go reference that is always compiled, and AVX2 and AVX-512 assembly on
// amd64 that a generator in _gen writes as text.
//
// # Levels
//
// The best level of the machine is chosen once, at start. Results are
// bit-identical between runs, machines and numbers of cores on one level;
// between levels they differ by rounding (the vector levels fuse multiply and
// add, the pure Go level rounds twice on every architecture). Matrix products
// have the same bits on AVX2 and AVX-512. Building with the tag purego leaves
// the assembly out.
//
// # Batch invariance
//
// An element of a product depends, to the last bit, only on its row of the
// left matrix, its column of the right one, and their length k. Its place in
// the tile, the number of rows and columns beside it and the strides play no
// part. Private training needs that: an example's gradient must not depend,
// not even in its last bit, on who else is in the batch. The order is: k is
// cut in blocks that depend on k alone; in each block one chain of fused
// multiply-adds runs in order from +0; the block sums are added in order.
//
// # Concurrency and aliasing
//
// Every kernel is single-threaded and safe to call from many goroutines on
// disjoint outputs. Outputs may not overlap inputs except where a kernel says
// so. Steady-state calls do not allocate. Products are cut in assembly calls of
// about 50 µs, because the Go scheduler cannot interrupt one.
//
// # Panics
//
// Wrong lengths, strides and overlaps are programmer's mistakes and panic with
// a constant string. NaN and Inf are data: they follow IEEE 754.
package kernel
