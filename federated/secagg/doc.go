// Package secagg adds up vectors of clients such that a server learns their sum and
// nothing else of them: the protocol of Bonawitz et al. 2017 ("Practical secure
// aggregation for privacy-preserving machine learning", CCS), on the sparse graph of
// Bell et al. 2020 ("Secure single-server aggregation with (poly)logarithmic overhead",
// CCS) if asked.
//
// Each pair of neighbours shares a mask that one adds to its vector and the other
// subtracts, and each client adds one more of its own. What every mask is made from is
// shared among the neighbours by Shamir's scheme: of a client whose vector arrived they
// give away the own mask, of one that dropped out the masks of its pairs, never both. A
// vector that arrives after its client was given up stays hidden by its own mask.
//
// A [Server] and a [Client] exchange five requests and replies, over whatever carries
// bytes; [Run] drives a server. [FixedPoint] turns real numbers to words and back.
//
// # Primitives
//
// Masks are AES-256 in counter mode under keys of full length. Pair keys and shares are
// sealed with HPKE (RFC 9180) under the hybrid of ML-KEM-768 and X25519 (X-Wing), with
// keys that serve one session; there is no key agreement without interaction that
// withstands quantum computers, so the lower of two neighbours derives the seed from its
// mask secret and seals it to the other's mask key, which follows from that one's mask
// secret: either secret gives the pair's seed. Every reply is signed with Ed25519 and
// ML-DSA-65 under identities that others have pinned, and bound to the session: its run,
// round, attempt, bucket, clients, length and thresholds.
//
// # What an adversary can and cannot do
//
// Let C be [Policy.Colluders], t the threshold, k the number of neighbours.
//
// A curious server that keeps to the protocol, with up to C < t colluders among any
// client's neighbours, and among those in any two gaps of k/2 places on the ring, learns the sum of the honest survivors and who takes part and
// drops out when. It learns no sum of fewer: clients check before they unmask that
// MinSurvivors vectors arrived, and that the survivors stay connected without any C of
// them, which holds the sum together.
//
// A malicious server, with such colluders, learns no more, as long as the clients'
// policies do not say HonestServer. It cannot take part in a client's name, or change
// what a client says, without the identity's key. It may tell clients different things.
// But a client goes on only with neighbours who were shown the same clients, and gives
// away a share only if t neighbours of its dealer signed that they saw the same set of
// survivors; a client signs one set, and 2t > k+2+C, so the neighbours of no client, nor
// those of two next to each other on the ring, can have signed two sets; to be further
// apart, with colluders between them, takes two gaps of the ring with more than C. Of no
// client both secrets can be had, and all secrets are given away for the same survivors. It can
// make any session fail, choose who takes part (MinSurvivors bounds how few), and ask
// for another attempt, which has fresh keys: what a client puts into two attempts of one
// round must then bear two releases (package federated accounts for that).
//
// Neighbours follow from [Session.Run], which nobody may foresee when the clients join:
// otherwise colluders choose names that put them around a victim. [ColludingNeighbours]
// gives C for a number of colluders among all who are invited. Whom to invite, and in
// which rounds, the server chooses: that is as many tries. Clients that care bind the
// cohort by [Policy.Accept].
//
// A malicious client cannot see another's vector, forge another's messages, or make
// others give away secrets. It can put any vector into the sum, drop out, deal shares or
// seeds that do not fit, which ends the session if its secret turns out to be needed, or
// makes neighbours drop out. What its signatures prove is a fault in the server's
// Refusals: shares or keys that differ from what it signed; two different keys or deals,
// which expel it. That a seed does not open, or too many shares, only its neighbours know:
// those name it in their errors. Bound
// vectors by the rule across buckets (package federated): inside one sum nothing can.
//
// Which client a message comes from, and that requests come from the server, the
// transport ensures: an invitation to a late round ends all earlier ones, and a client's
// faults are laid at its door.
//
// Not hidden are sizes and times of messages. Session secrets are overwritten when a
// session ends, but copies that the standard library or the collector made may remain in
// memory until they are reused.
package secagg
