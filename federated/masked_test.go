package federated

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/federated/secagg"
)

// One run by masks and one in the clear make the same model, bit for bit, with clients
// that drop out of sums, and one that forges: it is named in the log, and in quarantine
// after as many faults as the plan bears.
func TestMaskedSumWholeWay(t *testing.T) {
	const clients, d = 16, 257
	p := Plan{Parameters: d, Rounds: 3, Strategy: FedAvg{}, Selection: All{}, MinMembers: clients - 1, MaxMembers: clients, Secure: true, MaxNorm: 4,
		Rule: aggregate.Median{}, Buckets: &Buckets{Count: 2}, Quarantine: Quarantine{Strikes: 3}}
	gone := []ClientID{NameOf(3), NameOf(7)}
	forger := NameOf(5)
	run := func(masked bool) (params []float32, log []Record) {
		inside := NewInProcess()
		all := map[ClientID]*Protected{}
		var names []ClientID
		for i := range clients {
			c, err := Protect(p, NameOf(i), ClientFunc(func(_ context.Context, task Task) (Update, error) {
				delta := make([]float32, d)
				for j := range delta {
					delta[j] = float32((i*31+j*7+task.Round*3)%100)/1000 - 0.05
				}
				return Update{Delta: delta}, nil
			}))
			require.NoError(t, err)
			names = append(names, NameOf(i))
			all[NameOf(i)] = c
			inside.Join(NameOf(i), 1, c)
		}
		input := func(id ClientID, round, attempt int) ([]uint32, bool) {
			if slices.Contains(gone, id) || !masked && id == forger {
				return nil, false
			}
			return all[id].Input(round, attempt)
		}
		var sums SecureSum = PlainSum{Input: input}
		if masked {
			m, err := NewMaskedSum([32]byte{1}, names, secagg.Policy{MinSurvivors: 2, HonestServer: true}, 0, input)
			require.NoError(t, err)
			exchange := m.Exchange
			m.Exchange = func(ctx context.Context, to ClientID, request []byte) ([]byte, error) {
				reply, err := exchange(ctx, to, request)
				if err == nil && to == forger {
					reply = slices.Clone(reply)
					reply[len(reply)-1] ^= 1
				}
				return reply, err
			}
			sums = m
		}
		server, err := New(p, Config{Initial: make([]float32, d), Transport: inside, Sums: sums, Watch: func(r Record) { log = append(log, r) }})
		require.NoError(t, err)
		require.NoError(t, server.Run(t.Context()))
		require.Equal(t, 3, server.Version())
		return server.Params(nil), log
	}
	plain, _ := run(false)
	masked, log := run(true)
	require.Equal(t, plain, masked)
	var refused, quarantined int
	for _, r := range log {
		switch r.Kind {
		case KindRefused:
			require.Equal(t, forger, r.Client)
			require.True(t, strings.HasPrefix(r.Reason, "secure sum, advertise: the signature is not the client's"), r.Reason)
			refused++
		case KindQuarantined:
			require.Equal(t, forger, r.Client)
			quarantined++
		}
	}
	require.Equal(t, 3, refused)
	require.Equal(t, 1, quarantined)
}

// Time goes on only while all wait, so nobody is late for being slow.
func TestMaskedSumErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []ClientID{"a", "b", "c", "d", "e"}
		m, err := NewMaskedSum([32]byte{1}, names, secagg.Policy{HonestServer: true}, 0, func(c ClientID, round, attempt int) ([]uint32, bool) {
			return []uint32{1, 2}, c < "e"
		})
		require.NoError(t, err)
		request := SumRequest{Round: 1, Clients: names, Length: 2, MinSurvivors: 3}
		sum, who, err := m.Sum(t.Context(), request)
		require.NoError(t, err)
		require.Equal(t, []uint32{4, 8}, sum)
		require.Equal(t, names[:4], who)

		request.Round, request.MinSurvivors = 2, 5
		_, _, err = m.Sum(t.Context(), request)
		require.ErrorIs(t, err, ErrUnseen)
		require.ErrorContains(t, err, "4 clients sent their vectors, must be at least 5")

		// Who is not pinned is left out, and named.
		request.Round, request.MinSurvivors = 3, 3
		request.Clients = append(slices.Clone(names), "f")
		var faults []Fault
		request.Fault = func(f Fault) { faults = append(faults, f) }
		sum, who, err = m.Sum(t.Context(), request)
		require.NoError(t, err)
		require.Equal(t, []uint32{4, 8}, sum)
		require.Equal(t, names[:4], who)
		require.Equal(t, []Fault{{"f", "secure sum: nobody is pinned by its name", false}}, faults)
		request.Fault = nil

		_, _, err = (&MaskedSum{}).Sum(t.Context(), request)
		require.ErrorIs(t, err, ErrUnseen)

		// A silent client costs its phase's share of the time, not the sum.
		request = SumRequest{Round: 5, Clients: names[:4], Length: 2, MinSurvivors: 3}
		direct := m.Exchange
		m.Exchange = func(ctx context.Context, to ClientID, request []byte) ([]byte, error) {
			if to == "a" && request[0] >= 3 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return direct(ctx, to, request)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		start := time.Now()
		sum, who, err = m.Sum(ctx, request)
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(start))
		require.NoError(t, ctx.Err())
		require.Equal(t, []uint32{3, 6}, sum)
		require.Equal(t, names[1:4], who)
		m.Exchange = direct

		// A last phase that fails is not unseen.
		request = SumRequest{Round: 6, Clients: names, Length: 2, MinSurvivors: 3}
		exchange := m.Exchange
		m.PhaseTimeout = time.Second
		m.Exchange = func(ctx context.Context, to ClientID, request []byte) ([]byte, error) {
			if request[0] == 5 {
				return nil, errors.New("gone")
			}
			return exchange(ctx, to, request)
		}
		_, _, err = m.Sum(t.Context(), request)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrUnseen)
	})
}

// A fault in a late phase counts, though the client's vector is in the sum; what may only
// be late is logged, and no more.
func TestFaultsOfSurvivors(t *testing.T) {
	p := Plan{Parameters: 2, Rounds: 3, Strategy: FedAvg{}, Selection: All{}, MinMembers: 3, MaxMembers: 4, Secure: true, MaxNorm: 1, Quarantine: Quarantine{Strikes: 2}}
	s := always(4, nil)
	var log []Record
	c, err := New(p, Config{Initial: make([]float32, 2), Transport: s, Now: s.Clock, Watch: func(r Record) { log = append(log, r) }, Sums: sumFunc(func(r SumRequest) ([]uint32, []ClientID, error) {
		r.Fault(Fault{r.Clients[0], "it came too late", true})
		if slices.Contains(r.Clients, NameOf(2)) {
			r.Fault(Fault{NameOf(2), "a wrong share", false})
			r.Fault(Fault{NameOf(2), "another", false}) // of a round one counts
		}
		return []uint32{1, 1}, r.Clients, nil
	})})
	require.NoError(t, err)
	require.NoError(t, c.Run(t.Context()))
	s.Close()
	require.Equal(t, 3, c.Version())
	count := map[string]int{}
	for _, r := range log {
		if r.Kind == KindRefused || r.Kind == KindQuarantined {
			count[string(r.Kind)+" "+string(r.Client)+" "+r.Reason]++
		}
	}
	require.Equal(t, map[string]int{
		"refused client-00000000 it came too late":        3,
		"refused client-00000002 a wrong share":           2,
		"quarantined client-00000002 2 refusals in a row": 1,
	}, count)
}

func TestAcceptSession(t *testing.T) {
	p := Plan{Parameters: 2, Rounds: 1, Strategy: FedAvg{}, Selection: All{}, MinMembers: 3, MaxMembers: 4, Secure: true, MaxNorm: 1}
	c, err := Protect(p, "a", ClientFunc(func(context.Context, Task) (Update, error) { return Update{Delta: []float32{1, 0}}, nil }))
	require.NoError(t, err)
	held := secagg.Session{Round: 4, Attempt: 1, Length: 2}
	require.ErrorContains(t, c.AcceptSession(held), "holds nothing")
	_, err = c.Train(t.Context(), Task{Round: 4, Attempt: 1, Params: make([]float32, 2)})
	require.NoError(t, err)
	require.NoError(t, c.AcceptSession(held))
	for _, other := range []secagg.Session{{Round: 5, Attempt: 1, Length: 2}, {Round: 4, Attempt: 2, Length: 2}, {Round: 4, Attempt: 1, Length: 3}} {
		require.Error(t, c.AcceptSession(other))
	}
	x, err := c.SessionInput(held)
	require.NoError(t, err)
	require.Len(t, x, 2)
	_, err = c.SessionInput(held) // once
	require.ErrorContains(t, err, "holds nothing")
}
