// Package dp trains models on private data with a differential privacy
// guarantee: DP-SGD (Abadi et al. 2016, "Deep learning with differential
// privacy") on Poisson draws, with any optimiser.
//
// Most users should write a [Plan], give it the noise that their budget asks for
// with [CalibrateNoise], hand it with a model to [NewTrainer], and call
// [Trainer.Step] until [Trainer.Done]. A model is anything that gives
// per-example gradients behind two methods ([Gradients]): package nn does
// without ever making them, and a plain [Matrix] of gradients from any other
// framework does too.
//
// # Guarantee
//
// The sequence of all parameter vectors of a run, and of clip norms under
// [AdaptiveQuantile], is (ε, δ)-differentially private: for neighbouring data
// sets D and D' of at most [Plan.Population] records and any set E,
//
//	P[M(D) in E] <= exp(ε)·P[M(D') in E] + δ,
//
// against an adversary who sees all of that, knows the plan, the program and
// every record but one, and does not hold the run's key. The plan's Relation
// says what neighbours are: data sets that differ by one record more
// (AddRemove), by one record exchanged for another (ReplaceOne), or for a record
// without content (ReplaceSpecial). [Plan.Guarantee] gives ε, an upper bound
// from package accounting on the plan's own event. The proof is below. Where it
// says uniform bits it has AES-256 keystreams (package stream), so against
// bounded adversaries the guarantee is the computational one.
//
// # Not protected
//
// Choices made by looking at private data (see [NotAccounted]). What
// [NotPrivateStats], a worker's error, or a model's losses and norms show. Time,
// memory and power: a step's duration depends on its draw. The key: whoever
// holds it, or a checkpoint, which contains it, can subtract the noise. The
// accuracy of a model on the training data, which is as private as the
// parameters, but not if it is computed from the data and then published as a
// number. Records that belong to one person, if there are several: the guarantee
// is for one record.
//
// # A step
//
// Step t draws each of the records with probability q (the plan's rate,
// rounded down), and puts each drawn record by itself into one of
// R = ⌈BatchSize/64⌉ runs, uniformly. The model gives the norms n_i of the drawn
// records' gradients g_i, the clip rule gives weights w_i, and per coordinate
//
//	S = Σ_runs roundToEven(Σ_{i in run} w_i·g_i)     (inner sum in float32, outer in int64)
//	parameters ← Optimizer(parameters, (S + round(σ·N(0,1)))·γ/BatchSize)
//
// γ is the grid's unit, a power of two, folded into the weights. An empty draw
// is a step like any other. The divisor is the plan's constant. Chunks, of at
// most 4 runs, go to as many workers as there are cores; as the outer sum is
// exact, neither chunks nor cores change a bit of the result.
//
// # Sensitivity
//
// Let D' be D with one record x more, and fix which records of D a step draws
// and in which runs they are put: call it ω. ω has the same law under D and D'.
// Suppose no run of ω holds K records or more. If x is drawn, in run r, then
//
//	|S(D') - S(D)| <= (C/γ)·(1+η) + √d·(1+2^-30),                          (1)
//	η = (1+s)·(1+2·G) - 1 (rounded up),  G = Σ_{m=1..K} γ_{m+2},  γ_k = k·2^-24/(1-k·2^-24),
//	s = (1+2^-14)·(1+2^-40) - 1,
//
// in l2 norm, for d coordinates and clip norm C; if not, S(D') = S(D). Proof.
// Runs other than r are the same, bit for bit: a gradient does not depend on
// who else is in the batch ([Gradients]). In run r, let v_i = w_i·g_i be exact.
//
// a. |v_i| <= (C/γ)(1+s) =: c. The true norm of what is added is at most
// n_i·(1+2^-14) by contract, and w_i·n_i <= C/γ up to at most 3 roundings in
// float64, before w_i is rounded down to float32. (Automatic: n/(n+Stability) <=
// 1. PerLayer: so for each layer, with C_l, and C² = ΣC_l².)
//
// b. In the float32 chain of k <= K terms, term i is rounded at most twice as a
// product and once in each of at most k-i+1 additions, so the chain is, in every
// coordinate, Σ_i v_ij(1+θ_ij) with |θ_ij| <= γ_{k-i+3} (Higham 2002, section
// 3.1). It differs from Σ_i v_i, in l2 norm, by at most Σ_i γ_{k-i+3}·|v_i| <=
// G·c. That holds for the chains with and without x, whatever x does to the
// rounding of others, so they differ by at most c + 2·G·c.
//
// c. Rounding to integers moves each coordinate of each by at most 1/2: √d
// together. What a term loses to underflow is below 2^-60 of a unit, and 2^-30
// covers a run of them. Coordinates whose examples are rounded one by
// one (convolutions) differ by x's own terms alone, rounded once: within the
// same bound. ∎
//
// That the run's length enters, and not the batch's, is why there are runs:
// over a batch of 4096 in one float32 chain, (1) would have η near 1, and such a
// sum can really be made to differ by more than C (Casacuberta et al. 2022,
// "Widespread underestimation of sensitivity in differentially private
// libraries", and a test here). With K about 150, η is 0.0014.
//
// The grid: σ = NoiseMultiplier × (1), γ <= 2^-20·σ·γ and γ·√d <= 2^-10·C, so
// rounding costs less than 0.1% of noise in any dimension (a coarser γ, still
// paid for in (1), where sums would not fit 2^51 or σ the sampler).
//
// # The mechanism
//
// Given ω, S + round(σ·G) = round(S + σ·G) since S is whole (package noise draws
// round(σG) with exactly that law): a function of the Gaussian mechanism on S.
// Under D the output is that of N(S(D), σ²), under D' a mixture, with weight 1-q
// that of N(S(D), σ²) and with weight q/R each that of N(S_r, σ²), |S_r - S(D)|
// within (1). For every ω, and for every history of earlier steps, this pair is
// dominated by (N(0,1), (1-q)·N(0,1) + q·N(1/z,1)), z the NoiseMultiplier: the
// Poisson-subsampled Gaussian of the accountant (Zhu, Dong and Wang 2022, "Optimal
// accounting of differential privacy via characteristic function", Theorem 11;
// mixing over r by joint convexity). ReplaceOne and ReplaceSpecial: both data
// sets extend the same D, and (1) holds for each of x and x' against it.
//
// A rate that is rounded down is dominated by the rate itself: (1-q')·P + q'·Q
// is a mixture of P and (1-q)·P + q·Q, and hockey-stick divergences are jointly
// convex, both ways round.
//
// AdaptiveQuantile adds one coordinate to the vector: Σ±1 over the records
// drawn, of sensitivity 1, on its own grid. Divided by their sensitivities the
// two are one vector of norm at most √2, with noise z/√(1-share) and z/√share;
// divided by these again, x moves it by at most √((1-share)/z² + share/z²) = 1/z.
//
// # Delta
//
// K is chosen by the plan so that the chance of an ω with a run of K or more, in
// any step, is at most τ <= 10^-6·Delta (a union bound over Steps·R runs of an upper
// bound on the binomial tail, for Population records). Records beyond K in a
// run are dropped, so that memory and sums stay bounded. The draws ω of all
// steps are independent of data and outputs, and alike under D and D'; call A
// the event that all are good. Given A the run is (ε, δ')-private, so
//
//	P[M(D) in E] <= P[A]·P[M(D) in E | A] + τ
//	             <= P[A]·(exp(ε)·P[M(D') in E | A] + δ') + τ
//	             <= exp(ε)·P[M(D') in E] + δ' + τ,
//
// and the accountant is asked at δ' = Delta - τ ([Plan.MechanismDelta]). The noise
// takes no share: its law is exact.
//
// # Randomness and determinism
//
// Private randomness comes from a fresh key of the operating system's for each
// run; there is no seed to set. Given the key, a run is the same to the last bit
// on any number of cores, on one instruction set. Every stream of the run is
// read for one purpose in one step.
//
// # Checkpoints
//
// [Trainer.Save] and [Resume] continue a run to the last bit. A step taken again
// after a crash has the same draw and the same noise on the same gradients, so it
// releases nothing new and costs nothing; that is why a checkpoint is refused
// with any other data, model or instruction set. It holds the key: mode 0600,
// key overwritten in files replaced, all overwritten by [Trainer.Erase].
//
// # Budgets
//
// A guarantee is for one run; runs on the same data add up. A task's [Ledger]
// refuses a run that would overspend what is left, before it starts, and counts
// all of it until [Trainer.Erase] says how many steps were taken. A run that is
// killed and never resumed stays counted whole.
//
// # Concurrency and aliasing
//
// A Trainer serves one goroutine and starts its own; workers are called from one
// goroutine at a time each. Params are updated in place. A step in a steady state
// allocates nothing. Peak memory beyond the model's is 8 bytes per parameter and
// worker; with [BlockGradients], if each worker has at most one chunk of a draw,
// it is about half a mebibyte per worker.
//
// # Panics and errors
//
// Plans, tasks and files are checked, and errors name the field, its value and
// what is allowed. Methods of Plan without an error result panic on plans that
// Validate refuses; Matrix panics on wrong lengths.
package dp
