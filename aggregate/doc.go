// Package aggregate turns the vectors of n clients, some of them hostile, into
// one.
//
// A [Rule] has one method. Rules are small values that name what they assume:
// TrimmedMean{F: 2} holds against any 2 clients. A [PreAggregation] turns rows into
// rows, and a [Chain] of them with a rule at its end is one rule:
//
//	Chain{ARC{F: 2}, NNM{F: 2}, TrimmedMean{F: 2}}
//
// A [Verdict] says what was done to each client. [Guard] refuses rows that cannot
// be right before a rule sees them. [Stream] runs rules over rows that do not fit in
// memory. Package attack forges liars' rows to test all this against.
//
// # Which rule
//
// For most uses [NNM] before [TrimmedMean], and clients who send momentum, not
// gradients: it has the best κ there is, up to a constant, at n² d. [CAF] finds liars
// who hide in every coordinate. [ARC] before them helps where the honest clients' data
// differ much, and can harm where they do not: try both (examples/poisoning). [Median] and [TrimmedMean] alone are the fastest, and what few
// coordinates need. Rules by whom they ask:
//
//   - each coordinate apart: [Mean], [Median], [TrimmedMean], [Meamed], [SignMajority],
//     [WeightedMedian], [WeightedTrimmedMean];
//   - distances of all pairs: [Krum], [MultiKrum], [Bulyan], [MinimumDiameter], [NNM];
//   - a point: [GeometricMedian], [Weiszfeld], [CenteredClipping];
//   - directions of variance: [SMEA], [CAF], [DnC];
//   - norms: [Clipping], which is also the norm-bounded mean, and [ARC];
//   - whom to trust: [MoNNA], [FLTrust], [FoolsGold], [FLAME].
//
// # Guarantee
//
// A rule is (F, κ)-robust if for every set S of n-F rows its output is within
// κ times the mean of ‖x_i - mean_S‖², i in S, of mean_S, squared (Allouah et al.
// 2023, "Fixing by mixing", Definition 2). Kappa methods give κ where a bound is
// known; it needs n > 2F. κ of order F/n is the best there is; [NNM] before a rule
// brings its κ there (their Lemma 1), at n² distances.
//
// # Not protected
//
// A rule bounds what liars can do with one aggregation; liars within the spread of
// honest rows stay, and over many rounds may still bias or backdoor a model.
// Nothing here is private: rows are seen in the clear.
//
// # Shapes, determinism, concurrency
//
// Rows are []float32 of one length d; dst is overwritten and returned, nil
// allocates; it may be one of the rows only for the coordinate-wise rules (Mean,
// Median, TrimmedMean, Meamed, SignMajority, WeightedMedian, WeightedTrimmedMean); it
// panics on any other overlap. Rows are never
// written. Columns are cut in fixed blocks, so that results have the same bits
// for any GOMAXPROCS; and for any order of the clients, but for the rules that know
// clients by their index (MoNNA, Bucketing, FoolsGold's history). Rules without a
// pointer are safe for concurrent use.
package aggregate
