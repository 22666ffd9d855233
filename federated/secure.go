package federated

import (
	"context"
	"fmt"

	"github.com/sotto-ml/sotto/federated/secagg"
)

// SecureSum adds up vectors that the server does not see one by one. Package
// federated/secagg does so by masks; [PlainSum] does so in one process, for tests.
type SecureSum interface {
	// Sum returns the sum modulo 2^32, element by element, of what the clients of a
	// request hold for it ([Protected.Input]), and of which clients it is: at least
	// MinSurvivors of those asked. It ends by ctx's deadline. It is called at most once
	// for a (Round, Attempt, Bucket), and keys that clients make for it must serve that
	// alone. An error must wrap [ErrUnseen] if, and only if, it is certain that no
	// client was asked to unmask anything: a private round is then tried again.
	Sum(ctx context.Context, r SumRequest) (sum []uint32, survivors []ClientID, err error)
}

// SumRequest says which sum is asked for.
type SumRequest struct {
	Round, Attempt, Bucket int
	Clients                []ClientID // in ascending order
	Length                 int        // of the vectors
	MinSurvivors           int
	// Fault, if not nil, is to be told whose messages were refused, from any goroutine,
	// before Sum returns.
	Fault func(Fault)
}

// ErrUnseen is what errors of a [SecureSum] wrap if nothing was unmasked.
var ErrUnseen = secagg.ErrUnseen

// PlainSum is a SecureSum without any security, for tests and simulations: it sees every
// vector. Input returns what a client holds, or false if it is gone.
type PlainSum struct {
	Input func(c ClientID, round, attempt int) ([]uint32, bool)
}

// Sum implements [SecureSum].
func (p PlainSum) Sum(ctx context.Context, r SumRequest) ([]uint32, []ClientID, error) {
	sum := make([]uint32, r.Length)
	var survivors []ClientID
	for _, c := range r.Clients {
		x, ok := p.Input(c, r.Round, r.Attempt)
		if !ok || len(x) != r.Length {
			continue
		}
		for j, v := range x {
			sum[j] += v
		}
		survivors = append(survivors, c)
	}
	if len(survivors) < r.MinSurvivors {
		return nil, nil, fmt.Errorf("%d of %d clients are left, must be at least %d: %w", len(survivors), len(r.Clients), r.MinSurvivors, ErrUnseen)
	}
	return sum, survivors, ctx.Err()
}
