// Package training holds benchmarks of whole training steps, private against
// plain, in turns in one process: the number that counts is their ratio, which
// a busy or slow machine moves little.
//
//	go test -run '^$' -bench Train -cpu 1 ./benchmarks/training
//
// A private step is dp.Trainer.Step over 60,000 records at an expected batch of
// 256: exact Poisson draw, gradient norms, clipping, sums in integers, exact
// noise, optimiser. A plain step is what one would write without privacy: 256
// records of a shuffled order, their mean gradient, the same optimiser. Both
// read the same rows through the same model code. Metrics:
//
//	x-plain      time of a private example as a multiple of a plain one's; the
//	             median over rounds of both
//	examples/s   of private training
//	plain-ex/s   of plain training
//	mem-x        memory that private training holds between steps (parameters,
//	             optimiser, scratch) as a multiple of plain training's
//	noise-share  part of the private step's time that goes into the noise
//	noise-ns     time of the noise for a parameter
//
// Models: linear (784-10), mlp128 (784-128-10), mlp2048 (784-2048-10), and the
// cnn of examples/mnist with 26,010 parameters.
package training
