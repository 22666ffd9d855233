package clients

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/dp"
	"github.com/sotto-ml/sotto/federated"
	"github.com/sotto-ml/sotto/federated/secagg"
	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/nn"
)

// Run is a plan with the clients that it is run over.
type Run struct {
	Plan  federated.Plan // what is 0 of Parameters, members and MaxWeight is set by the model and the clients
	Data  *Data
	Model string
	Local Local
	// Parts are the honest clients' examples. Liars come after them; those that train
	// use the parts of the first.
	Parts  [][]int
	Liars  int
	Attack Attack
	// DropOut is the chance that a client fails a task.
	DropOut float64
	Seed    uint64
	Ledger  dp.Ledger // of private plans
	Log     io.Writer // nil is nowhere
	// Policy and Neighbours are of the masks, for plans that are Secure.
	Policy     secagg.Policy
	Neighbours int
	// EvalEvery is after how many rounds the model is tested; 0 is 1. The last is.
	EvalEvery int
	// Watch, if not nil, is told after every round; an error ends the run.
	Watch func(Round) error
}

// Round is what became of one round.
type Round struct {
	Number       int
	Outcome      federated.Kind // accepted, rejected or abandoned
	Reason       string         // why it was not accepted
	Participants int            // whose updates the candidate held
	Refused      int            // updates, in this round
	Dropped      int
	Accuracy     float64 // on the test data; that of the last test if there was none
	Tested       bool
	Epsilon      float64 // spent so far; 0 without privacy
}

// Result is how a run ended.
type Result struct {
	Rounds      []Round
	Accuracy    float64
	Best        float64
	Refused     int
	Quarantined int // times that a client was
	Dropped     int
	Updates     int           // that clients made
	Training    time.Duration // all, less the tests
	Stopped     string        // why it ended before the plan's end
	Params      []float32
	Guarantee   federated.Guarantee // of what was spent
}

// RoundsTo is the first round after which the accuracy was at least a, or 0.
func (r *Result) RoundsTo(a float64) int {
	for _, x := range r.Rounds {
		if x.Tested && x.Accuracy >= a {
			return x.Number
		}
	}
	return 0
}

// session is a run in progress.
type session struct {
	*Run
	crowd     *crowd
	memories  []memory
	protected []*federated.Protected // nil if the plan asks nothing of clients
	turn      []*Learner             // whose model a client uses now
	tester    *nn.Model
	labels    nn.Targets
	server    *federated.Coordinator
	result    Result
	round     Round
	last      float64 // accuracy
	testing   time.Duration
	err       error
	cancel    context.CancelFunc
}

// Do runs the rounds.
func (r *Run) Do(ctx context.Context) (*Result, error) {
	s, config, err := r.prepare()
	if err != nil {
		return nil, err
	}
	defer s.crowd.Close()
	ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	if s.server, err = federated.New(r.Plan, config); err != nil {
		return nil, err
	}
	start := time.Now()
	err = s.server.Run(ctx)
	s.result.Training = time.Since(start) - s.testing
	switch {
	case s.err != nil:
		return nil, s.err
	case errors.Is(err, federated.ErrStopped):
		s.result.Stopped = s.server.State().Reason
	case err != nil:
		return nil, err
	}
	s.result.Params = s.server.Params(nil)
	if r.Plan.Privacy != nil {
		if s.result.Guarantee, err = s.server.Spent(); err != nil {
			return nil, err
		}
	}
	s.result.Accuracy = s.last
	return &s.result, nil
}

func (r *Run) prepare() (*session, federated.Config, error) {
	var config federated.Config
	model, err := NewModel(r.Model, r.Seed)
	if err != nil {
		return nil, config, err
	}
	if err := r.Local.check(); err != nil {
		return nil, config, err
	}
	n := len(r.Parts) + r.Liars
	r.Plan.Parameters = len(model.Params())
	if r.Plan.MinMembers == 0 {
		r.Plan.MinMembers = n
	}
	if r.Plan.MaxMembers == 0 {
		r.Plan.MaxMembers = n
	}
	if r.Plan.MaxWeight == 0 {
		for _, part := range r.Parts {
			r.Plan.MaxWeight = max(r.Plan.MaxWeight, float64(len(part)))
		}
	}
	if r.Plan.Quarantine.Strikes > 0 {
		// Rounds go on without liars that are out. The first does not wait for them, as
		// those with the highest numbers join last.
		r.Plan.MinMembers = min(r.Plan.MinMembers, len(r.Parts))
	}
	s := &session{Run: r, memories: make([]memory, n), turn: make([]*Learner, n), tester: model}
	if s.labels, err = nn.Labels(r.Data.TestLabels, mnist.Classes); err != nil {
		return nil, config, err
	}
	if err := s.protect(n); err != nil {
		return nil, config, err
	}
	s.crowd = &crowd{
		Simulation: &federated.Simulation{Clients: n, NewWorker: s.worker, DropOut: r.DropOut, Seed: r.Seed},
		liar:       func(id federated.ClientID) bool { return r.Attack.Forge != nil && s.number(id) >= len(r.Parts) },
		forge:      s.forge,
	}
	config = federated.Config{Initial: model.Params(), Transport: s.crowd, Ledger: r.Ledger, Log: r.Log, Keep: 1, Watch: s.watch, Now: s.crowd.Clock}
	if r.Plan.Secure {
		if config.Sums, err = s.masks(n); err != nil {
			return nil, config, err
		}
	}
	return s, config, nil
}

// masks makes the secure sum among the clients. Those that drop out of sums do so where
// it takes most to mend: after they shared masks, before they sent their vectors.
func (s *session) masks(n int) (federated.SecureSum, error) {
	names := make([]federated.ClientID, n)
	for c := range names {
		names[c] = federated.NameOf(c)
	}
	run := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte("masks of "), s.Seed))
	m, err := federated.NewMaskedSum(run, names, s.Policy, s.Neighbours, func(c federated.ClientID, round, attempt int) ([]uint32, bool) {
		p := s.protected[s.number(c)]
		fate := rand.New(rand.NewPCG(s.Seed^uint64(round)<<40^uint64(attempt)<<32, uint64(s.number(c))))
		if fate.Float64() < s.DropOut {
			return nil, false
		}
		return p.Input(round, attempt)
	})
	return m, err
}

// number is that of a client by its name.
func (s *session) number(id federated.ClientID) int {
	n := 0
	for _, c := range id[len("client-"):] {
		n = 10*n + int(c-'0')
	}
	return n
}

// protect makes the clients do what the plan asks of them, if it does.
func (s *session) protect(n int) error {
	noisy := false
	switch s.Plan.Privacy.(type) {
	case federated.Distributed, federated.Local:
		noisy = true
	}
	if !noisy && !s.Plan.Secure && s.Plan.Compression == nil {
		return nil
	}
	s.protected = make([]*federated.Protected, n)
	for c := range s.protected {
		inner := federated.ClientFunc(func(ctx context.Context, t federated.Task) (federated.Update, error) {
			return s.train(ctx, s.turn[c], c, t)
		})
		var err error
		if s.protected[c], err = federated.Protect(s.Plan, federated.NameOf(c), inner); err != nil {
			return err
		}
	}
	return nil
}

// worker trains any client.
func (s *session) worker() (federated.Worker, error) {
	l, err := NewLearner(s.Data, s.Model, s.Local)
	if err != nil {
		return nil, err
	}
	return federated.WorkerFunc(func(ctx context.Context, c int, t federated.Task) (federated.Update, error) {
		if s.protected == nil {
			return s.train(ctx, l, c, t)
		}
		s.turn[c] = l
		return s.protected[c].Train(ctx, t)
	}), nil
}

// train is what a client makes of a task, or a liar pretends to.
func (s *session) train(ctx context.Context, l *Learner, c int, t federated.Task) (federated.Update, error) {
	id, liar := federated.NameOf(c), c >= len(s.Parts)
	part := s.Parts[c%len(s.Parts)]
	if liar && s.Attack.Forge != nil {
		lie := s.crowd.lie(id)
		if lie == nil {
			return federated.Update{}, errors.New("nobody honest took part")
		}
		u := federated.Update{Delta: lie, Weight: float64(len(part)), Steps: 1}
		if t.Control != nil {
			u.Control = make([]float32, len(lie))
		}
		return u, nil
	}
	seed := rand.New(rand.NewPCG(s.Seed, uint64(c))).Uint64()
	u, err := l.train(ctx, t, part, seed, liar && s.Attack.Flip, &s.memories[c])
	if err != nil {
		return u, err
	}
	if liar && s.Attack.Boost != 0 {
		for j := range u.Delta {
			u.Delta[j] *= float32(s.Attack.Boost)
		}
	}
	if !liar && s.Liars > 0 && s.Attack.Forge != nil {
		s.crowd.record(id, t, u.Delta)
	}
	return u, nil
}

// forge makes the liars' rows. What optimises does so against the plan's rule, or the
// mean; behind buckets against that rule over as many buckets, dealt by the liars, who do
// not know the server's before they send.
func (s *session) forge(f int, honest [][]float32) ([][]float32, error) {
	rule := s.Plan.Rule
	if rule == nil {
		rule = aggregate.Mean{}
	}
	seed := s.Seed + uint64(s.crowd.round)
	if s.Plan.Buckets != nil {
		count, err := s.Plan.Sums()
		if err != nil {
			return nil, err
		}
		rule = dealt{rule, count, seed}
	}
	lies := make([][]float32, f)
	for i := range lies {
		lies[i] = make([]float32, len(honest[0]))
	}
	return lies, s.Attack.Forge(len(honest)+f, f, rule, seed).Forge(lies, honest)
}

// dealt is a rule over the means of buckets that the rows are dealt out to, as package
// federated does.
type dealt struct {
	rule  aggregate.Rule
	count int
	seed  uint64
}

// Aggregate implements aggregate.Rule.
func (d dealt) Aggregate(dst []float32, rows [][]float32, _ *aggregate.Verdict) ([]float32, error) {
	order := rand.New(rand.NewPCG(d.seed, 0x6465616c)).Perm(len(rows))
	means := make([][]float32, min(d.count, len(rows)))
	for k := range means {
		var some [][]float32
		for at := k; at < len(order); at += d.count {
			some = append(some, rows[order[at]])
		}
		var err error
		if means[k], err = (aggregate.Mean{}).Aggregate(nil, some, nil); err != nil {
			return nil, err
		}
	}
	return d.rule.Aggregate(dst, means, nil)
}

// watch counts, and closes a round.
func (s *session) watch(r federated.Record) {
	switch r.Kind {
	case federated.KindReported:
		s.result.Updates++
	case federated.KindRefused:
		s.round.Refused++
	case federated.KindQuarantined:
		s.result.Quarantined++
	case federated.KindDropped, federated.KindLate:
		s.round.Dropped++
	case federated.KindCandidate:
		s.round.Participants = s.server.State().Came
	case federated.KindAccepted, federated.KindRejected, federated.KindAbandoned:
		s.close(r)
	}
}

func (s *session) close(r federated.Record) {
	if s.err != nil {
		return
	}
	x := s.round
	s.round = Round{}
	x.Number, x.Outcome = r.Round, r.Kind
	if r.Kind != federated.KindAccepted {
		x.Reason = r.Reason
	}
	s.result.Refused += x.Refused
	s.result.Dropped += x.Dropped
	if every := max(1, s.EvalEvery); r.Round%every == 0 || r.Round == s.Plan.Rounds {
		start := time.Now()
		s.server.Params(s.tester.Params())
		s.last, x.Tested = nn.Accuracy(s.tester, s.Data.Test, s.labels), true
		s.testing += time.Since(start)
		s.result.Best = max(s.result.Best, s.last)
	}
	x.Accuracy = s.last
	if s.Plan.Privacy != nil {
		g, err := s.server.Spent()
		if err != nil {
			s.fail(fmt.Errorf("round %d: %w", r.Round, err))
			return
		}
		x.Epsilon = g.Epsilon
	}
	s.result.Rounds = append(s.result.Rounds, x)
	if s.Watch != nil {
		if err := s.Watch(x); err != nil {
			s.fail(err)
		}
	}
}

func (s *session) fail(err error) {
	s.err = err
	s.cancel()
}
