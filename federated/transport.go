package federated

import (
	"context"
	"errors"
	"sync"
)

// Transport carries tasks to clients and messages back, in one process or over any
// network. Messages may be lost, late, doubled and out of order; that they come from
// whom they say is the transport's to make sure.
type Transport interface {
	// Ask sends a task. It does not wait for the answer. The task's vectors are shared
	// and must not be written to. An error counts as the client's failure.
	Ask(ctx context.Context, to ClientID, t Task) error
	// Next returns the next message, or an error once ctx is done. A transport that
	// knows that nothing will come before ctx's deadline may return
	// context.DeadlineExceeded at once: time then passes without waiting.
	Next(ctx context.Context) (Message, error)
}

// MessageKind says what a client tells.
type MessageKind uint8

// The kinds of messages.
const (
	Joining MessageKind = iota + 1 // Weight is for weighted selection, 0 is 1
	Leaving
	Answering // Update answers the task of Round and Attempt
	Unable    // Reason says why it cannot do the task
)

// Message is what a client tells the server.
type Message struct {
	From           ClientID
	Kind           MessageKind
	Round, Attempt int
	Weight         float64
	Update         Update
	Reason         string

	release func() // gives Update.Delta's memory back
}

// InProcess runs clients in this process, each in a goroutine while it trains. It is a
// [Transport] for tests, examples and servers with few clients; a [Simulation] is for
// thousands.
type InProcess struct {
	mu      sync.Mutex
	clients map[ClientID]Client
	inbox   []Message
	wake    chan struct{}
}

// NewInProcess returns a transport without clients.
func NewInProcess() *InProcess {
	return &InProcess{clients: map[ClientID]Client{}, wake: make(chan struct{}, 1)}
}

// Join adds a client, of a weight for weighted selection; 0 is 1.
func (t *InProcess) Join(id ClientID, weight float64, c Client) {
	t.mu.Lock()
	t.clients[id] = c
	t.mu.Unlock()
	t.Send(Message{From: id, Kind: Joining, Weight: weight})
}

// Leave takes a client out.
func (t *InProcess) Leave(id ClientID) {
	t.mu.Lock()
	delete(t.clients, id)
	t.mu.Unlock()
	t.Send(Message{From: id, Kind: Leaving})
}

// Send puts a message into the server's inbox, as a client would.
func (t *InProcess) Send(m Message) {
	t.mu.Lock()
	t.inbox = append(t.inbox, m)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Ask implements [Transport].
func (t *InProcess) Ask(ctx context.Context, to ClientID, task Task) error {
	t.mu.Lock()
	c := t.clients[to]
	t.mu.Unlock()
	if c == nil {
		return errors.New("it is not connected")
	}
	go func() {
		m := Message{From: to, Kind: Answering, Round: task.Round, Attempt: task.Attempt}
		u, err := c.Train(ctx, task)
		if m.Update = u; err != nil {
			m.Kind, m.Update, m.Reason = Unable, Update{}, err.Error()
		}
		t.Send(m)
	}()
	return nil
}

// Next implements [Transport].
func (t *InProcess) Next(ctx context.Context) (Message, error) {
	for {
		t.mu.Lock()
		if len(t.inbox) > 0 {
			m := t.inbox[0]
			t.inbox = t.inbox[1:]
			t.mu.Unlock()
			return m, nil
		}
		t.mu.Unlock()
		select {
		case <-t.wake:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}
