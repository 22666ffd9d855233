package federated

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Step is the server: what it becomes when an event reaches it, and what it then wants
// done, in that order. It is a pure function. It neither writes to s nor to what s
// refers to, and answers every event in every state; one that does not belong there
// changes nothing but the log.
//
// # Safety
//
// In any order of events, crashes between any two included:
//
//   - An update counts at most once: only a seat that was Asked becomes Reported, a
//     client has one seat, and Discard precedes any other attempt.
//   - Privacy is spent at most once per round: rounds have one name in the ledger,
//     numbers only rise, and Combine (Ask, if clients add the noise) follows the
//     round's Spent. What is spent pays for one release. If the server adds the
//     noise, no candidate is seen before Combined, and after it no attempt
//     of the round is made; before it nothing noised was seen, and the attempt made
//     again has the same draw and the same noise, so it is the release that was paid
//     for. If clients add it in a secure sum, a round of which a bucket was or may
//     have been unmasked is given up.
//   - A bucket's sum is asked for at most once per attempt, of one set of clients. A
//     server that was restarted while sums were open gives the attempt up: whom it had
//     told which clients survive cannot be known, and to ask again could make clients
//     reveal both kinds of share.
//   - A version is published only after it was validated, and approved if so planned.
//
// # Liveness
//
// Every phase has a deadline, which Tick applies. With Rounds·Attempts attempts of at
// most six phases each, a server that is told the time ends, or stops.
func Step(p *Protocol, s State, e Event) (State, []Action) {
	m := machine{p: p, s: s.clone()}
	m.apply(e)
	return m.s, m.out
}

// machine is a step in progress. A runner, which owns its state, keeps one and saves
// itself the copy.
type machine struct {
	p       *Protocol
	s       State
	out     []Action
	resumed bool
}

func (m *machine) do(a Action) { m.out = append(m.out, a) }

func (m *machine) record(k Kind, c ClientID, reason string) {
	m.do(Record{Kind: k, Round: m.s.Round, Attempt: m.s.Attempt, Client: c, Version: m.s.Version, Reason: reason})
}

func (m *machine) enter(p Phase, d time.Duration) {
	m.s.Phase = p
	m.s.Deadline = m.after(d)
}

func (m *machine) after(d time.Duration) Instant {
	if d <= 0 || m.s.Now > never-Instant(d) {
		return never
	}
	return m.s.Now + Instant(d)
}

func (m *machine) apply(e Event) {
	s := &m.s
	switch e := e.(type) {
	case Tick:
		m.tick(e.Now)
	case Resumed:
		m.resume(e.Now)
	case Join:
		m.join(e)
	case Leave:
		m.leave(e)
	case Drawn:
		if m.current(Drawing, e.Round, e.Attempt) {
			m.drawn(e)
		}
	case Report:
		m.report(e)
	case Malformed:
		if seat := m.open(e.Client, e.Round, e.Attempt); seat != nil {
			m.refuse(seat, e.Reason)
			m.closeIfReady()
		}
	case Failure:
		if seat := m.open(e.Client, e.Round, e.Attempt); seat != nil {
			m.set(seat, Dropped)
			m.record(KindDropped, e.Client, e.Reason)
			m.closeIfReady()
		}
	case Summed:
		if m.current(Summing, e.Round, e.Attempt) && e.Bucket >= 0 && e.Bucket < len(s.Sums) && s.Sums[e.Bucket].State == sumPending {
			m.summed(e)
		}
	case SumFailed:
		if m.current(Summing, e.Round, e.Attempt) && e.Bucket >= 0 && e.Bucket < len(s.Sums) && s.Sums[e.Bucket].State == sumPending {
			s.Sums[e.Bucket].State = sumFailed
			m.reveal(!e.Unseen)
			m.faults(e.Bucket, e.Faults)
			m.record(KindFailed, "", "bucket "+strconv.Itoa(e.Bucket)+": "+e.Reason)
			m.closeSumsIfReady()
		}
	case Spent:
		m.spent(e)
	case Overspent:
		if s.Phase == Spending && e.Round == s.Round {
			m.stop("the privacy budget is spent: " + e.Reason)
		}
	case Combined:
		if m.current(Combining, e.Round, e.Attempt) {
			m.combined(e)
		}
	case CombineFailed:
		if m.current(Combining, e.Round, e.Attempt) {
			m.fail("updates cannot be combined: " + e.Reason)
		}
	case Validated:
		if s.Phase == Gating && e.Round == s.Round {
			m.record(KindValidated, "", e.Reason)
			switch {
			case !e.Pass:
				m.reject(e.Reason)
			case m.p.Approval:
				m.enter(Approving, m.p.Deadlines.Approve)
				m.do(Approve{s.Round, s.Candidate})
			default:
				m.publish()
			}
		}
	case Decided:
		if s.Phase == Approving && e.Round == s.Round {
			if !e.Pass {
				m.reject("not approved: " + e.Reason)
				return
			}
			m.record(KindApproved, "", e.Reason)
			m.publish()
		}
	case Published:
		if s.Phase == Publishing && e.Round == s.Round && e.Version == s.Latest+1 {
			m.published(e)
		}
	case RollBack:
		m.rollBack(e)
	case Release:
		if c := s.member(e.Client); c != nil && c.Until != 0 {
			m.release(c, "by hand")
			m.begin()
		}
	}
}

func (m *machine) current(p Phase, round, attempt int) bool {
	return m.s.Phase == p && m.s.Round == round && m.s.Attempt == attempt
}

// tick applies deadlines, one phase at a time.
func (m *machine) tick(now Instant) {
	s := &m.s
	if now <= s.Now {
		return
	}
	s.Now = now
	if s.Releases != 0 && s.Releases <= now {
		s.Releases = 0
		for i := range s.Members {
			switch c := &s.Members[i]; {
			case c.Until != 0 && c.Until <= now:
				m.release(c, "its time is over")
			case c.Until != 0 && (s.Releases == 0 || c.Until < s.Releases):
				s.Releases = c.Until
			}
		}
		m.begin()
	}
	if s.Phase.Over() || now < s.Deadline {
		return
	}
	switch s.Phase {
	case Waiting:
		m.stop(fmt.Sprintf("%d clients can be asked, must be at least %d", s.eligible(), m.p.MinMembers))
	case Drawing:
		m.fail("no cohort was drawn in time")
	case Collecting:
		m.close()
	case Summing:
		for i := range s.Sums {
			if s.Sums[i].State == sumPending {
				s.Sums[i].State = sumFailed
				m.reveal(true)
			}
		}
		m.closeSumsIfReady()
	case Spending:
		m.fail("the ledger did not answer in time")
	case Combining:
		m.fail("updates were not combined in time")
	case Gating:
		m.reject("it was not validated in time")
	case Approving:
		m.reject("nobody decided in time")
	case Publishing:
		m.stop("a version could not be published in time")
	}
}

// resume asks again for what may not have happened. What was asked of the world has
// the same answer if it is asked twice, but for secure sums.
func (m *machine) resume(now Instant) {
	s := &m.s
	if away := now - s.Now; away > 0 {
		s.Now = now
		if s.Deadline < never-away {
			s.Deadline += away // nobody could answer meanwhile
		}
	}
	m.record(KindResumed, "", "in phase "+s.Phase.String())
	switch s.Phase {
	case Drawing:
		m.do(Draw{s.Round, s.Attempt})
	case Collecting:
		m.resumed = true
		m.askAgain()
		m.resumed = false
	case Summing:
		m.reveal(true)
		m.fail("the server was restarted while secure sums were open")
	case Spending:
		m.do(Spend{s.Round})
	case Combining:
		m.do(Combine{s.Round, s.Attempt})
	case Gating:
		m.do(Validate{s.Round, s.Candidate})
	case Approving:
		m.do(Approve{s.Round, s.Candidate})
	case Publishing:
		m.do(Publish{s.Round, s.Latest + 1, s.Candidate})
	}
}

func (m *machine) join(e Join) {
	s := &m.s
	switch {
	case len(e.Client) == 0 || len(e.Client) > 200:
		m.record(KindIgnored, "", fmt.Sprintf("join: a client's name has %d bytes, must have 1 to 200", len(e.Client)))
		return
	case !(e.Weight > 0) || e.Weight > m.p.MaxWeight:
		m.record(KindIgnored, e.Client, fmt.Sprintf("join: weight is %v, must be in (0, %v]", e.Weight, m.p.MaxWeight))
		return
	}
	if c := s.member(e.Client); c != nil {
		if !c.Active {
			c.Active, c.Weight = true, e.Weight // strikes and quarantine stay
			m.record(KindJoined, e.Client, "again")
		}
	} else if m.p.MaxMembers > 0 && len(s.Members) >= m.p.MaxMembers {
		m.record(KindIgnored, "", fmt.Sprintf("join: there are %d members, must be at most as many", m.p.MaxMembers))
		return
	} else {
		i, _ := slices.BinarySearchFunc(s.Members, e.Client, func(a Member, b ClientID) int { return cmp.Compare(a.Client, b) })
		s.Members = slices.Insert(s.Members, i, Member{Client: e.Client, Active: true, Weight: e.Weight})
		m.record(KindJoined, e.Client, "")
	}
	m.begin()
}

func (m *machine) leave(e Leave) {
	s := &m.s
	c := s.member(e.Client)
	if c == nil || !c.Active {
		return
	}
	c.Active = false
	m.record(KindLeft, e.Client, "")
	if seat := s.seat(e.Client); seat != nil && seat.Standing == Asked {
		m.set(seat, Dropped)
		if s.Phase == Collecting {
			m.closeIfReady()
		}
	}
}

// begin starts the next round if the server waits and may.
func (m *machine) begin() {
	s := &m.s
	if s.Phase != Waiting || s.eligible() < max(1, m.p.MinMembers) {
		return
	}
	s.Round++
	s.Attempt, s.Revealed, s.Candidate = 1, false, Digest{}
	m.draw()
}

// next ends a round.
func (m *machine) next() {
	m.clearSeats()
	m.s.Sums, m.s.Candidate = nil, Digest{}
	if m.s.Round >= m.p.Rounds {
		m.s.Phase, m.s.Deadline = Done, never
		m.record(KindEnded, "", "")
		return
	}
	m.enter(Waiting, m.p.Deadlines.Wait)
	m.begin()
}

func (m *machine) stop(reason string) {
	if m.s.Round > 0 {
		m.do(Discard{m.s.Round, m.s.Attempt})
	}
	m.s.Seats, m.s.Sums, m.s.Open, m.s.Came = nil, nil, 0, 0
	m.s.Phase, m.s.Deadline, m.s.Reason = Stopped, never, reason
	m.record(KindEnded, "", reason)
}

func (m *machine) draw() {
	m.clearSeats()
	m.s.Sums = nil
	m.enter(Drawing, m.p.Deadlines.Work)
	m.do(Draw{m.s.Round, m.s.Attempt})
}

// clearSeats empties the cohort, but for the clients of a buffered strategy that are
// at work.
func (m *machine) clearSeats() {
	s := &m.s
	if m.p.Buffered {
		s.Seats = slices.DeleteFunc(s.Seats, func(x Seat) bool {
			return x.Standing != Asked || s.Version-x.Version > m.p.Staleness
		})
	} else {
		s.Seats = nil
	}
	s.Open, s.Came = len(s.Seats), 0
}

// set changes a seat's standing and keeps the counts.
func (m *machine) set(x *Seat, to Standing) {
	switch x.Standing {
	case Asked:
		m.s.Open--
	case Reported:
		m.s.Came--
	}
	if x.Standing = to; to == Reported {
		m.s.Came++
	}
}

// fail ends an attempt.
func (m *machine) fail(reason string) {
	s := &m.s
	m.record(KindFailed, "", reason)
	m.do(Discard{s.Round, s.Attempt})
	if s.Attempt >= m.p.Attempts || s.Revealed {
		m.record(KindAbandoned, "", reason)
		m.next()
		return
	}
	s.Attempt++
	m.draw()
}

// reject ends a round whose candidate is not accepted. It is not tried again: what
// was judged was seen.
func (m *machine) reject(reason string) {
	m.do(Record{Kind: KindRejected, Round: m.s.Round, Attempt: m.s.Attempt, Version: m.s.Version, Digest: m.s.Candidate, Reason: reason})
	m.do(Discard{m.s.Round, m.s.Attempt})
	m.next()
}

// reveal notes that something was seen that this round's spending pays for.
func (m *machine) reveal(seen bool) {
	if seen && m.p.Spend != SpendNothing {
		m.s.Revealed = true
	}
}
