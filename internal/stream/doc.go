// Package stream gives the keystreams that all private randomness of sotto is
// cut from: AES-256 in counter mode under keys from the operating system.
//
// # Layout
//
// A stream is named by a 256-bit key and a 64-bit id. Its bytes are
//
//	AES-256(key, id ‖ 0) ‖ AES-256(key, id ‖ 1) ‖ AES-256(key, id ‖ 2) ‖ …
//
// id and block counter being 8 bytes each, big-endian: exactly what
// crypto/cipher's CTR gives from the initial counter id ‖ 0, as long as the
// block counter does not pass into the id. It cannot: a stream holds
// [MaxBlocks] blocks (2^64-1, so that the count itself fits) and panics beyond
// them. Words are read little-endian. The same bytes come out whatever the
// instruction set, the sizes of reads and the order of seeks.
//
// # Guarantee
//
// If AES-256 is a pseudorandom permutation, no observer without the key who
// sees q blocks under it tells them from uniform bits with an advantage above
// q²/2^129 and what an attack on AES itself gives. Subkeys ([Key.Derive]) are
// independent of each other and of the key in the random-oracle sense of
// HKDF-SHA256 (RFC 5869).
//
// # Not protected
//
// Keys lie in memory in the clear. [Key.Erase] and [Cipher.Erase] overwrite
// what they can reach; copies that the garbage collector, a swap device or a
// core dump holds, and the standard library's own key schedule on machines
// without an assembly path, are out of reach. A [Stream] buffers keystream not
// yet handed out.
//
// # Use
//
// [NewKey], one [Key.Derive] per purpose, then [New] for each unit of work,
// with the unit's number as id, so that what a unit draws does not depend on
// who runs it. Bulk samplers keep a [Cipher]. There is no constructor from a
// seed: package streamtest has one, and it panics outside tests.
//
// # Speed
//
// On one core of an AMD EPYC (Zen 4), 32 KiB at a time: 16 GB/s with VAES,
// 7.8 with AES-NI, 5.3 with the standard library, whose own CTR over zeros gives
// 5.7 (go test -run '^$' -bench Keystream -cpu 1 ./internal/stream).
//
// # Concurrency
//
// A Stream belongs to one goroutine. A Cipher may fill from several at once,
// not while it is being rekeyed or erased.
package stream
