package secagg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// graph says who are neighbours. The session's clients lie on a ring, in an order that
// its Run and Round decide, and each is joined to half of the degree on either side: a
// Harary graph, as Bell et al. 2020 take (section 3.2). Those who did not advertise leave
// their places empty: a server that keeps some out does not bring others closer.
type graph struct {
	degree   int
	complete bool
	ring     []int // clients in their order
	place    []int // of a client in ring
	u1       set
	near     [][]int
}

// newGraph joins the members of u1.
func newGraph(s *Session, u1 set) *graph {
	n := len(s.Clients)
	g := &graph{degree: s.degree(n), ring: make([]int, n), place: make([]int, n), u1: u1, near: make([][]int, n)}
	g.complete = g.degree == n-1
	var round [4]byte
	binary.LittleEndian.PutUint32(round[:], uint32(s.Round))
	order := make([][32]byte, n)
	for c, name := range s.Clients {
		g.ring[c] = c
		order[c] = hash("sotto/secagg v1 ring", s.Run[:], round[:], []byte(name))
	}
	slices.SortFunc(g.ring, func(a, b int) int { return bytes.Compare(order[a][:], order[b][:]) })
	for i, c := range g.ring {
		g.place[c] = i
	}
	return g
}

// neighbours are those of a client of the graph, ascending.
func (g *graph) neighbours(c int) []int {
	if g.near[c] != nil || !g.u1[c] {
		return g.near[c]
	}
	n := len(g.ring)
	out := make([]int, 0, g.degree)
	add := func(v int) {
		if g.u1[v] {
			out = append(out, v)
		}
	}
	if g.complete {
		for v := range n {
			if v != c {
				add(v)
			}
		}
	} else {
		for i := 1; i <= g.degree/2; i++ {
			add(g.ring[(g.place[c]+i)%n])
			add(g.ring[(g.place[c]+n-i)%n])
		}
	}
	slices.Sort(out)
	g.near[c] = out
	return out
}

// within counts the neighbours of a client in a set.
func (g *graph) within(c int, s set) (n int) {
	for _, u := range g.neighbours(c) {
		if s[u] {
			n++
		}
	}
	return n
}

// everyoneOf is the set of all n.
func everyoneOf(n int) set { return slices.Repeat(set{true}, n) }

// severable reports whether members can be left, some on either side, with no edge
// between the sides, once up to colluders of them are taken away: what the two sides
// summed up would then be seen by itself. On a ring with edges to the next half places
// on either side, that takes two gaps of half places each.
func (g *graph) severable(members set, colluders int) bool {
	n, half := len(g.ring), g.degree/2
	if g.complete {
		return false
	}
	// in[i] counts the members among the first i places, twice around.
	in := make([]int, 3*n+1)
	for i := range 3 * n {
		in[i+1] = in[i]
		if members[g.ring[i%n]] {
			in[i+1]++
		}
	}
	gap := func(i int) int { return in[i+half] - in[i] } // members in the gap that begins at i
	// low[l][i] is the fewest members of a gap that begins in [i, i+2^l).
	low := [][]int{make([]int, 2*n)}
	for i := range low[0] {
		low[0][i] = gap(i)
	}
	for l := 1; 1<<l <= n; l++ {
		prev := low[l-1]
		next := make([]int, len(prev)-1<<(l-1))
		for i := range next {
			next[i] = min(prev[i], prev[i+1<<(l-1)])
		}
		low = append(low, next)
	}
	for i := range n {
		if gap(i) > colluders || in[n] == 0 {
			continue
		}
		// The second gap begins after the first member behind this one, and ends before
		// the last member ahead of it.
		first, _ := slices.BinarySearch(in[i+half:], in[i+half]+1) // in[i+half+first] is the first above
		last, _ := slices.BinarySearch(in[:i+n+1], in[i+n])        // member at place last-1 is the last
		from, to := i+half+first, last-1-half                      // the second begins in [from, to]
		if to < from {
			continue
		}
		l := bits.Len(uint(to-from+1)) - 1
		if fewest := min(low[l][from], low[l][to+1-1<<l]); gap(i)+fewest <= colluders {
			return true
		}
	}
	return false
}

// ColludingNeighbours is the fewest C such that, if colluders of n clients collude and the
// ring's order is random to them, a session has with a chance of at most risk any client
// with more than C of them among its k neighbours, or any two gaps of k/2 places with
// more than C of them: a union bound over n(n+1)/2 tails of the hypergeometric
// distribution (after Bell et al. 2020, section 3.2). It is at most min(k, colluders).
//
// The bound is for one set of clients and one round. A server that may choose whom to
// invite, or among rounds, has as many tries: divide risk by their number.
func ColludingNeighbours(n, colluders, k int, risk float64) (int, error) {
	if n < 3 || n > maxClients || colluders < 0 || colluders >= n || k < 1 || k >= n {
		return 0, fmt.Errorf("secagg: n = %d, colluders = %d and k = %d, must be in [3, %d], [0, n) and [1, n)", n, colluders, k, maxClients)
	}
	if !(risk > 0 && risk < 1) {
		return 0, fmt.Errorf("secagg: risk is %v, must be in (0, 1)", risk)
	}
	choose := func(n, k int) float64 {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(k + 1))
		c, _ := math.Lgamma(float64(n - k + 1))
		return a - b - c
	}
	all := choose(n-1, k)
	tail, most := 0.0, min(k, colluders)
	for c := most; c > 0; c-- { // tail is P(more than c-1)
		if k-c <= n-1-colluders {
			tail += math.Exp(choose(colluders, c) + choose(n-1-colluders, k-c) - all)
		}
		if tail*float64(n)*float64(n+1)/2 > risk {
			return c, nil
		}
	}
	return 0, nil
}
