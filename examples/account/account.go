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
	Event           json.RawMessage `json:"event"`
	Relation        string          `json:"relation"`
	Delta           float64         `json:"delta"`
	TargetEpsilon   float64         `json:"target_epsilon,omitempty"`
	NoiseMultiplier float64         `json:"noise_multiplier,omitempty"`
	Accountants     []answer        `json:"accountants"`
	Advantage       float64         `json:"advantage"`       // at most
	AdvantageLower  float64         `json:"advantage_lower"` // and at least
	Mu              float64         `json:"mu"`              // of Gaussian differential privacy but for δ, at most
	Attacks         []attack        `json:"attacks"`
	OverSteps       []stepsAnswer   `json:"epsilon_over_steps,omitempty"`
	TradeOff        []attack        `json:"trade_off,omitempty"`
	Seconds         float64         `json:"seconds"`
}

// answer is what one accountant says. Lower is nil if it gives no lower bound.
type answer struct {
	Name    string   `json:"name"`
	Lower   *float64 `json:"lower"`
	Upper   *float64 `json:"upper"` // nil if it gives none
	Seconds float64  `json:"seconds"`
}

// attack is the best that membership inference can do at a false-positive rate.
type attack struct {
	FalsePositives float64 `json:"fpr"`
	TruePositives  float64 `json:"tpr"`       // at most
	Lower          float64 `json:"tpr_lower"` // and at least
}

type stepsAnswer struct {
	Steps int     `json:"steps"`
	Upper float64 `json:"epsilon"` // at most
	RDP   float64 `json:"epsilon_rdp"`
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
	var best accounting.Interval
	for _, a := range []struct {
		name string
		ask  func() (accounting.Interval, error)
	}{
		{"best of all, certified", func() (accounting.Interval, error) { return accounting.Epsilon(event, r, s.delta) }},
		{"privacy loss grid", func() (accounting.Interval, error) { return accounting.EpsilonPLD(event, r, s.delta) }},
		{"Rényi orders", func() (accounting.Interval, error) {
			upper, err := accounting.EpsilonRDP(event, r, s.delta)
			return accounting.Interval{Lower: math.NaN(), Upper: upper}, err
		}},
	} {
		begin := time.Now()
		i, err := a.ask()
		if err != nil {
			return nil, err
		}
		one := answer{Name: a.name, Seconds: time.Since(begin).Seconds()}
		if !math.IsNaN(i.Lower) && !math.IsInf(i.Lower, 0) {
			one.Lower = &i.Lower
		}
		if !math.IsInf(i.Upper, 0) { // the grid may be too large, Rényi orders may not be known
			one.Upper = &i.Upper
		}
		if len(res.Accountants) == 0 {
			if one.Upper == nil {
				return nil, fmt.Errorf("account: the event has no finite epsilon at delta %g under %s", s.delta, r)
			}
			best = i
		}
		res.Accountants = append(res.Accountants, one)
	}
	if res.Event, err = accounting.MarshalEvent(event); err != nil {
		return nil, err
	}

	var lengths []int
	rates := []float64{1e-4, 1e-3, 0.01, 0.1}
	listed := len(rates)
	if s.plot != "" {
		if e, ok := event.(accounting.SelfComposed); ok && over != nil {
			lengths = spaced(e.Count)
		}
		for i := range curvePoints + 1 {
			rates = append(rates, math.Pow(float64(i)/curvePoints, 3)) // dense where the curve is steep
		}
	}
	bar := report.NewProgress(out, "curves", 1+len(lengths))
	curve, err := accounting.TradeOff(event, r, rates)
	if err != nil {
		return nil, err
	}
	for i, c := range curve {
		a := attack{rates[i], c.Upper, c.Lower}
		if i < listed {
			res.Attacks = append(res.Attacks, a)
		} else {
			res.TradeOff = append(res.TradeOff, a)
		}
	}
	advantage, err := accounting.Advantage(event, r)
	if err != nil {
		return nil, err
	}
	res.Advantage, res.AdvantageLower = advantage.Upper, advantage.Lower
	mu, err := accounting.Mu(event, r, s.delta)
	if err != nil {
		return nil, err
	}
	res.Mu = mu.Upper
	bar.Update(1, "")
	for i, n := range lengths {
		point := stepsAnswer{Steps: n, Upper: best.Upper}
		if i < len(lengths)-1 {
			at, err := accounting.Epsilon(over(n), r, s.delta)
			if err != nil {
				return nil, err
			}
			point.Upper = at.Upper
		}
		if point.RDP, err = accounting.EpsilonRDP(over(n), r, s.delta); err != nil {
			return nil, err
		}
		res.OverSteps = append(res.OverSteps, point)
		bar.Update(2+i, "")
	}
	bar.Done("")
	res.Seconds = time.Since(start).Seconds()
	return res, nil
}

// curvePoints is how many points of the trade-off are drawn.
const curvePoints = 60

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

func (r *result) panels() []report.Panel {
	var panels []report.Panel
	if len(r.OverSteps) > 1 {
		var x, pld, rdp []float64
		for _, p := range r.OverSteps {
			x, pld, rdp = append(x, float64(p.Steps)), append(pld, p.Upper), append(rdp, p.RDP)
		}
		panels = append(panels, report.Panel{Title: fmt.Sprintf("Privacy spent, δ = %g", r.Delta), X: "steps", Y: "ε (" + r.Relation + ")",
			Curves: []report.Curve{{Name: "certified", X: x, Y: pld}, {Name: "Rényi orders", X: x, Y: rdp}}})
	}
	var x, y []float64
	for _, a := range r.TradeOff {
		x, y = append(x, a.FalsePositives), append(y, a.TruePositives)
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
	number := func(x *float64) string {
		if x == nil {
			return "–"
		}
		return fmt.Sprintf("%.9g", *x)
	}
	for _, a := range r.Accountants {
		rows = append(rows, []string{a.Name, number(a.Lower), number(a.Upper), fmt.Sprintf("%.1f ms", 1000*a.Seconds)})
	}
	if err := report.Table(out, true, rows...); err != nil {
		return err
	}
	fmt.Fprintln(out)
	rows = [][]string{{"an attacker with", "has at least", "at most"}}
	percent := func(x float64) string { return fmt.Sprintf("%.4g%%", 100*x) }
	for _, a := range r.Attacks {
		rows = append(rows, []string{percent(a.FalsePositives) + " false positives", percent(a.Lower), percent(a.TruePositives)})
	}
	rows = append(rows, []string{"his best advantage", percent(r.AdvantageLower), percent(r.Advantage)})
	if err := report.Table(out, true, rows...); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nμ-GDP but for δ: μ = %.4g\n", r.Mu)
	return err
}
