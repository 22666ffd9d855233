package federated

import (
	"errors"
	"fmt"
)

// receive turns a message into an event.
func (c *Coordinator) receive(m Message) error {
	if m.release == nil {
		m.release = func() {}
	}
	switch m.Kind {
	case Joining:
		if m.Weight == 0 {
			m.Weight = 1
		}
		return c.step(Join{m.From, m.Weight})
	case Leaving:
		return c.step(Leave{m.From})
	case Unable:
		return c.step(Failure{m.From, m.Round, m.Attempt, m.Reason})
	case Answering:
		return c.answer(m)
	}
	m.release()
	return c.step(Malformed{m.From, m.Round, m.Attempt, fmt.Sprintf("message kind is %d, must be in [1, 4]", m.Kind)})
}

// answer checks an update and keeps it if it is wanted.
func (c *Coordinator) answer(m Message) error {
	u := &m.Update
	report := Report{Client: m.From, Round: m.Round, Attempt: m.Attempt, Weight: weightOf(u)}
	seat := c.m.s.seat(m.From)
	if seat == nil || seat.Standing != Asked || seat.Round != m.Round || seat.Attempt != m.Attempt || c.m.s.Phase != Collecting {
		m.release()
		return c.step(report) // which says why it does not count
	}
	if err := c.unpack(u); err != nil {
		m.release()
		return c.step(Malformed{m.From, m.Round, m.Attempt, err.Error()})
	}
	if c.vault.durable() && !c.plan.Secure {
		data, digest := u.encode()
		if err := c.vault.put(updateName(digest), data); err != nil {
			return err
		}
		c.point("update")
		report.Update = digest
	}
	if err := c.step(report); err != nil {
		return err
	}
	if seat = c.m.s.seat(m.From); seat == nil || seat.Standing != Reported || c.plan.Secure {
		m.release()
		return nil
	}
	c.held[m.From] = m
	return c.fold(false)
}

// unpack decompresses and checks an update.
func (c *Coordinator) unpack(u *Update) error {
	if c.plan.Secure {
		if len(u.Delta)+len(u.Packed)+len(u.Control) > 0 {
			return errors.New("an update is given in the clear, the plan is Secure")
		}
		if u.Weight != 0 && u.Weight != 1 {
			return fmt.Errorf("update: Weight is %v, must be 1", u.Weight)
		}
		return nil
	}
	if p := c.plan.Compression; p != nil {
		if u.Delta != nil {
			return fmt.Errorf("an update is given plain, must be packed by %T", p)
		}
		var err error
		if u.Delta, err = p.unpack(u.Packed, c.plan.Parameters); err != nil {
			return err
		}
		u.Packed = nil
	} else if u.Packed != nil {
		return errors.New("an update is packed, the plan has no Compression")
	}
	return u.check(&c.plan)
}

// fold adds held updates to the combiner, in the order of seats, as far as no seat
// before is open; all of them at the end.
func (c *Coordinator) fold(all bool) error {
	s := &c.m.s
	if c.protocol.Buffered && !all {
		return nil // seats still change
	}
	if c.combiner == nil {
		c.combiner, c.folded = newCombiner(&c.plan, c.at), 0
	}
	for ; c.folded < len(s.Seats); c.folded++ {
		x := &s.Seats[c.folded]
		if x.Standing == Asked && !all {
			return nil
		}
		if x.Standing != Reported {
			continue
		}
		m, ok := c.held[x.Client]
		if !ok {
			if !c.vault.durable() {
				return fmt.Errorf("federated: the update of client %q is lost", x.Client)
			}
			data, err := c.vault.get(updateName(x.Update))
			if err != nil {
				return err
			}
			if err := m.Update.UnmarshalBinary(data); err != nil {
				return fmt.Errorf("federated: update of client %q: %w", x.Client, err)
			}
		}
		c.combiner.add(x.Client, x.Bucket, &m.Update, s.Version-x.Version)
		if m.release != nil && !c.combiner.keeps() {
			m.release()
		}
		delete(c.held, x.Client)
	}
	return nil
}

// forget drops the updates of an attempt.
func (c *Coordinator) forget() error {
	for _, m := range c.held {
		if m.release != nil {
			m.release()
		}
	}
	clear(c.held)
	c.combiner, c.next = nil, nil
	if !c.vault.durable() {
		return nil
	}
	return c.vault.clean(&c.m.s)
}
