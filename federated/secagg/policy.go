package secagg

import (
	"fmt"
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
