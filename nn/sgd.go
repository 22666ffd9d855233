package nn

import (
	"errors"
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// SGD is gradient descent with optional momentum, as torch.optim.SGD with
// dampening 0 defines it. For gradient g, parameters p and velocity v, which
// starts at zero:
//
//	g += WeightDecay·p
//	v  = Momentum·v + g
//	p -= rate·v                  (Nesterov: p -= rate·(g + Momentum·v))
//
// Weight decay reads the parameters alone, so it costs no privacy.
type SGD struct {
	LearningRate float64  // required, above 0
	Momentum     float64  // in [0, 1)
	Nesterov     bool     // look ahead; needs Momentum
	WeightDecay  float64  // L2 penalty's coefficient, at least 0
	Schedule     Schedule // scales LearningRate; zero: constant
}

const (
	leastNormal = 0x1p-126    // the least normal float32
	belowOne    = 1 - 0x1p-24 // the greatest float32 below 1
)

func (r SGD) rule() (rule, error) {
	if err := errors.Join(
		inRange("SGD.LearningRate", r.LearningRate, leastNormal, math.MaxFloat32, "above 0 and finite"),
		inRange("SGD.Momentum", r.Momentum, 0, belowOne, "at least 0 and below 1"),
		inRange("SGD.WeightDecay", r.WeightDecay, 0, math.MaxFloat32, "at least 0 and finite"),
		r.Schedule.check(),
	); err != nil {
		return rule{}, err
	}
	checked := rule{
		name: "SGD", rate: r.LearningRate, schedule: r.Schedule,
		step: func(_ int, rate float64) coefficients {
			return coefficients{float32(rate), float32(r.WeightDecay), float32(r.Momentum)}
		},
	}
	nesterov := 0.0
	switch {
	case r.Nesterov && r.Momentum == 0:
		return rule{}, errors.New("nn: SGD.Nesterov is set with SGD.Momentum 0, want a momentum above 0")
	case r.Nesterov:
		nesterov = 1
		checked.vectors, checked.update = 1, sgdNesterov
	case r.Momentum > 0:
		checked.vectors, checked.update = 1, sgdMomentum
	default:
		checked.update = sgdPlain
	}
	checked.settings = append([]setting{
		{"SGD.LearningRate", r.LearningRate}, {"SGD.Momentum", r.Momentum},
		{"SGD.Nesterov", nesterov}, {"SGD.WeightDecay", r.WeightDecay},
	}, r.Schedule.settings()...)
	return checked, nil
}

// In the updates every product is rounded by itself, so that no machine fuses
// it with the sum.

func sgdPlain(c *coefficients, params, grad []float32, _ [2][]float32) {
	rate, decay := c[0], c[1]
	grad = grad[:len(params)]
	for i, p := range params {
		g := grad[i] + float32(decay*p)
		params[i] = p - float32(rate*g)
	}
}

func sgdMomentum(c *coefficients, params, grad []float32, state [2][]float32) {
	rate, decay, mu := c[0], c[1], c[2]
	grad, v := grad[:len(params)], state[0][:len(params)]
	if decay == 0 {
		// The same operations a vector at a time, on pieces that stay in cache.
		for len(params) > 0 {
			n := min(len(params), 4096)
			kernel.Scale(v[:n], mu, v[:n])
			kernel.Add(v[:n], grad[:n])
			kernel.Axpy(params[:n], -rate, v[:n])
			params, grad, v = params[n:], grad[n:], v[n:]
		}
		return
	}
	for i, p := range params {
		u := float32(mu*v[i]) + (grad[i] + float32(decay*p))
		v[i] = u
		params[i] = p - float32(rate*u)
	}
}

func sgdNesterov(c *coefficients, params, grad []float32, state [2][]float32) {
	rate, decay, mu := c[0], c[1], c[2]
	grad, v := grad[:len(params)], state[0][:len(params)]
	for i, p := range params {
		g := grad[i] + float32(decay*p)
		u := float32(mu*v[i]) + g
		v[i] = u
		params[i] = p - float32(rate*(g+float32(mu*u)))
	}
}
