package secagg

import (
	"context"
	"fmt"
	"time"
)

// Exchange asks a client and gives its reply. It is called from many goroutines, once
// for a client and phase, and should return when ctx ends.
type Exchange func(ctx context.Context, client string, request []byte) (reply []byte, err error)

// Run takes a server through its phases. A phase lasts until all who were asked have
// answered or phaseTimeout is over, which is 0 for no limit but ctx's; then it goes on
// with those who have. Errors of clients are among the server's Refusals. An error wraps
// [ErrUnseen] if no client was asked to unmask anything.
func Run(ctx context.Context, v *Server, exchange Exchange, phaseTimeout time.Duration) (sum []uint32, survivors []string, err error) {
	for v.Phase() != Done {
		phase := v.Phase()
		if err := v.ask(ctx, exchange, phaseTimeout); err != nil {
			if phase < Unmask {
				err = fmt.Errorf("%w: %w", err, ErrUnseen)
			}
			return nil, nil, fmt.Errorf("secagg: %s: %w", phase, err)
		}
		if err := v.Advance(); err != nil {
			return nil, nil, err
		}
	}
	return v.Sum()
}

// ask asks all clients of a phase.
func (v *Server) ask(ctx context.Context, exchange Exchange, timeout time.Duration) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	phase, asked := v.Phase(), v.Asked()
	answered := make(chan struct{}, len(asked)) // late ones do not block
	for _, c := range asked {
		go func() {
			defer func() { answered <- struct{}{} }()
			v.mu.Lock()
			request := v.requestIn(phase, c)
			v.mu.Unlock()
			if request == nil {
				return // the phase is over
			}
			if reply, err := exchange(limited, c, request); err != nil {
				v.Gone(c, err)
			} else {
				_ = v.Receive(c, reply) // kept among the refusals
			}
		}()
	}
	for range asked {
		select {
		case <-answered:
		case <-limited.Done():
			return ctx.Err() // the phase's own end is no error
		}
	}
	return nil
}
