package secagg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

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
		at := slices.Index(s.graph.neighbours(v), s.self)
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
		if share == nil || s.graph.within(v, agreed) < s.Threshold {
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
