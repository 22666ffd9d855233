package nn

import (
	"errors"
	"math"
)

// Adam is Kingma and Ba's method (2015, Algorithm 1) as torch.optim.Adam
// defines it. At step t = 1, 2, …, for gradient g and moments m, v that start
// at zero:
//
//	g += WeightDecay·p
//	m  = Beta1·m + (1-Beta1)·g
//	v  = Beta2·v + (1-Beta2)·g²
//	p -= rate/(1-Beta1^t) · m / (√v/√(1-Beta2^t) + Eps)
//
// A field left zero takes PyTorch's default. On a private gradient v also
// gathers the noise's variance, so steps are smaller than on the same gradient
// without noise.
type Adam struct {
	LearningRate float64  // default 1e-3
	Beta1        float64  // default 0.9; 1e-12 stands for none
	Beta2        float64  // default 0.999
	Eps          float64  // default 1e-8, added to the divisor; nothing to do with privacy
	WeightDecay  float64  // L2 penalty's coefficient; default 0
	Schedule     Schedule // scales LearningRate; zero: constant
}

// AdamW is Adam with decoupled weight decay (Loshchilov and Hutter 2019,
// Algorithm 2) as torch.optim.AdamW defines it: the gradient is left alone and
// each step begins with
//
//	p *= 1 - rate·WeightDecay
//
// A field left zero takes PyTorch's default; for no decay use Adam.
type AdamW struct {
	LearningRate float64  // default 1e-3
	Beta1        float64  // default 0.9; 1e-12 stands for none
	Beta2        float64  // default 0.999
	Eps          float64  // default 1e-8, added to the divisor; nothing to do with privacy
	WeightDecay  float64  // default 1e-2
	Schedule     Schedule // scales LearningRate; zero: constant
}

func (r Adam) rule() (rule, error) {
	r = r.defaults()
	checked, err := r.checked("Adam")
	if err != nil {
		return rule{}, err
	}
	checked.step = r.step
	checked.update = adamUpdate
	return checked, nil
}

func (r AdamW) rule() (rule, error) {
	r.WeightDecay = orDefault(r.WeightDecay, 1e-2)
	r = AdamW(Adam(r).defaults())
	checked, err := Adam(r).checked("AdamW")
	if err != nil {
		return rule{}, err
	}
	if err := inRange("AdamW.LearningRate times AdamW.WeightDecay", r.LearningRate*r.WeightDecay, 0, belowOne, "below 1"); err != nil {
		return rule{}, err
	}
	checked.step = func(t int, rate float64) coefficients {
		c := Adam(r).step(t, rate)
		c[5] = float32(1 - float64(rate*r.WeightDecay))
		return c
	}
	checked.update = adamWUpdate
	return checked, nil
}

func orDefault(x, def float64) float64 {
	if x == 0 {
		return def
	}
	return x
}

func (r Adam) defaults() Adam {
	r.LearningRate = orDefault(r.LearningRate, 1e-3)
	r.Beta1 = orDefault(r.Beta1, 0.9)
	r.Beta2 = orDefault(r.Beta2, 0.999)
	r.Eps = orDefault(r.Eps, 1e-8)
	return r
}

func (r Adam) checked(name string) (rule, error) {
	if err := errors.Join(
		inRange(name+".LearningRate", r.LearningRate, leastNormal, math.MaxFloat32, "above 0 and finite"),
		inRange(name+".Beta1", r.Beta1, 0, belowOne, "at least 0 and below 1"),
		inRange(name+".Beta2", r.Beta2, 0, belowOne, "at least 0 and below 1"),
		inRange(name+".Eps", r.Eps, leastNormal, math.MaxFloat32, "above 0 and finite"),
		inRange(name+".WeightDecay", r.WeightDecay, 0, math.MaxFloat32, "at least 0 and finite"),
		r.Schedule.check(),
	); err != nil {
		return rule{}, err
	}
	return rule{
		name: name, rate: r.LearningRate, schedule: r.Schedule, vectors: 2,
		settings: append([]setting{
			{name + ".LearningRate", r.LearningRate}, {name + ".Beta1", r.Beta1}, {name + ".Beta2", r.Beta2},
			{name + ".Eps", r.Eps}, {name + ".WeightDecay", r.WeightDecay},
		}, r.Schedule.settings()...),
	}, nil
}

// step multiplies numerator and denominator by √(1-Beta2^t), which spares each
// element a division (Kingma and Ba 2015, end of section 2).
func (r Adam) step(t int, rate float64) coefficients {
	root := math.Sqrt(biasCorrection(r.Beta2, t))
	return coefficients{
		float32(1 - r.Beta1), float32(r.Beta2), float32(1 - r.Beta2),
		float32(rate * root / biasCorrection(r.Beta1, t)), float32(r.Eps * root), float32(r.WeightDecay),
	}
}

// biasCorrection returns 1 - b^t for b in [0, 1). It squares instead of
// calling math.Pow, whose last bit may differ between processors.
func biasCorrection(b float64, t int) float64 {
	power := 1.0
	for ; t > 0; t >>= 1 {
		if t&1 == 1 {
			power *= b
		}
		b *= b
	}
	return 1 - float64(power)
}

// adamUpdate rounds every product by itself, so that no machine fuses it with
// the sum.
func adamUpdate(c *coefficients, params, grad []float32, state [2][]float32) {
	decay := c[5]
	grad, m, v := grad[:len(params)], state[0][:len(params)], state[1][:len(params)]
	for i, p := range params {
		params[i] = p - adamMove(c, grad[i]+float32(decay*p), &m[i], &v[i])
	}
}

func adamWUpdate(c *coefficients, params, grad []float32, state [2][]float32) {
	keep := c[5]
	grad, m, v := grad[:len(params)], state[0][:len(params)], state[1][:len(params)]
	for i, p := range params {
		params[i] = float32(keep*p) - adamMove(c, grad[i], &m[i], &v[i])
	}
}

// adamMove takes g into its moments and returns the step to subtract.
func adamMove(c *coefficients, g float32, m, v *float32) float32 {
	m1 := *m + float32(c[0]*(g-*m))
	v1 := float32(c[1]**v) + float32(c[2]*float32(g*g))
	*m, *v = m1, v1
	return float32(c[3]*m1) / (float32(math.Sqrt(float64(v1))) + c[4])
}
