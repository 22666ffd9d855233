package secagg

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
)

const (
	signatureSize   = ed25519.SignatureSize + mldsa65.SignatureSize
	signatureDomain = "sotto/secagg v1"
)

// Identity is the long-lived signing key of a client: Ed25519 and ML-DSA-65 (FIPS 204)
// side by side, so that a forger must break both.
type Identity struct {
	seed   [64]byte // keys are expanded when they sign: that of ML-DSA takes 64 KiB
	public *PublicIdentity
}

// PublicIdentity is what others know a client by. They must have it from a source that
// they trust: whoever gives them keys of its own takes part in the client's name.
type PublicIdentity struct {
	ed    ed25519.PublicKey
	ml    *mldsa65.PublicKey
	bytes []byte
}

// NewIdentity makes an identity from crypto/rand.
func NewIdentity() *Identity {
	var seed [64]byte
	rand.Read(seed[:])
	return identityOf(&seed)
}

// ParseIdentity reads what [Identity.Secret] gave.
func ParseIdentity(secret []byte) (*Identity, error) {
	if len(secret) != 64 {
		return nil, fmt.Errorf("secagg: the secret of an identity has %d bytes, must have 64", len(secret))
	}
	return identityOf((*[64]byte)(secret)), nil
}

func identityOf(seed *[64]byte) *Identity {
	ed := ed25519.NewKeyFromSeed(seed[:32]).Public().(ed25519.PublicKey)
	ml, _ := mldsa65.NewKeyFromSeed((*[32]byte)(seed[32:]))
	return &Identity{*seed, &PublicIdentity{ed, ml, append(append([]byte(nil), ed...), ml.Bytes()...)}}
}

// Secret gives the 64 bytes that the identity is made of, for safe keeping.
func (id *Identity) Secret() []byte { return append([]byte(nil), id.seed[:]...) }

// Public gives the identity's public half.
func (id *Identity) Public() *PublicIdentity { return id.public }

func (id *Identity) sign(message []byte) ([]byte, error) {
	out := make([]byte, signatureSize)
	copy(out, ed25519.Sign(ed25519.NewKeyFromSeed(id.seed[:32]), message))
	_, ml := mldsa65.NewKeyFromSeed((*[32]byte)(id.seed[32:]))
	if err := mldsa65.SignTo(ml, message, []byte(signatureDomain), true, out[ed25519.SignatureSize:]); err != nil {
		return nil, fmt.Errorf("secagg: signing: %w", err)
	}
	return out, nil
}

// ParsePublicIdentity reads what [PublicIdentity.Bytes] gave.
func ParsePublicIdentity(b []byte) (*PublicIdentity, error) {
	if want := ed25519.PublicKeySize + mldsa65.PublicKeySize; len(b) != want {
		return nil, fmt.Errorf("secagg: a public identity has %d bytes, must have %d", len(b), want)
	}
	p := &PublicIdentity{bytes: append([]byte(nil), b...), ml: new(mldsa65.PublicKey)}
	p.ed = p.bytes[:ed25519.PublicKeySize:ed25519.PublicKeySize]
	if err := p.ml.UnmarshalBinary(p.bytes[ed25519.PublicKeySize:]); err != nil {
		return nil, fmt.Errorf("secagg: a public identity: %w", err)
	}
	return p, nil
}

// Bytes gives the identity in 1,984 bytes.
func (p *PublicIdentity) Bytes() []byte { return append([]byte(nil), p.bytes...) }

// String gives a fingerprint of 128 bits, for people to compare.
func (p *PublicIdentity) String() string {
	h := hash("sotto/secagg v1 fingerprint", p.bytes)
	return hex.EncodeToString(h[:16])
}

var errSignature = errors.New("the signature is not the client's")

func (p *PublicIdentity) verify(message, signature []byte) error {
	if len(signature) != signatureSize ||
		!ed25519.Verify(p.ed, message, signature[:ed25519.SignatureSize]) ||
		!mldsa65.Verify(p.ml, message, []byte(signatureDomain), signature[ed25519.SignatureSize:]) {
		return errSignature
	}
	return nil
}
