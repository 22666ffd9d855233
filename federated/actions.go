package federated

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sotto-ml/sotto/dp/accounting/ledger"
)

// act does the first of the actions that are to be done.
func (c *Coordinator) act(ctx context.Context) error {
	a := c.todo[0]
	c.point(fmt.Sprintf("%T", a))
	if first, ok := a.(Sum); ok {
		return c.sums(ctx, first)
	}
	c.todo = c.todo[1:]
	switch a := a.(type) {
	case Draw:
		return c.step(c.draw(a))
	case Ask:
		return c.ask(ctx, a)
	case Spend:
		return c.spend(a)
	case Combine:
		return c.combine(a)
	case Validate:
		_, pass, reason, err := c.judge(a.Round, a.Candidate)
		if err != nil {
			return err
		}
		return c.step(Validated{a.Round, pass, reason})
	case Approve:
		return c.approve(ctx, a)
	case Publish:
		if _, _, _, err := c.judge(a.Round, a.Candidate); err != nil { // sets score and trend
			return err
		}
		next := c.next
		if c.vault.durable() {
			data, _ := next.encode()
			if err := c.vault.put(versionName(a.Version), data); err != nil {
				return err
			}
		}
		c.point("published")
		c.at = next
		c.keep(a.Version, next)
		return c.step(Published{a.Round, a.Version})
	case Restore:
		at, err := c.version(a.Version)
		if err != nil {
			return err
		}
		c.at = at
		return nil
	case Discard:
		return c.forget()
	}
	return nil
}

// judge judges the candidate that a digest names, once.
func (c *Coordinator) judge(round int, d Digest) (found Candidate, pass bool, reason string, err error) {
	if c.next == nil { // resumed
		data, err := c.vault.get(candidateName(d))
		if err != nil {
			return found, false, "", err
		}
		next, h, err := decodeServer(data)
		if err != nil {
			return found, false, "", fmt.Errorf("federated: candidate: %w", err)
		}
		if h != d {
			return found, false, "", errors.New("federated: candidate: its digest differs")
		}
		c.next, c.judged = next, false
	}
	if !c.judged {
		v := &c.verdict
		if v.found, v.pass, v.reason, err = c.plan.Gate.judge(round, d, c.at, c.next); err != nil {
			v.pass, v.reason = false, "it cannot be validated: "+err.Error()
		}
		c.judged = true
	}
	return c.verdict.found, c.verdict.pass, c.verdict.reason, nil
}

// draw chooses the cohort, and buckets.
func (c *Coordinator) draw(a Draw) Drawn {
	s := &c.m.s
	var random source
	_, private := c.plan.Privacy.(Central)
	if private {
		key := c.key.Derive("sotto/federated draw", 0)
		random = privateSource(&key, a.Round)
		key.Erase()
	} else {
		random = publicSource(c.plan.Seed, "draw", a.Round, a.Attempt)
	}
	selection := c.plan.Selection
	members := s.Members
	if b, ok := c.plan.Strategy.(FedBuff); ok { // as many as are missing
		missing := b.Concurrency - len(s.Seats)
		if missing <= 0 {
			return Drawn{Round: a.Round, Attempt: a.Attempt}
		}
		selection = Uniform{Clients: missing}
		members = slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return s.seat(m.Client) != nil })
	}
	out := Drawn{Round: a.Round, Attempt: a.Attempt, Clients: selection.draw(members, random)}
	if c.plan.Buckets != nil {
		out.Buckets = assign(out.Clients, c.plan.buckets(), !private, c.plan.Seed, a.Round, a.Attempt)
	}
	return out
}

// ask sends a task to clients that are still asked.
func (c *Coordinator) ask(ctx context.Context, a Ask) error {
	at := c.at
	if a.Version != c.m.s.Version {
		var err error
		if at, err = c.version(a.Version); err != nil {
			return err
		}
	}
	task := Task{Round: a.Round, Attempt: a.Attempt, Version: a.Version, Params: at.params, Proximal: c.plan.Strategy.needs().proximal, Control: at.control}
	if !c.plan.Strategy.needs().control {
		task.Control = nil
	}
	for _, id := range a.Clients {
		seat := c.m.s.seat(id)
		if seat == nil || seat.Standing != Asked || seat.Round != a.Round || seat.Attempt != a.Attempt {
			continue
		}
		task.Counted = 0
		if m := c.m.s.member(id); m != nil {
			task.Counted = m.Counted
		}
		if err := c.config.Transport.Ask(ctx, id, task); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := c.step(Failure{id, a.Round, a.Attempt, err.Error()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// runName is how the ledger knows a round: a function of the key that tells nothing
// of it.
func (c *Coordinator) runName(round int) string {
	name := c.key.Derive("sotto/federated ledger name", 0)
	defer name.Erase()
	return fmt.Sprintf("%s/round/%d", hex.EncodeToString(name[:12]), round)
}

func (c *Coordinator) spend(a Spend) error {
	p := c.plan.Privacy
	err := c.config.Ledger.Reserve(c.runName(a.Round), p.relation(), p.RoundEvent(&c.plan), 0)
	c.point("spent")
	switch {
	case err == nil:
		return c.step(Spent(a))
	case errors.Is(err, ledger.ErrOverspent):
		return c.step(Overspent{a.Round, err.Error()})
	}
	return fmt.Errorf("federated: ledger: %w", err)
}

// sums asks for all sums at once, and takes them in the order of buckets.
func (c *Coordinator) sums(ctx context.Context, first Sum) error {
	var all []Sum
	for len(c.todo) > 0 {
		s, ok := c.todo[0].(Sum)
		if !ok {
			break
		}
		all, c.todo = append(all, s), c.todo[1:]
	}
	type result struct {
		sum       []uint32
		survivors []ClientID
		faults    []Fault
		err       error
	}
	results := make([]result, len(all))
	limit, cancel := context.WithTimeout(ctx, c.protocol.Deadlines.Sum)
	defer cancel()
	var wg sync.WaitGroup
	var faults sync.Mutex
	for i, a := range all {
		wg.Go(func() {
			r := &results[i]
			r.sum, r.survivors, r.err = c.config.Sums.Sum(limit, SumRequest{
				Round: a.Round, Attempt: a.Attempt, Bucket: a.Bucket, Clients: slices.Clone(a.Clients),
				Length: c.plan.Parameters, MinSurvivors: c.plan.fewestSurvivors(),
				Fault: func(f Fault) {
					faults.Lock()
					defer faults.Unlock()
					r.faults = append(r.faults, f)
				},
			})
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	faults.Lock()
	told := make([][]Fault, len(all)) // one that comes after its sum does not count
	for i := range all {
		told[i] = slices.Clone(results[i].faults)
		slices.SortStableFunc(told[i], func(a, b Fault) int { return cmp.Compare(a.Client, b.Client) })
	}
	faults.Unlock()
	for i, a := range all {
		r := &results[i]
		if r.err == nil {
			r.err = c.checkSum(a, r.sum, r.survivors)
		}
		var e Event
		if r.err != nil {
			e = SumFailed{Round: a.Round, Attempt: a.Attempt, Bucket: a.Bucket, Unseen: errors.Is(r.err, ErrUnseen), Reason: r.err.Error(), Faults: told[i]}
		} else {
			data, digest := encodeSum(r.sum, len(r.survivors))
			if c.vault.durable() {
				if err := c.vault.put(sumName(digest), data); err != nil {
					return err
				}
			}
			if c.combiner == nil {
				c.combiner = newCombiner(&c.plan, c.at)
			}
			c.combiner.addSum(a.Bucket, r.sum, len(r.survivors))
			e = Summed{a.Round, a.Attempt, a.Bucket, digest, r.survivors, told[i]}
		}
		c.point("summed")
		if err := c.step(e); err != nil {
			return err
		}
	}
	return nil
}

// checkSum refuses sums that are not what was asked for.
func (c *Coordinator) checkSum(a Sum, sum []uint32, survivors []ClientID) error {
	if len(sum) != c.plan.Parameters {
		return fmt.Errorf("a sum has %d elements, must have %d", len(sum), c.plan.Parameters)
	}
	seen := map[ClientID]bool{}
	for _, id := range survivors {
		if _, ok := slices.BinarySearch(a.Clients, id); !ok || seen[id] {
			return fmt.Errorf("a sum is of client %q, which was not asked, or is named twice", id)
		}
		seen[id] = true
	}
	if least := c.plan.fewestSurvivors(); len(survivors) < least {
		return fmt.Errorf("a sum is of %d clients, must be of at least %d", len(survivors), least)
	}
	return nil
}

// combine makes the candidate. It is kept before the machine hears of it, so that what
// is seen of it from then on is of these very bits.
func (c *Coordinator) combine(a Combine) error {
	failed := func(err error) error {
		return c.step(CombineFailed{a.Round, a.Attempt, err.Error()})
	}
	if c.plan.Secure {
		if c.combiner == nil { // resumed
			c.combiner = newCombiner(&c.plan, c.at)
			for b, x := range c.m.s.Sums {
				if x.State != sumKnown {
					continue
				}
				data, err := c.vault.get(sumName(x.Sum))
				if err != nil {
					return err
				}
				sum, survivors, err := decodeSum(data)
				if err != nil {
					return err
				}
				c.combiner.addSum(b, sum, survivors)
			}
		}
	} else if err := c.fold(true); err != nil {
		return err
	}
	next, _, refused, err := c.combiner.candidate(c.at, &c.key, a.Round, len(c.m.s.Members))
	if err != nil {
		return failed(err)
	}
	data, digest := next.encode()
	if c.vault.durable() {
		if err := c.vault.put(candidateName(digest), data); err != nil {
			return err
		}
	}
	c.point("combined")
	c.next, c.judged, c.combiner = next, false, nil
	return c.step(Combined{a.Round, a.Attempt, digest, refused})
}

func (c *Coordinator) approve(ctx context.Context, a Approve) error {
	found, _, _, err := c.judge(a.Round, a.Candidate)
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, c.protocol.Deadlines.Approve)
	defer cancel()
	pass, reason, err := c.plan.Gate.Approve(limit, found)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		pass, reason = false, err.Error()
	}
	return c.step(Decided{a.Round, pass, reason})
}
