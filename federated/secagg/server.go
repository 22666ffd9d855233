package secagg

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Phase is what a [Server] waits for.
type Phase int

const (
	Advertise Phase = iota // keys
	Share                  // sealed shares of secrets
	Mask                   // masked vectors
	Consent                // consents to unmask what is there
	Unmask                 // shares of secrets
	Done
)

func (p Phase) String() string {
	if p < Advertise || p > Done {
		return fmt.Sprintf("phase %d", int(p))
	}
	return [...]string{"advertise", "share", "mask", "consent", "unmask", "done"}[p]
}

func (p Phase) request() kind { return kindInvite + kind(p) }

// ErrUnseen is what errors wrap if no client was asked to unmask anything.
var ErrUnseen = errors.New("nothing was unmasked")

// Server is the server's side of one session, without a network or a clock: ask each
// client what Request gives, give its reply to Receive, and Advance when enough have
// come or time is up. Safe for concurrent use.
type Server struct {
	session Session
	id      [32]byte
	pins    []*PublicIdentity

	mu       sync.Mutex
	phase    Phase
	failed   error
	refusals []Refusal
	expelled set
	came     set // whose message of the phase was taken

	adverts, shares, masked, consents []*statement
	sealed                            [][]byte // tails of shares
	u1, u2, u3, u4                    set
	hashes                            [][32]byte
	roster, u2Digest, view            [32]byte
	graph                             *graph
	sum                               []uint32
	revealed                          map[int]*revealed // by whose secret it is
}

// NewServer begins a session with clients of pinned identities.
func NewServer(s Session, pinned map[string]*PublicIdentity) (*Server, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s.Clients = slices.Clone(s.Clients)
	n := len(s.Clients)
	v := &Server{session: s, id: s.digest(), expelled: make(set, n), came: make(set, n), adverts: make([]*statement, n), shares: make([]*statement, n), masked: make([]*statement, n), consents: make([]*statement, n), sealed: make([][]byte, n), revealed: map[int]*revealed{}}
	for _, name := range s.Clients {
		pin := pinned[name]
		if pin == nil {
			return nil, fmt.Errorf("secagg: nobody is pinned as %q", name)
		}
		v.pins = append(v.pins, pin)
	}
	return v, nil
}

// Phase is what the server waits for.
func (v *Server) Phase() Phase {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.phase
}

// Refusals are all messages that were not taken, in their order.
func (v *Server) Refusals() []Refusal {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.refusals)
}

// Asked are the clients that the phase waits for, ascending.
func (v *Server) Asked() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	for c, name := range v.session.Clients {
		if v.asked(c) {
			out = append(out, name)
		}
	}
	return out
}

func (v *Server) asked(c int) bool {
	if v.failed != nil {
		return false
	}
	switch v.phase {
	case Advertise:
		return true
	case Share:
		return v.u1[c] && !v.expelled[c]
	case Mask:
		return v.u2[c] && !v.expelled[c]
	case Consent:
		return v.u3[c]
	case Unmask:
		return v.u4[c]
	}
	return false
}

// Request is what a client is asked in this phase, or nil if it is not asked.
func (v *Server) Request(client string) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.requestIn(v.phase, client)
}

func (v *Server) requestIn(phase Phase, client string) []byte {
	c := v.session.index(client)
	if c < 0 || phase != v.phase || !v.asked(c) {
		return nil
	}
	b := appendFrame(nil, v.phase.request(), &v.id)
	switch v.phase {
	case Advertise:
		b = v.session.append(b)
	case Share:
		for i := range v.hashes {
			b = append(b, v.hashes[i][:]...)
		}
		for _, u := range v.graph.neighbours(c) {
			b = v.adverts[u].append(b)
		}
	case Mask:
		b = appendSet(b, v.u2)
		for _, u := range v.graph.neighbours(c) {
			if v.u2[u] {
				b = append(v.shares[u].append(b), v.sealedFor(u, c)...)
			}
		}
	case Consent:
		b = appendSet(b, v.u3)
		for _, u := range v.graph.neighbours(c) {
			if v.u3[u] {
				b = v.masked[u].append(b)
			}
		}
	case Unmask:
		around := make(set, len(v.u4))
		for _, u := range v.graph.neighbours(c) {
			if v.u2[u] {
				for _, w := range v.graph.neighbours(u) {
					around[w] = v.u4[w]
				}
			}
		}
		for w, in := range around {
			if in {
				b = v.consents[w].append(b)
			}
		}
	}
	return b
}

// sealedFor is what a dealer sealed for a holder.
func (v *Server) sealedFor(dealer, holder int) []byte {
	at := 0
	for _, h := range v.graph.neighbours(dealer) {
		n := sealedSize(dealer, h)
		if h == holder {
			return v.sealed[dealer][at : at+n]
		}
		at += n
	}
	panic("secagg: neighbours are not mutual")
}

// Advance ends a phase with those who have answered. An error ends the session; it wraps
// [ErrUnseen] if no client was asked to unmask anything.
func (v *Server) Advance() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failed != nil {
		return v.failed
	}
	var err error
	switch v.phase {
	case Advertise:
		err = v.join()
	case Share:
		err = v.pair()
	case Mask:
		err = v.survive()
	case Consent:
		err = v.agree()
	case Unmask:
		err = v.unmask()
	case Done:
		return errors.New("secagg: Advance: the session is over")
	}
	if err != nil {
		if v.phase < Unmask {
			err = fmt.Errorf("%w: %w", err, ErrUnseen)
		}
		v.failed = fmt.Errorf("secagg: %s: %w", v.phase, err)
		v.sum, v.revealed = nil, nil
		return v.failed
	}
	v.phase++
	v.came = make(set, len(v.came))
	return nil
}

func (v *Server) enough(s set, what string) error {
	if n := s.count(); n < v.session.MinSurvivors {
		return fmt.Errorf("%d clients %s, must be at least %d", n, what, v.session.MinSurvivors)
	}
	return nil
}

func (v *Server) join() error {
	n := len(v.came)
	v.u1, v.hashes = make(set, n), make([][32]byte, n)
	for c, st := range v.adverts {
		if st != nil && !v.expelled[c] {
			v.u1[c] = true
			v.hashes[c] = advertHash(&v.id, c, st.head)
		}
	}
	v.u1 = v.prune(newGraph(&v.session, everyoneOf(n)), v.u1)
	for c, in := range v.u1 {
		if !in {
			v.hashes[c] = [32]byte{}
		}
	}
	v.graph = newGraph(&v.session, v.u1)
	v.roster = rosterDigest(&v.id, v.hashes)
	return v.enough(v.u1, "with enough neighbours advertised keys")
}

// prune leaves those who have as many neighbours among them as it takes to give away a
// secret. Who leaves may take holders from others.
func (v *Server) prune(g *graph, s set) set {
	for again := true; again; {
		again = false
		for c, in := range s {
			if in && g.within(c, s) < v.session.Threshold {
				s[c], again = false, true
			}
		}
	}
	return s
}

func (v *Server) pair() error {
	v.u2 = make(set, len(v.came))
	for c, st := range v.shares {
		v.u2[c] = st != nil && !v.expelled[c]
	}
	v.u2 = v.prune(v.graph, v.u2)
	v.u2Digest = v.u2.digest("sotto/secagg v1 U2", &v.id)
	v.sum = make([]uint32, v.session.Length)
	return v.enough(v.u2, "with enough neighbours shared secrets")
}

// needed reports whether a client's secret is needed: it survived, or a neighbour's
// vector has a mask that it shares.
func (v *Server) needed(c int) bool {
	return v.u3[c] || v.u2[c] && v.graph.within(c, v.u3) > 0
}

func (v *Server) holders(s set, what string) error {
	for c := range v.u2 {
		if n := v.graph.within(c, s); v.needed(c) && n < v.session.Threshold {
			return fmt.Errorf("of %q's neighbours %d %s, must be at least %d", v.session.Clients[c], n, what, v.session.Threshold)
		}
	}
	return nil
}

func (v *Server) survive() error {
	v.u3 = make(set, len(v.came))
	for c, st := range v.masked {
		v.u3[c] = st != nil
	}
	if err := v.enough(v.u3, "sent their vectors"); err != nil {
		return err
	}
	v.view = viewDigest(&v.id, &v.roster, v.u2, v.u3)
	return v.holders(v.u3, "sent their vectors")
}

func (v *Server) agree() error {
	v.u4 = make(set, len(v.came))
	for c, st := range v.consents {
		v.u4[c] = st != nil
	}
	return v.holders(v.u4, "consented")
}

// Sum gives the sum modulo 2^32 and the clients that it is of, once the server is Done.
func (v *Server) Sum() (sum []uint32, survivors []string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failed != nil {
		return nil, nil, v.failed
	}
	if v.phase != Done {
		return nil, nil, fmt.Errorf("secagg: Sum: the server is in phase %s", v.phase)
	}
	for c, in := range v.u3 {
		if in {
			survivors = append(survivors, v.session.Clients[c])
		}
	}
	return v.sum, survivors, nil
}
