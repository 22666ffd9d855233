// Package simulation holds benchmarks of federated rounds over virtual clients against
// the bare cost of their training: the same loop over the same examples from the same
// model, on as many goroutines as there are cores, without any federation. Rounds and
// bare passes take turns in one process; the number that counts is their ratio.
//
//	go test -run '^$' -bench . ./benchmarks/simulation
//
// Every client takes part in every round. 60,000 examples, as many as MNIST has, are
// spread over the clients, who pass once over theirs in batches of 20. Metrics:
//
//	overhead-%      time of a round over that of a bare pass, less one, in percent;
//	                the median over rounds
//	cpu-overhead-%  the same of the time on all cores, which other programs on the
//	                machine move less, but which does not show cores that wait
//	updates/s       clients' updates in a second of federated rounds
//	bare-updates/s  of bare passes
//	peak-MB         the most memory that the process held of the system during a run,
//	                beyond what it held with the data before (resident set, on Linux;
//	                else Go's heap)
//
// Variants: a rule that takes its rows as they come (mean), and private rounds, whose
// updates are clipped, placed on a grid and noised.
package simulation
