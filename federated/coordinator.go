package federated

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/sotto-ml/sotto/dp"
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
