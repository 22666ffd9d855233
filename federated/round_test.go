package federated

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
)

// script is a transport whose messages a test writes: once a task is asked, what answer
// returns for it is delivered.
type script struct {
	inbox  []Message
	answer func(to ClientID, t Task) []Message
}

func (s *script) Ask(_ context.Context, to ClientID, t Task) error {
	s.inbox = append(s.inbox, s.answer(to, t)...)
	return nil
}

func (s *script) Next(context.Context) (Message, error) {
	if len(s.inbox) == 0 {
		return Message{}, context.DeadlineExceeded
	}
	m := s.inbox[0]
	s.inbox = s.inbox[1:]
	return m, nil
}

func still() time.Time { return time.Unix(0, 0) }

// scripted runs a plan with clients a, b, c … and returns the model and the log.
func scripted(t *testing.T, p Plan, clients int, answer func(to ClientID, t Task) []Message) (*Coordinator, []Record, error) {
	t.Helper()
	s := &script{answer: answer}
	for i := range clients {
		s.inbox = append(s.inbox, Message{From: ClientID(rune('a' + i)), Kind: Joining})
	}
	var log []Record
	c, err := New(p, Config{Initial: make([]float32, p.Parameters), Transport: s, Now: still, Watch: func(r Record) { log = append(log, r) }})
	require.NoError(t, err)
	err = c.Run(t.Context())
	return c, log, err
}

// about lists what the log says of a client, kinds but for joining.
func about(log []Record, id ClientID) (out []string) {
	for _, r := range log {
		if r.Client == id && r.Kind != KindJoined {
			out = append(out, string(r.Kind)+": "+r.Reason)
		}
	}
	return out
}

func answered(to ClientID, t Task, u Update) Message {
	return Message{From: to, Kind: Answering, Round: t.Round, Attempt: t.Attempt, Update: u}
}

// Whatever one client sends that cannot be right is refused, named in the log, and the
// round goes on with the others.
func TestBadUpdatesAreRefused(t *testing.T) {
	good := func(to ClientID, t Task) Message { return answered(to, t, Update{Delta: []float32{1, 1}, Steps: 2}) }
	nan := float32(math.NaN())
	for _, c := range []struct {
		name string
		send func(to ClientID, t Task) []Message
		want []string
	}{
		{"wrong length", func(to ClientID, t Task) []Message { return []Message{answered(to, t, Update{Delta: []float32{1}})} },
			[]string{"refused: update: Delta has 1 elements, must have 2"}},
		{"NaN", func(to ClientID, t Task) []Message {
			return []Message{answered(to, t, Update{Delta: []float32{1, nan}})}
		},
			[]string{"refused: update: Delta holds a NaN or an infinity"}},
		{"infinity", func(to ClientID, t Task) []Message {
			return []Message{answered(to, t, Update{Delta: []float32{1, float32(math.Inf(-1))}})}
		}, []string{"refused: update: Delta holds a NaN or an infinity"}},
		{"too long", func(to ClientID, t Task) []Message {
			return []Message{answered(to, t, Update{Delta: []float32{30, 40}})}
		}, []string{"refused: update: Delta has norm 50, must be at most 10"}},
		{"lying weight", func(to ClientID, t Task) []Message {
			return []Message{answered(to, t, Update{Delta: []float32{1, 1}, Weight: 11})}
		}, []string{"refused: update: Weight is 11, must be in (0, 10]"}},
		{"negative weight", func(to ClientID, t Task) []Message {
			return []Message{answered(to, t, Update{Delta: []float32{1, 1}, Weight: -1})}
		}, []string{"refused: update: Weight is -1, must be in (0, 10]"}},
		{"unasked control", func(to ClientID, t Task) []Message {
			return []Message{answered(to, t, Update{Delta: []float32{1, 1}, Control: []float32{1, 1}})}
		}, []string{"refused: update: Control is given, which FedAvg does not take"}},
		{"packed", func(to ClientID, t Task) []Message {
			return []Message{answered(to, t, Update{Packed: []byte{1}})}
		}, []string{"refused: an update is packed, the plan has no Compression"}},
		{"another kind", func(to ClientID, t Task) []Message {
			return []Message{{From: to, Kind: 9, Round: t.Round, Attempt: t.Attempt}}
		}, []string{"refused: message kind is 9, must be in [1, 4]"}},
		{"wrong round, then nothing", func(to ClientID, t Task) []Message {
			m := good(to, t)
			m.Round++
			return []Message{m}
		}, []string{"late: its answer is for round 2, attempt 1", "late: it has not answered in time"}},
		{"twice", func(to ClientID, t Task) []Message { return []Message{good(to, t), good(to, t)} },
			[]string{"reported: ", "ignored: it has answered already"}},
		{"a second one after a bad one", func(to ClientID, t Task) []Message {
			return []Message{answered(to, t, Update{}), good(to, t)}
		}, []string{"refused: update: Delta has 0 elements, must have 2", "ignored: it has answered already"}},
		{"failure", func(to ClientID, t Task) []Message {
			return []Message{{From: to, Kind: Unable, Round: t.Round, Attempt: t.Attempt, Reason: "no data"}}
		}, []string{"dropped: no data"}},
		{"leaves", func(to ClientID, t Task) []Message { return []Message{{From: to, Kind: Leaving}} }, []string{"left: "}},
		{"silent", func(ClientID, Task) []Message { return nil }, []string{"late: it has not answered in time"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := Plan{Parameters: 2, Rounds: 1, Strategy: FedAvg{}, Selection: All{}, MinMembers: 4, MinCohort: 2, MaxWeight: 10, MaxNorm: 10}
			server, log, err := scripted(t, plan, 4, func(to ClientID, task Task) []Message {
				if to == "b" {
					return c.send(to, task)
				}
				return []Message{good(to, task)}
			})
			require.NoError(t, err)
			require.Equal(t, c.want, about(log, "b"))
			require.Equal(t, 1, server.Version())
			require.Equal(t, []float32{1, 1}, server.Params(nil))
		})
	}
	// Someone who never joined is not even named: names would fill the log.
	plan := Plan{Parameters: 2, Rounds: 1, Strategy: FedAvg{}, Selection: All{}, MinMembers: 2, MinCohort: 2}
	_, log, err := scripted(t, plan, 2, func(to ClientID, task Task) []Message {
		return []Message{good("z", task), good(to, task)}
	})
	require.NoError(t, err)
	require.Empty(t, about(log, "z"))
	require.True(t, slices.ContainsFunc(log, func(r Record) bool { return r.Reason == "an answer of a client that never joined" }))
}

func TestJoinsAreChecked(t *testing.T) {
	s := &script{inbox: []Message{{From: "", Kind: Joining}, {From: ClientID(strings.Repeat("x", 201)), Kind: Joining},
		{From: "a", Kind: Joining, Weight: 11}, {From: "b", Kind: Joining, Weight: math.NaN()}, {From: "c", Kind: Joining}, {From: "d", Kind: Joining}}}
	s.answer = func(to ClientID, t Task) []Message { return []Message{answered(to, t, Update{Delta: []float32{1}})} }
	c, err := New(Plan{Parameters: 1, Rounds: 2, Strategy: FedAvg{}, Selection: All{}, MinMembers: 2, MaxMembers: 1, MaxWeight: 10},
		Config{Initial: []float32{0}, Transport: s, Now: still})
	require.NoError(t, err)
	err = c.Run(t.Context())
	require.ErrorIs(t, err, ErrStopped)
	require.ErrorContains(t, err, "1 clients can be asked, must be at least 2")
	require.Len(t, c.State().Members, 1)
}

// A client that is refused again and again is kept out, until its time is over or
// somebody lets it in.
func TestQuarantine(t *testing.T) {
	for _, byHand := range []bool{false, true} {
		var server *Coordinator
		asked := map[int]bool{}
		plan := Plan{Parameters: 1, Rounds: 8, Strategy: FedAvg{}, Selection: All{}, MinMembers: 2, MinCohort: 1, Quarantine: Quarantine{Strikes: 2, For: 3 * time.Second}}
		if byHand {
			plan.Quarantine.For = 0
		}
		s := &script{}
		now := 0
		s.answer = func(to ClientID, task Task) []Message {
			now = task.Round
			if to == "b" {
				asked[task.Round] = true
				if task.Round <= 2 {
					return []Message{answered(to, task, Update{})}
				}
			}
			if byHand && task.Round == 5 && to == "a" {
				server.Release("b")
			}
			return []Message{answered(to, task, Update{Delta: []float32{1}})}
		}
		s.inbox = []Message{{From: "a", Kind: Joining}, {From: "b", Kind: Joining}, {From: "c", Kind: Joining}}
		var err error
		server, err = New(plan, Config{Initial: []float32{0}, Transport: s, Now: func() time.Time { return time.Unix(int64(now), 0) }})
		require.NoError(t, err)
		require.NoError(t, server.Run(t.Context()))
		// Free during round 5: by hand, or as three seconds, of one a round, are over.
		want := map[int]bool{1: true, 2: true, 6: true, 7: true, 8: true}
		require.Equal(t, want, asked, "by hand: %v", byHand)
		require.Equal(t, 8, server.Version())
	}
}

// Every check of the gate refuses what it is there for, and the round leaves the model
// as it was.
func TestGate(t *testing.T) {
	delta := func(round int) []float32 { return []float32{1, 0} }
	approve := func(pass bool, err error) func(context.Context, Candidate) (bool, string, error) {
		return func(context.Context, Candidate) (bool, string, error) { return pass, "the board", err }
	}
	score := func(w []float32) (float64, error) { return 0 - float64(w[0]), nil }
	for _, c := range []struct {
		name  string
		gate  Gate
		delta func(round int) []float32
		want  string
		kept  int // versions of three rounds
	}{
		{"nothing", Gate{}, delta, "", 3},
		{"norm", Gate{MaxNorm: 0.5}, delta, "the change's norm is 1, must be at most 0.5", 0},
		{"score falls", Gate{Validation: &Validation{Score: score, MaxDrop: 0.5}}, delta, "the score falls from 0 to -1, by more than 0.5", 0},
		{"floor", Gate{Validation: &Validation{Score: score, MaxDrop: 10, Floor: -1.5}}, delta, "the score is -2, must be at least -1.5", 1},
		{"score fails", Gate{Validation: &Validation{Score: func([]float32) (float64, error) { return 0, errors.New("no data") }, MaxDrop: 1}}, delta, "it cannot be validated: score of the current version: no data", 0},
		{"score is NaN", Gate{Validation: &Validation{Score: func(w []float32) (float64, error) {
			if w[0] > 0 {
				return math.NaN(), nil
			}
			return 0, nil
		}, MaxDrop: 1}}, delta, "the score falls from 0 to NaN, by more than 1", 0},
		{"drift", Gate{Drift: &Drift{MinCosine: 0, Memory: 0.5, After: 1}}, func(round int) []float32 {
			if round == 2 {
				return []float32{-1, 0}
			}
			return []float32{1, 0}
		}, "the change's cosine to former ones is -1.0000, must be at least 0.0000", 2},
		{"approved", Gate{Approve: approve(true, nil)}, delta, "", 3},
		{"not approved", Gate{Approve: approve(false, nil)}, delta, "not approved: the board", 0},
		{"approval fails", Gate{Approve: approve(true, errors.New("asleep"))}, delta, "not approved: asleep", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := Plan{Parameters: 2, Rounds: 3, Strategy: FedAvg{}, Selection: All{}, MinMembers: 1, MinCohort: 1, Gate: c.gate}
			server, log, err := scripted(t, plan, 1, func(to ClientID, task Task) []Message {
				return []Message{answered(to, task, Update{Delta: c.delta(task.Round)})}
			})
			require.NoError(t, err)
			require.Equal(t, c.kept, server.Version())
			var rejected []string
			for _, r := range log {
				if r.Kind == KindRejected {
					rejected = append(rejected, r.Reason)
				}
			}
			require.Len(t, rejected, 3-c.kept)
			for _, r := range rejected {
				require.Equal(t, c.want, r)
			}
			require.Equal(t, float32(c.kept), server.Params(nil)[0])
		})
	}
	// Not finite: two updates whose sum is beyond float32.
	plan := Plan{Parameters: 1, Rounds: 1, Strategy: FedAvg{Rate: 10}, Selection: All{}, MinMembers: 1, MinCohort: 1}
	server, log, err := scripted(t, plan, 1, func(to ClientID, task Task) []Message {
		return []Message{answered(to, task, Update{Delta: []float32{math.MaxFloat32}})}
	})
	require.NoError(t, err)
	require.Zero(t, server.Version())
	require.Equal(t, "the candidate holds a NaN or an infinity", log[len(log)-2].Reason)
}

// Any accepted version can be brought back, also by a server that was restarted.
func TestRollBack(t *testing.T) {
	dir := t.TempDir()
	var server *Coordinator
	s := &script{inbox: []Message{{From: "a", Kind: Joining}}}
	plan := Plan{Parameters: 1, Rounds: 6, Strategy: FedAvgM{Rate: 1, Momentum: 0.5}, Selection: All{}, MinMembers: 1, MinCohort: 1}
	var starts []float32
	s.answer = func(to ClientID, task Task) []Message {
		starts = append(starts, task.Params[0])
		if task.Round == 5 {
			server.RollBack(2, "it was worse")
		}
		return []Message{answered(to, task, Update{Delta: []float32{1}})}
	}
	var err error
	server, err = New(plan, Config{Initial: []float32{0}, Transport: s, Folder: dir, Now: still})
	require.NoError(t, err)
	require.NoError(t, server.Run(t.Context()))
	// With momentum 1/2: 1, 2.5, 4.25, 6.125; then from 2.5 on, with version 2's momentum.
	require.Equal(t, []float32{0, 1, 2.5, 4.25, 6.125, 2.5}, starts)
	require.Equal(t, 4.25, float64(server.Params(nil)[0]))
	require.Equal(t, 5, server.Version(), "numbers are not used twice")
	server.RollBack(99, "")
	server.RollBack(1, "much worse")
	require.NoError(t, server.Close())
	server, err = New(plan, Config{Initial: []float32{0}, Transport: s, Folder: dir, Now: still})
	require.NoError(t, err)
	server.RollBack(1, "much worse")
	require.NoError(t, server.Run(t.Context()))
	require.Equal(t, 1, server.Version())
	require.Equal(t, float32(1), server.Params(nil)[0])
	require.NoError(t, server.Close())
}

// Liars that a mean follows anywhere do not move a robust chain far, with rows in the
// clear or with means of buckets only.
func TestRobustRules(t *testing.T) {
	const clients, liars = 25, 4
	b := newBowls(clients, 10, 3)
	honest := &bowls{centre: b.centre[liars:], scale: b.scale}
	optimum := honest.optimum()
	run := func(p Plan) float64 {
		p.Rounds, p.Strategy, p.Selection = 60, FedAvg{}, All{}
		p.MinMembers, p.MinCohort = clients, 1
		_, got := b.simulate(t, p, func(_ *Config, s *Simulation) {
			s.NewWorker = func() (Worker, error) {
				return WorkerFunc(func(_ context.Context, i int, task Task) (Update, error) {
					u := b.train(i, task, nil)
					if i < liars {
						for j := range u.Delta {
							u.Delta[j] *= -8
						}
					}
					return u, nil
				}), nil
			}
		})
		return distance(got, optimum)
	}
	robust := aggregate.Chain{aggregate.NNM{F: liars}, aggregate.TrimmedMean{F: liars}}
	require.Greater(t, run(Plan{}), 5., "a mean")
	require.Less(t, run(Plan{Rule: robust}), 1.)
	require.Less(t, run(Plan{Rule: robust, Buckets: &Buckets{F: liars, Count: 12}}), 1.5)
}

// A cohort is divided evenly, by public randomness that differs from round to round; or
// by name, so that who comes moves nobody else.
func TestAssign(t *testing.T) {
	var all []ClientID
	for i := range 103 {
		all = append(all, NameOf(i))
	}
	even := assign(all, 10, true, 1, 1, 1)
	sizes := make([]int, 10)
	for _, b := range even {
		sizes[b]++
	}
	require.Equal(t, 10, slices.Min(sizes))
	require.Equal(t, 11, slices.Max(sizes))
	require.Equal(t, even, assign(all, 10, true, 1, 1, 1))
	require.NotEqual(t, even, assign(all, 10, true, 1, 2, 1))
	require.NotEqual(t, even, assign(all, 10, true, 2, 1, 1))
	byName := assign(all, 10, false, 1, 1, 1)
	fewer := assign(all[1:], 10, false, 1, 1, 2)
	require.Equal(t, byName[1:], fewer)
	require.NotEqual(t, byName, assign(all, 10, false, 1, 2, 1))
	for f, want := range map[int]int{0: 1, 1: 5, 3: 13} {
		n, least, err := (&Buckets{F: f}).count(aggregate.TrimmedMean{F: f})
		require.NoError(t, err)
		require.Equal(t, want, n)
		require.Equal(t, 2*f+1, least)
	}
	_, _, err := (&Buckets{F: 3, Count: 6}).count(aggregate.TrimmedMean{F: 3})
	require.ErrorContains(t, err, "Buckets.Count is 6, must be at least 7")
}

// A simulation has the same bits for any number of cores, drop-outs included.
func TestSimulationCores(t *testing.T) {
	b := newBowls(60, 33, 5)
	plan := Plan{Rounds: 6, Strategy: FedAdam{Rate: 0.1, Beta1: 0.5, Beta2: 0.9, Tau: 0.1}, Selection: Uniform{Clients: 20, Extra: 10}, MinCohort: 5, MinMembers: 60, Seed: 9}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var want []float32
	var log bytes.Buffer
	for _, cores := range []int{1, 2, 3, 8} {
		runtime.GOMAXPROCS(cores)
		var now bytes.Buffer
		_, got := b.simulate(t, plan, func(c *Config, s *Simulation) {
			s.DropOut, s.Straggle = 0.2, 0.1
			c.Log = &now
		})
		if want == nil {
			want, log = got, now
			require.Contains(t, log.String(), "it drops out")
			require.Contains(t, log.String(), "it has not answered in time")
			continue
		}
		require.Equal(t, want, got, "%d cores", cores)
		require.Equal(t, log.String(), now.String())
	}
}

// The laws of the selections.
func TestSelectionLaws(t *testing.T) {
	var members []Member
	for i := range 10 {
		members = append(members, Member{Client: NameOf(i), Active: i != 3, Weight: float64(i + 1)})
	}
	members[4].Until = 1
	r := rand.New(rand.NewPCG(1, 1))
	const times = 40000
	counts := func(s Selection, exact int) []float64 {
		out := make([]float64, 10)
		for range times {
			drawn := s.draw(members, r)
			if exact > 0 {
				require.Len(t, drawn, exact)
			}
			require.True(t, slices.IsSorted(drawn))
			for _, id := range drawn {
				out[slices.IndexFunc(members, func(m Member) bool { return m.Client == id })]++
			}
		}
		require.Zero(t, out[3], "it left")
		require.Zero(t, out[4], "it is in quarantine")
		return out
	}
	near := func(p, count float64) {
		t.Helper()
		require.InDelta(t, p, count/times, 5*math.Sqrt(p*(1-p)/times)+1e-12)
	}
	for i, n := range counts(Uniform{Clients: 2, Extra: 1}, 3) {
		if i != 3 && i != 4 {
			near(3./8, n)
		}
	}
	for i, n := range counts(Poisson{Rate: 0.3}, 0) {
		if i != 3 && i != 4 {
			near(0.3, n)
		}
	}
	total := 55. - 4 - 5
	for i, n := range counts(Weighted{Clients: 1}, 1) {
		if i != 3 && i != 4 {
			near(float64(i+1)/total, n)
		}
	}
	require.Len(t, All{}.draw(members, nil), 8)
	require.Len(t, Uniform{Clients: 50}.draw(members, r), 8)
}
