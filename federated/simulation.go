package federated

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// Worker trains any of a simulation's clients, one at a time: it holds one model,
// whoever's turn it is.
type Worker interface {
	// Train is Client.Train for a client by its number. It must be a function of the
	// client, the task and public seeds alone, not of what the worker did before. The
	// update's vectors are read until the next call.
	Train(ctx context.Context, client int, task Task) (Update, error)
}

// WorkerFunc is a function that serves as a [Worker].
type WorkerFunc func(ctx context.Context, client int, task Task) (Update, error)

// Train calls f.
func (f WorkerFunc) Train(ctx context.Context, client int, task Task) (Update, error) {
	return f(ctx, client, task)
}

// Simulation runs virtual clients on as many workers as there are cores. It is a
// [Transport] whose time is virtual: a deadline passes as soon as all who will answer
// have. Answers come in the order of the clients, whoever was faster, so that a run has
// the same bits for any GOMAXPROCS. Clients keep no memory but what NewWorker's code
// keeps for them; updates on their way take a few vectors per core.
type Simulation struct {
	Clients   int
	NewWorker func() (Worker, error)
	// DropOut is the chance that a client fails a task, Straggle that it answers after
	// the deadline, which is never; by Seed, and independent of all else.
	DropOut, Straggle float64
	Seed              uint64

	mu       sync.Mutex
	changed  *sync.Cond
	started  bool
	stopped  bool
	joined   int
	jobs     []simulated
	taken    int // jobs that a worker has
	given    int // messages that were given out
	window   int // jobs that may be between the two
	rows     [][]float32
	handlers sync.WaitGroup
}

// simulated is a task of one client.
type simulated struct {
	ctx     context.Context
	client  int
	task    Task
	ready   bool
	message Message
}

// NameOf is the name of a simulated client: its number, in digits enough that names sort
// as numbers do up to 10^8 clients.
func NameOf(client int) ClientID {
	digits := strconv.Itoa(client)
	return ClientID("client-00000000"[:15-min(8, len(digits))] + digits)
}

func (s *Simulation) check() error {
	if s.Clients < 1 || s.Clients > 1<<20 {
		return fmt.Errorf("federated: Simulation.Clients is %d, must be in [1, 2^20]", s.Clients)
	}
	if s.NewWorker == nil {
		return errors.New("federated: Simulation.NewWorker is missing")
	}
	if !(s.DropOut >= 0 && s.Straggle >= 0 && s.DropOut+s.Straggle <= 1) {
		return fmt.Errorf("federated: Simulation.DropOut and Straggle are %v and %v, must be at least 0 and together at most 1", s.DropOut, s.Straggle)
	}
	return nil
}

// start makes the workers.
func (s *Simulation) start() error {
	if s.started {
		return nil
	}
	if err := s.check(); err != nil {
		return err
	}
	s.started = true
	s.changed = sync.NewCond(&s.mu)
	n := runtime.GOMAXPROCS(0)
	s.window = 4 * n
	for range n {
		w, err := s.NewWorker()
		if err != nil {
			return fmt.Errorf("federated: Simulation.NewWorker: %w", err)
		}
		s.handlers.Go(func() { s.work(w) })
	}
	return nil
}

// fate is what becomes of a task.
func (s *Simulation) fate(client int, t Task) float64 {
	if s.DropOut == 0 && s.Straggle == 0 {
		return 1
	}
	h := s.Seed ^ uint64(t.Round)<<40 ^ uint64(t.Attempt)<<32 ^ uint64(client)
	return rand.New(rand.NewPCG(h, 0x66617465)).Float64()
}

// Ask implements [Transport].
func (s *Simulation) Ask(ctx context.Context, to ClientID, t Task) error {
	if len(to) < 8 {
		return errors.New("it is no client of the simulation")
	}
	n, err := strconv.Atoi(string(to[len("client-"):]))
	if err != nil || n < 0 || n >= s.Clients {
		return errors.New("it is no client of the simulation")
	}
	fate := s.fate(n, t)
	if fate < s.DropOut {
		return errors.New("it drops out")
	}
	if fate < s.DropOut+s.Straggle {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given == len(s.jobs) { // all is done: begin anew
		s.jobs, s.taken, s.given = s.jobs[:0], 0, 0
	}
	s.jobs = append(s.jobs, simulated{ctx: ctx, client: n, task: t})
	s.changed.Broadcast()
	return nil
}

// Next implements [Transport].
func (s *Simulation) Next(ctx context.Context) (Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.start(); err != nil {
		return Message{}, err
	}
	if s.joined < s.Clients {
		s.joined++
		return Message{From: NameOf(s.joined - 1), Kind: Joining}, nil
	}
	if s.given == len(s.jobs) {
		return Message{}, context.DeadlineExceeded
	}
	for !s.jobs[s.given].ready {
		if err := ctx.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return Message{}, err
		}
		s.changed.Wait()
	}
	m := s.jobs[s.given].message
	s.jobs[s.given] = simulated{}
	s.given++
	s.changed.Broadcast()
	return m, nil
}

// work trains clients until Close.
func (s *Simulation) work(w Worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !s.stopped && (s.taken == len(s.jobs) || s.taken-s.given >= s.window) {
			s.changed.Wait()
		}
		if s.stopped {
			return
		}
		at := s.taken
		s.taken++
		j := s.jobs[at]
		s.mu.Unlock()
		u, err := w.Train(j.ctx, j.client, j.task)
		m := Message{From: NameOf(j.client), Kind: Answering, Round: j.task.Round, Attempt: j.task.Attempt, Update: u}
		if err != nil {
			m.Kind, m.Update, m.Reason = Unable, Update{}, err.Error()
		} else {
			if u.Delta != nil && u.Packed == nil {
				row := s.row(len(u.Delta))
				copy(row, u.Delta)
				m.Update.Delta = row
				m.release = func() { s.put(row) }
			}
			if u.Control != nil {
				m.Update.Control = append([]float32(nil), u.Control...)
			}
			if u.Packed != nil {
				m.Update.Delta, m.Update.Packed = nil, append([]byte(nil), u.Packed...)
			}
		}
		s.mu.Lock()
		s.jobs[at].message, s.jobs[at].ready = m, true
		s.changed.Broadcast()
	}
}

func (s *Simulation) row(n int) []float32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := len(s.rows); k > 0 && len(s.rows[k-1]) == n {
		row := s.rows[k-1]
		s.rows = s.rows[:k-1]
		return row
	}
	return make([]float32, n)
}

func (s *Simulation) put(row []float32) {
	s.mu.Lock()
	s.rows = append(s.rows, row)
	s.mu.Unlock()
}

// Close ends the workers. A simulation that was closed cannot be used again.
func (s *Simulation) Close() {
	s.mu.Lock()
	s.stopped = true
	if s.changed != nil {
		s.changed.Broadcast()
	}
	s.mu.Unlock()
	s.handlers.Wait()
}

// Clock is a simulation's time: it stands still but for deadlines that pass.
func (s *Simulation) Clock() time.Time { return time.Unix(0, 0) }
