package secagg

import (
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"github.com/sotto-ml/sotto/internal/stream"
)

// A secret is two scalars of Ristretto255, 504 bits of randomness, so that the keys that
// are hashed from it lose none of their 256. Both are shared as Shamir 1979 does, over
// the scalars' field.
const (
	scalarSize = 32
	secretSize = 2 * scalarSize
)

var field = group.Ristretto255

type secret [2]group.Scalar

func newSecret() secret {
	return secret{field.RandomScalar(rand.Reader), field.RandomScalar(rand.Reader)}
}

func (s secret) bytes() []byte {
	out := make([]byte, 0, 2*secretSize) // with room for a second
	for _, x := range s {
		b, err := x.MarshalBinary()
		if err != nil {
			panic("secagg: a scalar without bytes")
		}
		out = append(out, b...)
	}
	return out
}

func parseSecret(b []byte) (s secret, err error) {
	if len(b) != secretSize {
		return s, fmt.Errorf("a share has %d bytes, must have %d", len(b), secretSize)
	}
	for i := range s {
		s[i] = field.NewScalar()
		if err := s[i].UnmarshalBinary(b[i*scalarSize : (i+1)*scalarSize]); err != nil {
			return s, fmt.Errorf("a share is no pair of scalars: %w", err)
		}
	}
	return s, nil
}

// point is where a client's share is: its index in the session, from 1.
func point(client int) group.Scalar { return field.NewScalar().SetUint64(uint64(client) + 1) }

// deal gives each holder a share; threshold of them make the secret.
func (s secret) deal(threshold int, holders []int) []secret {
	out := make([]secret, len(holders))
	for i, x := range s {
		dealer := secretsharing.New(rand.Reader, uint(threshold-1), x)
		for j, h := range holders {
			out[j][i] = dealer.ShareWithID(point(h)).Value
		}
	}
	return out
}

// recoverSecret makes a secret of as many shares as the threshold, of distinct holders:
// Lagrange's polynomial at 0.
func recoverSecret(holders []int, shares []secret) secret {
	n := len(holders)
	xs := make([]group.Scalar, n)
	for i, h := range holders {
		xs[i] = point(h)
	}
	// The weight of i is ∏ x_j / ∏ (x_j - x_i) over j ≠ i. All denominators are inverted
	// at once.
	up, down := make([]group.Scalar, n), make([]group.Scalar, n)
	before := make([]group.Scalar, n+1) // products of the first i denominators
	before[0] = field.NewScalar().SetUint64(1)
	diff := field.NewScalar()
	for i := range n {
		up[i], down[i] = field.NewScalar().SetUint64(1), field.NewScalar().SetUint64(1)
		for j := range n {
			if j != i {
				up[i].Mul(up[i], xs[j])
				down[i].Mul(down[i], diff.Sub(xs[j], xs[i]))
			}
		}
		before[i+1] = field.NewScalar().Mul(before[i], down[i])
	}
	inverse := field.NewScalar().Inv(before[n])
	out := secret{field.NewScalar().SetUint64(0), field.NewScalar().SetUint64(0)}
	weight := field.NewScalar()
	for i := n - 1; i >= 0; i-- {
		weight.Mul(weight.Mul(inverse, before[i]), up[i])
		inverse.Mul(inverse, down[i])
		for k := range out {
			out[k].Add(out[k], diff.Mul(weight, shares[i][k]))
		}
	}
	return out
}

// What is made of secrets. A self mask's key, and a commitment to it:

func selfKey(b []byte) stream.Key { return stream.Key(hash("sotto/secagg v1 self mask", b)) }

func commit(session *[32]byte, from int, b []byte) [32]byte {
	return hash("sotto/secagg v1 self commitment", session[:], point32(from), b)
}

// commitShare is what a dealer signs of a share that it sealed.
func commitShare(session *[32]byte, purpose string, from, to int, share []byte) [32]byte {
	return hash("sotto/secagg v1 share of "+purpose, session[:], point32(from), point32(to), share)
}

func point32(i int) []byte { return []byte{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)} }

// The key that others seal pair seeds to, and the seeds that are sealed to others:

func maskKey(k []byte) (hpke.PrivateKey, error) {
	ikm := hash("sotto/secagg v1 mask key", k)
	return suite.kem.DeriveKeyPair(ikm[:])
}

// pairKeys gives the seeds that a client shares with those after it.
func pairKeys(k []byte) func(with int) stream.Key {
	root := stream.Key(hash("sotto/secagg v1 pair masks", k))
	return func(with int) stream.Key { return root.Derive("sotto/secagg v1 pair mask", uint64(with)) }
}

// suite is HPKE (RFC 9180) with the hybrid of ML-KEM-768 and X25519 (X-Wing),
// HKDF-SHA256 and AES-256-GCM.
var suite = struct {
	kem  hpke.KEM
	kdf  hpke.KDF
	aead hpke.AEAD
}{hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES256GCM()}

const (
	publicKeySize = 1216
	sealedExtra   = 1120 + 16 // of HPKE's encapsulation and tag
	sharesSize    = sealedExtra + 2*secretSize
	pairSize      = sealedExtra + 32
)

// info binds what is sealed to its purpose, session, sender and receiver.
func info(purpose string, session *[32]byte, from, to int) []byte {
	h := hash("sotto/secagg v1 sealed "+purpose, session[:], point32(from), point32(to))
	return h[:]
}

func seal(to hpke.PublicKey, info, plain []byte) ([]byte, error) {
	out, err := hpke.Seal(to, suite.kdf, suite.aead, info, plain)
	if err == nil && len(out) != sealedExtra+len(plain) {
		err = fmt.Errorf("HPKE made %d bytes of %d", len(out), len(plain))
	}
	return out, err
}

func open(key hpke.PrivateKey, info, sealed []byte, size int) ([]byte, error) {
	plain, err := hpke.Open(key, suite.kdf, suite.aead, info, sealed)
	if err != nil {
		return nil, errors.New("it does not open")
	}
	if len(plain) != size {
		return nil, fmt.Errorf("it holds %d bytes, must hold %d", len(plain), size)
	}
	return plain, nil
}
