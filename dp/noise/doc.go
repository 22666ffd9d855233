// Package noise draws the noise of private training: integers, added to sums of
// integers, from laws that are exact and not nearly so.
//
// Most users want package dp, which chooses the scale from a budget. Whoever
// adds noise by hand takes a [RoundedGaussian].
//
// # Mechanisms
//
//   - [RoundedGaussian]: the real Gaussian N(0, sigma²), rounded to the nearest
//     integer. 1.5 ns a sample with AVX-512, 2.5 to 3 with AVX2, 15 in Go.
//   - [DiscreteGaussian]: weights exp(-x²/(2 sigma²)), about 210 ns.
//   - [DiscreteLaplace]: weights exp(-|x|/scale), for pure epsilon.
//
// (One core of an AMD EPYC, Zen 4: go test -run '^$' -bench . -cpu 1 ./dp/noise.)
//
// Scales are in grid units: the caller rounds a sum to multiples of gamma and
// gives sigma/gamma. [MinSigma] and [MaxSigma] bound them.
//
// # Guarantee
//
// Adversary: sees the noisy sum and knows everything but the one record and the
// key. Neighbours: any relation under which the integer sums differ by at most
// Delta in l2 norm (l1 for Laplace).
//
// For integer S and real G, S + round(sigma G) = round(S + sigma G). Adding a
// RoundedGaussian is thus a function of what the continuous Gaussian mechanism
// of noise multiplier sigma/Delta would release, with statistical distance zero
// and in any dimension; by post-processing every bound on that mechanism holds
// as it is, composed or Poisson-subsampled. So does adding modulo 2^64. Nothing
// is added to delta. That is why it is the default and not the discrete
// Gaussian, whose Poisson-subsampled privacy loss in many dimensions is close to
// the continuous one's but not bounded by it (Canonne, Kamath and Steinke 2020,
// Theorem 4, is about the unsampled mechanism).
//
// All is conditional on the keystream being uniform: AES-256 in counter mode
// under a secret key (package stream).
//
// Noise made from rounded real arithmetic betrays its argument through its low
// bits (Mironov 2012). Here the sum is an integer before noise is added, and no
// bit of the noise is rounded wrongly:
//
// # The rounded Gaussian is exact
//
// A pair of samples is sigma R cos θ and sigma R sin θ, R = √(-2 ln u), for real
// uniforms u in (0, 1) and θ in a full turn (Box and Muller 1958), each read bit
// by bit: 64 bits first, in float64; more, in arithmetic of growing precision,
// if these do not decide both roundings (Ziv 1991; Lefèvre and Muller call the
// hard cases the table maker's dilemma). The law of the result is that of the
// real pair, rounded, because it is that pair, rounded. It rests on a bound of
// the float64 error.
//
// Claim: if 2^-36 <= r <= 27.7, r being the computed -2 ln u, then a computed
// sample before it is rounded is within 2^-46 sigma of every real one that begins
// with the same 64 bits of u and of θ.
//
// Write ε = 2^-53 for the relative error of one operation. Products of errors,
// below 2^-90, are covered by the slack at the end.
//
// Uniform. s = (U + 1/2) 2^-64, or that less 1 if u >= 1/2, is off by 2^-65 for
// the unknown bits and by 2ε|s| for a conversion and an FMA. u itself, s or s+1,
// is off by 3ε more or less of itself, and 2^-65.
//
// Near 1. If u >= 31/32 then t = s and r = t p(t), p being a polynomial within
// 2^-47 of -2 ln(1+t)/t ≈ -2. So r is off by 2.07 · 2^-65, and relative to itself
// by 2.1ε from s, 2^-48 from p and 4ε from rounding: R by
// 2.07 · 2^-66/R + R (2^-49 + 3.1ε). R is between 2^-18 and 1/4: at most 2^-46.8
// at the first and 2^-50.9 at the second.
//
// Elsewhere. 1/4 < R < 5.264. r = -2 e ln 2 + 2 ln c + t p(t), t = m c - 1, where
// u = m 2^e and c is a float64 of a table that is near 1/m. r is off by
// 2 (2^-65/u + 3ε) from u, 0.1ε from t, 2ε from p, 0.2ε from its rounding, ε from
// the table, |e| ε <= (r/1.38 + 1) ε from ln 2, (r + 0.1) ε and r ε from two sums:
// in all 2^-64/u + (10.4 + 2.73 r) ε. R is off by that over 2R:
// 2^-65/(u R) <= 2^-47.4, since u >= 2^-19.98, and
// (5.2/R + 1.37 R) ε <= 22 ε. Its root and its product with sigma add 2ε R.
//
// Angle. Its quadrant is exact; in it a is off by 3ε|a| for a conversion, a
// constant and a product, and by 2^-61 for the unknown bits: 2.4ε. Square,
// Horner's rule, polynomial (within 2^-55) and last product bring cosine and
// sine to at most 5ε. A sample adds ε for the last product.
//
// Sum, over sigma: 2^-47.4 + 22ε + 8 · 5.264 ε < 2^-46.2 elsewhere, and near 1
// 2^-46.8 + 2^-50; with the slack, 2^-46.
//
// The code uses 2^-44: a pair is accepted if both samples are nearer to an
// integer than 1/2 - 2^-44 sigma (the difference to that integer is exact, and
// the limit is off by at most 2^-54, less than 2^-45 sigma). Then the real sample
// lies on the same side of every boundary. The tests prove the polynomials'
// bounds cell by cell and compare a million samples with the truth: the largest
// error they meet is 2^-47.0 sigma.
//
// All other pairs, at sigma 2^20 one in 830 000, take the slow path: ball
// arithmetic (Johansson 2017) on 64, 128, 256, … 4096 bits of u and θ, each ball
// holding all values that the bits not yet read allow, until both samples are
// decided. If 4096 bits do not decide, the call panics rather than round wrongly.
// Unless u or 1-u is below 2^-1000 the balls are then narrower than
// 2^-2500, and the density of a sample, summed over all boundaries, is at most 2: that is less
// likely than 2^-998 a sample, a chance too small to be a float64 beside any
// delta.
//
// # Randomness and determinism
//
// Block b of a call, 4096 samples, reads stream first+b of the key: samples 16g+i
// and 16g+8+i, i < 8, are the pair of words 16g+i (u) and 16g+8+i (θ: its two
// high bits are half a turn's and a quarter turn's multiples). Pair p of the
// block reads its further bits from the stream of the same id under the key
// derived for "dp/noise rounded gaussian extension", from block 64 p. All
// instruction sets do the same operations in the same order: a key gives the
// same noise on every machine, for any number of cores. A (key, stream) pair
// must never serve twice with different data.
//
// Keys come from crypto/rand. Tests take repeatable ones from package
// streamtest.
//
// # Not protected
//
// Time. No operation depends on the data that noise is added to. It does depend
// on the noise: a slow pair takes some 10 µs, a sample of the discrete laws takes
// longer the more proposals it refuses. Samples are drawn in whole blocks and
// package dp publishes nothing before a step is whole, but an observer of a
// call's duration learns how many slow pairs it had. The paths in Go and AVX2
// index a table of 256 bytes by bits of u: whoever shares the processor's caches
// and sees single lines learns about them.
//
// Memory. Scratch is wiped before a call returns; the slow path's numbers, on
// the heap, and registers are not.
//
// # Concurrency, aliasing, errors
//
// Mechanisms are immutable: methods may run at once on disjoint dst. dst is the
// only thing written. Scales out of range are errors; nothing else fails.
//
// # References
//
//   - Box, Muller: A note on the generation of random normal deviates, 1958
//   - Ziv: Fast evaluation of elementary mathematical functions with correctly
//     rounded last bit, ACM TOMS 1991
//   - Lefèvre, Muller: Worst cases for correct rounding of the elementary
//     functions in double precision, ARITH 2001
//   - Mironov: On significance of the least significant bits for differential
//     privacy, CCS 2012
//   - Johansson: Arb: efficient arbitrary-precision midpoint-radius interval
//     arithmetic, IEEE TC 2017
//   - Canonne, Kamath, Steinke: The discrete Gaussian for differential privacy,
//     NeurIPS 2020
package noise
