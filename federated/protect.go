package federated

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/sotto-ml/sotto/dp"
	"github.com/sotto-ml/sotto/dp/noise"
	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
)

// Protected is a client that does what a plan asks of clients before an update leaves
// them: it packs, adds the noise of [Local], or holds the update back for a secure sum,
// with its share of [Distributed] noise. [Protect] makes it. It is safe for concurrent
// use, but trains one task at a time.
type Protected struct {
	// Ledger, if not nil, is the client's own: it is asked before anything noised
	// leaves the client, and may refuse, which fails the task. Under Distributed every
	// attempt counts by itself: a client cannot know what became of former ones.
	Ledger dp.Ledger

	plan  Plan
	inner Client
	key   stream.Key

	mu       sync.Mutex
	id       ClientID
	residual []float32 // of TopK, as of the last update that counted
	next     []float32 // made in round
	round    int       // of answer, next and input
	attempt  int       // of input
	answer   *Update   // of Local
	input    []uint32  // for a secure sum
}

// Protect returns a client that keeps a plan's promises to the one behind it. One that
// has nothing to do gives updates on as they are.
func Protect(plan Plan, id ClientID, c Client) (*Protected, error) {
	if err := plan.Validate(); err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errors.New("federated: Protect: the client is missing")
	}
	return &Protected{plan: plan, inner: c, key: stream.NewKey(), id: id}, nil
}

// Train implements [Client].
func (p *Protected) Train(ctx context.Context, t Task) (Update, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	local, noisy := p.plan.Privacy.(Local)
	if noisy && p.answer != nil {
		if t.Round == p.round { // asked again: a second answer would be a second release
			return Update{Delta: slices.Clone(p.answer.Delta), Packed: slices.Clone(p.answer.Packed)}, nil
		}
		if t.Round < p.round {
			return Update{}, fmt.Errorf("federated: round %d is over, round %d was answered", t.Round, p.round)
		}
	}
	u, err := p.inner.Train(ctx, t)
	if err != nil {
		return Update{}, err
	}
	if len(u.Delta) != p.plan.Parameters || !kernel.AllFinite(u.Delta) {
		return Update{}, fmt.Errorf("federated: Delta has %d elements, must have %d that are finite", len(u.Delta), p.plan.Parameters)
	}
	if p.plan.Secure {
		return p.hold(t, &u)
	}
	if noisy {
		if err := p.reserve(fmt.Sprintf("round/%d", t.Round)); err != nil {
			return Update{}, err
		}
		if u.Delta, err = local.release(u.Delta, &p.key, t.Round); err != nil {
			return Update{}, err
		}
		u.Weight, u.Steps = 0, 0 // only what is noised leaves
	}
	if c := p.plan.Compression; c != nil {
		p.pack(c, t, &u)
	}
	p.round = t.Round
	if noisy {
		p.answer = &Update{Delta: slices.Clone(u.Delta), Packed: slices.Clone(u.Packed)}
	}
	return u, nil
}

// reserve writes to the client's own ledger.
func (p *Protected) reserve(what string) error {
	if p.Ledger == nil {
		return nil
	}
	name := p.key.Derive("sotto/federated ledger name", 0)
	defer name.Erase()
	err := p.Ledger.Reserve(hex.EncodeToString(name[:12])+"/"+what, p.plan.Privacy.relation(), p.plan.Privacy.RoundEvent(&p.plan), 0)
	if err != nil {
		return fmt.Errorf("federated: %s refused: %w", what, err)
	}
	return nil
}

// hold encodes an update for a secure sum. Every attempt has noise of its own, or two
// sums of different survivors would show what they differ by.
func (p *Protected) hold(t Task, u *Update) (Update, error) {
	if _, noisy := p.plan.Privacy.(Distributed); noisy {
		if err := p.reserve(fmt.Sprintf("round/%d/attempt/%d", t.Round, t.Attempt)); err != nil {
			return Update{}, err
		}
	}
	key := stream.NewKey()
	defer key.Erase()
	input, err := p.plan.encoding().encode(u.Delta, &key)
	if err != nil {
		return Update{}, err
	}
	p.input, p.round, p.attempt = input, t.Round, t.Attempt
	return Update{}, nil
}

// Input gives what the client holds for the secure sum of an attempt, once: whoever
// masks it must not mask it twice.
func (p *Protected) Input(round, attempt int) ([]uint32, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.input == nil || p.round != round || p.attempt != attempt {
		return nil, false
	}
	out := p.input
	p.input = nil
	return out, true
}

// release clips an update and adds the noise.
func (l Local) release(x []float32, key *stream.Key, round int) ([]float32, error) {
	c := Central{NoiseMultiplier: l.NoiseMultiplier}
	unit := c.grid(l.ClipNorm, len(x))
	whole := make([]int64, len(x))
	place(whole, x, l.ClipNorm, unit)
	g, err := noise.NewRoundedGaussian(l.NoiseMultiplier * placed(l.ClipNorm, unit, len(x)) * (1 + 0x1p-40))
	if err != nil {
		return nil, fmt.Errorf("federated: %w", err)
	}
	sub := key.Derive("sotto/federated local noise", uint64(round))
	defer sub.Erase()
	g.AddBlocks(whole, &sub, 0)
	out := make([]float32, len(x))
	for j, v := range whole {
		out[j] = float32(float64(v) * unit)
	}
	clear(whole)
	if !kernel.AllFinite(out) {
		return nil, fmt.Errorf("federated: the noise of ClipNorm %v is beyond float32", l.ClipNorm)
	}
	return out, nil
}

// pack compresses an update. What TopK leaves out counts as left out only once the
// update counted.
func (p *Protected) pack(c Compression, t Task, u *Update) {
	if c.feedback() {
		if p.residual == nil {
			p.residual = make([]float32, len(u.Delta))
		}
		if p.next != nil && p.round != t.Round {
			if p.round == t.Counted {
				p.residual = p.next
			}
			p.next = nil
		}
		p.next = slices.Clone(p.residual)
	}
	// A task that is repeated, as after a restart, is answered with the same bits.
	random := rand.New(publicSource(p.plan.Seed, "packing of "+string(p.id), t.Round, 0))
	u.Packed = c.pack(u.Delta, p.next, random)
	u.Delta = nil
}
