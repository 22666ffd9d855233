// Package accounting says what a sequence of private mechanisms guarantees:
// from events to (ε, δ), for the neighbour relation asked.
//
// Most users never call it: a dp.Plan knows its event and asks. [Epsilon] and
// [Delta] give an [Interval] that holds the truth: Upper is a guarantee and Lower
// says how much of it is slack. [TradeOff], [TruePositiveRate], [Advantage] and [Mu]
// say what an attacker can make of it. [LeastNoise], [MostRate] and [MostCount] find
// the parameter that meets a [Goal]. [EpsilonRDP] and [EpsilonPLD] are other
// accountants, for comparison. Package ledger keeps what is spent on a data set.
//
// # Definitions
//
// For a dominating pair (P, Q) of output laws on neighbouring data sets the
// privacy loss is L = log(P/Q) under P, and δ(ε) = E[(1 - exp(ε - L))+]. Of a
// Poisson-sampled Gaussian, with σ the noise multiplier and q the sampling rate,
// the pairs are:
//
//   - AddRemove and ReplaceSpecial: (1-q) N(0, σ²) + q N(1, σ²) against N(0, σ²),
//     and the same swapped; both are composed apart and the larger counts (Zhu,
//     Dong and Wang 2022, Theorem 11).
//   - ReplaceOne: (1-q) N(0, σ²) + q N(1, σ²) against (1-q) N(0, σ²) + q N(-1, σ²).
//
// σ is always relative to the norm of one record. Other events have pairs of their
// own, named with their source where they are made (bill.go, subset.go); an event
// without a bound under the relation asked is an error that says why. Where an
// event is a class of mechanisms ([PureDP], [ZeroConcentrated], [BoundedRange],
// [RandomAllocation], [FixedSize], [RepeatAndSelect]) Upper holds for all of them
// and Lower for some, so that the interval may be wide although nothing is inexact.
//
// # Methods
//
// The contour (contour.go): the moment-generating function of the losses is
// inverted by an integral through its saddle, whose error is proven, which usually
// gives ε to nine digits in milliseconds, for δ down to 1e-100 and millions of
// steps.
//
// The grid (pld.go), for losses with atoms and where the contour would take too
// long: losses are put on a grid of step h, tilted by exp(s·loss) so that what
// matters near the saddle keeps its digits, and composed by one FFT, powers, and
// one FFT back. From above, each cell's mass under P and under Q is split between
// its two ends so that both are kept, which dominates the cell (connect-the-dots,
// Doroshenko et al. 2022). From below, outputs of neighbouring cells are merged in
// such shares that the merged loss lies on the grid, which is post-processing. Both
// are second order in h. Mass that could leave the window is bounded by Chernoff's
// inequality over the gridded law, rounding by the l2 error of transforms (Higham
// 2002, Theorem 24.2, with a wide margin), and both are charged to δ.
//
// Rényi orders (renyi.go), for events of which no more is known: over all real
// orders, with the conversion of Canonne, Kamath and Steinke 2020, Proposition 12.
//
// # Not protected
//
// The account is of the events given. Hyperparameters tuned on private data,
// runs thrown away, side channels, and randomness that is not what the event
// says are not in it. Where the contour is not used and the rounding of the
// transforms is not small beside δ, Upper falls back on Rényi orders, and Lower is 0.
//
// All functions are pure and safe for concurrent use. None panics on bad
// numbers: an error names the field, its value and what is allowed.
package accounting
