package federated

import (
	"context"
	"fmt"
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Gate judges a candidate before it becomes a version. A candidate that is not finite
// is always rejected.
type Gate struct {
	MaxNorm    float64 // of the change to the model, in l2; 0 is none
	Validation *Validation
	Drift      *Drift
	// Approve, if not nil, asks a person, last of all. An error rejects. The reason
	// goes to the log and may name who decided.
	Approve func(ctx context.Context, c Candidate) (pass bool, reason string, err error)
}

// Validation scores candidates on data that the server holds.
type Validation struct {
	// Score is a model's accuracy, or any score whose larger values are better. It must
	// be a function of params alone, which it may not keep or write to.
	Score func(params []float32) (float64, error)
	// MaxDrop is how far the score may lie below that of the current version; at least
	// 0. Floor is what it may never lie below; it is none if it is 0.
	MaxDrop, Floor float64
}

// Drift compares a candidate's change with a moving average of those that were
// accepted, trend ← Memory·trend + (1-Memory)·change. The cosine of their angle must be
// at least MinCosine once After changes were accepted.
type Drift struct {
	MinCosine float64 // in [-1, 1]
	Memory    float64 // in [0, 1)
	After     int     // at least 1
}

// Candidate is a model that may become a version.
type Candidate struct {
	Round  int
	Digest Digest
	Params []float32 // only to be read
	Norm   float64   // of the change to the current version
	Cosine float64   // to the trend; NaN if it is not measured
	Score  float64   // NaN if it is not measured
	Before float64   // the current version's score
}

func (g *Gate) check() error {
	if !(g.MaxNorm >= 0) {
		return fmt.Errorf("federated: Gate.MaxNorm is %v, must be at least 0", g.MaxNorm)
	}
	if v := g.Validation; v != nil {
		if v.Score == nil {
			return fmt.Errorf("federated: Gate.Validation.Score is missing")
		}
		if !(v.MaxDrop >= 0) || math.IsNaN(v.Floor) {
			return fmt.Errorf("federated: Gate.Validation has MaxDrop %v and Floor %v, must be at least 0 and not NaN", v.MaxDrop, v.Floor)
		}
	}
	if d := g.Drift; d != nil {
		switch {
		case !(d.MinCosine >= -1 && d.MinCosine <= 1):
			return fmt.Errorf("federated: Gate.Drift.MinCosine is %v, must be in [-1, 1]", d.MinCosine)
		case !(d.Memory >= 0 && d.Memory < 1):
			return fmt.Errorf("federated: Gate.Drift.Memory is %v, must be in [0, 1)", d.Memory)
		case d.After < 1:
			return fmt.Errorf("federated: Gate.Drift.After is %d, must be at least 1", d.After)
		}
	}
	return nil
}

// judge measures a candidate and says whether it passes. The candidate's
// score and trend are set.
func (g *Gate) judge(round int, digest Digest, at, next *server) (c Candidate, pass bool, reason string, err error) {
	c = Candidate{Round: round, Digest: digest, Params: next.params, Cosine: math.NaN(), Score: math.NaN(), Before: at.score}
	if !kernel.AllFinite(next.params) {
		return c, false, "the candidate holds a NaN or an infinity", nil
	}
	change := make([]float32, len(next.params))
	for j, w := range next.params {
		change[j] = w - at.params[j]
	}
	c.Norm = math.Sqrt(kernel.SumSquares(change))
	reason = fmt.Sprintf("norm %.6g", c.Norm)
	if !(c.Norm <= math.MaxFloat64) || g.MaxNorm > 0 && c.Norm > g.MaxNorm {
		return c, false, fmt.Sprintf("the change's norm is %.6g, must be at most %.6g", c.Norm, g.MaxNorm), nil
	}
	if d := g.Drift; d != nil {
		trend := math.Sqrt(kernel.SumSquares(at.trend))
		if at.accepted >= d.After && trend > 0 && c.Norm > 0 {
			c.Cosine = kernel.Dot(change, at.trend) / (trend * c.Norm)
			reason += fmt.Sprintf(", cosine %.4f", c.Cosine)
			if !(c.Cosine >= d.MinCosine) {
				return c, false, fmt.Sprintf("the change's cosine to former ones is %.4f, must be at least %.4f", c.Cosine, d.MinCosine), nil
			}
		}
		keep := float32(d.Memory)
		for j, x := range change {
			next.trend[j] = keep*at.trend[j] + (1-keep)*x
		}
	}
	if v := g.Validation; v != nil {
		if math.IsNaN(at.score) {
			if c.Before, err = v.Score(at.params); err != nil {
				return c, false, "", fmt.Errorf("score of the current version: %w", err)
			}
			at.score = c.Before
		}
		if c.Score, err = v.Score(next.params); err != nil {
			return c, false, "", err
		}
		next.score = c.Score
		reason += fmt.Sprintf(", score %.6g after %.6g", c.Score, c.Before)
		switch {
		case !(c.Score >= c.Before-v.MaxDrop):
			return c, false, fmt.Sprintf("the score falls from %.6g to %.6g, by more than %.6g", c.Before, c.Score, v.MaxDrop), nil
		case v.Floor != 0 && c.Score < v.Floor:
			return c, false, fmt.Sprintf("the score is %.6g, must be at least %.6g", c.Score, v.Floor), nil
		}
	}
	return c, true, reason, nil
}
