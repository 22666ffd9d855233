// Package federated runs rounds of learning between a server and clients that keep
// their data.
//
// A [Plan] says what is run: a [Strategy] (FedAvg, FedProx, FedAvgM, FedAdam, FedYogi,
// FedAdagrad, SCAFFOLD, FedNova, FedBuff), a [Selection], a rule of package aggregate
// against liars, secure sums in [Buckets], a [Privacy], a [Gate] that judges every new
// model, a [Quarantine]. [Plan.Validate] refuses what does not go together, with the
// reason. A [Coordinator] runs the plan over any [Transport]; [InProcess] and
// [Simulation] are two. A [Client] is one function, Train, over flat vectors; [Protect]
// makes it do what the plan asks of clients.
//
// # Rounds
//
// The server is [Step], a pure function from a state and an event to a state and
// actions; the coordinator does the actions and tells the events. A round draws a
// cohort, asks it, collects updates until all have come, enough have, or the deadline
// passes; then, as the plan says, has sums unmasked, the ledger written, the updates
// combined, the candidate validated and approved, and publishes it as a version. A
// phase that fails is tried again up to Plan.Attempts times, unless something was seen
// that the round's privacy paid for. Step's documentation states what holds in any order
// of events, and tests play all orders of small cohorts.
//
// With Config.Folder the state is replaced after every transition (a temporary file,
// synced and renamed), after what it names was written. A server killed at any
// point goes on from there to the model, bit for bit, that it would have made, as long
// as clients answer a repeated task as they did.
//
// # Guarantee
//
// The unit of privacy is a client with all of its data. By the plan's Privacy, the
// sequence of all published models is (ε, δ)-differentially private ([Plan.Guarantee]):
//
//   - [Central]: against all but the server. Clients are drawn by themselves with the
//     selection's rate; each update is scaled down to the clip norm and rounded to whole
//     multiples of a unit γ, so that a client moves a sum by at most C(1+2^-19) + γ√d/2
//     in l2 norm; exact rounded Gaussian noise of NoiseMultiplier times that is added to
//     the sum of whole numbers (package noise), once per bucket; the sum is divided by a
//     public number. What follows, a rule across buckets included, works on noised sums
//     alone.
//   - [Distributed]: against the server and Colluders of the clients too, as long as the
//     secure sum hides all but the sum and has MinSurvivors clients. Each adds a discrete
//     Gaussian share of such deviation that MinSurvivors - Colluders of them make the
//     noise; what their sum lacks of a Gaussian is accounted (Kairouz, Liu and Steinke
//     2021, Theorem 1). Every attempt has noise of its own, and a round of which a sum
//     may have been seen is never repeated.
//   - [Local]: against everyone.
//
// A round is in the ledger before anything that it pays for can be seen, under a name
// that no other round has; a ledger that refuses ends the run.
//
// # Liars
//
// Without a rule one client can set the model to anything within MaxNorm. A rule that
// bears F of n rows ([aggregate.Rule], its documentation gives the bounds) makes F
// liars move a round by no more than its bound. With Buckets the rule sees only means of
// buckets, of which F liars spoil at most F; with Secure too, the server learns who is
// in which bucket and each bucket's sum, nothing else, and with Distributed noise even
// that is private: each bucket then holds all the noise the guarantee needs.
//
// # The log
//
// All decisions, refusals with client and reason among them, go to a log of JSON lines
// in which every entry holds the hash of the one before. [Verify] checks it.
//
// # Not protected
//
// Without Secure or Local the server sees every update, and updates give training data
// away. That a message comes from whom it names is the transport's to ensure. Who takes
// part and when, sizes and times of messages are seen by the server. The log holds
// validation scores, norms and cosines of candidates, which are functions of models
// that were not published: keep it as private as the updates, or gate with public data
// alone. Clients that leave take what they learnt with them. A model that passed the
// gate may hold a back door that validation data do not show.
//
// # Concurrency
//
// A Coordinator belongs to one goroutine, but for RollBack and Release. Results have
// the same bits for any number of cores and any order in which updates came.
package federated
