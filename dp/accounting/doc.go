// Package accounting says what a sequence of private mechanisms guarantees:
// from events to (ε, δ), for the neighbour relation asked.
//
// Most users never call it: a dp.Plan knows its event and asks. [Epsilon] and
// [Delta] give an [Interval] whose Upper is a guarantee and whose Lower says
// how much of it is slack; [EpsilonRDP] is the looser bound by Rényi orders,
// for comparison; [CalibrateNoise] finds the least noise that meets a budget.
//
// # Definitions
//
// For a dominating pair (P, Q) of output laws on neighbouring data sets the
// privacy loss is L = log(P/Q) under P, and δ(ε) = E[(1 - exp(ε - L))+]. The
// pairs used here are, with σ the noise multiplier and q the sampling rate:
//
//   - AddRemove and ReplaceSpecial: (1-q) N(0, σ²) + q N(1, σ²) against N(0, σ²),
//     and the same swapped; both are composed apart and the larger counts (Zhu,
//     Dong and Wang 2022, Theorem 11).
//   - ReplaceOne: (1-q) N(0, σ²) + q N(1, σ²) against (1-q) N(0, σ²) + q N(-1, σ²).
//
// σ is always relative to the norm of one record.
//
// # Method
//
// First the moment-generating function is inverted by a contour integral through
// its saddle, whose error is proven (contour.go), which usually gives ε to nine
// digits in a millisecond, for any δ. Where that would take too long:
//
// Losses are put on a grid of step h. Each cell's mass under P and under Q is
// split between its two ends so that both are kept, which dominates the cell
// (connect-the-dots, Doroshenko et al. 2022); mass above the grid becomes
// infinite loss. Composition is one FFT of the grid, powers, and one FFT back.
// Mass that could leave the window is bounded by Chernoff's inequality over the
// gridded law itself, and the rounding of the transforms by a first-order
// estimate; both are added to δ. Lower rounds every loss down instead and takes
// the same errors off. It is valid, not tight: it lies below Upper by about h for each
// step.
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
