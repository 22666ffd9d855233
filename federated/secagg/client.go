package secagg

import (
	"bytes"
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// Policy is what a client demands of sessions, whatever a server says.
type Policy struct {
	// MinSurvivors is the fewest clients whose sum the client takes part in, at least 2.
	MinSurvivors int
	// Colluders is how many of any client's neighbours, and of those in any two gaps of
	// the ring, may show the server all that they know: see [ColludingNeighbours].
	Colluders int
	// HonestServer says that the server, though curious, keeps to the protocol. The
	// threshold must then be above Colluders alone. Otherwise it must be above
	// (k+2+Colluders)/2 for k neighbours, or (k+1+Colluders)/2 if all are joined: no
	// server can then make clients give away both secrets of anyone.
	HonestServer bool
	// Accept, if not nil, may refuse a session for any other reason.
	Accept func(Session) error
}

// Threshold is the lowest that the policy takes for a session of n clients with the given
// Neighbours, or a majority of the neighbours if that is more: as many drop-outs are
// borne as the policy allows. It may be more than there are neighbours: the cohort is
// then too small.
func (p *Policy) Threshold(n, neighbours int) int {
	s := Session{Neighbours: neighbours}
	k := s.degree(n)
	if p.HonestServer {
		return max(1, k/2+1, p.Colluders+1)
	}
	return (p.signers(n, k)+p.Colluders)/2 + 1
}

// signers is how many clients there are that can consent for one of two clients next to
// each other: their neighbours together.
func (p *Policy) signers(n, k int) int {
	if k == n-1 {
		return k + 1
	}
	return k + 2
}

// check reports why a session is refused.
func (p *Policy) check(s *Session) error {
	if s.MinSurvivors < p.MinSurvivors {
		return fmt.Errorf("secagg: MinSurvivors is %d, the client demands at least %d", s.MinSurvivors, p.MinSurvivors)
	}
	k := s.degree(len(s.Clients))
	if p.HonestServer {
		if s.Threshold <= p.Colluders {
			return fmt.Errorf("secagg: Threshold is %d, the client demands more than its %d Colluders", s.Threshold, p.Colluders)
		}
	} else {
		if union := p.signers(len(s.Clients), k); 2*s.Threshold <= union+p.Colluders {
			return fmt.Errorf("secagg: Threshold is %d, the client demands more than (%d+%d)/2 against a malicious server with %d Colluders", s.Threshold, union, p.Colluders, p.Colluders)
		}
	}
	if p.Accept != nil {
		return p.Accept(*s)
	}
	return nil
}

// ClientConfig is what a [Client] is made of.
type ClientConfig struct {
	Name     string
	Identity *Identity
	// Pinned are the identities of all clients that may take part, by name, from a source
	// that the client trusts more than the server.
	Pinned map[string]*PublicIdentity
	// Run is the only run that the client takes part in.
	Run    [32]byte
	Policy Policy
	// Input gives the vector of a session, of its Length, when the client is to mask it.
	// It is called at most once for a session, and the slice is the client's from then
	// on.
	Input func(Session) ([]uint32, error)
	// After, of a client that was restarted, is the last session it may have taken part
	// in; only later ones are taken.
	After *Position
}

// Position orders the sessions of a run: by round, then by attempt.
type Position struct{ Round, Attempt int }

func (p Position) after(q Position) bool {
	return p.Round > q.Round || p.Round == q.Round && p.Attempt > q.Attempt
}

// Client is a client's side of the protocol: it answers the server's requests, one
// session after another. It never gives away both secrets of a peer, nor takes part in
// two sessions of one round and attempt. Secrets of a session are erased as soon as it
// is over, fails, or a later one begins. A Client is safe for concurrent use.
type Client struct {
	config ClientConfig

	mu   sync.Mutex
	last *Position // of the newest session
	now  *clientSession
}

// NewClient checks a configuration.
func NewClient(c ClientConfig) (*Client, error) {
	if c.Name == "" || c.Identity == nil || c.Input == nil {
		return nil, errors.New("secagg: ClientConfig needs a Name, an Identity and an Input")
	}
	own := c.Pinned[c.Name]
	if own == nil || !bytes.Equal(own.bytes, c.Identity.public.bytes) {
		return nil, fmt.Errorf("secagg: ClientConfig.Pinned[%q] is not the Identity's public half", c.Name)
	}
	if c.Policy.MinSurvivors < 2 || c.Policy.Colluders < 0 {
		return nil, fmt.Errorf("secagg: Policy.MinSurvivors is %d and Colluders %d, must be at least 2 and 0", c.Policy.MinSurvivors, c.Policy.Colluders)
	}
	return &Client{config: c, last: c.After}, nil
}

// clientSession is what a client holds of a session.
type clientSession struct {
	Session
	id    [32]byte // the session's digest
	self  int
	pins  []*PublicIdentity
	ready kind // the request that comes next; 0 once the session is over

	request [32]byte // hash of the last request
	reply   []byte   // what it was answered with

	// Secrets, until they are erased.
	selfSecret, maskSecret []byte
	commKey, maskKey       hpke.PrivateKey
	shares                 map[int][]byte // of others: both, of secretSize each

	advert       [32]byte // the own, as the roster should have it
	u1, u2, u3   set
	graph        *graph
	commOf       map[int]hpke.PublicKey
	maskOf       map[int]hpke.PublicKey
	roster, seen [32]byte // digests: of the roster, of all that was seen
	u2Digest     [32]byte
}

// erase overwrites what may be overwritten. Keys of crypto/hpke are left to the
// collector.
func (s *clientSession) erase() {
	clear(s.selfSecret)
	clear(s.maskSecret)
	for _, b := range s.shares {
		clear(b)
	}
	s.selfSecret, s.maskSecret, s.shares, s.commKey, s.maskKey, s.commOf, s.maskOf = nil, nil, nil, nil, nil, nil, nil
	s.ready = 0
}

// Handle answers a request. A request that was just answered is answered with the same
// bytes again. One that does not belong to the session changes nothing; one that belongs
// to it but cannot be right ends it, since its server is broken or malicious.
func (c *Client) Handle(request []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, id, r, err := readFrame(request)
	if err != nil {
		return nil, err
	}
	if k >= kindAdvert {
		return nil, fmt.Errorf("secagg: %q is no request", k)
	}
	h := hash("request", request)
	if c.now != nil && c.now.id == id && c.now.reply != nil && c.now.request == h {
		return c.now.reply, nil
	}
	if k == kindInvite {
		return c.join(id, r, h)
	}
	s := c.now
	if s == nil || s.id != id {
		return nil, fmt.Errorf("secagg: %s: it is for another session", k)
	}
	if s.ready != k {
		if s.ready == k+1 { // a second one, that differs
			s.erase()
			return nil, fmt.Errorf("secagg: %s: it differs from the one before: the session ends", k)
		}
		return nil, fmt.Errorf("secagg: %s: it is out of order", k)
	}
	var head, tail []byte
	switch k {
	case kindRoster:
		head, tail, err = s.onRoster(r)
	case kindDeliver:
		head, tail, err = s.onDeliver(r, c.config.Input)
	case kindSurvivors:
		head, err = s.onSurvivors(r, &c.config.Policy)
	case kindReveal:
		head, err = s.onReveal(r)
	}
	if err == nil {
		err = s.answer(k, h, head, tail, c.config.Identity)
	}
	if err != nil {
		s.erase()
		return nil, fmt.Errorf("secagg: %s: %w", k, err)
	}
	if k == kindReveal {
		s.erase()
	}
	return s.reply, nil
}

// answer signs a reply.
func (s *clientSession) answer(k kind, request [32]byte, head, tail []byte, id *Identity) error {
	out, err := reply(k.reply(), &s.id, s.self, head, tail, id)
	if err != nil {
		return err
	}
	s.request, s.reply, s.ready = request, out, k+1
	return nil
}

func reply(k kind, session *[32]byte, from int, head, tail []byte, id *Identity) ([]byte, error) {
	signature, err := id.sign(signed(k, session, from, head))
	if err != nil {
		return nil, err
	}
	st := statement{from: from, head: head, signature: signature}
	out := make([]byte, 0, 1+32+8+len(head)+signatureSize+len(tail))
	return append(st.append(appendFrame(out, k, session)), tail...), nil
}

// join begins a session.
func (c *Client) join(id [32]byte, r *reader, request [32]byte) ([]byte, error) {
	session, err := readSession(r)
	if err != nil {
		return nil, err
	}
	if session.digest() != id {
		return nil, errors.New("secagg: invite: the digest is not the session's")
	}
	if session.Run != c.config.Run {
		return nil, errors.New("secagg: invite: it is for another run")
	}
	at := Position{session.Round, session.Attempt}
	if c.last != nil && !at.after(*c.last) {
		return nil, fmt.Errorf("secagg: invite: round %d, attempt %d is not after round %d, attempt %d, which the client took part in", at.Round, at.Attempt, c.last.Round, c.last.Attempt)
	}
	s := &clientSession{Session: session, id: id, self: session.index(c.config.Name), shares: map[int][]byte{}, commOf: map[int]hpke.PublicKey{}, maskOf: map[int]hpke.PublicKey{}}
	if s.self < 0 {
		return nil, fmt.Errorf("secagg: invite: %q is not among the clients", c.config.Name)
	}
	for _, name := range session.Clients {
		pin := c.config.Pinned[name]
		if pin == nil {
			return nil, fmt.Errorf("secagg: invite: nobody is pinned as %q", name)
		}
		s.pins = append(s.pins, pin)
	}
	if err := c.config.Policy.check(&session); err != nil {
		return nil, err
	}
	s.selfSecret, s.maskSecret = newSecret().bytes(), newSecret().bytes()
	if s.commKey, err = suite.kem.GenerateKey(); err != nil {
		return nil, fmt.Errorf("secagg: %w", err)
	}
	if s.maskKey, err = maskKey(s.maskSecret); err != nil {
		return nil, fmt.Errorf("secagg: %w", err)
	}
	head := append(s.commKey.PublicKey().Bytes(), s.maskKey.PublicKey().Bytes()...)
	s.advert = advertHash(&id, s.self, head)
	if err := s.answer(kindInvite, request, head, nil, c.config.Identity); err != nil {
		return nil, err
	}
	if c.now != nil {
		c.now.erase()
	}
	c.now, c.last = s, &at
	return s.reply, nil
}

func advertHash(session *[32]byte, from int, head []byte) [32]byte {
	return hash("sotto/secagg v1 advert", session[:], point32(from), head)
}

// heard reads a statement of a peer that must be of a kind and signed.
func (s *clientSession) heard(r *reader, k kind) (statement, error) {
	st := readStatement(r)
	if r.err != nil {
		return st, r.err
	}
	if st.from < 0 || st.from >= len(s.Clients) {
		return st, fmt.Errorf("a statement of client %d of %d", st.from, len(s.Clients))
	}
	if err := s.pins[st.from].verify(signed(k, &s.id, st.from, st.head), st.signature); err != nil {
		return st, fmt.Errorf("%s of %q: %w", k, s.Clients[st.from], err)
	}
	return st, nil
}

// peers are the neighbours that are members, ascending.
func (s *clientSession) peers(of int, members set) []int {
	var out []int
	for _, v := range s.graph.neighbours(of) {
		if members[v] {
			out = append(out, v)
		}
	}
	return out
}

// onRoster makes secrets known to the neighbours, sealed.
func (s *clientSession) onRoster(r *reader) (head, tail []byte, err error) {
	hashes := make([][32]byte, len(s.Clients))
	s.u1 = make(set, len(s.Clients))
	for i := range hashes {
		hashes[i] = r.array32()
		s.u1[i] = hashes[i] != [32]byte{}
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	if hashes[s.self] != s.advert {
		return nil, nil, errors.New("it does not have the client's own keys")
	}
	s.roster = rosterDigest(&s.id, hashes)
	s.graph = newGraph(&s.Session, s.u1)
	near := s.graph.neighbours(s.self)
	if n := s.u1.count(); n < s.MinSurvivors || len(near) < s.Threshold {
		return nil, nil, fmt.Errorf("%d clients with %d neighbours each, must be at least %d and %d", n, len(near), s.MinSurvivors, s.Threshold)
	}
	for _, v := range near {
		st, err := s.heard(r, kindAdvert)
		if err != nil {
			return nil, nil, err
		}
		if st.from != v || advertHash(&s.id, v, st.head) != hashes[v] || len(st.head) != 2*publicKeySize {
			return nil, nil, fmt.Errorf("the keys of %q are not those of the roster", s.Clients[v])
		}
		if s.commOf[v], err = suite.kem.NewPublicKey(st.head[:publicKeySize]); err == nil {
			s.maskOf[v], err = suite.kem.NewPublicKey(st.head[publicKeySize:])
		}
		if err != nil {
			return nil, nil, fmt.Errorf("the keys of %q: %w", s.Clients[v], err)
		}
	}
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	b, errB := parseSecret(s.selfSecret)
	k, errK := parseSecret(s.maskSecret)
	if err := errors.Join(errB, errK); err != nil {
		return nil, nil, err
	}
	sharesB, sharesK := b.deal(s.Threshold, near), k.deal(s.Threshold, near)
	seedOf := pairKeys(s.maskSecret)
	own := commit(&s.id, s.self, s.selfSecret)
	head = append(append(head, s.roster[:]...), own[:]...)
	for i, v := range near {
		plain := sharesB[i].bytes()
		other := sharesK[i].bytes()
		plain = append(plain, other...)
		clear(other)
		ofB, ofK := s.commitments(s.self, v, plain)
		sealed, err := seal(s.commOf[v], info("shares", &s.id, s.self, v), plain)
		clear(plain)
		if err == nil && s.self < v {
			seed := seedOf(v)
			var pair []byte
			pair, err = seal(s.maskOf[v], info("pair", &s.id, s.self, v), seed[:])
			seed.Erase()
			sealed = append(sealed, pair...)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("sealing for %q: %w", s.Clients[v], err)
		}
		of := hash("sotto/secagg v1 sealed", sealed)
		head = append(append(append(head, of[:]...), ofB[:]...), ofK[:]...)
		tail = append(tail, sealed...)
	}
	return head, tail, nil
}

func rosterDigest(session *[32]byte, hashes [][32]byte) [32]byte {
	b := make([]byte, 0, 32*len(hashes))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return hash("sotto/secagg v1 roster", session[:], b)
}

// commitments are what a dealer signs of the shares that a holder gets.
func (s *clientSession) commitments(from, to int, plain []byte) (ofB, ofK [32]byte) {
	return commitShare(&s.id, "self", from, to, plain[:secretSize]), commitShare(&s.id, "mask", from, to, plain[secretSize:])
}

// A Shares head: the roster's digest, the commitment to the self mask, and for each
// neighbour of the dealer three hashes.
const (
	sharesHead = 2 * 32
	perHolder  = 3 * 32
)

// sealedSize is how many bytes a dealer seals for a holder.
func sealedSize(dealer, holder int) int {
	if dealer < holder {
		return sharesSize + pairSize
	}
	return sharesSize
}

// onDeliver masks the input.
func (s *clientSession) onDeliver(r *reader, input func(Session) ([]uint32, error)) (head, tail []byte, err error) {
	if s.u2, err = s.subset(r, s.u1, "those who shared secrets", "those who advertised"); err != nil {
		return nil, nil, err
	}
	near := s.peers(s.self, s.u2)
	if n := s.u2.count(); n < s.MinSurvivors || len(near) < s.Threshold {
		return nil, nil, fmt.Errorf("%d clients, %d of them neighbours, must be at least %d and %d", n, len(near), s.MinSurvivors, s.Threshold)
	}
	seedOf := pairKeys(s.maskSecret)
	masks := make([]mask, 1, len(near)+1)
	defer func() { // also if it fails on the way
		for i := range masks {
			masks[i].key.Erase()
		}
	}()
	masks[0].key = selfKey(s.selfSecret)
	for _, v := range near {
		st, err := s.heard(r, kindShares)
		if err != nil {
			return nil, nil, err
		}
		sealed := r.take(sealedSize(v, s.self))
		if r.err != nil {
			return nil, nil, r.err
		}
		at := place(s.graph.neighbours(v), s.self)
		if st.from != v || len(st.head) != sharesHead+perHolder*len(s.graph.neighbours(v)) {
			return nil, nil, fmt.Errorf("the shares of %q are malformed", s.Clients[v])
		}
		if [32]byte(st.head[:32]) != s.roster {
			return nil, nil, fmt.Errorf("%q was shown another roster", s.Clients[v])
		}
		of := st.head[sharesHead+perHolder*at:]
		if hash("sotto/secagg v1 sealed", sealed) != [32]byte(of[:32]) {
			return nil, nil, fmt.Errorf("what %q sealed was changed", s.Clients[v])
		}
		// What follows can only be the dealer's doing: shares that do not fit are left
		// out, so that a liar does not silence its neighbours; without a seed there is
		// no mask.
		if plain, err := open(s.commKey, info("shares", &s.id, v, s.self), sealed[:sharesSize], 2*secretSize); err == nil {
			ofB, ofK := s.commitments(v, s.self, plain)
			_, errB := parseSecret(plain[:secretSize])
			_, errK := parseSecret(plain[secretSize:])
			if ofB == [32]byte(of[32:64]) && ofK == [32]byte(of[64:96]) && errB == nil && errK == nil {
				s.shares[v] = plain
			} else {
				clear(plain)
			}
		}
		if v < s.self {
			seed, err := open(s.maskKey, info("pair", &s.id, v, s.self), sealed[sharesSize:], 32)
			if err != nil {
				return nil, nil, fmt.Errorf("the seed of %q: %w", s.Clients[v], err)
			}
			masks = append(masks, mask{key: [32]byte(seed), sub: true})
			clear(seed)
		} else {
			masks = append(masks, mask{key: seedOf(v)})
		}
	}
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	y, err := input(s.Session)
	if err != nil {
		return nil, nil, err
	}
	if len(y) != s.Length {
		return nil, nil, fmt.Errorf("the input has %d elements, must have %d", len(y), s.Length)
	}
	applyMasks(y, masks)
	tail = make([]byte, 4*len(y))
	for i, v := range y {
		binary.LittleEndian.PutUint32(tail[4*i:], v)
	}
	s.u2Digest = s.u2.digest("sotto/secagg v1 U2", &s.id)
	of := hash("sotto/secagg v1 masked", tail)
	return append(s.u2Digest[:], of[:]...), tail, nil
}

func place(sorted []int, v int) int {
	for i, w := range sorted {
		if w == v {
			return i
		}
	}
	panic("secagg: neighbours are not mutual")
}

// subset reads a set that must lie in another and have the client in it.
func (s *clientSession) subset(r *reader, of set, what, ofWhat string) (set, error) {
	out := readSet(r, len(s.Clients))
	if out == nil || r.err != nil {
		return nil, r.err
	}
	for i, in := range out {
		if in && !of[i] {
			return nil, fmt.Errorf("%s have %q, who is not among %s", what, s.Clients[i], ofWhat)
		}
	}
	if !out[s.self] {
		return nil, fmt.Errorf("%s lack the client itself", what)
	}
	return out, nil
}

// onSurvivors agrees to unmask, if the set is such that no sum of fewer shows.
func (s *clientSession) onSurvivors(r *reader, policy *Policy) (head []byte, err error) {
	if s.u3, err = s.subset(r, s.u2, "the survivors", "those who shared secrets"); err != nil {
		return nil, err
	}
	if n := s.u3.count(); n < s.MinSurvivors {
		return nil, fmt.Errorf("%d clients survive, must be at least %d", n, s.MinSurvivors)
	}
	if s.graph.severable(s.u3, policy.Colluders) {
		return nil, fmt.Errorf("too many are gone: with %d colluders the server would learn sums of parts of the cohort", policy.Colluders)
	}
	for _, v := range s.peers(s.self, s.u3) {
		st, err := s.heard(r, kindMasked)
		if err != nil {
			return nil, err
		}
		if st.from != v || len(st.head) != 64 {
			return nil, fmt.Errorf("the statement of %q is malformed", s.Clients[v])
		}
		if [32]byte(st.head[:32]) != s.u2Digest {
			return nil, fmt.Errorf("%q masked for other clients", s.Clients[v])
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	s.seen = viewDigest(&s.id, &s.roster, s.u2, s.u3)
	return s.seen[:], nil
}

func viewDigest(session, roster *[32]byte, u2, u3 set) [32]byte {
	return hash("sotto/secagg v1 view", session[:], roster[:], appendSet(appendSet(nil, u2), u3))
}

// onReveal gives away one share of each neighbour: of the self mask's secret if the
// neighbour survived, of the mask key's if not, and only of those whose neighbours saw
// what the client saw.
func (s *clientSession) onReveal(r *reader) (head []byte, err error) {
	agreed := make(set, len(s.Clients))
	for last := -1; len(r.rest) > 0; {
		st, err := s.heard(r, kindConsent)
		if err != nil {
			return nil, err
		}
		if st.from <= last {
			return nil, errors.New("consents do not ascend")
		}
		if !s.u3[st.from] {
			return nil, fmt.Errorf("%q, who is no survivor, consents", s.Clients[st.from])
		}
		if !bytes.Equal(st.head, s.seen[:]) {
			return nil, fmt.Errorf("%q was shown other survivors", s.Clients[st.from])
		}
		last, agreed[st.from] = st.from, true
	}
	agreed[s.self] = true
	near := s.peers(s.self, s.u2)
	for _, v := range near {
		share := s.shares[v]
		if share == nil || len(s.peers(v, agreed)) < s.Threshold {
			head = append(head, 0)
			continue
		}
		head = append(head, 1)
		if s.u3[v] {
			head = append(head, share[:secretSize]...)
		} else {
			head = append(head, share[secretSize:]...)
		}
	}
	return head, nil
}
