package stream

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// Key is an AES-256 key. It is secret: whoever holds it can subtract the noise
// that was drawn under it.
type Key [32]byte

// NewKey returns a fresh key from crypto/rand.
func NewKey() Key {
	var k Key
	rand.Read(k[:]) // never fails: the program dies instead
	return k
}

// Derive returns the subkey of k for a purpose and a number: HKDF-SHA256
// (RFC 5869) without salt, of info "sotto/stream " ‖ purpose ‖ n, n as 8 bytes
// big-endian. Different (purpose, n) give independent keys.
func (k *Key) Derive(purpose string, n uint64) Key {
	info := binary.BigEndian.AppendUint64(append([]byte("sotto/stream "), purpose...), n)
	out, err := hkdf.Key(sha256.New, k[:], nil, string(info), len(k))
	if err != nil {
		panic("stream: HKDF refused 32 bytes") // its limit is 8160
	}
	sub := Key(out)
	clear(out)
	return sub
}

// Erase overwrites the key with zeros.
func (k *Key) Erase() { clear(k[:]) }
