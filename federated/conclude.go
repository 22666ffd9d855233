package federated

import (
	"fmt"
	"slices"
	"strconv"
)

// sum asks for the sums of all buckets that are large enough to hide one client.
func (m *machine) sum() {
	s := &m.s
	buckets := 0
	for _, x := range s.Seats {
		buckets = max(buckets, x.Bucket+1)
	}
	by := make([][]ClientID, buckets)
	for _, x := range s.Seats {
		if x.Standing == Reported {
			by[x.Bucket] = append(by[x.Bucket], x.Client)
		}
	}
	s.Sums = make([]BucketSum, buckets)
	m.enter(Summing, m.p.Deadlines.Sum)
	for b, clients := range by {
		if len(clients) < max(2, m.p.BucketFloor) {
			s.Sums[b].State = sumFailed
			m.record(KindFailed, "", fmt.Sprintf("bucket %d has %d clients, must have at least %d", b, len(clients), max(2, m.p.BucketFloor)))
			m.drop(b, nil)
			continue
		}
		m.do(Sum{s.Round, s.Attempt, b, clients})
	}
	m.closeSumsIfReady()
}

// drop marks the clients of a bucket that are not in its sum.
func (m *machine) drop(bucket int, survivors []ClientID) {
	for i := range m.s.Seats {
		if x := &m.s.Seats[i]; x.Bucket == bucket && x.Standing == Reported && !slices.Contains(survivors, x.Client) {
			m.set(x, Dropped)
			m.record(KindDropped, x.Client, "it is not in its bucket's sum")
		}
	}
}

func (m *machine) summed(e Summed) {
	s := &m.s
	m.reveal(true)
	m.faults(e.Bucket, e.Faults)
	m.drop(e.Bucket, e.Survivors)
	s.Sums[e.Bucket] = BucketSum{State: sumKnown, Sum: e.Sum}
	m.do(Record{Kind: KindSummed, Round: s.Round, Attempt: s.Attempt, Version: s.Version, Digest: e.Sum, Reason: "bucket " + strconv.Itoa(e.Bucket)})
	m.closeSumsIfReady()
}

// faults strikes those of a bucket who did what honest clients do not. What they put
// into the sum, if anything, stays in it.
func (m *machine) faults(bucket int, faults []Fault) {
	for _, f := range faults {
		seat := m.s.seat(f.Client)
		switch {
		case seat == nil || seat.Standing != Reported || seat.Bucket != bucket || seat.Faulted:
		case f.Late:
			m.record(KindRefused, f.Client, f.Reason)
		default:
			seat.Faulted = true
			m.strike(f.Client, f.Reason)
		}
	}
}

func (m *machine) closeSumsIfReady() {
	known := 0
	for b, x := range m.s.Sums {
		switch x.State {
		case sumPending:
			return
		case sumKnown:
			known++
		case sumFailed:
			m.drop(b, nil)
		}
	}
	if known < max(1, m.p.MinBuckets) {
		m.fail(fmt.Sprintf("%d buckets were summed, must be at least %d", known, max(1, m.p.MinBuckets)))
		return
	}
	if m.s.Came < m.p.MinCohort {
		m.fail(fmt.Sprintf("sums hold %d updates, must be at least %d", m.s.Came, m.p.MinCohort))
		return
	}
	m.collected()
}

func (m *machine) spend() {
	m.enter(Spending, m.p.Deadlines.Work)
	m.do(Spend{m.s.Round})
}

func (m *machine) spent(e Spent) {
	s := &m.s
	if e.Round > s.Round || e.Round <= s.Spent {
		return
	}
	s.Spent = e.Round // even if it came too late: the ledger holds it
	m.do(Record{Kind: KindSpent, Round: e.Round, Attempt: s.Attempt, Version: s.Version})
	if s.Phase != Spending || e.Round != s.Round {
		return
	}
	if m.p.Spend == SpendBeforeAsk {
		m.ask()
	} else {
		m.combine()
	}
}

func (m *machine) combine() {
	m.enter(Combining, m.p.Deadlines.Work)
	m.do(Combine{m.s.Round, m.s.Attempt})
}

func (m *machine) combined(e Combined) {
	s := &m.s
	s.Candidate, s.Revealed = e.Candidate, true
	for _, c := range e.Refused {
		if seat := s.seat(c); seat != nil && seat.Standing == Reported {
			m.refuse(seat, "the rule refused its update")
		}
	}
	m.do(Record{Kind: KindCandidate, Round: s.Round, Attempt: s.Attempt, Version: s.Version, Digest: s.Candidate, Reason: strconv.Itoa(s.Came) + " updates"})
	m.enter(Gating, m.p.Deadlines.Work)
	m.do(Validate{s.Round, s.Candidate})
}

func (m *machine) publish() {
	m.enter(Publishing, m.p.Deadlines.Work)
	m.do(Publish{m.s.Round, m.s.Latest + 1, m.s.Candidate})
}

func (m *machine) published(e Published) {
	s := &m.s
	s.Latest++
	s.Version = s.Latest
	for _, x := range s.Seats {
		if x.Standing != Reported {
			continue
		}
		if c := s.member(x.Client); c != nil {
			c.Counted = x.Round
			if !x.Faulted {
				c.Strikes = 0
			}
		}
	}
	m.do(Record{Kind: KindAccepted, Round: s.Round, Attempt: s.Attempt, Version: s.Version, Digest: s.Candidate})
	m.do(Discard{s.Round, s.Attempt})
	m.next()
}

// rollBack gives up a round that is being collected: its updates start from the
// version that is left.
func (m *machine) rollBack(e RollBack) {
	s := &m.s
	switch {
	case e.To < 0 || e.To > s.Latest:
		m.record(KindIgnored, "", fmt.Sprintf("roll back: version is %d, must be in [0, %d]", e.To, s.Latest))
		return
	case s.Phase != Waiting && s.Phase != Collecting && !s.Phase.Over():
		m.record(KindIgnored, "", "roll back: not while "+s.Phase.String())
		return
	}
	s.Version = e.To
	m.do(Restore{e.To})
	m.do(Record{Kind: KindRolledBack, Round: s.Round, Attempt: s.Attempt, Version: e.To, Reason: e.Reason})
	if s.Phase == Collecting {
		m.do(Discard{s.Round, s.Attempt})
		m.record(KindAbandoned, "", "rolled back")
		s.Seats = nil
		m.next()
	}
}
