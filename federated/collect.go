package federated

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
)

func (m *machine) drawn(e Drawn) {
	s := &m.s
	for i, c := range e.Clients {
		mem := s.member(c)
		if mem == nil || !mem.eligible() {
			continue // it left since
		}
		seat := Seat{Client: c, Round: s.Round, Attempt: s.Attempt, Version: s.Version}
		if e.Buckets != nil && i < len(e.Buckets) {
			seat.Bucket = e.Buckets[i]
		}
		if n := len(s.Seats); n == 0 || s.Seats[n-1].Client < c {
			s.Seats = append(s.Seats, seat)
			s.Open++
		} else if at, ok := slices.BinarySearchFunc(s.Seats, c, func(a Seat, b ClientID) int { return cmp.Compare(a.Client, b) }); !ok {
			s.Seats = slices.Insert(s.Seats, at, seat)
			s.Open++
		}
	}
	if len(s.Seats) < m.p.MinCohort {
		m.fail(fmt.Sprintf("%d clients were drawn, must be at least %d", len(s.Seats), m.p.MinCohort))
		return
	}
	if m.p.Spend == SpendBeforeAsk && s.Spent < s.Round {
		m.spend()
		return
	}
	m.ask()
}

func (m *machine) ask() {
	m.enter(Collecting, m.p.Deadlines.Collect)
	m.askAgain()
	m.closeIfReady()
}

// askAgain asks those who have not answered; after a restart also those who were asked
// in earlier rounds.
func (m *machine) askAgain() {
	s := &m.s
	for from := 0; from < len(s.Seats); from++ {
		first := s.Seats[from]
		same := func(x Seat) bool {
			return x.Standing == Asked && x.Round == first.Round && x.Attempt == first.Attempt
		}
		if !same(first) || !m.resumed && (first.Round != s.Round || first.Attempt != s.Attempt) {
			continue
		}
		if slices.ContainsFunc(s.Seats[:from], same) {
			if !m.p.Buffered {
				break
			}
			continue
		}
		var all []ClientID
		for _, x := range s.Seats[from:] {
			if same(x) {
				all = append(all, x.Client)
			}
		}
		m.do(Record{Kind: KindAsked, Round: first.Round, Attempt: first.Attempt, Version: first.Version, Reason: strconv.Itoa(len(all)) + " clients"})
		m.do(Ask{first.Round, first.Attempt, first.Version, all})
	}
}

// open returns the seat that an answer is for, or logs why there is none.
func (m *machine) open(c ClientID, round, attempt int) *Seat {
	s := &m.s
	seat := s.seat(c)
	switch {
	case s.member(c) == nil:
		m.record(KindIgnored, "", "an answer of a client that never joined")
	case seat == nil || seat.Round != round || seat.Attempt != attempt:
		m.record(KindLate, c, fmt.Sprintf("its answer is for round %d, attempt %d", round, attempt))
	case seat.Standing != Asked:
		m.record(KindIgnored, c, "it has answered already")
	case s.Phase != Collecting:
		m.record(KindLate, c, "updates are not collected now")
		if m.p.Buffered {
			m.set(seat, Late) // so that it can be drawn again
		}
	default:
		return seat
	}
	return nil
}

func (m *machine) report(e Report) {
	seat := m.open(e.Client, e.Round, e.Attempt)
	if seat == nil {
		return
	}
	if !(e.Weight > 0) || e.Weight > m.p.MaxWeight || math.IsNaN(e.Weight) {
		m.refuse(seat, fmt.Sprintf("its weight is %v, must be in (0, %v]", e.Weight, m.p.MaxWeight))
	} else {
		m.set(seat, Reported)
		seat.Weight, seat.Update = e.Weight, e.Update
		m.do(Record{Kind: KindReported, Round: m.s.Round, Attempt: m.s.Attempt, Client: e.Client, Version: seat.Version, Digest: e.Update})
	}
	m.closeIfReady()
}

// refuse counts an update out, and against its client.
func (m *machine) refuse(seat *Seat, reason string) {
	m.set(seat, Refused)
	m.strike(seat.Client, reason)
}

func (m *machine) strike(c ClientID, reason string) {
	m.record(KindRefused, c, reason)
	mem := m.s.member(c)
	if mem == nil || m.p.Strikes == 0 {
		return
	}
	mem.Strikes++
	if mem.Strikes >= m.p.Strikes && mem.Until == 0 {
		mem.Until = m.after(m.p.Sentence)
		if m.s.Releases == 0 || mem.Until < m.s.Releases {
			m.s.Releases = mem.Until
		}
		m.record(KindQuarantined, c, fmt.Sprintf("%d refusals in a row", mem.Strikes))
	}
}

func (m *machine) release(c *Member, reason string) {
	c.Until, c.Strikes = 0, 0
	m.record(KindReleased, c.Client, reason)
}

func (m *machine) closeIfReady() {
	s := &m.s
	if s.Open == 0 || m.p.Enough > 0 && s.Came >= m.p.Enough {
		m.close()
	}
}

// close ends the collection.
func (m *machine) close() {
	s := &m.s
	for i := range s.Seats {
		if x := &s.Seats[i]; x.Standing == Asked && !m.p.Buffered {
			m.set(x, Late)
			m.record(KindLate, x.Client, "it has not answered in time")
		}
	}
	if s.Came < m.p.MinCohort {
		m.fail(fmt.Sprintf("%d updates came, must be at least %d", s.Came, m.p.MinCohort))
		return
	}
	if m.p.Secure {
		m.sum()
		return
	}
	m.collected()
}

func (m *machine) collected() {
	if m.p.Spend == SpendBeforeCombine && m.s.Spent < m.s.Round {
		m.spend()
		return
	}
	m.combine()
}
