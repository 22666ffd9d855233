// Package whitening turns features into few, evenly spread coordinates by what
// public samples show of their covariance. Private training of a linear model
// on top of them needs less noise for the same accuracy: the part of a feature
// vector that all examples share, and its few directions of large variance, no
// longer use up the clip norm.
//
//	w, err := whitening.New(samples, whitening.Options{Components: 500, Ridge: 3})
//	rows = w.Apply(nil, rows) // train nn.Linear on these
//	params := w.Fold(nil, model.Params(), 10) // the same model over the features themselves
//
// # The map
//
// With m the samples' mean and (s_i, v_i) the leading eigenpairs of their
// covariance, coordinate i of a row x is v_i·(x - m) / sqrt(s_i + ridge). The
// eigenvectors come from a randomised subspace iteration (Halko, Martinsson and
// Tropp 2011, algorithm 4.4) with four rounds and twenty spare directions; those
// with an eigenvalue close to the last one's are found up to a rotation among
// themselves.
//
// # What is not protected
//
// Nothing is added for privacy: the map is a function of the samples, which must
// be public. Samples of the private data, or of anyone's data who was not asked,
// do not belong here. Drawings made by a program, as in examples/mnist, do.
//
// # Determinism, concurrency, errors
//
// The result depends on the samples, the options and the instruction set, never
// on the number of cores. A Whitening does not change and may be used
// concurrently. Samples and options give errors; rows of another length panic.
package whitening
