package federated

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sotto-ml/sotto/federated/secagg"
)

// MaskedSum is the [SecureSum] of package secagg: clients mask what they hold such that
// only their sum comes off. The threshold is the lowest that Policy takes.
type MaskedSum struct {
	// Run is public randomness that differs between runs and that nobody could foresee
	// when the clients joined.
	Run [32]byte
	// Pinned are the identities of all clients, by name.
	Pinned map[string]*secagg.PublicIdentity
	// Policy is what clients demand: sessions that some would refuse are not begun.
	Policy secagg.Policy
	// Neighbours is with how many others a client shares masks: an even number, or 0 for
	// all.
	Neighbours int
	// PhaseTimeout is how long clients have for each of five replies; 0 is a sixth of what
	// the sum has.
	PhaseTimeout time.Duration
	// Exchange carries a request to a client and its reply back. It is called from many
	// goroutines.
	Exchange func(ctx context.Context, to ClientID, request []byte) ([]byte, error)
}

// Sum implements [SecureSum].
func (m *MaskedSum) Sum(ctx context.Context, r SumRequest) ([]uint32, []ClientID, error) {
	if m.Exchange == nil {
		return nil, nil, fmt.Errorf("federated: MaskedSum.Exchange is missing: %w", ErrUnseen)
	}
	s := secagg.Session{
		Run: m.Run, Round: r.Round, Attempt: r.Attempt, Bucket: r.Bucket, Length: r.Length, Neighbours: m.Neighbours,
		MinSurvivors: max(r.MinSurvivors, m.Policy.MinSurvivors),
	}
	for _, c := range r.Clients {
		if m.Pinned[string(c)] != nil {
			s.Clients = append(s.Clients, string(c))
		} else if r.Fault != nil {
			r.Fault(Fault{Client: c, Reason: "secure sum: nobody is pinned by its name"})
		}
	}
	s.Threshold = m.Policy.Threshold(len(s.Clients), m.Neighbours)
	server, err := secagg.NewServer(s, m.Pinned)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, ErrUnseen)
	}
	timeout := m.PhaseTimeout
	if end, ok := ctx.Deadline(); ok && timeout == 0 {
		timeout = max(time.Until(end)/6, 1)
	}
	sum, names, err := secagg.Run(ctx, server, func(ctx context.Context, name string, request []byte) ([]byte, error) {
		return m.Exchange(ctx, ClientID(name), request)
	}, timeout)
	if r.Fault != nil {
		for _, f := range server.Refusals() {
			if !f.Missing {
				r.Fault(Fault{ClientID(f.Client), fmt.Sprintf("secure sum, %s: %s", f.Phase, f.Reason), !f.Fault})
			}
		}
	}
	if err != nil {
		return nil, nil, err // wraps ErrUnseen if it may
	}
	survivors := make([]ClientID, len(names))
	for i, name := range names {
		survivors[i] = ClientID(name)
	}
	return sum, survivors, nil
}

// AcceptSession refuses sessions but of the attempt that the client holds something for;
// it serves as a [secagg.Policy]'s Accept.
func (p *Protected) AcceptSession(s secagg.Session) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.input == nil || p.round != s.Round || p.attempt != s.Attempt || len(p.input) != s.Length {
		return fmt.Errorf("federated: the client holds nothing for round %d, attempt %d of %d elements", s.Round, s.Attempt, s.Length)
	}
	return nil
}

// SessionInput gives what the client holds to a [secagg.Client] of it, as its Input.
func (p *Protected) SessionInput(s secagg.Session) ([]uint32, error) {
	if x, ok := p.Input(s.Round, s.Attempt); ok {
		return x, nil
	}
	return nil, fmt.Errorf("federated: the client holds nothing for round %d, attempt %d", s.Round, s.Attempt)
}

// NewMaskedSum is a MaskedSum among clients of this process: each has an identity and
// takes part in the whole protocol, with what input gives for it, or is gone if that is
// false. MinSurvivors of the policy may be 0, for the plan's.
func NewMaskedSum(run [32]byte, clients []ClientID, policy secagg.Policy, neighbours int, input func(c ClientID, round, attempt int) ([]uint32, bool)) (*MaskedSum, error) {
	policy.MinSurvivors = max(2, policy.MinSurvivors)
	m := &MaskedSum{Run: run, Pinned: map[string]*secagg.PublicIdentity{}, Policy: policy, Neighbours: neighbours}
	identities := map[ClientID]*secagg.Identity{}
	for _, c := range clients {
		identities[c] = secagg.NewIdentity()
		m.Pinned[string(c)] = identities[c].Public()
	}
	peers := map[ClientID]*secagg.Client{}
	for _, c := range clients {
		peer, err := secagg.NewClient(secagg.ClientConfig{
			Name: string(c), Identity: identities[c], Pinned: m.Pinned, Run: run, Policy: policy,
			Input: func(s secagg.Session) ([]uint32, error) {
				if x, ok := input(c, s.Round, s.Attempt); ok {
					return x, nil
				}
				return nil, errors.New("it is gone")
			},
		})
		if err != nil {
			return nil, err
		}
		peers[c] = peer
	}
	m.Exchange = func(_ context.Context, to ClientID, request []byte) ([]byte, error) {
		peer := peers[to]
		if peer == nil {
			return nil, errors.New("it is no client of this process")
		}
		return peer.Handle(request)
	}
	return m, nil
}
