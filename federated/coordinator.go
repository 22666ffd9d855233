package federated

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sotto-ml/sotto/dp"
	"github.com/sotto-ml/sotto/dp/accounting/ledger"
	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
)

// Config is where a plan is run.
type Config struct {
	// Initial is the model's parameters, version 0. It is copied.
	Initial   []float32
	Transport Transport
	// Folder keeps everything that a restart needs: see [New]. It belongs to one
	// coordinator at a time. Without it nothing outlives the process.
	Folder string
	// Ledger is written to before privacy is spent, and may refuse. Private plans need
	// it. A ledger that is given Plan.Event(Plan.Rounds) as its budget's plan holds
	// most rounds.
	Ledger dp.Ledger
	// Sums is for plans that are Secure.
	Sums SecureSum
	// Log is where decisions go as JSON lines if there is no Folder; else they go to
	// the file "log" in it. Nil is nowhere.
	Log io.Writer
	// Keep is how many versions memory keeps without a Folder, for RollBack; 0 is 16.
	Keep int
	// Watch, if not nil, is told every decision, from the goroutine of Run. It may call
	// Params, Version, State and Spent: of a version that was accepted they are those.
	Watch func(Record)
	// Trace, if not nil, is told every event, from the goroutines of New and Run. All of
	// a run's, given to [Step] one after another from [Protocol.Start] on, lead to its state again.
	Trace func(Event)
	// Now is the clock; nil is time.Now. It must not run backwards.
	Now func() time.Time
}

// Coordinator is the server of rounds: it does what [Step] asks for.
type Coordinator struct {
	plan     Plan
	config   Config
	protocol Protocol
	digest   Digest
	m        machine
	todo     []Action
	vault    *vault
	key      stream.Key
	log      *chain
	logFile  *os.File
	at       *server // the current version
	next     *server // the candidate
	judged   bool    // verdict is the candidate's
	verdict  struct {
		found  Candidate
		pass   bool
		reason string
	}
	versions map[int]*server
	held     map[ClientID]Message // updates not yet combined
	combiner *combiner
	folded   int // seats that the combiner has seen
	late     Instant
	waiting  waiting

	mu       sync.Mutex
	commands []Event
	cancel   context.CancelFunc // of the wait in progress
	running  bool

	crash func(point string) // for tests
}

// waiting is a context that lasts for several messages.
type waiting struct {
	ctx    context.Context
	cancel context.CancelFunc
	until  Instant
}

// New starts a run of a plan, or resumes the one whose checkpoint is in the folder: the
// outcome is then, to the last bit, what it would have been, if clients answer a task
// that they are sent again as they did before.
func New(plan Plan, config Config) (*Coordinator, error) {
	if err := plan.Validate(); err != nil {
		return nil, err
	}
	switch {
	case len(config.Initial) != plan.Parameters:
		return nil, fmt.Errorf("federated: Config.Initial has %d elements, must have Plan.Parameters = %d", len(config.Initial), plan.Parameters)
	case !kernel.AllFinite(config.Initial):
		return nil, errors.New("federated: Config.Initial holds a NaN or an infinity")
	case config.Transport == nil:
		return nil, errors.New("federated: Config.Transport is missing")
	case plan.Privacy != nil && config.Ledger == nil:
		return nil, errors.New("federated: Config.Ledger is missing: a private plan must have its budget kept")
	case plan.Secure && config.Sums == nil:
		return nil, errors.New("federated: Config.Sums is missing: the plan is Secure")
	case config.Keep < 0:
		return nil, fmt.Errorf("federated: Config.Keep is %d, must be at least 0", config.Keep)
	}
	if config.Folder != "" {
		if err := checkDurable(plan.Rule); err != nil {
			return nil, err
		}
	}
	c := &Coordinator{plan: plan, config: config, protocol: plan.protocol(), digest: plan.digest(), versions: map[int]*server{}, held: map[ClientID]Message{}}
	c.m.p = &c.protocol
	if c.config.Now == nil {
		c.config.Now = time.Now
	}
	if c.config.Keep == 0 {
		c.config.Keep = 16
	}
	if err := c.open(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// open reads the folder, or begins one.
func (c *Coordinator) open() (err error) {
	if c.vault, err = openVault(c.config.Folder); err != nil {
		return err
	}
	if c.key, err = c.vault.key(); err != nil {
		return err
	}
	if !c.vault.durable() {
		c.log = &chain{to: c.config.Log}
		c.at = newServer(&c.plan, c.config.Initial)
		c.versions[0] = c.at
		c.m.s = c.protocol.Start(c.now())
		return nil
	}
	if c.log, c.logFile, err = openChain(c.vault.folder + string(os.PathSeparator) + logName); err != nil {
		return err
	}
	if !c.vault.names[stateName] {
		c.at = newServer(&c.plan, c.config.Initial)
		data, _ := c.at.encode()
		if err := c.vault.put(versionName(0), data); err != nil {
			return err
		}
		c.m.s = c.protocol.Start(c.now())
		return c.save()
	}
	data, err := c.vault.get(stateName)
	if err != nil {
		return err
	}
	saved, err := decodeCheckpoint(data)
	if err != nil {
		return err
	}
	if saved.Plan != c.digest {
		return errors.New("federated: the folder's checkpoint is of another plan")
	}
	c.m.s = saved.State
	if err := c.vault.clean(&c.m.s); err != nil {
		return err
	}
	if c.at, err = c.version(c.m.s.Version); err != nil {
		return err
	}
	return c.step(Resumed{c.now()})
}

// now is the time, which does not run backwards.
func (c *Coordinator) now() Instant {
	return max(Instant(c.config.Now().UnixNano()), c.late, c.m.s.Now)
}

// version returns an accepted version. It is not to be changed.
func (c *Coordinator) version(n int) (*server, error) {
	if s := c.versions[n]; s != nil {
		return s, nil
	}
	if !c.vault.durable() {
		return nil, fmt.Errorf("federated: version %d is not kept: Config.Keep is %d", n, c.config.Keep)
	}
	data, err := c.vault.get(versionName(n))
	if err != nil {
		return nil, err
	}
	s, _, err := decodeServer(data)
	if err != nil {
		return nil, fmt.Errorf("federated: version %d: %w", n, err)
	}
	if len(s.params) != c.plan.Parameters {
		return nil, fmt.Errorf("federated: version %d has %d parameters, must have %d", n, len(s.params), c.plan.Parameters)
	}
	c.keep(n, s)
	return s, nil
}

// keep holds a version in memory, and drops the oldest beyond what is kept.
func (c *Coordinator) keep(n int, s *server) {
	c.versions[n] = s
	limit := c.config.Keep
	if c.vault.durable() {
		limit = 1 + c.plan.Strategy.needs().staleness // the others are files
	}
	for len(c.versions) > max(limit, 1+c.plan.Strategy.needs().staleness) {
		oldest := n
		for k := range c.versions {
			if k < oldest && k != c.m.s.Version {
				oldest = k
			}
		}
		if oldest == n {
			return
		}
		delete(c.versions, oldest)
	}
}

func (c *Coordinator) point(name string) {
	if c.crash != nil {
		c.crash(name)
	}
}

func (c *Coordinator) apply(e Event) {
	if c.config.Trace != nil {
		c.config.Trace(e)
	}
	c.m.apply(e)
}

// step is one transition: the time, an event, the log, the checkpoint.
func (c *Coordinator) step(e Event) error {
	m := &c.m
	if _, resumed := e.(Resumed); !resumed {
		if now := c.now(); now > m.s.Now {
			c.apply(Tick{now})
		}
	}
	c.apply(e)
	for _, a := range m.out {
		r, ok := a.(Record)
		if !ok {
			c.todo = append(c.todo, a)
			continue
		}
		if err := c.log.add(m.s.Now, r); err != nil {
			return err
		}
		if c.config.Watch != nil {
			c.config.Watch(r)
		}
	}
	m.out = m.out[:0]
	c.point("log")
	if err := c.log.flush(); err != nil {
		return err
	}
	c.point("state")
	if err := c.save(); err != nil {
		return err
	}
	c.point("done")
	return nil
}

func (c *Coordinator) save() error {
	if !c.vault.durable() {
		return nil
	}
	data, err := encodeCheckpoint(c.digest, c.m.s)
	if err != nil {
		return err
	}
	return c.vault.put(stateName, data)
}

// ErrStopped is what Run's error wraps if no more rounds can run: a budget is spent, or
// there are too few clients.
var ErrStopped = errors.New("no more rounds can run")

// Run runs the rounds that are left. It returns nil when all were run, an error that
// wraps [ErrStopped], ctx's error, or what went wrong with a file or the ledger. In the
// last two cases a coordinator made anew from the folder goes on.
func (c *Coordinator) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		panic("federated: Coordinator.Run is running")
	}
	c.running = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.running = false
		c.mu.Unlock()
		if c.waiting.cancel != nil {
			c.waiting.cancel()
			c.waiting = waiting{}
		}
	}()
	for {
		for len(c.todo) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.act(ctx); err != nil {
				return err
			}
		}
		if e, ok := c.command(); ok {
			if err := c.step(e); err != nil {
				return err
			}
			continue
		}
		switch c.m.s.Phase {
		case Done:
			return nil
		case Stopped:
			return fmt.Errorf("federated: %w: %s", ErrStopped, c.m.s.Reason)
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
}

func (c *Coordinator) command() (Event, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.commands) == 0 {
		return nil, false
	}
	e := c.commands[0]
	c.commands = c.commands[1:]
	return e, true
}

// wait takes the next message, or lets the time pass.
func (c *Coordinator) wait(ctx context.Context) error {
	s := &c.m.s
	until := s.Deadline
	if s.Releases != 0 {
		until = min(until, s.Releases)
	}
	if c.waiting.ctx == nil || c.waiting.until != until || c.waiting.ctx.Err() != nil {
		if c.waiting.cancel != nil {
			c.waiting.cancel()
		}
		left := min(time.Duration(until-c.now()), 1<<62)
		wctx, cancel := context.WithTimeout(ctx, max(0, left))
		c.waiting = waiting{wctx, cancel, until}
		c.mu.Lock()
		c.cancel = cancel
		some := len(c.commands) > 0
		c.mu.Unlock()
		if some {
			return nil
		}
	}
	m, err := c.config.Transport.Next(c.waiting.ctx)
	switch {
	case err == nil:
		return c.receive(m)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.Canceled): // a command came
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		c.late = max(c.late, until)
		return c.step(Tick{c.late})
	}
	return fmt.Errorf("federated: transport: %w", err)
}

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

// Params writes the current version's parameters to dst and returns it; nil allocates.
// Only Config.Watch may call it while Run runs; so with Version, State and Spent.
func (c *Coordinator) Params(dst []float32) []float32 {
	if dst == nil {
		dst = make([]float32, len(c.at.params))
	}
	if len(dst) != len(c.at.params) {
		panic("federated: Coordinator.Params: length differs")
	}
	copy(dst, c.at.params)
	return dst
}

// Version is the number of the current version: 0 is Config.Initial.
func (c *Coordinator) Version() int { return c.m.s.Version }

// State returns a copy of the machine's state.
func (c *Coordinator) State() State { return c.m.s.clone() }

// Spent is what the rounds so far guarantee that the ledger was asked for.
func (c *Coordinator) Spent() (Guarantee, error) { return c.plan.Spent(c.m.s.Spent) }

// RollBack makes an accepted version the current one: at once if the server waits,
// collects or has ended, which gives a round in progress up. The log says what became
// of it. Like Release it may be called while Run runs; else the next Run does it.
func (c *Coordinator) RollBack(version int, reason string) { c.order(RollBack{version, reason}) }

// Release ends a client's quarantine.
func (c *Coordinator) Release(id ClientID) { c.order(Release{id}) }

func (c *Coordinator) order(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commands = append(c.commands, e)
	if c.cancel != nil {
		c.cancel()
	}
}

// Erase ends the run for good: it overwrites the key, which could undo the noise of a
// private plan.
func (c *Coordinator) Erase() error {
	c.key.Erase()
	return c.vault.eraseKey()
}

// Close closes the log. What is in the folder stays.
func (c *Coordinator) Close() error {
	if c.logFile == nil {
		return nil
	}
	err := c.logFile.Close()
	c.logFile = nil
	return err
}
