package secagg_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/federated/secagg"
)

// Clients on their own goroutines: one fails, one never answers, one answers too late.
// Time goes on only while all wait, so nobody is late for being slow.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cohort(9, 6, 1)
		c.Session.MinSurvivors, c.Policy.MinSurvivors = 5, 5
		require.NoError(t, c.Start())
		index := map[string]int{}
		for i, name := range c.Session.Clients {
			index[name] = i
		}
		start := time.Now()
		sum, survivors, err := secagg.Run(t.Context(), c.Server, func(ctx context.Context, name string, request []byte) ([]byte, error) {
			i := index[name]
			switch {
			case i == 2 && request[0] >= 2:
				return nil, errors.New("the battery is empty")
			case i == 4 && request[0] >= 3:
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return c.Clients[i].Handle(request)
		}, 2*time.Second)
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(start), "one phase waits for the silent one")
		require.Len(t, survivors, 7)
		require.Equal(t, sumOf(11, 0, 1, 3, 5, 6, 7, 8), sum)
		require.Equal(t, "the battery is empty", c.Server.Refusals()[0].Reason)
		require.Equal(t, secagg.Share, c.Server.Refusals()[0].Phase)
	})
}

// When the context ends, so does the run, and it says whether anything was seen.
func TestRunEnds(t *testing.T) {
	for stop := secagg.Advertise; stop < secagg.Done; stop++ {
		c := cohort(5, 4, 0)
		require.NoError(t, c.Start())
		ctx, cancel := context.WithCancel(t.Context())
		index := map[string]int{}
		for i, name := range c.Session.Clients {
			index[name] = i
		}
		sum, _, err := secagg.Run(ctx, c.Server, func(ctx context.Context, name string, request []byte) ([]byte, error) {
			if c.Server.Phase() == stop {
				cancel()
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return c.Clients[index[name]].Handle(request)
		}, 0)
		cancel()
		require.Error(t, err)
		require.Nil(t, sum)
		require.Equal(t, stop < secagg.Unmask, errors.Is(err, secagg.ErrUnseen), "%s: %v", stop, err)
	}
}

func TestNewServer(t *testing.T) {
	c := cohort(5, 4, 0)
	require.NoError(t, c.Start())
	s := c.Session
	s.Length = 0
	_, err := secagg.NewServer(s, c.Pinned())
	require.ErrorContains(t, err, "Length is 0")
	pins := c.Pinned()
	delete(pins, s.Clients[2])
	_, err = secagg.NewServer(c.Session, pins)
	require.ErrorContains(t, err, `nobody is pinned as "client-00002"`)
	require.Nil(t, c.Server.Request("nobody"))
	require.ErrorContains(t, c.Server.Receive("nobody", nil), "no client of the session")
	_, _, err = c.Server.Sum()
	require.ErrorContains(t, err, "in phase advertise")
}
