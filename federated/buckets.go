package federated

import (
	"fmt"
	"math/rand/v2"

	"github.com/sotto-ml/sotto/aggregate"
)

// Buckets divide a cohort by public randomness, so that a robust rule can work on the
// means of buckets while nothing is seen of one client: the server learns, in each
// round, who is in which bucket and each bucket's sum.
//
// A liar spoils one bucket, so at most F of them are spoilt, whatever their size, and
// the rule must bear F of Count rows. The seed that clients are divided by (Plan.Seed)
// must be fixed after they joined, or liars choose names that put them all in buckets of
// their own liking; that costs secrecy of a bucket's honest clients, not the rule's
// condition.
//
// A noised sum is noised per bucket: each holds all the noise that the guarantee needs,
// since the rule and the other buckets may show it by itself.
type Buckets struct {
	F int // liars among the clients of a round, at least 0
	// Count is the number of buckets. 0 stands for the least that is at least 4F+1 and
	// that the rule takes; it must be at least 2F+1.
	Count int
}

// accepts reports whether the rule can be run on n rows.
func accepts(rule aggregate.Rule, n int) bool {
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = []float32{float32(i)}
	}
	_, err := rule.Aggregate(nil, rows, nil)
	return err == nil
}

// maxRows is the most rows that package aggregate takes.
const maxRows = 1024

// least is the smallest number of rows, at least from, that the rule takes.
func least(rule aggregate.Rule, from int) (int, error) {
	for n := max(1, from); n <= min(maxRows, 8*from+64); n++ {
		if accepts(rule, n) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("federated: Rule %T takes no number of rows from %d to %d", rule, from, min(maxRows, 8*from+64))
}

// count is the number of buckets, and the fewest that a round may be left with.
func (b *Buckets) count(rule aggregate.Rule) (count, fewest int, err error) {
	if b.F < 0 || b.F > 255 {
		return 0, 0, fmt.Errorf("federated: Buckets.F is %d, must be in [0, 255]", b.F)
	}
	if fewest, err = least(rule, 2*b.F+1); err != nil {
		return 0, 0, err
	}
	if b.Count == 0 {
		count, err = least(rule, 4*b.F+1)
		return count, fewest, err
	}
	if b.Count < fewest || b.Count > maxRows || !accepts(rule, b.Count) {
		return 0, 0, fmt.Errorf("federated: Buckets.Count is %d, must be at least %d for F = %d, at most %d, and what Rule %T takes", b.Count, fewest, b.F, maxRows, rule)
	}
	return b.Count, fewest, nil
}

// assign puts clients in buckets. Evenly: in a shuffled order, so that sizes differ by
// one at most. Else each by itself, by a hash of its name: then a client that comes or
// goes moves no other, which a guarantee under AddRemove needs.
func assign(clients []ClientID, count int, evenly bool, seed uint64, round, attempt int) []int {
	out := make([]int, len(clients))
	if evenly {
		order := rand.New(publicSource(seed, "buckets", round, attempt)).Perm(len(clients))
		for at, i := range order {
			out[i] = at % count
		}
		return out
	}
	for i, c := range clients {
		out[i] = rand.New(publicSource(seed, "bucket of "+string(c), round, 0)).IntN(count)
	}
	return out
}
