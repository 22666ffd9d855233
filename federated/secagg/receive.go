package secagg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

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
		of := v.shares[u].head[sharesHead+perHolder*slices.Index(v.graph.neighbours(u), c):]
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
