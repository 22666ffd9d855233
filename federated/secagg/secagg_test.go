package secagg_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/federated/secagg"
	"github.com/sotto-ml/sotto/federated/secagg/secaggtest"
)

func session(n, neighbours, threshold, least, length int) secagg.Session {
	s := secagg.Session{Round: 3, Clients: secaggtest.Names(n), Length: length, Neighbours: neighbours, Threshold: threshold, MinSurvivors: least}
	copy(s.Run[:], "public randomness of these tests")
	return s
}

// words gives client i's vector: of all sizes modulo 2^32.
func words(i, n int) []uint32 {
	out := make([]uint32, n)
	for j := range out {
		out[j] = uint32(i+1)*2654435761 + uint32(j)*40503
	}
	return out
}

// The protocol of fixed randomness, to the last bit, on any machine. If this changes,
// clients and servers of different versions do not understand each other: change the
// version in the domains too.
func TestTranscript(t *testing.T) {
	secaggtest.Fix(t, 7)
	c := secaggtest.Cohort{
		Session: session(9, 4, 4, 5, 37), Policy: secagg.Policy{MinSurvivors: 5, Colluders: 1},
		Input: func(i int) []uint32 { return words(i, 37) },
	}
	sum, survivors, err := c.Run()
	require.NoError(t, err)
	require.Empty(t, c.Refused)
	require.Empty(t, c.Server.Refusals())
	require.Len(t, survivors, 9)
	want := make([]uint32, 37)
	for i := range 9 {
		for j, v := range words(i, 37) {
			want[j] += v
		}
	}
	require.Equal(t, want, sum)
	require.Equal(t, "63e6c893fb623942026cbae5230a7c8850157c4ae727061b4e5d6d2261ad05d8", c.Transcript())
}
