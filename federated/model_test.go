package federated

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The model checker plays the world against Step: clients that answer, fail, lie, answer
// twice, late or never, leave and join; a ledger, sums, gates and people that say yes or
// no; time that runs out; and a server that is killed after any transition. In every
// world it tries all that can happen next, so that every order of events within its
// limits is a schedule. Ghosts in the world remember what the state may forget.

// limits are how often a schedule may hold what would make it endless.
type limits struct {
	ticks, crashes, doubles, faults, moves, denials int8
}

// letter is a task on its way to a client, or its answer on its way back.
type letter struct{ client, round, attempt int8 }

// world is a state with all that is under way.
type world struct {
	s       State
	todo    []Action // asked of the world, in any order
	letters []letter
	left    limits

	ledger   uint32    // ghost: rounds that it holds
	released [8]int8   // ghost: by round, the attempt of which something was seen
	summed   []letter  // ghost: sums asked for (bucket as client)
	counted  []letter  // ghost: updates that a version is of
	passed   [8]uint8  // ghost: by round, 1 validated, 2 approved
	cohort   [8]uint16 // ghost: by round, the clients of the sums seen
}

func (w *world) clone() world {
	c := *w
	c.todo, c.letters = slices.Clone(w.todo), slices.Clone(w.letters)
	c.summed, c.counted = slices.Clone(w.summed), slices.Clone(w.counted)
	return c
}

var modelNames = [...]ClientID{"a", "b", "c", "d", "e"}

func modelClient(id ClientID) int8 { return int8(id[0] - 'a') }

// updateDigest names the one update that a client has for an attempt.
func updateDigest(client int8, round, attempt int) Digest {
	return Digest{1, byte(client), byte(round), byte(attempt)}
}

// key identifies a world.
func (w *world) key() string {
	b := make([]byte, 0, 256)
	s := &w.s
	b = append(b, byte(s.Phase), byte(s.Round), byte(s.Attempt), byte(s.Version), byte(s.Latest), byte(s.Spent))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Now))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Deadline))
	b = append(b, s.Candidate[:4]...)
	if s.Revealed {
		b = append(b, 1)
	}
	for _, x := range s.Seats {
		b = append(b, 's', x.Client[0], byte(x.Standing), byte(x.Bucket), byte(x.Round), byte(x.Attempt), byte(x.Version))
	}
	for _, x := range s.Members {
		b = append(b, 'm', x.Client[0], byte(x.Strikes), byte(x.Counted))
		if x.Active {
			b = append(b, 1)
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(x.Until))
	}
	for _, x := range s.Sums {
		b = append(b, 'u', byte(x.State))
	}
	part := func(lines []string) {
		slices.Sort(lines)
		for _, l := range lines {
			b = append(b, l...)
		}
		b = append(b, '|')
	}
	var lines []string
	for _, a := range w.todo {
		lines = append(lines, fmt.Sprint(a))
	}
	part(lines)
	for _, list := range [][]letter{w.letters, w.summed, w.counted} {
		lines = lines[:0]
		for _, l := range list {
			lines = append(lines, string([]byte{byte(l.client), byte(l.round), byte(l.attempt)}))
		}
		part(lines)
	}
	l := w.left
	b = append(b, byte(l.ticks), byte(l.crashes), byte(l.doubles), byte(l.faults), byte(l.moves), byte(l.denials))
	b = binary.LittleEndian.AppendUint32(b, w.ledger)
	for i := range w.released {
		b = append(b, byte(w.released[i]), w.passed[i], byte(w.cohort[i]))
	}
	return string(b)
}

type checker struct {
	p         Protocol
	clients   int
	memo      map[string]float64 // nil: every schedule is played
	alive     map[string]bool    // worlds from which time alone ends the run
	schedules float64
	steps     int
	most      float64
	broken    string
}

func (c *checker) fail(format string, args ...any) {
	if c.broken == "" {
		c.broken = fmt.Sprintf(format, args...)
	}
}

// step lets an event happen and checks what the machine wants next.
func (c *checker) step(w *world, e Event) {
	c.steps++
	before := w.s
	next, actions := Step(&c.p, w.s, e)
	w.s = next
	if err := next.check(); err != nil {
		c.fail("%+v: %v", e, err)
	}
	switch {
	case next.Round < before.Round || next.Spent < before.Spent || next.Latest < before.Latest:
		c.fail("%+v: something fell that may only rise", e)
	case next.Round > c.p.Rounds || next.Attempt > c.p.Attempts:
		c.fail("%+v: round %d, attempt %d", e, next.Round, next.Attempt)
	case next.Spent > 0 && w.ledger&(1<<next.Spent) == 0:
		c.fail("%+v: round %d is spent, but not in the ledger", e, next.Spent)
	case next.Latest != before.Latest && w.passed[next.Round] == 0 && before.Phase != Publishing:
		c.fail("%+v: a version came from phase %v", e, before.Phase)
	}
	for _, a := range actions {
		switch a := a.(type) {
		case Record, Restore, Discard:
			continue
		case Ask:
			if c.p.Spend == SpendBeforeAsk && w.ledger&(1<<a.Round) == 0 {
				c.fail("%+v: asks before round %d is spent", e, a.Round)
			}
			for _, id := range a.Clients {
				l := letter{modelClient(id), int8(a.Round), int8(a.Attempt)}
				if !slices.Contains(w.letters, l) {
					w.letters = append(w.letters, l)
				}
			}
			continue
		case Sum:
			l := letter{int8(a.Bucket), int8(a.Round), int8(a.Attempt)}
			if slices.Contains(w.summed, l) {
				c.fail("%+v: bucket %d of round %d, attempt %d is summed twice", e, a.Bucket, a.Round, a.Attempt)
			}
			w.summed = append(w.summed, l)
			if r := w.released[a.Round]; c.p.Spend == SpendBeforeAsk && r != 0 && r != int8(a.Attempt) {
				c.fail("%+v: round %d was seen in attempt %d and is summed again in %d", e, a.Round, r, a.Attempt)
			}
		case Combine:
			if c.p.Spend == SpendBeforeCombine && w.ledger&(1<<a.Round) == 0 {
				c.fail("%+v: combines before round %d is spent", e, a.Round)
			}
			if r := w.released[a.Round]; c.p.Spend == SpendBeforeCombine && r != 0 {
				c.fail("%+v: round %d was seen in attempt %d and is combined again", e, a.Round, r)
			}
			came := 0
			for _, x := range next.Seats {
				if x.Standing != Reported {
					continue
				}
				came++
				if !c.p.Secure && x.Update != updateDigest(modelClient(x.Client), x.Round, x.Attempt) {
					c.fail("%+v: %s counts by an update that is not its own", e, x.Client)
				}
				if !c.p.Buffered && (x.Round != a.Round || x.Attempt != a.Attempt) {
					c.fail("%+v: an update of another attempt counts", e)
				}
				if slices.Contains(w.counted, letter{modelClient(x.Client), int8(x.Round), 0}) {
					c.fail("%+v: the update of %s in round %d counts twice", e, x.Client, x.Round)
				}
			}
			if came < c.p.MinCohort {
				c.fail("%+v: combines %d updates", e, came)
			}
		case Publish:
			want := uint8(1)
			if c.p.Approval {
				want = 3
			}
			if w.passed[a.Round] != want {
				c.fail("%+v: publishes what was not accepted", e)
			}
		case Validate:
			if r := w.released[a.Round]; c.p.Spend == SpendBeforeCombine && r != 0 && r != int8(next.Attempt) {
				c.fail("%+v: a second candidate of round %d is seen", e, a.Round)
			}
			if c.p.Spend == SpendBeforeCombine {
				w.released[a.Round] = int8(next.Attempt)
			}
		}
		if !slices.ContainsFunc(w.todo, func(b Action) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			w.todo = append(w.todo, a)
		}
	}
	if next.Latest > before.Latest {
		for _, x := range before.Seats {
			if x.Standing == Reported {
				w.counted = append(w.counted, letter{modelClient(x.Client), int8(x.Round), 0})
			}
		}
	}
}

// happen is one thing that can happen in a world.
type happen func(w *world)

// choices are all that can happen next.
func (c *checker) choices(w *world) []happen {
	var out []happen
	for i, l := range w.letters {
		id := modelNames[l.client]
		report := Report{id, int(l.round), int(l.attempt), 1, updateDigest(l.client, int(l.round), int(l.attempt))}
		out = append(out, func(w *world) {
			w.letters = slices.Delete(w.letters, i, i+1)
			c.step(w, report)
		})
		if w.left.doubles > 0 {
			out = append(out, func(w *world) { w.left.doubles--; c.step(w, report) })
		}
		if w.left.faults > 0 {
			lie := report
			lie.Weight = 99
			for _, e := range []Event{lie, Failure{id, int(l.round), int(l.attempt), ""}, Malformed{id, int(l.round), int(l.attempt), ""}} {
				out = append(out, func(w *world) {
					w.left.faults--
					w.letters = slices.Delete(w.letters, i, i+1)
					c.step(w, e)
				})
			}
		}
	}
	for i, a := range w.todo {
		answer := func(f func(w *world)) {
			out = append(out, func(w *world) {
				w.todo = slices.Delete(w.todo, i, i+1)
				f(w)
			})
		}
		deny := func(e Event) {
			if w.left.denials > 0 {
				answer(func(w *world) { w.left.denials--; c.step(w, e) })
			}
		}
		switch a := a.(type) {
		case Draw:
			answer(func(w *world) { c.step(w, c.drawn(w, a)) })
		case Spend:
			answer(func(w *world) { w.ledger |= 1 << a.Round; c.step(w, Spent(a)) })
			deny(Overspent{a.Round, ""})
		case Sum:
			see := func(w *world) {
				if c.p.Spend == SpendBeforeAsk {
					w.released[a.Round] = int8(a.Attempt)
				}
			}
			answer(func(w *world) { see(w); c.step(w, Summed{a.Round, a.Attempt, a.Bucket, Digest{2}, a.Clients, nil}) })
			if w.left.denials > 0 {
				answer(func(w *world) {
					w.left.denials--
					see(w)
					c.step(w, Summed{a.Round, a.Attempt, a.Bucket, Digest{2}, a.Clients[1:], []Fault{{a.Clients[0], "a forgery", false}}})
				})
				answer(func(w *world) {
					w.left.denials--
					see(w)
					c.step(w, SumFailed{a.Round, a.Attempt, a.Bucket, false, "", nil})
				})
			}
			deny(SumFailed{a.Round, a.Attempt, a.Bucket, true, "", nil})
		case Combine:
			answer(func(w *world) {
				c.step(w, Combined{a.Round, a.Attempt, Digest{3, byte(a.Round), byte(a.Attempt)}, nil})
			})
			deny(CombineFailed{a.Round, a.Attempt, ""})
		case Validate:
			answer(func(w *world) {
				if w.s.Phase == Gating && w.s.Round == a.Round {
					w.passed[a.Round] |= 1
				}
				c.step(w, Validated{a.Round, true, ""})
			})
			deny(Validated{a.Round, false, ""})
		case Approve:
			answer(func(w *world) {
				if w.s.Phase == Approving && w.s.Round == a.Round {
					w.passed[a.Round] |= 2
				}
				c.step(w, Decided{a.Round, true, ""})
			})
			deny(Decided{a.Round, false, ""})
		case Publish:
			answer(func(w *world) { c.step(w, Published{a.Round, a.Version}) })
		}
	}
	if w.left.ticks > 0 && !w.s.Phase.Over() {
		out = append(out, func(w *world) { w.left.ticks--; c.step(w, Tick{w.s.Deadline}) })
	}
	if w.left.moves > 0 {
		if w.s.member("a").Active {
			out = append(out, func(w *world) { w.left.moves--; c.step(w, Leave{"a"}) })
		} else {
			out = append(out, func(w *world) { w.left.moves--; c.step(w, Join{"a", 1}) })
		}
		if w.s.Latest > 0 {
			out = append(out, func(w *world) { w.left.moves--; c.step(w, RollBack{0, ""}) })
		}
	}
	if w.left.crashes > 0 {
		// What the server had asked for is forgotten; what it had done stays done.
		for _, done := range []bool{false, true} {
			if done && len(w.todo) == 0 {
				continue
			}
			out = append(out, func(w *world) {
				w.left.crashes--
				for _, a := range w.todo {
					switch a := a.(type) {
					case Spend:
						if done {
							w.ledger |= 1 << a.Round
						}
					case Sum:
						if done && c.p.Spend == SpendBeforeAsk {
							w.released[a.Round] = int8(a.Attempt)
						}
					}
				}
				w.todo = nil
				c.step(w, Resumed{w.s.Now})
			})
		}
	}
	return out
}

func (c *checker) drawn(w *world, a Draw) Drawn {
	e := Drawn{Round: a.Round, Attempt: a.Attempt}
	for i, m := range w.s.Members {
		if m.eligible() {
			e.Clients = append(e.Clients, m.Client)
			if c.p.Secure {
				e.Buckets = append(e.Buckets, i%2)
			}
		}
	}
	return e
}

// explore plays all schedules from a world and returns how many there are.
func (c *checker) explore(w *world) float64 {
	if c.broken != "" || c.memo == nil && c.schedules >= c.most {
		return 0
	}
	key := ""
	if c.memo != nil {
		key = w.key()
		if n, ok := c.memo[key]; ok {
			return n
		}
	}
	ways := c.choices(w)
	n := 0.0
	for _, f := range ways {
		next := w.clone()
		f(&next)
		n += c.explore(&next)
	}
	if len(ways) == 0 {
		n = 1
		c.schedules++
	}
	if c.memo != nil {
		c.memo[key] = n
		c.end(*w)
	} else if len(ways) == 0 {
		c.end(*w)
	}
	return n
}

// end lets nothing happen but time: the run must end, in no more than a few deadlines.
func (c *checker) end(w world) {
	key := fmt.Sprintf("%v", w.s)
	if c.alive[key] {
		return
	}
	c.alive[key] = true
	for range 4*c.p.Rounds*c.p.Attempts + 4 {
		if w.s.Phase.Over() {
			return
		}
		if w.s.Deadline <= w.s.Now || w.s.Deadline == never {
			c.fail("phase %v has no deadline", w.s.Phase)
			return
		}
		w = w.clone()
		c.step(&w, Tick{w.s.Deadline})
	}
	if !w.s.Phase.Over() {
		c.fail("the run does not end: %+v", w.s)
	}
}

func newModel(clients int, p Protocol, l limits) (*checker, *world) {
	p.MaxWeight = 10
	p.Deadlines = Deadlines{10 * time.Second, 10 * time.Second, 10 * time.Second, 10 * time.Second, 10 * time.Second}
	if p.Strikes > 0 {
		p.Sentence = 15 * time.Second
	}
	c := &checker{p: p, clients: clients, alive: map[string]bool{}}
	w := &world{left: l}
	m := machine{p: &c.p}
	m.enter(Waiting, p.Deadlines.Wait)
	w.s = m.s
	for _, id := range modelNames[:clients] {
		c.step(w, Join{id, 1})
	}
	return c, w
}

type modelCase struct {
	name    string
	clients int
	p       Protocol
	l       limits
}

var modelCases = []modelCase{
	{"plain", 3, Protocol{Rounds: 1, Attempts: 2, MinMembers: 3, MinCohort: 2}, limits{ticks: 1, crashes: 1, doubles: 1, faults: 1}},
	{"rounds", 3, Protocol{Rounds: 2, Attempts: 1, MinMembers: 2, MinCohort: 2, Enough: 2}, limits{ticks: 1, crashes: 1, moves: 1}},
	{"central", 3, Protocol{Rounds: 1, Attempts: 2, MinMembers: 3, Spend: SpendBeforeCombine}, limits{ticks: 2, crashes: 1, denials: 1}},
	{"approved", 3, Protocol{Rounds: 1, Attempts: 2, MinMembers: 3, MinCohort: 1, Spend: SpendBeforeCombine, Approval: true}, limits{ticks: 1, crashes: 1, denials: 1, faults: 1}},
	{"distributed", 4, Protocol{Rounds: 1, Attempts: 2, MinMembers: 4, MinCohort: 2, Spend: SpendBeforeAsk, Secure: true, MinBuckets: 1, BucketFloor: 2}, limits{ticks: 1, crashes: 1, denials: 1}},
	{"secure", 4, Protocol{Rounds: 1, Attempts: 2, MinMembers: 4, MinCohort: 2, Secure: true, MinBuckets: 2, BucketFloor: 2}, limits{ticks: 1, crashes: 1, denials: 1}},
	{"buffered", 3, Protocol{Rounds: 2, Attempts: 1, MinMembers: 3, MinCohort: 1, Enough: 2, Buffered: true, Staleness: 1}, limits{ticks: 1, crashes: 1, doubles: 1}},
	{"quarantine", 3, Protocol{Rounds: 2, Attempts: 1, MinMembers: 2, MinCohort: 1, Strikes: 1}, limits{ticks: 2, faults: 1}},
}

// TestSchedules plays at least a million schedules, one by one.
func TestSchedules(t *testing.T) {
	total, steps := 0.0, 0
	most := 160_000.0
	if testing.Short() {
		most = 5_000
	}
	for _, m := range modelCases {
		c, w := newModel(m.clients, m.p, m.l)
		c.most = most
		c.explore(w)
		require.Empty(t, c.broken, m.name)
		t.Logf("%s: %.0f schedules, %d steps", m.name, c.schedules, c.steps)
		total += c.schedules
		steps += c.steps
	}
	t.Logf("%.0f distinct schedules, %d steps", total, steps)
	if !testing.Short() {
		require.GreaterOrEqual(t, total, 1e6)
	}
}

// TestAllOrders goes through every world that any order of events leads to, of cohorts
// of 3 to 5 clients, and counts the schedules that lead through them.
func TestAllOrders(t *testing.T) {
	total, worlds := 0.0, 0
	for _, m := range modelCases {
		if !testing.Short() {
			if !m.p.Buffered && m.p.Rounds == 1 { // others have worlds enough
				m.clients++
			}
			m.l.doubles = max(m.l.doubles, 1)
			m.l.denials = max(m.l.denials, 1)
		}
		c, w := newModel(m.clients, m.p, m.l)
		c.memo = map[string]float64{}
		n := c.explore(w)
		require.Empty(t, c.broken, m.name)
		t.Logf("%s: %.3g schedules, all orders, through %d worlds", m.name, n, len(c.memo))
		total += n
		worlds += len(c.memo)
	}
	t.Logf("%.3g distinct schedules through %d worlds", total, worlds)
	if !testing.Short() {
		require.GreaterOrEqual(t, total, 1e6)
	}
}
