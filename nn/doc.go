// Package nn trains models whose layers know the gradient of every single
// example, as private training needs.
//
// Most users should build a Model with New, draw its parameters with Init, make
// a Pass with NewPass, and hand the Gradients of Pass.Backward to the trainer of
// package dp (private) or their Mean to an Optimizer (not private).
//
// # Examples' gradients without making them
//
// Private training clips the gradient of every example before it sums them.
// One forward and one backward pass give, at each layer with weights, the
// inputs x and the signals d (the loss' derivatives by the layer's outputs),
// and everything else follows from these two:
//
//   - Norms. The gradient of a Linear is d⊗x, so its norm is |d|·|x| and it need
//     not be made (Goodfellow 2015, "Efficient per-example gradient
//     computations"). Layers that act at several positions (convolutions,
//     sequences) make and keep it, make it and throw it away, or take the
//     norm from inner products of positions, whichever is cheapest in the memory
//     at hand (Li et al. 2022; Bu, Mao and Xu 2022).
//   - Weighted sums. An example's weight is folded into its signals, and one
//     product of matrices gives the sum over examples, without a second backward
//     pass (book-keeping: Bu et al. 2023, "Differentially private optimization on
//     large model at small cost").
//
// # What is guaranteed
//
// Two properties, on which the sensitivity of a private step stands:
//
// An example's outputs, loss, gradient and norm depend, to the last bit, on that
// example, the parameters and the instruction set alone: never on which other
// examples are in the batch, how many, or in what order. Layers that mix
// examples are refused when the model is built.
//
// A norm is never below the true norm of what WeightedSum adds for the example
// by more than a relative 2^-14, float32's rounding included, even where sums
// inside one example cancel. A NaN or an infinity in an example shows in its
// norm and, with weight 0, reaches nothing else.
//
// # What is not protected
//
// This package clips nothing and adds no noise. Gradients, norms, losses and
// outputs are as private as the examples they were computed from.
//
// # Shapes and layout
//
// A Shape is a vector {n}, a sequence {positions, features} or an image
// {channels, height, width}. Examples are flat rows of float32; callers give and
// get images in the order channel, row, column. A model's parameters are one
// contiguous vector; Model.Parameters says what lies where, in names like
// PyTorch's Sequential ("0.weight").
//
// # Randomness and determinism
//
// Initial parameters and Dropout draw from public seeds and are the same on
// every machine. All else is deterministic: the same bits on one instruction set,
// and equal up to rounding across instruction sets.
//
// # Concurrency and aliasing
//
// A Model may be read by any number of Passes, each used by one goroutine. A
// Pass keeps scratch for the largest batch it has seen and allocates nothing
// after; what it returns lasts until its next call. Rows handed in are copied,
// never kept. dst arguments are fully overwritten and returned; nil allocates.
//
// # Panics and errors
//
// Wrong lengths, and calls out of order, panic with a constant string. What
// comes from outside (layers' fields and shapes, targets, files) gives errors
// that name what is wrong and what is allowed. NaN in examples is neither: it
// shows in their norms.
package nn
