package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/internal/report"
)

// result is what -json writes.
type result struct {
	Event           json.RawMessage  `json:"event"`
	Relation        string           `json:"relation"`
	Delta           float64          `json:"delta"`
	TargetEpsilon   float64          `json:"target_epsilon,omitempty"`
	NoiseMultiplier float64          `json:"noise_multiplier,omitempty"`
	Accountants     []answer         `json:"accountants"`
	Advantage       float64          `json:"advantage"` // at most
	Attacks         []attack         `json:"attacks"`
	OverSteps       []stepsAnswer    `json:"epsilon_over_steps,omitempty"`
	Profile         []privacyProfile `json:"privacy_profile"`
	Seconds         float64          `json:"seconds"`
}

// answer is what one accountant says. Lower is nil if it gives no lower bound.
type answer struct {
	Name    string   `json:"name"`
	Lower   *float64 `json:"lower"`
	Upper   float64  `json:"upper"`
	Seconds float64  `json:"seconds"`
}

// attack is the best that membership inference can do at a false-positive rate.
type attack struct {
	FalsePositives float64 `json:"fpr"`
	TruePositives  float64 `json:"tpr"` // at most
}

type stepsAnswer struct {
	Steps int     `json:"steps"`
	PLD   float64 `json:"pld"`
	RDP   float64 `json:"rdp"`
}

// privacyProfile is a point of δ(ε), from above.
type privacyProfile struct {
	Epsilon float64 `json:"epsilon"`
	Delta   float64 `json:"delta"`
}

// makeEvent is the event that the command line asks about; over is the same with
// another number of steps, nil if the event has no steps.
func (s settings) makeEvent(r accounting.Relation) (event accounting.Event, over func(steps int) accounting.Event, noise float64, err error) {
	if s.event != "" {
		data, err := os.ReadFile(s.event)
		if err != nil {
			return nil, nil, 0, fmt.Errorf("account: -event: %w", err)
		}
		if event, err = accounting.UnmarshalEvent(data); err != nil {
			return nil, nil, 0, fmt.Errorf("account: -event: %s: %w", s.event, err)
		}
		if e, ok := event.(accounting.SelfComposed); ok {
			over = func(steps int) accounting.Event { return accounting.SelfComposed{Event: e.Event, Count: steps} }
		}
		return event, over, 0, nil
	}
	made := func(noise float64, steps int) accounting.Event {
		var step accounting.Event = accounting.Gaussian{NoiseMultiplier: noise}
		if s.sampling == "poisson" {
			step = accounting.PoissonSampled{Rate: s.rate, Event: step}
		}
		return accounting.SelfComposed{Event: step, Count: steps}
	}
	noise = s.noise
	if s.target > 0 {
		noise, err = accounting.CalibrateNoise(s.target, s.delta, r, func(noise float64) accounting.Event { return made(noise, s.steps) })
		if err != nil {
			return nil, nil, 0, err
		}
	}
	return made(noise, s.steps), func(steps int) accounting.Event { return made(noise, steps) }, noise, nil
}

func (s settings) account(out io.Writer) (*result, error) {
	start := time.Now()
	r, err := s.relationOf()
	if err != nil {
		return nil, err
	}
	event, over, noise, err := s.makeEvent(r)
	if err != nil {
		return nil, err
	}
	res := &result{Relation: r.String(), Delta: s.delta, TargetEpsilon: s.target, NoiseMultiplier: noise}
	begin := time.Now()
	pld, err := accounting.Epsilon(event, r, s.delta)
	if err != nil {
		return nil, err
	}
	res.Accountants = append(res.Accountants, answer{"privacy loss distribution", &pld.Lower, pld.Upper, time.Since(begin).Seconds()})
	begin = time.Now()
	rdp, err := accounting.EpsilonRDP(event, r, s.delta)
	if err != nil {
		return nil, err
	}
	res.Accountants = append(res.Accountants, answer{"Rényi orders", nil, rdp, time.Since(begin).Seconds()})
	if math.IsInf(pld.Upper, 0) || math.IsInf(rdp, 0) {
		return nil, fmt.Errorf("account: the event has no finite epsilon at delta %g under %s", s.delta, r)
	}
	if res.Event, err = accounting.MarshalEvent(event); err != nil {
		return nil, err
	}

	var lengths []int
	if e, ok := event.(accounting.SelfComposed); ok && over != nil && s.plot != "" {
		lengths = spaced(e.Count)
	}
	bar := report.NewProgress(out, "curves", profilePoints+len(lengths))
	for i := range profilePoints {
		// Dense where attacks at small false-positive rates are decided.
		epsilon := 2 * pld.Upper * math.Pow(float64(i)/(profilePoints-1), 1.5)
		d, err := accounting.Delta(event, r, epsilon)
		if err != nil {
			return nil, err
		}
		res.Profile = append(res.Profile, privacyProfile{epsilon, d.Upper})
		bar.Update(i+1, "")
	}
	res.Advantage = res.Profile[0].Delta
	for _, fpr := range []float64{1e-4, 1e-3, 0.01, 0.1} {
		res.Attacks = append(res.Attacks, attack{fpr, res.truePositives(fpr)})
	}
	for i, n := range lengths {
		pld, err := accounting.Epsilon(over(n), r, s.delta)
		if err != nil {
			return nil, err
		}
		rdp, err := accounting.EpsilonRDP(over(n), r, s.delta)
		if err != nil {
			return nil, err
		}
		res.OverSteps = append(res.OverSteps, stepsAnswer{n, pld.Upper, rdp})
		bar.Update(profilePoints+i+1, "")
	}
	bar.Done("")
	res.Seconds = time.Since(start).Seconds()
	return res, nil
}

// profilePoints is how many points of δ(ε) the trade-off is made of.
const profilePoints = 25

// spaced are up to 16 numbers from 1 to n, closer where ε bends.
func spaced(n int) (list []int) {
	for i := range 16 {
		v := 1 + int(math.Round(float64(n-1)*float64(i*i)/(15*15)))
		if len(list) == 0 || v > list[len(list)-1] {
			list = append(list, v)
		}
	}
	return list
}

// truePositives bounds the true-positive rate of any attack at a false-positive
// rate: by each point (ε, δ) it is at most e^ε·fpr + δ, and at most
// 1 - e^-ε·(1-δ-fpr) (Kairouz, Oh and Viswanath 2015, Theorem 2.1).
func (r *result) truePositives(fpr float64) float64 {
	best := 1.0
	for _, p := range r.Profile {
		best = min(best, math.Exp(p.Epsilon)*fpr+p.Delta, 1-math.Exp(-p.Epsilon)*(1-p.Delta-fpr))
	}
	return max(best, fpr)
}

func (r *result) panels() []report.Panel {
	var panels []report.Panel
	if len(r.OverSteps) > 1 {
		var x, pld, rdp []float64
		for _, p := range r.OverSteps {
			x, pld, rdp = append(x, float64(p.Steps)), append(pld, p.PLD), append(rdp, p.RDP)
		}
		panels = append(panels, report.Panel{Title: fmt.Sprintf("Privacy spent, δ = %g", r.Delta), X: "steps", Y: "ε (" + r.Relation + ")",
			Curves: []report.Curve{{Name: "privacy loss distribution", X: x, Y: pld}, {Name: "Rényi orders", X: x, Y: rdp}}})
	}
	var x, y []float64
	for i := range 201 {
		fpr := float64(i) / 200
		x, y = append(x, fpr), append(y, r.truePositives(fpr))
	}
	return append(panels, report.Panel{Title: "Trade-off: the best attack", X: "false positives", Y: "true positives", YMax: 1,
		Curves: []report.Curve{{Name: "at most", X: x, Y: y}, {Name: "guessing", X: []float64{0, 1}, Y: []float64{0, 1}}}})
}

func (r *result) print(out io.Writer) error {
	fmt.Fprintln(out)
	facts := [][]string{{"relation", r.Relation}, {"δ", fmt.Sprintf("%g", r.Delta)}}
	if r.TargetEpsilon > 0 {
		facts = append(facts, []string{"target ε", fmt.Sprintf("%g", r.TargetEpsilon)}, []string{"noise multiplier", fmt.Sprintf("%.6g, the least that meets it", r.NoiseMultiplier)})
	} else if r.NoiseMultiplier > 0 {
		facts = append(facts, []string{"noise multiplier", fmt.Sprintf("%.6g", r.NoiseMultiplier)})
	}
	facts = append(facts, []string{"event", string(r.Event)})
	if err := report.Table(out, false, facts...); err != nil {
		return err
	}
	fmt.Fprintln(out)
	rows := [][]string{{"accountant", "ε at least", "ε at most", "time"}}
	for _, a := range r.Accountants {
		lower := "–"
		if a.Lower != nil {
			lower = fmt.Sprintf("%.6f", *a.Lower)
		}
		rows = append(rows, []string{a.Name, lower, fmt.Sprintf("%.6f", a.Upper), fmt.Sprintf("%.1f ms", 1000*a.Seconds)})
	}
	if err := report.Table(out, true, rows...); err != nil {
		return err
	}
	fmt.Fprintln(out)
	rows = [][]string{{"false positives", "true positives at most"}}
	for _, a := range r.Attacks {
		rows = append(rows, []string{fmt.Sprintf("%g%%", 100*a.FalsePositives), fmt.Sprintf("%.3f%%", 100*a.TruePositives)})
	}
	rows = append(rows, []string{"advantage", fmt.Sprintf("%.3f%%", 100*r.Advantage)})
	return report.Table(out, true, rows...)
}
