package secagg

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// revealed are the shares of a client's secret.
type revealed struct {
	holders []int
	shares  []secret
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
