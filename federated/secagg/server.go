package secagg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
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

// Refusal says whose message was not taken, and why.
type Refusal struct {
	Client string
	Phase  Phase
	Reason string
	// Fault says that no honest client sends such a message; otherwise it came late.
	Fault bool
	// Missing says that there was no message: Reason is why.
	Missing bool
}

// Error implements error.
func (r *Refusal) Error() string {
	return fmt.Sprintf("secagg: %s: %q: %s", r.Phase, r.Client, r.Reason)
}

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

// revealed are the shares of a client's secret.
type revealed struct {
	holders []int
	shares  []secret
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

// Receive takes a client's reply. If it does not, it says why, as a [*Refusal] that is
// kept among the Refusals, and the session goes on. Of replies to one request the first
// counts; one that differs from it is refused, and expels its client if it could make
// others disagree. The reply must not be changed afterwards. That it came from whom it
// is said to come from, the caller must know: faults are laid at that client's door.
func (v *Server) Receive(from string, reply []byte) error {
	c := v.session.index(from)
	if c < 0 {
		return v.late(from, "it is no client of the session")
	}
	k, id, r, err := readFrame(reply)
	if err != nil {
		return v.refuse(from, err.Error())
	}
	if id != v.id {
		return v.late(from, "it is for another session")
	}
	if k < kindAdvert {
		return v.refuse(from, fmt.Sprintf("%q is no reply", k))
	}
	st := readStatement(r)
	if r.err != nil {
		return v.refuse(from, r.err.Error())
	}
	if st.from != c {
		return v.refuse(from, fmt.Sprintf("it is signed for client %d, must be %d", st.from, c))
	}
	if err := v.pins[c].verify(signed(k, &v.id, c, st.head), st.signature); err != nil {
		return v.refuse(from, err.Error())
	}
	if k == kindMasked && (len(st.head) != 64 || hash("sotto/secagg v1 masked", r.rest) != [32]byte(st.head[32:])) {
		return v.refuse(from, "the vector is not what was signed")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if reason, fault := v.take(c, k, &st, r.rest); reason != "" {
		refusal := Refusal{Client: from, Phase: v.phase, Reason: reason, Fault: fault}
		v.refusals = append(v.refusals, refusal)
		return &refusal
	}
	return nil
}

// blame records a lie of a client that its own signature proves.
func (v *Server) blame(c int, reason string) {
	r := Refusal{Client: v.session.Clients[c], Phase: v.phase, Reason: reason, Fault: true}
	if !slices.Contains(v.refusals, r) {
		v.refusals = append(v.refusals, r)
	}
}

func (v *Server) refuse(from, reason string) error {
	return v.note(Refusal{Client: from, Reason: reason, Fault: true})
}

func (v *Server) late(from, reason string) error {
	return v.note(Refusal{Client: from, Reason: reason})
}

func (v *Server) note(refusal Refusal) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	refusal.Phase = v.phase
	v.refusals = append(v.refusals, refusal)
	return &refusal
}

// Gone records that a client did not answer, and why.
func (v *Server) Gone(client string, why error) {
	_ = v.note(Refusal{Client: client, Reason: why.Error(), Missing: true})
}

// take takes what is signed, or says why not, and whether that is the client's fault.
func (v *Server) take(c int, k kind, st *statement, tail []byte) (reason string, fault bool) {
	// Two signed statements of one kind that differ are a client's own doing.
	former := map[kind][]*statement{kindAdvert: v.adverts, kindShares: v.shares, kindMasked: v.masked, kindConsent: v.consents}[k]
	if former != nil && former[c] != nil {
		if bytes.Equal(former[c].head, st.head) {
			return "", false // a duplicate
		}
		if k == kindAdvert || k == kindShares {
			v.expelled[c] = true
		}
		return fmt.Sprintf("it signed two different messages of the kind %q", k), true
	}
	if v.expelled[c] {
		return "it was expelled", false
	}
	if want := v.phase.request().reply(); v.failed != nil || v.phase == Done || k < want {
		return fmt.Sprintf("%q comes too late", k), false
	} else if k > want {
		return fmt.Sprintf("%q comes too early", k), true
	}
	if !v.asked(c) {
		return "it was not asked", true
	}
	if v.came[c] {
		return "", false // of shares revealed, the first count
	}
	switch k {
	case kindAdvert:
		reason = v.onAdvert(c, st, tail)
	case kindShares:
		reason = v.onShares(c, st, tail)
	case kindMasked:
		reason = v.onMasked(c, st, tail)
	case kindConsent:
		if !bytes.Equal(st.head, v.view[:]) || len(tail) > 0 {
			return "it consents to something else", true
		}
		v.consents[c] = st
	case kindRevealed:
		reason = v.onRevealed(c, st.head, tail)
	}
	v.came[c] = reason == ""
	return reason, true
}

func (v *Server) onAdvert(c int, st *statement, tail []byte) string {
	if len(st.head) != 2*publicKeySize || len(tail) > 0 {
		return fmt.Sprintf("its keys have %d bytes, must have %d", len(st.head)+len(tail), 2*publicKeySize)
	}
	for _, key := range [][]byte{st.head[:publicKeySize], st.head[publicKeySize:]} {
		if _, err := suite.kem.NewPublicKey(key); err != nil {
			return "its keys: " + err.Error()
		}
	}
	v.adverts[c] = st
	return ""
}

func (v *Server) onShares(c int, st *statement, tail []byte) string {
	near := v.graph.neighbours(c)
	size := 0
	for _, h := range near {
		size += sealedSize(c, h)
	}
	if len(st.head) != sharesHead+perHolder*len(near) || len(tail) != size {
		return fmt.Sprintf("its shares have %d+%d bytes, must have %d+%d", len(st.head), len(tail), sharesHead+perHolder*len(near), size)
	}
	if [32]byte(st.head[:32]) != v.roster {
		return "it answers another roster"
	}
	at := 0
	for i, h := range near {
		n := sealedSize(c, h)
		if hash("sotto/secagg v1 sealed", tail[at:at+n]) != [32]byte(st.head[sharesHead+perHolder*i:][:32]) {
			return fmt.Sprintf("what it sealed for %q is not what it signed", v.session.Clients[h])
		}
		at += n
	}
	v.shares[c], v.sealed[c] = st, tail
	return ""
}

func (v *Server) onMasked(c int, st *statement, tail []byte) string {
	if len(tail) != 4*v.session.Length {
		return fmt.Sprintf("its vector has %d bytes, must have %d", len(tail), 4*v.session.Length)
	}
	if [32]byte(st.head[:32]) != v.u2Digest {
		return "it masked for other clients"
	}
	for i := range v.sum {
		v.sum[i] += binary.LittleEndian.Uint32(tail[4*i:])
	}
	// The vector is added, not kept.
	v.masked[c] = &statement{from: c, head: slices.Clone(st.head), signature: slices.Clone(st.signature)}
	return ""
}

// onRevealed takes those shares that their dealer signed for.
func (v *Server) onRevealed(c int, head, tail []byte) string {
	r := &reader{rest: head}
	type share struct {
		of   int
		what secret
	}
	var all []share
	for _, u := range v.graph.neighbours(c) {
		if !v.u2[u] {
			continue
		}
		flag := r.take(1)
		if r.err != nil || flag[0] > 1 {
			return "its shares are malformed"
		}
		if flag[0] == 0 {
			continue
		}
		b := r.take(secretSize)
		if r.err != nil {
			return "its shares are malformed"
		}
		purpose, at := "self", 32
		if !v.u3[u] {
			purpose, at = "mask", 64
		}
		of := v.shares[u].head[sharesHead+perHolder*place(v.graph.neighbours(u), c):]
		if commitShare(&v.id, purpose, u, c, b) != [32]byte(of[at:at+32]) {
			return fmt.Sprintf("its share of %q is not what the dealer signed", v.session.Clients[u])
		}
		what, err := parseSecret(b)
		if err != nil { // the holder gave what the dealer signed
			v.blame(u, fmt.Sprintf("of the share that it dealt %q, %v", v.session.Clients[c], err))
			continue
		}
		all = append(all, share{u, what})
	}
	if len(tail) > 0 || r.end() != nil {
		return "its shares are malformed"
	}
	for _, s := range all {
		of := v.revealed[s.of]
		if of == nil {
			of = &revealed{}
			v.revealed[s.of] = of
		}
		of.holders, of.shares = append(of.holders, c), append(of.shares, s.what)
	}
	return ""
}

// Complete reports whether all who were asked have answered.
func (v *Server) Complete() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range v.session.Clients {
		if v.asked(c) && !v.came[c] {
			return false
		}
	}
	return true
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
			n := 0
			for _, u := range g.neighbours(c) {
				if s[u] {
					n++
				}
			}
			if in && n < v.session.Threshold {
				s[c], again = false, true
			}
		}
	}
	return s
}

// within counts the neighbours of a client in a set.
func (v *Server) within(c int, s set) (n int) {
	for _, u := range v.graph.neighbours(c) {
		if s[u] {
			n++
		}
	}
	return n
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
	return v.u3[c] || v.u2[c] && v.within(c, v.u3) > 0
}

func (v *Server) holders(s set, what string) error {
	for c := range v.u2 {
		if n := v.within(c, s); v.needed(c) && n < v.session.Threshold {
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

// secretOf makes a client's secret of the shares that came.
func (v *Server) secretOf(c int) ([]byte, error) {
	r := v.revealed[c]
	n := 0
	if r != nil {
		n = len(r.holders)
	}
	t := v.session.Threshold
	if n < t {
		return nil, fmt.Errorf("%d shares of %q's secret came, must be at least %d", n, v.session.Clients[c], t)
	}
	return recoverSecret(r.holders[:t], r.shares[:t]).bytes(), nil
}

// unmask takes all masks off.
func (v *Server) unmask() error {
	masks, err := v.masks()
	if err != nil {
		return err
	}
	applyMasks(v.sum, masks)
	v.revealed, v.sealed = nil, nil
	return nil
}

// masks are what to add to the sum: less the self masks of those who survived, and the
// pair masks of those who did not from those who did. Secrets are recovered on all cores.
func (v *Server) masks() ([]mask, error) {
	for c := range v.u2 {
		v.graph.neighbours(c) // known from here on, for all goroutines
	}
	found := make([][]mask, len(v.u2))
	failed := make([]error, len(v.u2))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for c := int(next.Add(1)) - 1; c < len(v.u2); c = int(next.Add(1)) - 1 {
				if v.needed(c) {
					found[c], failed[c] = v.masksOf(c)
				}
			}
		})
	}
	workers.Wait()
	for _, err := range failed {
		if l, ok := err.(*lie); ok {
			v.blame(l.client, l.reason)
		}
	}
	return slices.Concat(found...), errors.Join(failed...)
}

// lie is what a client's own signatures prove of it.
type lie struct {
	client       int
	name, reason string
}

func (l *lie) Error() string { return fmt.Sprintf("%q %s", l.name, l.reason) }

func (v *Server) lie(c int, reason string) error { return &lie{c, v.session.Clients[c], reason} }

// masksOf are those that a client's secret gives.
func (v *Server) masksOf(c int) ([]mask, error) {
	b, err := v.secretOf(c)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if !v.u3[c] {
		return v.pairMasks(c, b)
	}
	if commit(&v.id, c, b) != [32]byte(v.shares[c].head[32:64]) {
		return nil, v.lie(c, "dealt shares of something else than it signed")
	}
	return []mask{{key: selfKey(b), sub: true}}, nil
}

// pairMasks are those that survivors share with a client that did not survive.
func (v *Server) pairMasks(c int, k []byte) ([]mask, error) {
	key, err := maskKey(k)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(key.PublicKey().Bytes(), v.adverts[c].head[publicKeySize:]) {
		return nil, v.lie(c, "dealt shares of something else than its key")
	}
	seedOf := pairKeys(k)
	var out []mask
	for _, u := range v.graph.neighbours(c) {
		if !v.u3[u] {
			continue
		}
		if c < u { // u subtracted
			out = append(out, mask{key: seedOf(u)})
			continue
		}
		seed, err := open(key, info("pair", &v.id, u, c), v.sealedFor(u, c)[sharesSize:], 32)
		if err != nil {
			return nil, v.lie(u, fmt.Sprintf("sealed a seed for %q of which %v", v.session.Clients[c], err))
		}
		out = append(out, mask{key: [32]byte(seed), sub: true})
	}
	return out, nil
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
