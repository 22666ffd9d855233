// Package scattering computes the two-dimensional wavelet scattering transform:
// features of an image that need no training data, and so cost no privacy. A
// linear model on top of them is the strongest known recipe for small images
// under differential privacy (Tramèr and Boneh 2021).
//
// Most users call [New] once and [Transform.Batch] on their images:
//
//	t, err := scattering.New(28, 28, scattering.Options{J: 2})
//	features := t.Batch(nil, images) // 81×7×7 each
//
// # Definition
//
// With x an image, ⋆ circular convolution over the padded image, ψ_{j,θ} Morlet
// wavelets of scale 2^j and orientation θ, and φ a Gaussian of scale 2^J:
//
//	order 0  x ⋆ φ
//	order 1  |x ⋆ ψ_{j1,θ1}| ⋆ φ
//	order 2  ||x ⋆ ψ_{j1,θ1}| ⋆ ψ_{j2,θ2}| ⋆ φ   for j1 < j2
//
// each sampled every 2^J pixels. J scales and L orientations give
// 1 + J·L + L²·J(J-1)/2 channels of height/2^J × width/2^J (rounded down).
// Channels stand in that order: order 0; order 1 with j1 slowest, then θ1;
// order 2 with j1 slowest, then θ1, j2, θ2. Paths with j2 <= j1 hold next to no
// energy and are left out (Bruna and Mallat 2013, section 3.2).
//
// The filters are those of Kymatio's Scattering2D (Andreux et al. 2020), as are
// padding, sampling grid and order of channels:
//
//   - ψ(u) = g(u)·(exp(iξ·u) - β), where g is a Gaussian with standard deviation
//     σ = 0.8·2^j along the orientation and σ·L/4 across it, ξ has length
//     3π/4·2^-j, and β gives the filter the mean zero. Orientation t = 0..L-1
//     has the angle (⌊L/2-1⌋-t)·π/L from the direction of growing rows.
//   - φ is a Gaussian with standard deviation 0.8·2^(J-1) and sum 1.
//   - Filters are periodised over the padded image, P×Q with
//     P = 2^J·(⌊height/2^J⌋+2): half of P-height pixels (rounded down) are
//     reflected before the image, the rest behind it, the border pixel not
//     repeated. Any size of at least 2^J will do; no multiple is asked for.
//   - x ⋆ ψ_{j1} is sampled every 2^j1 pixels, the second modulus every 2^j2, and
//     filters on such a grid keep the frequencies that it can hold.
//
// Kymatio divides its Gaussians by 3.1415 where this package divides by π, so
// its coefficients of order m are larger by the factor (π/3.1415)^(m+1), at
// most 1.0001; and for L > 8 it cuts the periodisation short.
//
// # Guarantee
//
// The features of an image depend on this image and the options alone: not on
// the data set, not on the other images of a batch, to the last bit. Mapping
// each example by this transform before private training changes nothing in
// the accounting, because it maps neighbouring data sets to neighbouring data
// sets. Scaling features by statistics of the data set is NOT covered: that
// must be paid for. A NaN or Inf pixel spoils the features of its own image
// only.
//
// Filters cover all frequencies and amplify none: for J = 2, L = 8 and 28×28 the
// Littlewood-Paley sum |φ|² + ½Σ(|ψ(ω)|²+|ψ(-ω)|²) lies between 0.123 and 1.
// Before sampling the transform is thus a contraction; with sampling
// 2^J·|Sx-Sy| is at most 1.28·|x̃-ỹ| whatever the images (Schur's test on the
// aliasing frequencies), x̃ the padded image, and stays below |x̃-ỹ| on all pairs
// of the tests. No clipping bound should rest on that: clip gradients.
//
// On one instruction set results are the same bits for any GOMAXPROCS; between
// instruction sets they differ by float32 rounding. Against exact arithmetic
// the error is below 5e-7 of the image's largest magnitude. Magnitudes between
// 1e-12 and 1e12 are safe from underflow and overflow in the moduli.
//
// # Cost
//
// Everything but the modulus is linear, and nearly all of it runs as small
// dense products on the matrix kernel, eight images side by side: discrete
// Fourier transforms as matrices, halved once by splitting even from odd
// samples, on half spectra, with filters and sampling applied to the spectrum.
// That beats a scalar fast Fourier transform at these sizes; the work grows as
// P·Q·(P+Q), so images of a few hundred pixels a side are the sensible limit.
// [New] takes milliseconds for small images; working memory is about
// 150·L·P·Q bytes for each core in use, kept for later calls.
//
// # Concurrency, aliasing, panics
//
// A [Transform] is immutable in what it computes and safe for concurrent use.
// Outputs must not overlap inputs. Wrong lengths and overlaps panic; sizes and
// options that cannot be are errors of New.
//
// # References
//
// Bruna and Mallat, Invariant Scattering Convolution Networks, PAMI 2013.
// Oyallon and Mallat, Deep Roto-Translation Scattering for Object
// Classification, CVPR 2015. Andreux et al., Kymatio: Scattering Transforms in
// Python, JMLR 2020. Tramèr and Boneh, Differentially Private Learning Needs
// Better Features (or Much More Data), ICLR 2021.
package scattering
