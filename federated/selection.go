package federated

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/sotto-ml/sotto/internal/stream"
)

// Selection is how a round's cohort is drawn of the members that are eligible: All,
// Uniform, Weighted or Poisson.
type Selection interface {
	check() error
	// draw returns the chosen, in the order of members. It may read random numbers.
	draw(members []Member, random source) []ClientID
	sizes() sizes
}

// sizes are what a selection says about cohorts.
type sizes struct {
	enough int     // reports that end a collection; 0 is all
	least  int     // members that a round needs
	rate   float64 // with which each member takes part, by itself; 0 if not so
}

// source is where a draw's random words come from: a keystream, or a public seed.
type source interface{ Uint64() uint64 }

type (
	// All takes every member.
	All struct{}
	// Uniform draws Clients and Extra members, each set of as many with the same
	// chance; the first Clients updates that come count. Extra members make up for
	// those that drop out, at the price of a bias towards the fast.
	Uniform struct{ Clients, Extra int }
	// Weighted is Uniform with chances in proportion to the weights that members
	// joined with, without replacement (Efraimidis and Spirakis 2006, "Weighted random
	// sampling with a reservoir"). Updates drawn so are best not weighted again.
	Weighted struct{ Clients, Extra int }
	// Poisson draws each member by itself with chance Rate, in (0, 1], so a cohort's
	// size varies and may be 0: what the accountant of [Central] assumes.
	Poisson struct{ Rate float64 }
)

func (All) check() error { return nil }
func (s Uniform) check() error {
	return checkSizes("Uniform", s.Clients, s.Extra)
}
func (s Weighted) check() error {
	return checkSizes("Weighted", s.Clients, s.Extra)
}
func (s Poisson) check() error {
	if !(s.Rate > 0 && s.Rate <= 1) {
		return fmt.Errorf("federated: Poisson.Rate is %v, must be in (0, 1]", s.Rate)
	}
	return nil
}

func checkSizes(name string, clients, extra int) error {
	if clients < 1 {
		return fmt.Errorf("federated: %s.Clients is %d, must be at least 1", name, clients)
	}
	if extra < 0 {
		return fmt.Errorf("federated: %s.Extra is %d, must be at least 0", name, extra)
	}
	return nil
}

func (All) sizes() sizes        { return sizes{least: 1, rate: 1} }
func (s Uniform) sizes() sizes  { return sizes{enough: s.Clients, least: s.Clients} }
func (s Weighted) sizes() sizes { return sizes{enough: s.Clients, least: s.Clients} }
func (s Poisson) sizes() sizes  { return sizes{least: 1, rate: s.Rate} }

func (All) draw(members []Member, _ source) []ClientID {
	out := make([]ClientID, 0, len(members))
	for i := range members {
		if members[i].eligible() {
			out = append(out, members[i].Client)
		}
	}
	return out
}

func (s Uniform) draw(members []Member, random source) []ClientID {
	return take(All{}.draw(members, nil), s.Clients+s.Extra, random)
}

// take chooses k of them, each set with the same chance, and keeps their order.
func take(of []ClientID, k int, random source) []ClientID {
	if k >= len(of) {
		return of
	}
	out := of[:0]
	r := rand.New(random)
	for i, c := range of { // Knuth 1997, Algorithm 3.4.2 S
		if r.IntN(len(of)-i) < k-len(out) {
			out = append(out, c)
		}
	}
	return out
}

func (s Weighted) draw(members []Member, random source) []ClientID {
	type ticket struct {
		client ClientID
		key    float64
	}
	r := rand.New(random)
	var all []ticket
	for i := range members {
		if m := &members[i]; m.eligible() {
			all = append(all, ticket{m.Client, r.ExpFloat64() / m.Weight})
		}
	}
	// The least of exponential times of these rates are a draw without replacement.
	slices.SortFunc(all, func(a, b ticket) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.client, b.client))
	})
	all = all[:min(len(all), s.Clients+s.Extra)]
	out := make([]ClientID, len(all))
	for i, t := range all {
		out[i] = t.client
	}
	slices.Sort(out)
	return out
}

// draw chooses with chance Rate rounded down to a multiple of 2^-64, as less sampling
// is less privacy loss (package dp).
func (s Poisson) draw(members []Member, random source) []ClientID {
	if s.Rate == 1 {
		return All{}.draw(members, nil)
	}
	below := uint64(math.Ldexp(s.Rate, 64)) // exact, then rounded down
	var out []ClientID
	for i := range members {
		if members[i].eligible() && random.Uint64() < below {
			out = append(out, members[i].Client)
		}
	}
	return out
}

// publicSource is a source that anyone can repeat.
func publicSource(seed uint64, purpose string, round, attempt int) source {
	h := uint64(14695981039346656037)
	for _, c := range []byte(purpose) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.NewPCG(seed, h^uint64(round)<<16^uint64(attempt))
}

// privateSource is a source that only the key's holder can repeat, the same for all
// attempts of a round.
func privateSource(key *stream.Key, round int) source { return stream.New(key, uint64(round)) }
