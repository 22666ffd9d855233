// Package poisoning trains a classifier over clients of whom some lie, for examples
// and benchmarks; no library package imports it.
//
// In each step every honest client takes the gradient of a batch of its own data and
// sends a moving average of these (worker momentum: Karimireddy, He and Jaggi 2021).
// The liars see all that the honest send. The server aggregates, some rules with a row
// that it makes itself, and takes a step.
package poisoning

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/sotto-ml/sotto/aggregate"
	"github.com/sotto-ml/sotto/aggregate/attack"
	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/nn"
)

// Classes is the number of labels.
const Classes = 10

// Data is what is learnt and what it is tested on. It is only read.
type Data struct {
	Train, Test             [][]float32
	TrainLabels, TestLabels []int
}

// Setting is one run.
type Setting struct {
	Layers        []nn.Layer
	Shape         nn.Shape
	Honest, Liars int
	Gamma         float64                               // share of data that is spread evenly, 0 to 1
	Rule          func(f int, at *Round) aggregate.Rule // called once a run, with Liars
	Attack        func(r aggregate.Rule) attack.Attack  // called once a run; nil: the liars send nothing, and the rule reckons with them
	Flip          bool                                  // the attack sees rows made of flipped labels
	Steps, Batch  int
	Rate          float64 // learning rate
	Cool          int     // of the last steps, in which it falls linearly to 0
	Momentum      float64 // of the clients: m = Momentum m + (1-Momentum) gradient
	Decay         float64 // weight decay
	Public        int     // examples drawn from the training data that the server has too, for a row of its own; 0 for none
	Seed          uint64
}

// Round is what a rule may know besides the clients' rows. Train sets it before the liars
// of a step forge theirs.
type Round struct {
	Step int       // from 0 on
	Root []float32 // the server's row, made of batches of its examples as a client makes its own; nil if it has none
}

// Result is how a run ended.
type Result struct {
	Accuracy float64 // on the test data
	Diverged bool    // the parameters were not finite, and the run ended
}

// Split spreads examples over clients: a share gamma evenly at random, the rest sorted
// by label and cut in equal parts (as in ByzFL).
func Split(labels []int, clients int, gamma float64, seed uint64) [][]int {
	rng := rand.New(rand.NewPCG(seed, 0x73706c6974))
	order := rng.Perm(len(labels))
	even := int(math.Round(gamma * float64(len(labels))))
	sorted := slices.Clone(order[even:])
	slices.SortStableFunc(sorted, func(i, j int) int { return cmp.Compare(labels[i], labels[j]) })
	parts := make([][]int, clients)
	for c := range parts {
		parts[c] = append(parts[c], order[c*even/clients:(c+1)*even/clients]...)
		parts[c] = append(parts[c], sorted[c*len(sorted)/clients:(c+1)*len(sorted)/clients]...)
	}
	return parts
}

// Train runs a setting. After each step it tells progress, which may stop it by an
// error.
func Train(data *Data, s Setting, progress func(step int) error) (Result, error) {
	model, err := nn.New(s.Shape, s.Layers...)
	if err != nil {
		return Result{}, err
	}
	model.Init(nn.HeNormal, s.Seed)
	params := model.Params()
	d, f := len(params), s.Liars
	labels, err := nn.Labels(data.TrainLabels, Classes)
	if err != nil {
		return Result{}, err
	}
	turned := make([]int, len(data.TrainLabels))
	for i, label := range data.TrainLabels {
		turned[i] = attack.FlipLabel(label, Classes)
	}
	flipped, err := nn.Labels(turned, Classes)
	if err != nil {
		return Result{}, err
	}
	parts := Split(data.TrainLabels, s.Honest, s.Gamma, s.Seed)
	rng := rand.New(rand.NewPCG(s.Seed, 0x6261746368))
	pass := nn.NewPass(model, nn.SoftmaxCrossEntropy{})
	rows, lies := matrix(s.Honest, d), matrix(f, d)
	var wrong [][]float32 // rows made of flipped labels
	if s.Flip {
		wrong = matrix(s.Honest, d)
	}
	gradient, step := make([]float32, d), make([]float32, d)
	var liar attack.Attack
	at := new(Round)
	var public []int
	server := rand.New(rand.NewPCG(s.Seed, 0x736572766572)) // the clients' batches are the same without one
	if s.Public > 0 {
		public, at.Root = server.Perm(len(data.Train))[:min(s.Public, len(data.Train))], make([]float32, d)
	}
	rule, sent := s.Rule(f, at), rows
	if s.Attack != nil && f > 0 {
		sent = append(slices.Clone(rows), lies...)
		liar = s.Attack(rule)
	}
	batch, ids := make([][]float32, s.Batch), make([]int, s.Batch)
	var picked nn.Targets
	keep, add := float32(s.Momentum), float32(1-s.Momentum)
	draw := func(rng *rand.Rand, from []int) {
		for k := range batch {
			ids[k] = from[rng.IntN(len(from))]
			batch[k] = data.Train[ids[k]]
		}
	}
	for t := range s.Steps {
		average := func(row []float32, of nn.Targets) {
			picked = of.Pick(picked, ids)
			pass.SetStep(s.Seed, uint64(t))
			pass.Backward(batch, picked, nil).Mean(gradient)
			for j, g := range gradient {
				row[j] = keep*row[j] + add*g
			}
		}
		for c, part := range parts {
			draw(rng, part)
			average(rows[c], labels)
			if s.Flip {
				average(wrong[c], flipped)
			}
		}
		if at.Step = t; at.Root != nil {
			draw(server, public)
			average(at.Root, labels)
		}
		if liar != nil {
			seen := rows
			if s.Flip {
				seen = wrong
			}
			if err := liar.Forge(lies, seen); err != nil {
				if !finite(seen...) {
					return Result{Accuracy: 1.0 / Classes, Diverged: true}, nil
				}
				return Result{}, err
			}
		}
		if step, err = rule.Aggregate(step, sent, nil); err != nil {
			if !finite(rows...) {
				return Result{Accuracy: 1.0 / Classes, Diverged: true}, nil
			}
			return Result{}, fmt.Errorf("step %d: %w", t, err)
		}
		rate := s.Rate
		if left := s.Steps - t; left <= s.Cool {
			rate *= float64(left) / float64(s.Cool+1)
		}
		shrink, size := float32(1-rate*s.Decay), float32(rate)
		for j, g := range step {
			params[j] = shrink*params[j] - size*g
		}
		if !finite(params) {
			return Result{Accuracy: 1.0 / Classes, Diverged: true}, nil
		}
		if progress != nil {
			if err := progress(t + 1); err != nil {
				return Result{}, err
			}
		}
	}
	right := 0
	for a := 0; a < len(data.Test); a += 250 {
		b := min(a+250, len(data.Test))
		for k, out := range pass.Forward(data.Test[a:b]) {
			best := 0
			for i, x := range out {
				if x > out[best] {
					best = i
				}
			}
			if best == data.TestLabels[a+k] {
				right++
			}
		}
	}
	return Result{Accuracy: float64(right) / float64(len(data.Test))}, nil
}

func matrix(n, d int) [][]float32 {
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = make([]float32, d)
	}
	return rows
}

// finite says whether all values are.
func finite(rows ...[]float32) bool {
	return !slices.ContainsFunc(rows, func(row []float32) bool { return !kernel.AllFinite(row) })
}
