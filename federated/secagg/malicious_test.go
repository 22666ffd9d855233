package secagg_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/federated/secagg"
	"github.com/sotto-ml/sotto/federated/secagg/secaggtest"
)

// cohort is of n clients that are joined completely, against a malicious server.
func cohort(n, threshold, colluders int) *secaggtest.Cohort {
	return &secaggtest.Cohort{
		Session: session(n, 0, threshold, n-2, 11), Policy: secagg.Policy{MinSurvivors: n - 2, Colluders: colluders}, Identities: identities()[:n],
		Input: func(i int) []uint32 { return words(i, 11) },
	}
}

func sumOf(length int, clients ...int) []uint32 {
	want := make([]uint32, length)
	for _, i := range clients {
		for j, v := range words(i, length) {
			want[j] += v
		}
	}
	return want
}

// One client sends what it must not, in one phase; it is named with the reason, and the
// others' sum comes.
func TestMaliciousClient(t *testing.T) {
	const n, liar = 7, 3
	// other has the same clients in another attempt, for replays.
	other := cohort(n, 5, 1)
	other.Session.Attempt = 1
	replayed := map[secagg.Phase][]byte{}
	other.Change = func(p secagg.Phase, i int, reply []byte) []byte {
		if i == liar {
			replayed[p] = reply
		}
		return reply
	}
	_, _, err := other.Run()
	require.NoError(t, err)

	resign := func(change func(head, tail []byte) ([]byte, []byte)) func(*secaggtest.Cohort, secagg.Phase, []byte) []byte {
		return func(_ *secaggtest.Cohort, _ secagg.Phase, reply []byte) []byte {
			return secagg.Resign(identities()[liar], reply, change)
		}
	}
	flip := func(at int) func(head, tail []byte) ([]byte, []byte) {
		return func(head, tail []byte) ([]byte, []byte) {
			head[at] ^= 1
			return head, tail
		}
	}
	all := []secagg.Phase{secagg.Advertise, secagg.Share, secagg.Mask, secagg.Consent, secagg.Unmask}
	for _, tc := range []struct {
		name   string
		phases []secagg.Phase
		change func(c *secaggtest.Cohort, p secagg.Phase, reply []byte) []byte
		reason string
	}{
		{"nothing", all, func(*secaggtest.Cohort, secagg.Phase, []byte) []byte { return nil }, "truncated"},
		{"a cut reply", all, func(_ *secaggtest.Cohort, _ secagg.Phase, r []byte) []byte { return r[:200] }, "truncated"},
		{"a forged Ed25519 signature", all, func(_ *secaggtest.Cohort, _ secagg.Phase, r []byte) []byte {
			r = slices.Clone(r)
			r[1+32+4+4+len(secagg.Head(r))] ^= 1
			return r
		}, "signature"},
		{"a forged ML-DSA signature", all, func(_ *secaggtest.Cohort, _ secagg.Phase, r []byte) []byte {
			r = slices.Clone(r)
			r[1+32+4+4+len(secagg.Head(r))+100] ^= 1
			return r
		}, "signature"},
		{"a replay of another attempt", all, func(_ *secaggtest.Cohort, p secagg.Phase, _ []byte) []byte { return replayed[p] }, "another session"},
		{"a replay in this session's name", all, func(_ *secaggtest.Cohort, p secagg.Phase, r []byte) []byte {
			return append(slices.Clone(r[:33]), replayed[p][33:]...)
		}, "signature"},
		{"a kind of another phase", all, func(_ *secaggtest.Cohort, p secagg.Phase, r []byte) []byte {
			r = slices.Clone(r)
			r[0] = 6 + (r[0]-5)%5
			return r
		}, "signature"},
		{"a request", all, func(_ *secaggtest.Cohort, _ secagg.Phase, r []byte) []byte {
			r = slices.Clone(r)
			r[0] -= 5
			return r
		}, "no reply"},
		{"another's name", all, func(_ *secaggtest.Cohort, _ secagg.Phase, r []byte) []byte {
			r = slices.Clone(r)
			r[33] ^= 1
			return r
		}, "signed for client 2"},
		{"short keys", all[:1], resign(func(h, tail []byte) ([]byte, []byte) { return h[:100], tail }), "keys have 100 bytes"},
		{"keys and more", all[:1], resign(func(h, tail []byte) ([]byte, []byte) { return h, []byte{1} }), "bytes"},
		{"keys that are none", all[:1], resign(func(h, tail []byte) ([]byte, []byte) { return bytes.Repeat([]byte{0xff}, len(h)), tail }), "its keys"},
		{"another roster", all[1:2], resign(flip(0)), "another roster"},
		{"too few shares", all[1:2], resign(func(h, tail []byte) ([]byte, []byte) { return h, tail[:len(tail)-1] }), "shares have"},
		{"shares that were not signed", all[1:2], resign(func(h, tail []byte) ([]byte, []byte) {
			tail[len(tail)-1] ^= 1
			return h, tail
		}), "not what it signed"},
		{"masks for other clients", all[2:3], resign(flip(0)), "other clients"},
		{"a vector that was not signed", all[2:3], resign(flip(40)), "not what was signed"},
		{"a short vector", all[2:3], func(c *secaggtest.Cohort, _ secagg.Phase, r []byte) []byte {
			return secagg.ResignVector(identities()[liar], r, 10)
		}, "40 bytes, must have 44"},
		{"consent to something else", all[3:4], resign(flip(0)), "something else"},
		{"a wrong share", all[4:], resign(flip(5)), "not what the dealer signed"},
		{"half a share", all[4:], resign(func(h, tail []byte) ([]byte, []byte) { return h[:30], tail }), "malformed"},
		{"shares and more", all[4:], resign(func(h, tail []byte) ([]byte, []byte) { return append(h, 0), tail }), "malformed"},
		{"a flag that is none", all[4:], resign(func(h, tail []byte) ([]byte, []byte) { h[0] = 2; return h, tail }), "malformed"},
	} {
		for _, phase := range tc.phases {
			c := cohort(n, 5, 1)
			c.Change = func(p secagg.Phase, i int, reply []byte) []byte {
				if i == liar && p == phase {
					return tc.change(c, p, reply)
				}
				return reply
			}
			sum, survivors, err := c.Run()
			require.NoError(t, err, "%s, %s", tc.name, phase)
			want := []int{0, 1, 2, 4, 5, 6}
			if phase > secagg.Mask {
				want = []int{0, 1, 2, 3, 4, 5, 6}
			}
			require.Equal(t, sumOf(11, want...), sum, tc.name)
			require.Len(t, survivors, len(want))
			refused := c.Server.Refusals()
			require.NotEmpty(t, refused, "%s, %s", tc.name, phase)
			require.Equal(t, c.Session.Clients[liar], refused[0].Client)
			require.Equal(t, phase, refused[0].Phase)
			require.Contains(t, refused[0].Reason, tc.reason, tc.name)
			require.Equal(t, tc.name != "a replay of another attempt", refused[0].Fault, tc.name)
			require.Empty(t, c.Refused)
		}
	}
}

// Two keys, or two deals, expel a client; a duplicate of either does not.
func TestEquivocation(t *testing.T) {
	for _, phase := range []secagg.Phase{secagg.Advertise, secagg.Share} {
		for _, honest := range []bool{true, false} {
			c := cohort(6, 4, 1)
			require.NoError(t, c.Start())
			for c.Server.Phase() < phase {
				require.NoError(t, c.Step())
			}
			c.Change = func(p secagg.Phase, i int, reply []byte) []byte {
				if i != 2 || p != phase {
					return reply
				}
				require.NoError(t, c.Server.Receive(c.Session.Clients[i], reply))
				if honest {
					return reply
				}
				return secagg.Resign(identities()[2], reply, func(head, tail []byte) ([]byte, []byte) {
					head[len(head)-1] ^= 1
					return head, tail
				})
			}
			for c.Server.Phase() != secagg.Done {
				require.NoError(t, c.Step())
			}
			sum, survivors, err := c.Server.Sum()
			require.NoError(t, err)
			if honest {
				require.Len(t, survivors, 6)
				require.Equal(t, sumOf(11, 0, 1, 2, 3, 4, 5), sum)
				require.Empty(t, c.Server.Refusals())
				continue
			}
			require.NotContains(t, survivors, c.Session.Clients[2])
			require.Equal(t, sumOf(11, 0, 1, 3, 4, 5), sum)
			require.Contains(t, c.Server.Refusals()[0].Reason, "two different messages")
		}
	}
}

// A dealer seals shares that are not those it signed for: others leave them out, and
// while t shares are left the sum comes all the same; else it is named.
func TestLyingDealer(t *testing.T) {
	const n, dealer = 6, 2
	for _, wrong := range []int{1, 2} { // of 5 holders; t is 4
		c := cohort(n, 4, 1)
		c.Change = func(p secagg.Phase, i int, reply []byte) []byte {
			if p != secagg.Share || i != dealer {
				return reply
			}
			return secagg.Resign(identities()[dealer], reply, func(head, tail []byte) ([]byte, []byte) {
				for h := range wrong {
					head[64+96*h+32] ^= 1 // of the self mask's share
				}
				return head, tail
			})
		}
		sum, _, err := c.Run()
		require.Empty(t, c.Server.Refusals()) // holders do not pass on what was not signed
		if wrong == 1 {
			require.NoError(t, err)
			require.Equal(t, sumOf(11, 0, 1, 2, 3, 4, 5), sum)
		} else {
			require.ErrorContains(t, err, c.Session.Clients[dealer])
			require.NotErrorIs(t, err, secagg.ErrUnseen)
		}
	}
	// A commitment to something else, seen once the secret is together.
	c := cohort(n, 4, 1)
	c.Change = func(p secagg.Phase, i int, reply []byte) []byte {
		if p != secagg.Share || i != dealer {
			return reply
		}
		return secagg.Resign(identities()[dealer], reply, func(head, tail []byte) ([]byte, []byte) {
			head[32] ^= 1
			return head, tail
		})
	}
	_, _, err := c.Run()
	require.ErrorContains(t, err, `"client-00002" dealt shares of something else than it signed`)

	require.Equal(t, []secagg.Refusal{{Client: c.Session.Clients[dealer], Phase: secagg.Unmask, Reason: "dealt shares of something else than it signed", Fault: true}}, c.Server.Refusals())

	// What it sealed and signed is no share: who holds it is not at fault.
	for _, holders := range [][]int{{0}, {0, 1, 3, 4, 5}} {
		c = cohort(n, 4, 1)
		c.Change = func(p secagg.Phase, i int, reply []byte) []byte {
			if p == secagg.Share && i == dealer {
				for _, h := range holders {
					reply = c.Clients[dealer].JunkShare(identities()[dealer], reply, h)
				}
			}
			return reply
		}
		sum, _, err := c.Run()
		require.Empty(t, c.Refused)
		require.Empty(t, c.Server.Refusals())
		if len(holders) == 1 {
			require.NoError(t, err)
			require.Equal(t, sumOf(11, 0, 1, 2, 3, 4, 5), sum)
		} else {
			require.ErrorContains(t, err, `0 shares of "client-00002"'s secret came`)
		}
	}

	// A mask key that is not the secret's, of one who dropped out.
	c = cohort(n, 4, 1)
	c.Drop = func(p secagg.Phase, i int) bool { return p >= secagg.Mask && i == dealer }
	require.NoError(t, c.Start())
	for c.Server.Phase() < secagg.Unmask {
		require.NoError(t, c.Step())
	}
	c.Server.ReplaceMaskKey(dealer)
	require.ErrorContains(t, c.Step(), `"client-00002" dealt shares of something else than its key`)
	require.True(t, c.Server.Refusals()[0].Fault)
	require.Equal(t, c.Session.Clients[dealer], c.Server.Refusals()[0].Client)
}

// A malicious server shows some clients a survivor as gone, to have both of its secrets.
// With the threshold that clients demand of servers that may be malicious it gets at most
// one of them; with one that is only good against a curious server it gets both, so the
// attack is a real one.
func TestSplitView(t *testing.T) {
	const n, victim, colluder = 7, 0, 6
	for _, tc := range []struct {
		name      string
		threshold int
		honest    bool
		both      bool
	}{
		{"malicious", 5, false, false}, // 2·5 > 6+1+1+1
		{"curious", 3, true, true},
	} {
		for half := range n - 1 { // who is told that the victim survived: 1 to half
			c := cohort(n, tc.threshold, 1)
			c.Policy.HonestServer = tc.honest
			c.Session.MinSurvivors, c.Policy.MinSurvivors = 3, 3
			require.NoError(t, c.Start())
			for c.Server.Phase() < secagg.Consent {
				require.NoError(t, c.Step())
			}
			name := c.Session.Clients
			var with, without [][]byte
			for i := 1; i < colluder; i++ {
				request := c.Server.Request(name[i])
				if i > half {
					request = c.Server.SurvivorsWithout(name[i], victim)
				}
				reply, err := c.Clients[i].Handle(request)
				require.NoError(t, err)
				if i > half {
					without = append(without, reply)
				} else {
					with = append(with, reply)
				}
			}
			with = append(with, c.Server.ConsentTo(colluder, identities()[colluder], -1))
			without = append(without, c.Server.ConsentTo(colluder, identities()[colluder], victim))
			if half == 2 { // consents to the other view do not count, they end the session
				mixed := append(slices.Clone(with[:2]), without[0])
				_, err := c.Clients[1].Handle(c.Server.RevealOf(mixed))
				require.ErrorContains(t, err, "was shown other survivors")
				continue
			}
			shares := [2]int{1, 1} // the colluder has one of each
			for i := 1; i < colluder; i++ {
				consents := with
				if i > half {
					consents = without
				}
				reply, err := c.Clients[i].Handle(c.Server.RevealOf(consents))
				require.NoError(t, err)
				if secagg.Head(reply)[0] == 1 { // the victim is everyone's first neighbour
					if i > half {
						shares[1]++
					} else {
						shares[0]++
					}
				}
			}
			got := shares[0] >= tc.threshold && shares[1] >= tc.threshold
			if tc.both && half == 3 {
				require.True(t, got, "%s, %d: %v", tc.name, half, shares)
			}
			if !tc.both {
				require.False(t, got, "%s, %d: %v", tc.name, half, shares)
				// Nobody gives anything to a view that too few of the neighbours signed.
				for i, signed := range [][][]byte{with, without} {
					if len(signed) < tc.threshold {
						require.Equal(t, 1, shares[i], "%s, %d: %v", tc.name, half, shares)
					}
				}
			}
		}
	}
}

// A client that was shown other clients, or a server that changed what was sealed.
func TestMaliciousServer(t *testing.T) {
	at := func(phase secagg.Phase, change func(c *secaggtest.Cohort, request []byte) []byte) func(*secaggtest.Cohort) {
		return func(c *secaggtest.Cohort) {
			c.Forge = func(p secagg.Phase, i int, request []byte) []byte {
				if p == phase && i == 1 {
					return change(c, slices.Clone(request))
				}
				return request
			}
		}
	}
	flip := func(at int) func(*secaggtest.Cohort, []byte) []byte {
		return func(_ *secaggtest.Cohort, r []byte) []byte {
			if at < 0 {
				at += len(r)
			}
			r[at] ^= 1
			return r
		}
	}
	cut := func(_ *secaggtest.Cohort, r []byte) []byte { return r[:len(r)-1] }
	more := func(_ *secaggtest.Cohort, r []byte) []byte { return append(r, 0) }
	const set = 33 // where a request's set of clients is
	for _, tc := range []struct {
		name   string
		setup  func(*secaggtest.Cohort)
		reason string
	}{
		{"invite: another digest", at(secagg.Advertise, flip(5)), "digest is not the session's"},
		{"invite: cut", at(secagg.Advertise, cut), "truncated"},
		{"invite: more", at(secagg.Advertise, more), "left over"},
		{"roster: the client's own keys replaced", at(secagg.Share, flip(33+32*1)), "own keys"},
		{"roster: another's keys replaced", at(secagg.Share, flip(33+32*2)), "not those of the roster"},
		{"roster: cut", at(secagg.Share, cut), "truncated"},
		{"roster: more", at(secagg.Share, more), "left over"},
		{"roster: a forged signature", at(secagg.Share, flip(-1)), "signature is not"},
		{"deliver: without the client", at(secagg.Mask, func(_ *secaggtest.Cohort, r []byte) []byte { r[set] ^= 2; return r }), "lack the client itself"},
		{"deliver: others than there are", at(secagg.Mask, func(_ *secaggtest.Cohort, r []byte) []byte { r[set] ^= 0x80; return r }), "beyond the clients"},
		{"deliver: sealed shares replaced", at(secagg.Mask, flip(-1)), "was changed"},
		{"deliver: cut", at(secagg.Mask, cut), "truncated"},
		{"deliver: more", at(secagg.Mask, more), "left over"},
		{"survivors: without the client", at(secagg.Consent, func(_ *secaggtest.Cohort, r []byte) []byte { r[set] ^= 2; return r }), "lack the client itself"},
		{"survivors: too few", at(secagg.Consent, func(_ *secaggtest.Cohort, r []byte) []byte { r[set] = 7; return r }), "3 clients survive"},
		{"survivors: one left out", at(secagg.Consent, func(_ *secaggtest.Cohort, r []byte) []byte { r[set] ^= 1; return r }), "malformed"},
		{"survivors: forged", at(secagg.Consent, flip(-1)), "signature is not"},
		{"reveal: forged", at(secagg.Unmask, flip(-1)), "signature is not"},
		{"reveal: cut", at(secagg.Unmask, cut), "truncated"},
		{"reveal: twice the same", at(secagg.Unmask, func(_ *secaggtest.Cohort, r []byte) []byte {
			return append(r, r[33:]...)
		}), "do not ascend"},
		{"another session", at(secagg.Share, flip(5)), "another session"},
		{"another kind", at(secagg.Share, func(_ *secaggtest.Cohort, r []byte) []byte { r[0] = 4; return r }), "out of order"},
		{"a reply", at(secagg.Share, func(_ *secaggtest.Cohort, r []byte) []byte { r[0] = 7; return r }), "no request"},
		{"no kind", at(secagg.Share, func(_ *secaggtest.Cohort, r []byte) []byte { r[0] = 99; return r }), "unknown kind"},
	} {
		c := cohort(7, 5, 1)
		tc.setup(c)
		sum, survivors, err := c.Run()
		require.NoError(t, err, tc.name)
		require.Len(t, c.Refused, 1, tc.name)
		require.ErrorContains(t, c.Refused[0], tc.reason, tc.name)
		if len(survivors) == 7 {
			require.Equal(t, sumOf(11, 0, 1, 2, 3, 4, 5, 6), sum, tc.name)
		} else {
			require.Equal(t, sumOf(11, 0, 2, 3, 4, 5, 6), sum, tc.name)
		}
	}
}

// One client is shown other clients than the rest, in a way that has the right form, and
// a malicious server takes its answer as if it were none: its neighbours find out.
func TestSplitClients(t *testing.T) {
	const victim = 3
	// Keys of a client far away are replaced, which the victim cannot know.
	c := cohort(9, 4, 0)
	c.Session.Neighbours = 4
	require.NoError(t, c.Start())
	require.NoError(t, c.Step())
	for i, name := range c.Session.Clients {
		request := c.Server.Request(name)
		if i == victim {
			far := 0
			for far == victim || slices.Contains(c.Server.Neighbours(victim), far) {
				far++
			}
			request[33+32*far] ^= 1
		}
		reply, err := c.Clients[i].Handle(request)
		require.NoError(t, err)
		c.Server.Believe(reply)
	}
	require.NoError(t, c.Server.Advance())
	_ = c.Step()
	require.Len(t, c.Refused, 5) // the victim and its neighbours
	for _, err := range c.Refused {
		require.ErrorContains(t, err, "was shown another roster")
	}

	// One client masks without a pair that the other has.
	c = cohort(7, 5, 1)
	require.NoError(t, c.Start())
	require.NoError(t, c.Step())
	require.NoError(t, c.Step())
	for i, name := range c.Session.Clients {
		request := c.Server.Request(name)
		if i == victim {
			request = c.Server.DeliverWithout(name, 0)
		}
		reply, err := c.Clients[i].Handle(request)
		require.NoError(t, err)
		c.Server.Believe(reply)
	}
	require.NoError(t, c.Server.Advance())
	_ = c.Step()
	require.Len(t, c.Refused, 7)
	for i, err := range c.Refused {
		if i == victim {
			require.ErrorContains(t, err, "who is not among those who shared secrets")
		} else {
			require.ErrorContains(t, err, "masked for other clients")
		}
	}
}

// Survivors that one colluder holds together: clients see it and unmask nothing.
func TestSeveredSurvivors(t *testing.T) {
	for _, colluders := range []int{0, 1} {
		c := &secaggtest.Cohort{
			Session: session(20, 4, 2, 10, 3), Identities: identities()[:20],
			Policy: secagg.Policy{MinSurvivors: 10, Colluders: colluders, HonestServer: true},
			Input:  func(i int) []uint32 { return words(i, 3) },
		}
		c.Drop = func(p secagg.Phase, i int) bool {
			if p < secagg.Mask {
				return false
			}
			at := slices.Index(c.Server.Ring(), i)
			return at == 0 || at == 1 || at == 10 // 11 is left to hold them together
		}
		_, _, err := c.Run()
		if colluders == 0 {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, secagg.ErrUnseen)
		require.Len(t, c.Refused, 17)
		require.ErrorContains(t, c.Refused[0], "too many are gone")
	}
}

func TestClientOrder(t *testing.T) {
	c := cohort(5, 4, 0)
	requests := map[secagg.Phase][]byte{}
	c.Forge = func(p secagg.Phase, i int, request []byte) []byte {
		if i == 0 {
			requests[p] = request
		}
		return request
	}
	require.NoError(t, c.Start())
	client := c.Clients[0]
	replies := map[secagg.Phase][]byte{}
	for c.Server.Phase() != secagg.Done {
		p := c.Server.Phase()
		require.NoError(t, c.Step())
		// The last request again, as from a network that repeats: the same bytes.
		again, err := client.Handle(requests[p])
		require.NoError(t, err)
		replies[p] = again
		twice, err := client.Handle(requests[p])
		require.NoError(t, err)
		require.Equal(t, again, twice)
		if p > secagg.Advertise {
			_, err = client.Handle(requests[p-1])
			require.Error(t, err)
		}
		require.Equal(t, p != secagg.Unmask, client.Holds())
	}
	foreign := cohort(5, 4, 0)
	foreign.Session.Run[0] ^= 1
	foreign.Session.Round++
	require.NoError(t, foreign.Start())
	_, err := client.Handle(foreign.Server.Request(foreign.Session.Clients[0]))
	require.ErrorContains(t, err, "another run")
	// Sessions of this or an earlier position are over, whatever else they say.
	for _, at := range []secagg.Position{{Round: 3, Attempt: 0}, {Round: 2, Attempt: 9}} {
		d := cohort(5, 4, 0)
		d.Session.Round, d.Session.Attempt, d.Session.Length = at.Round, at.Attempt, 12
		require.NoError(t, d.Start())
		_, err := client.Handle(d.Server.Request(d.Session.Clients[0]))
		require.ErrorContains(t, err, "is not after round 3, attempt 0")
	}
	d := cohort(5, 4, 0)
	d.Session.Attempt = 1
	require.NoError(t, d.Start())
	_, err = client.Handle(d.Server.Request(d.Session.Clients[0]))
	require.NoError(t, err)
}

// Secrets are overwritten when a session ends well, ends badly, or is left for a later.
func TestErasure(t *testing.T) {
	for _, end := range []string{"done", "changed", "later"} {
		c := cohort(5, 4, 0)
		require.NoError(t, c.Start())
		for c.Server.Phase() < secagg.Consent {
			require.NoError(t, c.Step())
		}
		secrets := c.Clients[0].Secrets()
		require.Len(t, secrets, 2+4)
		for _, s := range secrets {
			require.NotEqual(t, make([]byte, len(s)), s)
		}
		switch end {
		case "done":
			require.NoError(t, c.Step())
			require.NoError(t, c.Step())
		case "changed":
			request := c.Server.Request(c.Session.Clients[0])
			request[len(request)-1] ^= 1
			_, err := c.Clients[0].Handle(request)
			require.Error(t, err)
			_, err = c.Clients[0].Handle(c.Server.Request(c.Session.Clients[0])) // too late
			require.ErrorContains(t, err, "out of order")
		case "later":
			d := cohort(5, 4, 0)
			d.Session.Round++
			require.NoError(t, d.Start())
			_, err := c.Clients[0].Handle(d.Server.Request(d.Session.Clients[0]))
			require.NoError(t, err)
		}
		for _, s := range secrets {
			require.Equal(t, make([]byte, len(s)), s, end)
		}
		require.Equal(t, end == "later", c.Clients[0].Holds())
	}
}

// A second, different set of survivors ends a client's session.
func TestSecondSurvivors(t *testing.T) {
	c := cohort(7, 5, 1)
	require.NoError(t, c.Start())
	for c.Server.Phase() < secagg.Consent {
		require.NoError(t, c.Step())
	}
	name := c.Session.Clients[1]
	_, err := c.Clients[1].Handle(c.Server.Request(name))
	require.NoError(t, err)
	_, err = c.Clients[1].Handle(c.Server.SurvivorsWithout(name, 0))
	require.ErrorContains(t, err, "differs from the one before")
	require.False(t, c.Clients[1].Holds())
}

func TestPolicy(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*secaggtest.Cohort)
		reason string
	}{
		{"survivors", func(c *secaggtest.Cohort) { c.Policy.MinSurvivors = 6 }, "demands at least 6"},
		{"malicious", func(c *secaggtest.Cohort) { c.Policy.Colluders = 3 }, "Threshold is 5, the client demands more than (7+3)/2"},
		{"curious", func(c *secaggtest.Cohort) { c.Policy.Colluders, c.Policy.HonestServer = 5, true }, "more than its 5 Colluders"},
		{"sparse", func(c *secaggtest.Cohort) { c.Session.Neighbours, c.Session.Threshold = 4, 3 }, "more than (6+0)/2"},
		{"own", func(c *secaggtest.Cohort) {
			c.Policy.Accept = func(s secagg.Session) error { return errors.New("not on " + s.Clients[0]) }
		}, "not on client-00000"},
	} {
		c := cohort(7, 5, 0)
		tc.change(c)
		_, _, err := c.Run()
		require.ErrorIs(t, err, secagg.ErrUnseen, tc.name)
		require.Len(t, c.Refused, 7)
		require.ErrorContains(t, c.Refused[0], tc.reason, tc.name)
	}
}
