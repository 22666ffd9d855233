package federated

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
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

func TestMaskedSumErrors(t *testing.T) {
	names := []ClientID{"a", "b", "c", "d", "e"}
	m, err := NewMaskedSum([32]byte{1}, names, secagg.Policy{}, 0, func(c ClientID, round, attempt int) ([]uint32, bool) {
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

	request.Clients = append(slices.Clone(names), "f")
	_, _, err = m.Sum(t.Context(), request)
	require.ErrorIs(t, err, ErrUnseen)
	require.ErrorContains(t, err, `nobody is pinned as "f"`)

	_, _, err = (&MaskedSum{}).Sum(t.Context(), request)
	require.ErrorIs(t, err, ErrUnseen)

	// A last phase that fails is not unseen.
	request = SumRequest{Round: 3, Clients: names, Length: 2, MinSurvivors: 3}
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
}
