package clients

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/internal/poisoning"
)

// Gamma spreads a share gamma of the examples evenly at random; the rest is sorted by
// label and cut in equal parts.
func Gamma(labels []int, clients int, gamma float64, seed uint64) [][]int {
	return poisoning.Split(labels, clients, gamma, seed)
}

// Shards sorts the examples by label, cuts them in 2·clients pieces and deals each
// client two of these at random: most have two labels (McMahan et al. 2017, section 3).
func Shards(labels []int, clients int, seed uint64) [][]int {
	rng := rand.New(rand.NewPCG(seed, 0x736861726473))
	order := rng.Perm(len(labels))
	slices.SortStableFunc(order, func(i, j int) int { return labels[i] - labels[j] })
	pieces := rng.Perm(2 * clients)
	parts := make([][]int, clients)
	for k, piece := range pieces {
		from, to := piece*len(order)/(2*clients), (piece+1)*len(order)/(2*clients)
		parts[k/2] = append(parts[k/2], order[from:to]...)
	}
	return parts
}

// Dirichlet gives clients equally many examples. Each draws the shares of its labels
// from a Dirichlet law with parameters alpha times the labels' frequencies times their
// number, and takes examples by these shares without replacement; a label that is used
// up is left out (Hsu, Qi and Brown 2019, section 3). The order in which clients take
// is theirs, one example at a time, so that none is left with what others did not want.
func Dirichlet(labels []int, clients int, alpha float64, seed uint64) ([][]int, error) {
	if !(alpha > 0) || math.IsInf(alpha, 0) {
		return nil, fmt.Errorf("alpha is %v, must be positive and finite", alpha)
	}
	rng := rand.New(rand.NewPCG(seed, 0x6469726963686c))
	var left [mnist.Classes][]int
	for _, i := range rng.Perm(len(labels)) {
		left[labels[i]] = append(left[labels[i]], i)
	}
	shares := make([][mnist.Classes]float64, clients)
	for c := range shares {
		total := 0.0
		for k := range left {
			prior := float64(len(left[k])) / float64(len(labels))
			shares[c][k] = gamma(rng, alpha*prior*mnist.Classes)
			total += shares[c][k]
		}
		for k := range left {
			shares[c][k] /= total
		}
	}
	parts := make([][]int, clients)
	for range len(labels) / clients {
		for c := range parts {
			k := pick(rng, &shares[c], &left)
			parts[c] = append(parts[c], left[k][0])
			left[k] = left[k][1:]
		}
	}
	return parts, nil
}

// pick draws a label of which some examples are left.
func pick(rng *rand.Rand, shares *[mnist.Classes]float64, left *[mnist.Classes][]int) int {
	total, some := 0.0, 0
	for k := range left {
		if len(left[k]) > 0 {
			total += shares[k]
			some = k
		}
	}
	if total > 1e-12 {
		at := rng.Float64() * total
		for k := range left {
			if len(left[k]) == 0 {
				continue
			}
			if at -= shares[k]; at < 0 {
				return k
			}
		}
		return some
	}
	// All that the client wanted is used up: it takes what there is most of.
	for k := range left {
		if len(left[k]) > len(left[some]) {
			some = k
		}
	}
	return some
}

// gamma draws from the gamma law of a shape, scale 1 (Marsaglia and Tsang 2000, with
// their boost for shapes below 1).
func gamma(rng *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(rng, shape+1) * math.Pow(1-rng.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
