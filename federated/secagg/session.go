package secagg

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

const (
	maxClients = 1 << 16
	maxDegree  = 2048
	maxLength  = 1 << 30
	maxName    = 256
)

// Session is one sum: who may take part, in what, and what it takes to unmask it. Every
// message bears its digest, so that none serves another session.
type Session struct {
	// Run is public randomness of at least 128 bits that nobody could foresee when the
	// clients joined: who are neighbours follows from it. It must differ between runs.
	Run [32]byte
	// Round, Attempt and Bucket name the sum in its run; each at least 0.
	Round, Attempt, Bucket int
	// Clients are the names of those who are invited, ascending: 2 to 2^16 of them, of 1
	// to 256 bytes each. Of two, each can tell the other's vector from the sum.
	Clients []string
	// Length is the number of elements of a vector, 1 to 2^30.
	Length int
	// Neighbours is how many others a client shares masks and secrets with: 0 is all
	// (Bonawitz et al. 2017), else an even number (the k-regular graph of Bell et al.
	// 2020). A cohort of up to Neighbours+1 clients is always joined completely. Nobody may
	// have more than 2,048.
	Neighbours int
	// Threshold is how many neighbours it takes to give away a secret, 1 to Neighbours.
	// If more drop out of any neighbourhood than are left above it, there is no sum.
	Threshold int
	// MinSurvivors is the fewest clients that a sum may be of, at least 2.
	MinSurvivors int
}

// degree is the number of neighbours of a client if n take part.
func (s *Session) degree(n int) int {
	if s.Neighbours == 0 || s.Neighbours >= n-1 {
		return n - 1
	}
	return s.Neighbours
}

// Validate reports what is wrong with a session.
func (s *Session) Validate() error {
	if s.Round < 0 || s.Attempt < 0 || s.Bucket < 0 || max(s.Round, s.Attempt, s.Bucket) > 1<<31-1 {
		return fmt.Errorf("secagg: Round, Attempt and Bucket are %d, %d and %d, must be in [0, 2^31)", s.Round, s.Attempt, s.Bucket)
	}
	if n := len(s.Clients); n < 2 || n > maxClients {
		return fmt.Errorf("secagg: Clients has %d names, must have 2 to %d", n, maxClients)
	}
	for i, c := range s.Clients {
		if c == "" || len(c) > maxName {
			return fmt.Errorf("secagg: Clients[%d] has %d bytes, must have 1 to %d", i, len(c), maxName)
		}
		if i > 0 && c <= s.Clients[i-1] {
			return fmt.Errorf("secagg: Clients[%d] is %q after %q, names must ascend", i, c, s.Clients[i-1])
		}
	}
	if s.Length < 1 || s.Length > maxLength {
		return fmt.Errorf("secagg: Length is %d, must be in [1, 2^30]", s.Length)
	}
	if s.Neighbours < 0 || s.Neighbours%2 != 0 || s.Neighbours > maxClients {
		return fmt.Errorf("secagg: Neighbours is %d, must be 0 for all, or an even number up to %d", s.Neighbours, maxClients)
	}
	if k := s.degree(len(s.Clients)); k > maxDegree {
		return fmt.Errorf("secagg: Neighbours is %d, which makes %d for each client, must be at most %d", s.Neighbours, k, maxDegree)
	} else if s.Threshold < 1 || s.Threshold > k {
		return fmt.Errorf("secagg: Threshold is %d, must be in [1, %d], the number of neighbours", s.Threshold, k)
	}
	if s.MinSurvivors < 2 || s.MinSurvivors > len(s.Clients) {
		return fmt.Errorf("secagg: MinSurvivors is %d, must be in [2, %d], the number of clients", s.MinSurvivors, len(s.Clients))
	}
	return nil
}

// index is a client's place in Clients, or -1.
func (s *Session) index(name string) int {
	if i, ok := slices.BinarySearch(s.Clients, name); ok {
		return i
	}
	return -1
}

// append writes the session, in the one way there is.
func (s *Session) append(b []byte) []byte {
	b = append(b, s.Run[:]...)
	for _, v := range []int{s.Round, s.Attempt, s.Bucket, s.Length, s.Neighbours, s.Threshold, s.MinSurvivors, len(s.Clients)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	for _, c := range s.Clients {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(c)))
		b = append(b, c...)
	}
	return b
}

// readSession reads what append wrote, and nothing else.
func readSession(r *reader) (s Session, err error) {
	copy(s.Run[:], r.take(len(s.Run)))
	n := 0
	for _, v := range []*int{&s.Round, &s.Attempt, &s.Bucket, &s.Length, &s.Neighbours, &s.Threshold, &s.MinSurvivors, &n} {
		*v = int(r.uint32())
	}
	if n > maxClients || n > len(r.rest)/3 {
		return s, errors.New("secagg: a session has more clients than bytes")
	}
	s.Clients = make([]string, n)
	for i := range s.Clients {
		s.Clients[i] = string(r.take(int(r.uint16())))
	}
	if err := r.end(); err != nil {
		return s, fmt.Errorf("secagg: a session: %w", err)
	}
	return s, s.Validate()
}

// hash is SHA-256 of a purpose and parts. Parts but the last must be of a fixed length
// for the purpose.
func hash(purpose string, parts ...[]byte) (out [32]byte) {
	h := sha256.New()
	var head [2]byte
	binary.LittleEndian.PutUint16(head[:], uint16(len(purpose)))
	h.Write(head[:])
	h.Write([]byte(purpose))
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(out[:0])
	return out
}

// digest names the session.
func (s *Session) digest() [32]byte { return hash("sotto/secagg v1 session", s.append(nil)) }
