// Package ledger keeps, in a file that survives crashes, what was spent on which
// data set, and refuses runs before they would overspend its budget.
//
// Most users should [Create] or [Open] a ledger, ask it for the [Account] of
// their data set, and give that to dp.NewTrainer in the task's Ledger: the
// trainer reserves a run before it starts and settles it at the end. Others
// call [Account.Reserve] before a release and [Account.Settle] after it. [Read]
// inspects a ledger beside a writer; [Book] prints as a table and as JSON.
//
// # Guarantee
//
// Everything that is run on a data set between a Reserve that returned without
// an error and its Settle, chosen in any way from what was seen before, is
// together (Epsilon, Delta)-differentially private under the budget's Relation,
// if each run costs no more than the event (and the delta beside it) that it was
// reserved with. Runs may go on side by side (Haney et al. 2023, "Concurrent
// composition for interactive differential privacy with adaptive privacy-loss
// parameters": filters for Rényi divergences of a fixed order and for trade-off
// functions hold for interleaved runs as well).
//
// # Filter
//
// A filter says before each run whether it still fits (Rogers, Roth, Ullman and
// Vadhan 2016, "Privacy odometers and filters"). To ask an accountant for the ε
// of all runs so far is not one: with events that are chosen by outcomes, the
// sum of what could have been is in general not bounded by the worst of the
// sums (arXiv 2602.15815, "Privacy filters are captured by residues"; the same
// goes for the best of several Rényi orders). One of two rules is fixed for each
// data set, from public facts, before the first run gives anything out:
//
// Rényi. At one order α the Rényi divergences of all runs add up to at most
//
//	B = Epsilon - log(1-1/α) + log(δ'·α)/(α-1),    δ' = (1-2^-10)·Delta.
//
// Whatever the events are chosen by, the whole then has divergence B (Feldman and
// Zrnic 2021, "Individual privacy accounting via a Rényi filter", Theorem 3.1;
// Lécuyer 2021, "Practical privacy filters and odometers with Rényi differential
// privacy"), and so is (Epsilon, δ')-private (Canonne, Kamath and Steinke 2020,
// Proposition 12). The order is the one that would let most runs like the first
// through. It depends on the first event and the budget alone.
//
// Plan. Everything that will ever be run is fixed in advance, by [Budget].Plan,
// or by the first run itself if that alone is too dear for the Rényi rule. The
// plan's ε is at most Epsilon by privacy loss distributions, which are tight.
// Runs are then admitted while all together hold each mechanism at most as often
// as the plan does. To run less, and to decide on that by outcomes, is
// post-processing of running all, as what is left out can be run and ignored.
//
// Deltas beside the events, such as a trainer's chance of an overflow, add up to
// at most Delta - δ'. That they may be taken off first is shown as in package
// dp: let the good event of a run have, given the past, the same chance under
// neighbouring data sets. On good pasts alone the outputs' measures are products
// of kernels, each the run's law given its good event times that common chance,
// at most 1, so the Rényi moment of the two measures is at most exp((α-1)·B), and
// the conversion's inequality holds pointwise; the rest has a chance of at
// most the sum.
//
// # Odometer
//
// [Statement].Spent is, under the Rényi rule, Σ + log(1/δ')/(α-1) over all runs
// so far, unsettled ones in full. With probability 1-Delta the privacy loss is
// below it at all times at once: exp((α-1)·(L-Σ)) is a supermartingale of mean at
// most 1, and Ville's inequality holds at any time, also one chosen by outcomes.
// It is never printed above Epsilon, which the filter guarantees. Under the plan
// rule it is the ε of the runs so far as if they had been fixed in advance; if
// outcomes decided how much of the plan was run, Epsilon alone is guaranteed.
//
// # Crashes, writers, tampering
//
// A call that returned without an error is on the disk. A process killed, or a
// machine that lost power, at any point leaves a ledger that opens, holds all
// that was acknowledged, and counts every reservation that was not settled in
// full. One process can have a ledger open for writing; its lock ends with it.
//
// Every record holds a checksum and continues a chain of SHA-256 hashes. A bit
// changed, a record removed, exchanged or inserted is refused with the record's
// number ([ErrTampered]); nothing is repaired but the tail that a crash can
// leave. Records cut off at the end leave a shorter ledger that is whole, and
// someone who may write the file can make a new chain: keep [Book].Head
// elsewhere, and ask [Book.Holds].
//
// # Not protected
//
// What is run without a reservation, or is not what its event says. Data sets
// that share records under two names. A ledger restored from a backup, unless
// heads are kept. Network file systems without locks.
//
// # Panics and errors
//
// Nothing panics. Errors name the file, the data set, the run, the value and
// what is allowed.
package ledger
