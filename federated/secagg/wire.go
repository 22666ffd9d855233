package secagg

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Requests and what clients reply:
//
//	invite     session                                  advert     keys
//	roster     hashes of adverts, neighbours' adverts   shares     commitments | sealed shares and seeds
//	deliver    U2, neighbours' shares                   masked     digests | masked vector
//	survivors  U3, neighbours' digests of the last      consent    digest of what was seen
//	reveal     consents around the client               revealed   one share of each neighbour
//
// Both begin with their kind and the session's digest. A reply goes on with the client's
// index, a head, a hybrid signature of all that, and a tail that the head holds digests
// of. Numbers are little-endian.
type kind byte

const (
	kindInvite kind = 1 + iota
	kindRoster
	kindDeliver
	kindSurvivors
	kindReveal
	kindAdvert
	kindShares
	kindMasked
	kindConsent
	kindRevealed
)

var kindNames = [...]string{"nothing", "invite", "roster", "deliver", "survivors", "reveal", "advert", "shares", "masked", "consent", "revealed"}

func (k kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// reply is the kind that answers a request.
func (k kind) reply() kind { return k + kindAdvert - kindInvite }

var errTruncated = errors.New("it is truncated")

// reader takes a message apart; after an error it gives zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.rest) {
		r.err = errTruncated
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) array32() (out [32]byte) {
	copy(out[:], r.take(32))
	return out
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// bytes takes what appendBytes wrote.
func (r *reader) bytes() []byte { return r.take(int(r.uint32())) }

func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%d bytes are left over", len(r.rest))
	}
	return r.err
}

func appendBytes(b, x []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(x))), x...)
}

// statement is what a client signed.
type statement struct {
	from      int
	head      []byte
	signature []byte
}

func (s *statement) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(s.from))
	b = appendBytes(b, s.head)
	return append(b, s.signature...)
}

func readStatement(r *reader) statement {
	return statement{from: int(r.uint32()), head: r.bytes(), signature: r.take(signatureSize)}
}

// signed is what the signature of a statement is of.
func signed(k kind, session *[32]byte, from int, head []byte) []byte {
	h := hash("sotto/secagg v1 head", head)
	b := append([]byte("sotto/secagg v1 statement"), byte(k))
	b = append(b, session[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(from))
	return append(b, h[:]...)
}

// readFrame reads how every message begins.
func readFrame(message []byte) (k kind, session [32]byte, r *reader, err error) {
	r = &reader{rest: message}
	if b := r.take(1); b != nil {
		k = kind(b[0])
	}
	session = r.array32()
	if r.err != nil {
		return 0, session, r, fmt.Errorf("secagg: a message of %d bytes: %w", len(message), r.err)
	}
	if k < kindInvite || k > kindRevealed {
		return 0, session, r, fmt.Errorf("secagg: a message of an unknown kind, %d", byte(k))
	}
	return k, session, r, nil
}

func appendFrame(b []byte, k kind, session *[32]byte) []byte {
	return append(append(b, byte(k)), session[:]...)
}

// set is a subset of a session's clients.
type set []bool

func (s set) count() (n int) {
	for _, in := range s {
		if in {
			n++
		}
	}
	return n
}

// appendSet writes one bit for each client.
func appendSet(b []byte, s set) []byte {
	at := len(b)
	b = append(b, make([]byte, (len(s)+7)/8)...)
	for i, in := range s {
		if in {
			b[at+i/8] |= 1 << (i % 8)
		}
	}
	return b
}

func readSet(r *reader, n int) set {
	b := r.take((n + 7) / 8)
	if b == nil {
		return nil
	}
	s := make(set, n)
	for i := range s {
		s[i] = b[i/8]>>(i%8)&1 == 1
	}
	if n%8 != 0 && b[n/8]>>(n%8) != 0 {
		r.err = errors.New("a set has members beyond the clients")
	}
	return s
}

// digest names the set within a session and a phase.
func (s set) digest(purpose string, session *[32]byte) [32]byte {
	return hash(purpose, session[:], appendSet(nil, s))
}
