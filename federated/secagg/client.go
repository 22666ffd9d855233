package secagg

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"fmt"
	"sync"
)

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
