package secagg

// What malicious servers and clients do, for tests.

// Resign is a reply whose head and tail a malicious client changed and signed.
func Resign(id *Identity, message []byte, change func(head, tail []byte) ([]byte, []byte)) []byte {
	k, session, r, err := readFrame(message)
	if err != nil {
		panic(err)
	}
	st := readStatement(r)
	head, tail := change(append([]byte(nil), st.head...), append([]byte(nil), r.rest...))
	out, err := reply(k, &session, st.from, head, tail, id)
	if err != nil {
		panic(err)
	}
	return out
}

// Head is what a reply's signature is of.
func Head(message []byte) []byte {
	_, _, r, _ := readFrame(message)
	return readStatement(r).head
}

// SurvivorsWithout is the request of the consent phase, had one client not survived.
func (v *Server) SurvivorsWithout(client string, gone int) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.u3[gone]
	defer func() { v.u3[gone] = was }()
	v.u3[gone] = false
	return v.requestIn(Consent, client)
}

// ConsentTo is what a colluder signs: the view without one client, or with all if gone is
// negative.
func (v *Server) ConsentTo(from int, id *Identity, gone int) []byte {
	u3 := append(set(nil), v.u3...)
	if gone >= 0 {
		u3[gone] = false
	}
	view := viewDigest(&v.id, &v.roster, v.u2, u3)
	out, err := reply(kindConsent, &v.id, from, view[:], nil, id)
	if err != nil {
		panic(err)
	}
	return out
}

// RevealOf is the request of the last phase with consents that were signed by any.
func (v *Server) RevealOf(consents [][]byte) []byte {
	b := appendFrame(nil, kindReveal, &v.id)
	for _, c := range consents {
		b = append(b, c[33:]...)
	}
	return b
}

// Holds reports whether a client holds secrets.
func (c *Client) Holds() bool {
	s := c.now
	return s != nil && (s.selfSecret != nil || s.maskSecret != nil || s.shares != nil || s.commKey != nil || s.maskKey != nil)
}

// Secrets are the client's session secrets themselves, not copies.
func (c *Client) Secrets() (out [][]byte) {
	out = append(out, c.now.selfSecret, c.now.maskSecret)
	for _, s := range c.now.shares {
		out = append(out, s)
	}
	return out
}

// ResignVector is a masked reply cut to some elements, and signed.
func ResignVector(id *Identity, message []byte, elements int) []byte {
	return Resign(id, message, func(head, tail []byte) ([]byte, []byte) {
		tail = tail[:4*elements]
		of := hash("sotto/secagg v1 masked", tail)
		return append(head[:32], of[:]...), tail
	})
}

// Neighbours are those of a client by its index.
func (v *Server) Neighbours(c int) []int { return v.graph.neighbours(c) }

// Ring is the order of the graph.
func (v *Server) Ring() []int { return v.graph.ring }

// DeliverWithout is the request of the mask phase, had one client not shared.
func (v *Server) DeliverWithout(client string, gone int) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.u2[gone]
	defer func() { v.u2[gone] = was }()
	v.u2[gone] = false
	return v.requestIn(Mask, client)
}

// Believe takes a reply as a malicious server would, whatever it answers.
func (v *Server) Believe(reply []byte) {
	k, _, r, _ := readFrame(reply)
	st := readStatement(r)
	if k == kindShares {
		v.shares[st.from], v.sealed[st.from] = &st, r.rest
	} else {
		v.masked[st.from] = &st
	}
}

// ReplaceMaskKey puts another key than it advertised in a client's place.
func (v *Server) ReplaceMaskKey(c int) {
	key, err := suite.kem.GenerateKey()
	if err != nil {
		panic(err)
	}
	copy(v.adverts[c].head[publicKeySize:], key.PublicKey().Bytes())
}

// JunkShare is a reply of the share phase in which what a dealer sealed for one holder,
// and signed, is no share.
func (c *Client) JunkShare(id *Identity, message []byte, to int) []byte {
	s := c.now
	return Resign(id, message, func(head, tail []byte) ([]byte, []byte) {
		at, entry := 0, sharesHead
		for _, h := range s.graph.neighbours(s.self) {
			n := sealedSize(s.self, h)
			if h == to {
				plain := make([]byte, 2*secretSize)
				for i := range plain {
					plain[i] = 0xff
				}
				sealed, err := seal(s.commOf[h], info("shares", &s.id, s.self, h), plain)
				if err != nil {
					panic(err)
				}
				copy(tail[at:], sealed)
				of := hash("sotto/secagg v1 sealed", tail[at:at+n])
				ofB, ofK := s.commitments(s.self, h, plain)
				copy(head[entry:], of[:])
				copy(head[entry+32:], ofB[:])
				copy(head[entry+64:], ofK[:])
			}
			at, entry = at+n, entry+perHolder
		}
		return head, tail
	})
}
