package secagg_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/federated/secagg"
	"github.com/sotto-ml/sotto/federated/secagg/secaggtest"
)

// identities are made once: they serve all sessions of the tests.
var identities = sync.OnceValue(func() []*secagg.Identity {
	out := make([]*secagg.Identity, 40)
	for i := range out {
		out[i] = secagg.NewIdentity()
	}
	return out
})

// dropping plays a session whose client i is gone from phase gone[i] on; Done is never.
// What must come of it follows here from the definition alone.
func dropping(s secagg.Session, policy secagg.Policy, gone []secagg.Phase) (completed bool, wrong error) {
	n := len(s.Clients)
	asked := false // whether anybody was asked to unmask
	c := secaggtest.Cohort{
		Session: s, Policy: policy, Identities: identities()[:n],
		Input: func(i int) []uint32 { return words(i, s.Length) },
		Drop: func(p secagg.Phase, i int) bool {
			asked = asked || p == secagg.Unmask
			return p >= gone[i]
		},
	}
	sum, survivors, err := c.Run()
	if refused := append(c.Refused, errorsOf(c.Server.Refusals())...); len(refused) > 0 {
		return false, errors.Join(refused...)
	}
	if err != nil {
		if seen := !errors.Is(err, secagg.ErrUnseen); seen != asked || sum != nil {
			return false, fmt.Errorf("asked to unmask is %v, but it says: %w", asked, err)
		}
		return false, nil
	}
	var left []string
	want := make([]uint32, s.Length)
	for i, name := range s.Clients {
		if gone[i] > secagg.Mask {
			left = append(left, name)
			for j, v := range words(i, s.Length) {
				want[j] += v
			}
		}
	}
	if !slices.Equal(left, survivors) || !slices.Equal(want, sum) {
		return true, fmt.Errorf("the sum of %v is %v, must be of %v, %v", survivors, sum, left, want)
	}
	return true, nil
}

func errorsOf(refusals []secagg.Refusal) (out []error) {
	for _, r := range refusals {
		out = append(out, &r)
	}
	return out
}

// In a cohort that is joined completely, the sum must come if, and only if, in every
// phase enough are left: all patterns of two, three and four clients that drop out
// anywhere.
func TestEveryDropOut(t *testing.T) {
	for _, tc := range []struct {
		n, threshold, least int
		policy              secagg.Policy
	}{
		{2, 1, 2, secagg.Policy{MinSurvivors: 2, HonestServer: true}},
		{3, 1, 2, secagg.Policy{MinSurvivors: 2, HonestServer: true}},
		{4, 2, 2, secagg.Policy{MinSurvivors: 2, HonestServer: true, Colluders: 1}},
		{4, 3, 3, secagg.Policy{MinSurvivors: 3}},
	} {
		t.Run(fmt.Sprintf("n=%d/t=%d", tc.n, tc.threshold), func(t *testing.T) {
			everyDropOut(t, session(tc.n, 0, tc.threshold, tc.least, 5), tc.policy)
		})
	}
}

func everyDropOut(t *testing.T, s secagg.Session, policy secagg.Policy) {
	n := len(s.Clients)
	patterns := 1
	for range n {
		patterns *= int(secagg.Done) + 1
	}
	stride := 1
	switch {
	case raceEnabled:
		stride = patterns / 13
	case testing.Short() && n > 3:
		stride = 17
	}
	work := make(chan int)
	var workers sync.WaitGroup
	var mu sync.Mutex
	sums, none := 0, 0
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for p := range work {
				gone := make([]secagg.Phase, n)
				for i := range gone {
					gone[i], p = secagg.Phase(p%6), p/6
				}
				left := func(after secagg.Phase, but int) (count int) {
					for i, g := range gone {
						if g > after && i != but {
							count++
						}
					}
					return count
				}
				// All who shared are neighbours of each other.
				want := left(secagg.Advertise, -1) >= s.MinSurvivors && left(secagg.Advertise, -1) > s.Threshold &&
					left(secagg.Share, -1) >= s.MinSurvivors && left(secagg.Share, -1) > s.Threshold && left(secagg.Mask, -1) >= s.MinSurvivors
				for i, g := range gone {
					if g > secagg.Share {
						want = want && left(secagg.Unmask, i) >= s.Threshold
					}
				}
				got, err := dropping(s, policy, gone)
				mu.Lock()
				if err != nil || got != want {
					t.Errorf("gone %v: a sum %v, want %v, %v", gone, got, want, err)
				}
				if got {
					sums++
				} else {
					none++
				}
				mu.Unlock()
			}
		})
	}
	for p := patterns - 1; p >= 0; p -= stride { // the last: nobody is gone
		work <- p
	}
	close(work)
	workers.Wait()
	t.Logf("%d sums, %d failures", sums, none)
	require.Positive(t, sums)
	require.Positive(t, none)
}

// On a sparse graph, against a malicious server: random drop-outs, more and more of them.
func TestDropOutsOnGraph(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	rounds := 40
	if testing.Short() || raceEnabled {
		rounds = 12
	}
	sums, none := 0, 0
	for r := range rounds {
		n, k := 12+rng.IntN(8), 8
		s := session(n, k, 6, 5, 1+rng.IntN(3000))
		gone := make([]secagg.Phase, n)
		for i := range gone {
			gone[i] = secagg.Done
			if rng.Float64() < 0.4*float64(r)/float64(rounds) {
				gone[i] = secagg.Phase(rng.IntN(5))
			}
		}
		got, err := dropping(s, secagg.Policy{MinSurvivors: 5, Colluders: 1}, gone)
		require.NoError(t, err)
		if got {
			sums++
		} else {
			none++
		}
	}
	t.Logf("%d sums, %d failures", sums, none)
	require.Positive(t, sums)
	require.Positive(t, none)
}

// One missing above the threshold: not one share leaves a client.
func TestNothingLeaksBelowThreshold(t *testing.T) {
	const n, threshold = 8, 6
	for _, phase := range []secagg.Phase{secagg.Share, secagg.Mask, secagg.Consent} {
		for _, gone := range []int{1, 2} { // of the 7 others, 6 and 5 are left
			revealed := 0
			c := secaggtest.Cohort{
				Session: session(n, 0, threshold, 5, 3), Policy: secagg.Policy{MinSurvivors: 5, Colluders: 2}, Identities: identities()[:n],
				Input: func(i int) []uint32 { return words(i, 3) },
				Drop:  func(p secagg.Phase, i int) bool { return i < gone && p >= phase },
				Change: func(p secagg.Phase, _ int, reply []byte) []byte {
					if p == secagg.Unmask {
						revealed++
					}
					return reply
				},
			}
			_, _, err := c.Run()
			// Those who shared before they left are owed n-1-gone holders of n-1, and who
			// is left has one more neighbour gone.
			if ok := n-1-gone >= threshold; ok && err != nil || !ok && (!errors.Is(err, secagg.ErrUnseen) || revealed > 0) {
				t.Errorf("%d gone from %s on: %v, %d replies with shares", gone, phase, err, revealed)
			} else if !ok { // nobody is asked for a phase that leads nowhere
				require.ErrorContains(t, err, "secagg: "+phase.String())
			}
		}
	}
}
