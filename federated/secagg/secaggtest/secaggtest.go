// Package secaggtest runs sessions of secure aggregation in one process, for tests: with
// clients that drop out, with messages that are changed on their way, and, by [Fix], with
// randomness that can be repeated.
package secaggtest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"testing"
	"testing/cryptotest"

	"github.com/sotto-ml/sotto/federated/secagg"
)

// Fix makes all randomness of a test, private keys too, follow from a seed. The test must
// not be parallel.
func Fix(t *testing.T, seed uint64) { cryptotest.SetGlobalRandom(t, seed) }

// Cohort is a session's clients, and what goes wrong with them.
type Cohort struct {
	Session secagg.Session
	Policy  secagg.Policy
	// Input is what a client holds.
	Input func(client int) []uint32
	// Drop says whether a client is gone when it is asked in a phase.
	Drop func(phase secagg.Phase, client int) bool
	// Change, if not nil, replaces what a client replied.
	Change func(phase secagg.Phase, client int, reply []byte) []byte
	// Forge, if not nil, replaces what a client is asked.
	Forge func(phase secagg.Phase, client int, request []byte) []byte

	Identities []*secagg.Identity // nil is to be made
	Clients    []*secagg.Client
	Server     *secagg.Server
	Refused    []error // by clients, what they were asked

	pinned     map[string]*secagg.PublicIdentity
	transcript hash.Hash
}

// Names are those of n clients, ascending.
func Names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("client-%05d", i)
	}
	return out
}

// Start makes identities, clients and a server.
func (c *Cohort) Start() error {
	c.transcript = sha256.New()
	c.pinned = map[string]*secagg.PublicIdentity{}
	n := len(c.Session.Clients)
	for i := len(c.Identities); i < n; i++ {
		c.Identities = append(c.Identities, secagg.NewIdentity())
	}
	for i, name := range c.Session.Clients {
		c.pinned[name] = c.Identities[i].Public()
	}
	c.Clients = nil
	for i, name := range c.Session.Clients {
		client, err := secagg.NewClient(secagg.ClientConfig{
			Name: name, Identity: c.Identities[i], Pinned: c.pinned, Run: c.Session.Run, Policy: c.Policy,
			Input: func(secagg.Session) ([]uint32, error) {
				if x := c.Input(i); x != nil {
					return append([]uint32(nil), x...), nil
				}
				return nil, errors.New("no input")
			},
		})
		if err != nil {
			return err
		}
		c.Clients = append(c.Clients, client)
	}
	var err error
	c.Server, err = secagg.NewServer(c.Session, c.pinned)
	return err
}

// Pinned are the identities of all clients by name, after Start.
func (c *Cohort) Pinned() map[string]*secagg.PublicIdentity { return c.pinned }

// Step asks all who are asked in a phase, one after another, and advances.
func (c *Cohort) Step() error {
	phase := c.Server.Phase()
	for i, name := range c.Session.Clients {
		request := c.Server.Request(name)
		if request == nil || c.Drop != nil && c.Drop(phase, i) {
			continue
		}
		if c.Forge != nil {
			request = c.Forge(phase, i, request)
		}
		reply, err := c.Clients[i].Handle(request)
		c.transcript.Write(request)
		if err != nil {
			c.Refused = append(c.Refused, fmt.Errorf("%s: %w", name, err))
			continue
		}
		if c.Change != nil {
			reply = c.Change(phase, i, reply)
		}
		c.transcript.Write(reply)
		_ = c.Server.Receive(name, reply) // among the server's refusals
	}
	return c.Server.Advance()
}

// Run does all phases.
func (c *Cohort) Run() (sum []uint32, survivors []string, err error) {
	if err := c.Start(); err != nil {
		return nil, nil, err
	}
	for c.Server.Phase() != secagg.Done {
		if err := c.Step(); err != nil {
			return nil, nil, err
		}
	}
	return c.Server.Sum()
}

// Transcript is SHA-256 of all requests and replies, in hexadecimal.
func (c *Cohort) Transcript() string { return hex.EncodeToString(c.transcript.Sum(nil)) }
