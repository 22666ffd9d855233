package dp_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/sotto-ml/sotto/dp"
	"github.com/sotto-ml/sotto/dp/accounting"
)

func ExamplePlan() {
	plan := dp.Plan{
		Sampling:        dp.Poisson{Rate: 256.0 / 60000},
		BatchSize:       256,
		Steps:           1000,
		Clip:            dp.Flat{Norm: 1},
		NoiseMultiplier: 1,
		Relation:        accounting.AddRemove,
		Delta:           1e-5,
	}
	fmt.Println(plan.Population(), "records at most")
	guarantee, err := plan.Guarantee()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ε below 1.2:", guarantee.Epsilon < 1.2, "at δ =", guarantee.Delta)

	plan.NoiseMultiplier = 0
	fmt.Println(plan.Validate())
	plan.NoiseMultiplier, plan.Sampling = 1, dp.Shuffled{}
	fmt.Println(plan.Validate())
	// Output:
	// 60000 records at most
	// ε below 1.2: true at δ = 1e-05
	// dp: plan: NoiseMultiplier is 0, must lie in [0.001, 100000]
	// dp: plan: Sampling is dp.Shuffled, must be Poisson: no other sampling has the guarantee that is accounted
}

func ExampleCalibrateNoise() {
	plan, err := dp.CalibrateNoise(dp.Plan{
		Sampling:  dp.Poisson{Rate: 256.0 / 60000},
		BatchSize: 256,
		Steps:     1000,
		Clip:      dp.Automatic{Norm: 1, Stability: 0.01},
		Relation:  accounting.AddRemove,
		Delta:     1e-5,
	}, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	spent, err := plan.Epsilon()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("noise multiplier %.1f, ε within 3: %v\n", plan.NoiseMultiplier, spent.Upper <= 3)
	text, err := json.Marshal(plan.Clip)
	fmt.Println(string(text), err)
	// Output:
	// noise multiplier 0.6, ε within 3: true
	// {"norm":1,"stability":0.01} <nil>
}

// descent is plain gradient descent.
type descent struct{ rate float32 }

func (d descent) Begin(int) {}
func (d descent) Update(params, grad []float32, _ int) {
	for j, g := range grad {
		params[j] -= d.rate * g
	}
}
func (d descent) MarshalBinary() ([]byte, error) { return nil, nil }
func (d descent) UnmarshalBinary([]byte) error   { return nil }

func ExampleTrainer() {
	// 5000 points on the line y = 2x - 1.
	random := rand.New(rand.NewPCG(1, 2))
	var x, y []float64
	for range 5000 {
		x = append(x, random.Float64()*2-1)
		y = append(y, 2*x[len(x)-1]-1)
	}
	plan, err := dp.CalibrateNoise(dp.Plan{
		Sampling:  dp.Poisson{Rate: 0.1},
		BatchSize: 500,
		Steps:     150,
		Clip:      dp.Flat{Norm: 1},
		Relation:  accounting.AddRemove,
		Delta:     1e-6,
	}, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	// The model's gradients come as rows: here of a line through points.
	params := make([]float32, 2)
	newWorker := func() (dp.Worker, error) {
		var rows []float32
		return dp.WorkerFunc(func(_ int, examples []int) (dp.Gradients, error) {
			rows = rows[:0]
			for _, i := range examples {
				residual := float64(params[0])*x[i] + float64(params[1]) - y[i]
				rows = append(rows, float32(residual*x[i]), float32(residual))
			}
			return dp.NewMatrix(rows, 2), nil
		}), nil
	}
	trainer, err := dp.NewTrainer(plan, dp.Task{
		Params:    params,
		Records:   len(x),
		Optimizer: descent{rate: 0.5},
		NewWorker: newWorker,
		Digest:    sha256.Sum256([]byte("the line y = 2x - 1, seeds 1 and 2")),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for !trainer.Done() {
		if err := trainer.Step(); err != nil {
			fmt.Println(err)
			return
		}
	}
	spent, err := trainer.Spent()
	if err != nil {
		fmt.Println(err)
		return
	}
	close := math.Abs(float64(params[0])-2) < 0.3 && math.Abs(float64(params[1])+1) < 0.3
	fmt.Println("near the line:", close)
	fmt.Println("within the budget:", spent.Epsilon <= 2, "after", spent.Steps, "steps")
	fmt.Println(trainer.Step(), "-", trainer.Erase())
	// Output:
	// near the line: true
	// within the budget: true after 150 steps
	// dp: the plan's steps are taken - <nil>
}

// Gradients that another framework computed, one row per example.
func ExampleMatrix() {
	gradients := dp.NewMatrix([]float32{
		3, 4,
		0, 0.5,
		float32(math.NaN()), 1,
	}, 2)
	fmt.Println(gradients.Norms(nil))
	// The trainer makes weights from the norms; the third example's is 0. Here
	// they clip to 1 on a grid of 1000 to the unit.
	sum := make([]int64, 2)
	gradients.WeightedSum(sum, []float32{1000.0 / 5, 1000, 0}, []int{3})
	fmt.Println(sum)
	// Output:
	// [5 0.5 NaN]
	// [600 1300]
}
