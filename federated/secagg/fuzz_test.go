package secagg_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/federated/secagg"
	"github.com/sotto-ml/sotto/federated/secagg/secaggtest"
)

// honest is what clients were asked and replied in a session without incidents, for
// seeds.
var honest = sync.OnceValue(func() (messages [][]byte) {
	c := cohort(5, 4, 0)
	keep := func(_ secagg.Phase, i int, m []byte) []byte {
		if i == 1 {
			messages = append(messages, m)
		}
		return m
	}
	c.Forge, c.Change = keep, keep
	if _, _, err := c.Run(); err != nil {
		panic(err)
	}
	return messages
})

// FuzzTamper changes bytes of what one client is asked, and of what it replies: whatever
// happens, a sum that comes is that of those whom it names.
func FuzzTamper(f *testing.F) {
	for phase := range byte(5) {
		f.Add(phase, byte(0), uint32(33), []byte{1}, false)
		f.Add(phase, byte(1), uint32(900), []byte("elsewhere"), true)
	}
	f.Fuzz(func(t *testing.T, phase, client byte, at uint32, with []byte, reply bool) {
		c := cohort(5, 4, 0)
		tamper := func(p secagg.Phase, i int, m []byte) []byte {
			if p != secagg.Phase(phase%5) || i != int(client%5) {
				return m
			}
			m = slices.Clone(m)
			copy(m[int(at)%len(m):], with)
			return m
		}
		if reply {
			c.Change = tamper
		} else {
			c.Forge = tamper
		}
		sum, survivors, err := c.Run()
		if err != nil {
			require.Nil(t, sum)
			return
		}
		var who []int
		for i, name := range c.Session.Clients {
			if slices.Contains(survivors, name) {
				who = append(who, i)
			}
		}
		require.GreaterOrEqual(t, len(who), c.Session.MinSurvivors)
		require.Equal(t, sumOf(11, who...), sum)
	})
}

// FuzzHandle gives a client any bytes, in any phase that it may be in.
func FuzzHandle(f *testing.F) {
	for i, m := range honest() {
		f.Add(byte(i/2), m)
	}
	f.Fuzz(func(t *testing.T, phase byte, message []byte) {
		c := standing(t, secagg.Phase(phase%5))
		reply, err := c.Clients[1].Handle(message)
		require.Equal(t, err == nil, len(reply) > 0)
	})
}

// FuzzReceive gives a server any bytes, in any phase. A message that is not what its
// client signed for this session is refused, and named.
func FuzzReceive(f *testing.F) {
	for i, m := range honest() {
		f.Add(byte(i/2), m)
	}
	replies := map[string]bool{} // that an honest client once signed for this session
	for _, m := range honest() {
		replies[string(m)] = true
	}
	f.Fuzz(func(t *testing.T, phase byte, message []byte) {
		c := standing(t, secagg.Phase(phase%5))
		err := c.Server.Receive(c.Session.Clients[1], message)
		if err == nil {
			require.True(t, replies[string(message)], "a forgery was taken")
			return
		}
		var r *secagg.Refusal
		require.ErrorAs(t, err, &r)
		require.Equal(t, c.Session.Clients[1], r.Client)
		require.Equal(t, []secagg.Refusal{*r}, c.Server.Refusals())
	})
}

// FuzzSigned gives a server what a malicious client signed.
func FuzzSigned(f *testing.F) {
	for phase := range byte(5) {
		f.Add(phase, []byte("head"), []byte("tail"))
		f.Add(phase, []byte{1, 0, 1}, []byte{})
	}
	f.Fuzz(func(t *testing.T, phase byte, head, tail []byte) {
		c := standing(t, secagg.Phase(phase%5))
		c.Change = func(_ secagg.Phase, i int, reply []byte) []byte {
			if i != 1 {
				return reply
			}
			return secagg.Resign(identities()[1], reply, func(_, _ []byte) ([]byte, []byte) { return head, tail })
		}
		for c.Server.Phase() != secagg.Done {
			if c.Step() != nil {
				return
			}
		}
	})
}

func standing(t *testing.T, phase secagg.Phase) *secaggtest.Cohort {
	c := cohort(5, 4, 0)
	require.NoError(t, c.Start())
	for c.Server.Phase() < phase {
		require.NoError(t, c.Step())
	}
	return c
}

func FuzzParsePublicIdentity(f *testing.F) {
	f.Add(secagg.NewIdentity().Public().Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := secagg.ParsePublicIdentity(b)
		if err == nil {
			require.Equal(t, b, p.Bytes())
			require.Len(t, p.String(), 32)
		}
	})
}
