// Package streamtest makes keys that tests can repeat.
package streamtest

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/sotto-ml/sotto/internal/stream"
)

// Key returns the test key of a seed: the SHA-256 of the seed's 8 bytes,
// big-endian. It panics outside tests, where a key that can be guessed protects
// nothing.
func Key(seed uint64) stream.Key {
	if !testing.Testing() {
		panic("streamtest: fixed keys are for tests only")
	}
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, seed))
}
