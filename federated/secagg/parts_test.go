package secagg

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"testing"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"
	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/internal/stream"
)

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("c%05d", i)
	}
	return out
}

// Neighbours are mutual, as many as asked but for those who are absent, and the graph
// follows from Run and the clients, whoever is absent.
func TestGraph(t *testing.T) {
	for _, n := range []int{3, 7, 12, 100, 1001} {
		for _, k := range []int{0, 2, 4, 20} {
			if n > 100 && k == 0 {
				continue
			}
			s := Session{Clients: names(n), Neighbours: k}
			all := newGraph(&s, everyoneOf(n))
			u1 := everyoneOf(n)
			u1[1] = false
			g := newGraph(&s, u1)
			require.Equal(t, all.ring, g.ring)
			want := k
			if k == 0 || k >= n-1 {
				want = n - 1
			}
			require.Empty(t, g.neighbours(1))
			for c := range n {
				near := all.neighbours(c)
				require.Len(t, near, want)
				require.True(t, slices.IsSorted(near))
				require.Len(t, slices.Compact(slices.Clone(near)), want)
				for _, v := range near {
					_, mutual := slices.BinarySearch(all.neighbours(v), c)
					require.True(t, v != c && mutual)
				}
				if c != 1 {
					near = slices.DeleteFunc(slices.Clone(near), func(v int) bool { return v == 1 })
					require.Equal(t, near, g.neighbours(c))
				}
			}
			s.Run[0] = 1
			if n >= 12 {
				require.NotEqual(t, g.ring, newGraph(&s, u1).ring)
			}
		}
	}
}

// severed is severable by trying all sets of colluders.
func severed(g *graph, members set, colluders, from int) bool {
	var start, left int
	for c, in := range members {
		if in {
			start, left = c, left+1
		}
	}
	if left == 0 {
		return false
	}
	seen := make(set, len(members))
	queue := []int{start}
	seen[start] = true
	for len(queue) > 0 {
		c := queue[0]
		queue = queue[1:]
		for _, v := range g.neighbours(c) {
			if members[v] && !seen[v] {
				seen[v] = true
				queue = append(queue, v)
			}
		}
	}
	if seen.count() < left {
		return true
	}
	if colluders == 0 {
		return false
	}
	for c := from; c < len(members); c++ {
		if members[c] {
			members[c] = false
			yes := severed(g, members, colluders-1, c+1)
			members[c] = true
			if yes {
				return true
			}
		}
	}
	return false
}

func TestSeverable(t *testing.T) {
	rng := mathrand.New(mathrand.NewPCG(1, 1))
	yes := 0
	for range 3000 {
		n := 6 + rng.IntN(9)
		s := Session{Clients: names(n), Neighbours: 2 + 2*rng.IntN(2), Round: rng.IntN(1000)}
		g := newGraph(&s, everyoneOf(n))
		members := make(set, n)
		for i := range members {
			members[i] = rng.Float64() < 0.7
		}
		colluders := rng.IntN(4)
		want := severed(g, members, colluders, 0)
		require.Equal(t, want, g.severable(members, colluders), "ring %v, members %v, k = %d, %d colluders", g.ring, members, s.Neighbours, colluders)
		if want {
			yes++
		}
	}
	require.Greater(t, yes, 300)
	require.Less(t, yes, 2700)
}

// Against the tail in exact arithmetic, and against drawn cohorts.
func TestColludingNeighbours(t *testing.T) {
	choose := func(n, k int) *big.Rat { return new(big.Rat).SetInt(new(big.Int).Binomial(int64(n), int64(k))) }
	for _, tc := range []struct {
		n, colluders, k int
		risk            float64
	}{{100, 10, 20, 1e-6}, {100, 33, 20, 1e-3}, {1000, 50, 40, 1e-9}, {30, 29, 10, 0.5}, {50, 5, 49, 1e-6}, {200, 0, 10, 1e-6}} {
		tail := func(c int) float64 { // P(more than c)
			sum := new(big.Rat)
			for x := c + 1; x <= min(tc.k, tc.colluders); x++ {
				if tc.k-x <= tc.n-1-tc.colluders {
					p := new(big.Rat).Mul(choose(tc.colluders, x), choose(tc.n-1-tc.colluders, tc.k-x))
					sum.Add(sum, p.Quo(p, choose(tc.n-1, tc.k)))
				}
			}
			f, _ := sum.Float64()
			return f * float64(tc.n) * float64(tc.n+1) / 2
		}
		got, err := ColludingNeighbours(tc.n, tc.colluders, tc.k, tc.risk)
		require.NoError(t, err)
		require.LessOrEqual(t, tail(got), tc.risk)
		if got > 0 {
			require.Greater(t, tail(got-1), tc.risk)
		}
	}
	for _, bad := range [][3]int{{2, 1, 1}, {10, -1, 2}, {10, 10, 2}, {10, 1, 0}, {10, 1, 10}, {1 << 17, 1, 2}} {
		_, err := ColludingNeighbours(bad[0], bad[1], bad[2], 0.1)
		require.Error(t, err)
	}
	for _, risk := range []float64{0, 1, math.NaN()} {
		_, err := ColludingNeighbours(10, 1, 2, risk)
		require.ErrorContains(t, err, "risk is")
	}
}

// Any t shares make what circl's own Recover makes of them, fewer do not.
func TestShares(t *testing.T) {
	rng := mathrand.New(mathrand.NewPCG(2, 3))
	for _, threshold := range []int{1, 2, 3, 7, 20} {
		holders := rng.Perm(60)[:21]
		slices.Sort(holders)
		s := newSecret()
		shares := s.deal(threshold, holders)
		for range 5 {
			pick := rng.Perm(len(holders))[:threshold]
			var who []int
			var have []secret
			var theirs [2][]secretsharing.Share
			for _, p := range pick {
				who, have = append(who, holders[p]), append(have, shares[p])
				for i := range theirs {
					theirs[i] = append(theirs[i], secretsharing.Share{ID: group.Ristretto255.NewScalar().SetUint64(uint64(holders[p]) + 1), Value: shares[p][i]})
				}
			}
			got := recoverSecret(who, have)
			for i := range got {
				want, err := secretsharing.Recover(uint(threshold-1), theirs[i])
				require.NoError(t, err)
				require.True(t, got[i].IsEqual(want) && got[i].IsEqual(s[i]))
			}
			require.Equal(t, s.bytes(), got.bytes())
			if threshold > 1 {
				fewer := recoverSecret(who[1:], have[1:])
				require.NotEqual(t, s.bytes(), fewer.bytes())
			}
		}
	}
	_, err := parseSecret(make([]byte, 63))
	require.ErrorContains(t, err, "63 bytes")
	_, err = parseSecret(slices.Repeat([]byte{0xff}, 64)) // beyond the field's order
	require.ErrorContains(t, err, "no pair of scalars")
}

// ctr is the keystream of a mask by the standard library alone.
func ctr(key stream.Key, n int) []uint32 {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	b := make([]byte, 4*n)
	cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(b, b)
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return out
}

// Masks are what AES-256-CTR of crypto/cipher gives under the key, from counter 0, and
// they touch nothing else.
func TestMasks(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 2047, 2048, 2049, 4096, 10001} {
		var masks []mask
		buffer := make([]uint32, n+8)
		for i := range buffer {
			buffer[i] = mathrand.Uint32()
		}
		want := slices.Clone(buffer)
		for i := range 5 {
			k := stream.NewKey()
			masks = append(masks, mask{k, i%2 == 1})
			for j, w := range ctr(k, n) {
				if i%2 == 1 {
					w = -w
				}
				want[4+j] += w
			}
		}
		applyMasks(buffer[4:4+n], masks)
		require.Equal(t, want, buffer)
		for _, m := range masks {
			require.Equal(t, stream.Key{}, m.key) // erased
		}
	}
}

func TestFixedPoint(t *testing.T) {
	rng := mathrand.New(mathrand.NewPCG(5, 6))
	for range 2000 {
		f := FixedPoint{Bound: math.Exp(40*rng.Float64() - 20), Clients: 1 + rng.IntN(maxClients)}
		unit, err := f.Unit()
		require.NoError(t, err)
		frac, _ := math.Frexp(unit)
		require.Equal(t, 0.5, frac)
		steps := math.RoundToEven(f.Bound / unit)
		require.LessOrEqual(t, steps*float64(f.Clients), float64(math.MaxInt32))
		require.Greater(t, math.RoundToEven(2*f.Bound/unit)*float64(f.Clients), float64(math.MaxInt32), "a smaller unit would do")
		// All at the bound, either way: the largest sums there are.
		b := float32(f.Bound)
		if float64(b) > f.Bound {
			b = math.Nextafter32(b, 0)
		}
		for _, v := range []float32{b, -b} {
			enc, err := f.Encode(nil, []float32{v})
			require.NoError(t, err)
			var sum uint32
			for range min(f.Clients, 300) {
				sum += enc[0]
			}
			got, err := f.Decode(nil, []uint32{sum})
			require.NoError(t, err)
			n := float64(min(f.Clients, 300))
			require.InDelta(t, float64(v)*n, got[0], n*unit/2)
		}
	}
	f := FixedPoint{Bound: 1, Clients: 100}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), 1.0001, -2} {
		_, err := f.Encode(nil, []float32{0, bad})
		require.ErrorContains(t, err, "element 1 is")
	}
	for _, bad := range []FixedPoint{{0, 1}, {math.NaN(), 1}, {math.Inf(1), 1}, {-1, 1}} {
		_, err := bad.Unit()
		require.ErrorContains(t, err, "Bound is")
	}
	for _, bad := range []int{0, -1, maxClients + 1} {
		_, err := FixedPoint{1, bad}.Encode(nil, nil)
		require.ErrorContains(t, err, "Clients is")
	}
	require.Panics(t, func() { f.Encode(make([]uint32, 2), make([]float32, 3)) })
	require.Panics(t, func() { f.Decode(make([]float64, 2), make([]uint32, 3)) })
}

func TestSessionValidate(t *testing.T) {
	good := Session{Clients: names(10), Length: 5, Neighbours: 4, Threshold: 3, MinSurvivors: 4}
	require.NoError(t, good.Validate())
	for _, tc := range []struct {
		change func(*Session)
		reason string
	}{
		{func(s *Session) { s.Round = -1 }, "Round, Attempt and Bucket"},
		{func(s *Session) { s.Bucket = 1 << 31 }, "Round, Attempt and Bucket"},
		{func(s *Session) { s.Clients = s.Clients[:1] }, "Clients has 1"},
		{func(s *Session) { s.Clients = append(names(9), "a") }, "must ascend"},
		{func(s *Session) { s.Clients = append(names(9), "c00008") }, "must ascend"},
		{func(s *Session) { s.Clients = append([]string{""}, names(9)...) }, "Clients[0] has 0 bytes"},
		{func(s *Session) { s.Length = 0 }, "Length is 0"},
		{func(s *Session) { s.Length = 1<<30 + 1 }, "Length is"},
		{func(s *Session) { s.Neighbours = 3 }, "Neighbours is 3"},
		{func(s *Session) { s.Neighbours = -2 }, "Neighbours is -2"},
		{func(s *Session) { s.Clients, s.Neighbours = names(3000), 0 }, "makes 2999 for each client"},
		{func(s *Session) { s.Threshold = 0 }, "Threshold is 0"},
		{func(s *Session) { s.Threshold = 5 }, "Threshold is 5, must be in [1, 4]"},
		{func(s *Session) { s.MinSurvivors = 1 }, "MinSurvivors is 1"},
		{func(s *Session) { s.MinSurvivors = 11 }, "MinSurvivors is 11"},
	} {
		s := good
		tc.change(&s)
		require.ErrorContains(t, s.Validate(), tc.reason)
	}
	// The encoding is the only one, and another session has another digest.
	b := good.append(nil)
	back, err := readSession(&reader{rest: b})
	require.NoError(t, err)
	require.Equal(t, good, back)
	other := good
	other.Attempt++
	require.NotEqual(t, good.digest(), other.digest())
}

func TestIdentity(t *testing.T) {
	id := NewIdentity()
	back, err := ParseIdentity(id.Secret())
	require.NoError(t, err)
	require.Equal(t, id.Public().Bytes(), back.Public().Bytes())
	public, err := ParsePublicIdentity(id.Public().Bytes())
	require.NoError(t, err)
	require.Equal(t, id.Public().String(), public.String())
	message := []byte("m")
	signature, err := id.sign(message)
	require.NoError(t, err)
	require.NoError(t, public.verify(message, signature))
	require.Error(t, public.verify([]byte("n"), signature))
	require.Error(t, public.verify(message, signature[1:]))
	require.Error(t, NewIdentity().Public().verify(message, signature))
	// Half of a hybrid signature is none.
	for _, at := range []int{3, 64 + 3} {
		broken := slices.Clone(signature)
		broken[at] ^= 1
		require.Error(t, public.verify(message, broken))
	}
	_, err = ParseIdentity(make([]byte, 63))
	require.ErrorContains(t, err, "63 bytes")
	_, err = ParsePublicIdentity(make([]byte, 5))
	require.ErrorContains(t, err, "5 bytes")
	pinned := map[string]*PublicIdentity{"a": public}
	input := func(Session) ([]uint32, error) { return nil, nil }
	for _, bad := range []ClientConfig{
		{},
		{Name: "a", Identity: NewIdentity(), Pinned: pinned, Input: input, Policy: Policy{MinSurvivors: 2}},
		{Name: "b", Identity: id, Pinned: pinned, Input: input, Policy: Policy{MinSurvivors: 2}},
		{Name: "a", Identity: id, Pinned: pinned, Input: input, Policy: Policy{MinSurvivors: 1}},
		{Name: "a", Identity: id, Pinned: pinned, Input: input, Policy: Policy{MinSurvivors: 2, Colluders: -1}},
		{Name: "a", Identity: id, Pinned: pinned, Policy: Policy{MinSurvivors: 2}},
	} {
		_, err := NewClient(bad)
		require.Error(t, err)
	}
}
