package he

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report explains a program.
type Report struct {
	Mode           Mode          `json:"mode"`
	LogN           int           `json:"log_n"`
	LogQP          float64       `json:"log_qp"`
	LogScale       int           `json:"log_scale"`
	SecurityBits   int           `json:"security_bits"`
	SecurityLimit  int           `json:"security_limit"` // the largest log2(QP) at this degree
	SecuritySource string        `json:"security_source"`
	Levels         int           `json:"levels"`
	Layers         []LayerReport `json:"layers"`
	Rotations      []Rotation    `json:"rotations"`
	Relinearize    bool          `json:"relinearize"`
	Keys           []KeyReport   `json:"keys"`
	KeyBytes       int64         `json:"key_bytes"`
	QueryBytes     int64         `json:"query_bytes"`
	AnswerBytes    int64         `json:"answer_bytes"`
	PredictedMS    float64       `json:"predicted_ms"`
	// InputBound and Margin: inputs beyond the bound are refused; each activation's
	// input has been seen in its calibrated range and is safe in the one with margin.
	InputBound float64 `json:"input_bound"`
	Margin     float64 `json:"margin"`
	// FitAgreement is the part of the calibration inputs whose largest output stays the
	// same with fitted activations, in the clear, or whose single output moves by no more
	// than a 16th of that output's range.
	FitAgreement float64 `json:"fit_agreement"`
	// ArithmeticBits is -log2 of the largest error that encryption made in an output of
	// the calibration inputs that were encrypted, relative to the largest output.
	ArithmeticBits float64 `json:"arithmetic_bits"`
	// OutputBits are the same for each output, against the model itself: fits included.
	OutputBits []float64 `json:"output_bits"`
	Probes     int       `json:"probes"`
}

// KeyReport is one evaluation key.
type KeyReport struct {
	Name  string `json:"name"`
	Level int    `json:"level"` // up to which it is used
	Bytes int64  `json:"bytes"` // as it is sent, half of it as a seed
}

// LayerReport is one stage: layers folded into one affine map, and an activation.
type LayerReport struct {
	Layers          string  `json:"layers"`
	Inputs          int     `json:"inputs"`
	Outputs         int     `json:"outputs"`
	Packing         string  `json:"packing"`
	Level           int     `json:"level"` // of the affine map's products
	Rotations       int     `json:"rotations"`
	PlainProducts   int     `json:"plain_products"`
	Products        int     `json:"products"`                   // of ciphertexts
	ActivationRange string  `json:"activation_range,omitempty"` // of the calibration inputs
	FitRange        string  `json:"fit_range,omitempty"`        // with margin: a fit holds within
	Degree          int     `json:"degree,omitempty"`
	FitError        float64 `json:"fit_error"` // largest over the range
	FitTypical      float64 `json:"fit_typical"`
	PredictedMS     float64 `json:"predicted_ms"`
}

// Report explains the program: packing, levels, rotations, fits, keys and security.
func (p *Program) Report() Report { return p.report }

// Schema is what clients need: its JSON is public.
func (p *Program) Schema() *Schema { return p.schema }

// WriteText writes the report as a table.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "mode %s, log_n %d, %d levels, scale 2^%d, log2(QP) %.1f of at most %d\n", r.Mode, r.LogN, r.Levels, r.LogScale, r.LogQP, r.SecurityLimit)
	fmt.Fprintf(&b, "%d bits of security: %s\n\n", r.SecurityBits, r.SecuritySource)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "layers\tin\tout\tpacking\tlevel\trotations\tct x pt\tct x ct\trange\tdegree\tfit error\tms")
	for _, l := range r.Layers {
		rng, degree, fit := l.ActivationRange, "", ""
		if l.Degree > 0 {
			degree, fit = fmt.Sprint(l.Degree), "exact"
			if l.FitError > 0 {
				fit = fmt.Sprintf("%.2g (rms %.2g)", l.FitError, l.FitTypical)
			}
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%.2f\n", l.Layers, l.Inputs, l.Outputs, l.Packing, l.Level, l.Rotations, l.PlainProducts, l.Products, rng, degree, fit, l.PredictedMS)
	}
	t.Flush()
	fmt.Fprintf(&b, "\nkeys: %d", len(r.Keys))
	for i, k := range r.Keys {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s at level %d (%.0f kB)", sep, k.Name, k.Level, float64(k.Bytes)/1e3)
	}
	fmt.Fprintf(&b, "; in all %.2f MB seeded; query %.2f MB, answer %.2f MB\n", float64(r.KeyBytes)/1e6, float64(r.QueryBytes)/1e6, float64(r.AnswerBytes)/1e6)
	fmt.Fprintf(&b, "inputs within ±%.4g, ranges with a margin of %.0f%%; kept by the fits: %.2f%% of the calibration inputs\n", r.InputBound, 100*r.Margin, 100*r.FitAgreement)
	fmt.Fprintf(&b, "precision over %d encrypted calibration inputs: %.1f bits of the arithmetic, of each output against the model %.1f; predicted %.1f ms\n", r.Probes, r.ArithmeticBits, r.OutputBits, r.PredictedMS)
	_, err := io.WriteString(w, b.String())
	return err
}

// probes is the number of calibration inputs that compilation encrypts in mode Latency.
const probes = 4

// probesOf are the inputs that bring some activation nearest to the end of its range, and
// then the first. In mode Batch they are as many as one query holds.
func (p *Program) probesOf(calibration [][]float32) [][]float32 {
	if p.schema.mode == Batch {
		return calibration[:min(len(calibration), p.schema.params.Slots())]
	}
	if len(calibration) <= probes {
		return calibration
	}
	far := make([]float64, len(calibration))
	for i, x := range calibration {
		p.graph.evaluate(widened(x), true, func(k int, z []float64) {
			if s := &p.graph.stages[k]; s.act != nil {
				for _, v := range z {
					far[i] = max(far[i], math.Abs(v-s.fit.mid)/s.fit.half)
				}
			}
		})
	}
	order := make([]int, len(calibration))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(far[j], far[i]) })
	var some [][]float32
	for _, i := range order[:probes] {
		some = append(some, calibration[i])
	}
	return some
}

// imprecise says that encryption costs more bits than were asked.
type imprecise struct{ bits, asked float64 }

func (e imprecise) Error() string {
	return fmt.Sprintf("he: encryption leaves %.1f bits of the outputs of calibration inputs, %g were asked; calibrate with inputs that show the full range, or ask for less", e.bits, e.asked)
}

// measure runs the program on calibration inputs, fills in the report and refuses a
// program that misses the precision asked.
func (p *Program) measure(calibration [][]float32, agreement float64) error {
	some := p.probesOf(calibration)
	a, worst, err := p.assess(some)
	if err != nil {
		return err
	}
	last := p.graph.stages[len(p.graph.stages)-1]
	biggest := max(math.Abs(last.lo), math.Abs(last.hi), 1e-30)
	p.fillReport(agreement)
	p.report.Probes, p.report.OutputBits = len(some), a.OutputBits
	p.report.ArithmeticBits = bitsOf(worst, biggest)
	if !(p.report.ArithmeticBits >= float64(p.options.Precision)) {
		return imprecise{p.report.ArithmeticBits, float64(p.options.Precision)}
	}
	p.schema.errorBound = max(16*max(worst, biggest*1e-12), p.schema.leastError())
	return p.schema.finish()
}

func (p *Program) fillReport(agreement float64) {
	s := p.schema
	p.report = Report{
		Mode: s.mode, LogN: s.params.LogN, LogQP: s.params.LogQP(), LogScale: s.params.LogScale,
		SecurityBits: SecurityBits, SecurityLimit: maxLogQP[s.params.LogN], SecuritySource: SecuritySource,
		Levels: len(s.params.Q) - 1, Rotations: s.Rotations(), Relinearize: s.relinearize >= 0,
		KeyBytes: s.KeyBytes(), QueryBytes: s.QueryBytes(), AnswerBytes: s.AnswerBytes(),
		InputBound: s.inputBound, Margin: p.options.Margin, FitAgreement: agreement,
	}
	if s.relinearize >= 0 {
		p.report.Keys = append(p.report.Keys, KeyReport{"relinearisation", s.relinearize, s.keyBytes(s.relinearize)})
	}
	for _, r := range s.rotations {
		p.report.Keys = append(p.report.Keys, KeyReport{fmt.Sprintf("rotation by %d", r.Step), r.Level, s.keyBytes(r.Level)})
	}
	for k := range p.stages {
		c := &p.stages[k]
		l := LayerReport{Layers: c.name, Outputs: c.shape.Size()}
		for _, m := range c.parts {
			l.Inputs += m.cols
		}
		if g := &p.graph.stages[k]; g.act != nil {
			l.ActivationRange = fmt.Sprintf("[%.3g, %.3g]", g.lo, g.hi)
			l.FitRange = fmt.Sprintf("[%.3g, %.3g]", g.fit.mid-g.fit.half, g.fit.mid+g.fit.half)
			l.Degree, l.FitError, l.FitTypical = g.fit.degree(), g.fit.worst, g.fit.typical
			l.Products = 1
			if !c.square {
				l.Products = seriesProducts[g.fit.degree()]
			}
		}
		if p.plan != nil {
			p.plan.describe(&l, k)
			l.PredictedMS += c.activationCost(costAt(s.params.LogN), p.plan.z[k])
		} else {
			p.batch.describe(&l, k)
		}
		p.report.PredictedMS += l.PredictedMS
		p.report.Layers = append(p.report.Layers, l)
	}
}

// seriesProducts is, by degree, the products of ciphertexts that lattigo's evaluation of a
// Chebyshev series makes.
var seriesProducts = [32]int{
	0, 0, 0, 2, 4, 4, 4, 5, 6, 6, 6, 6, 7, 7, 7, 8,
	10, 10, 10, 10, 10, 10, 10, 10, 11, 11, 11, 11, 11, 12, 12, 13,
}

// activationCost is what the planner reckons with for a stage's activation.
func (s *canonical) activationCost(by cost, level int) float64 {
	switch {
	case s.square:
		return by.rotation(level) + by.rescale(level)
	case s.series != nil:
		return float64(len(s.series)) * by.rotation(level)
	}
	return 0
}

// measured takes what a run has found over from another report.
func (r *Report) measured(from Report) {
	r.ArithmeticBits, r.OutputBits, r.Probes = from.ArithmeticBits, from.OutputBits, from.Probes
}

// describe fills in what the plan does at stage k.
func (p *latencyPlan) describe(l *LayerReport, k int) {
	l.Level = p.z[k] + 1
	for i := range p.ops[k] {
		o := &p.ops[k][i]
		if i > 0 {
			l.Packing += " + "
		}
		if o.taps != nil {
			places := len(o.taps.index[0]) / o.taps.to.period
			l.Packing += fmt.Sprintf("%d taps, %d places a row", len(o.taps.index), places)
			l.PlainProducts += len(o.taps.index)
		} else {
			l.Packing += fmt.Sprintf("%d diagonals", len(o.trans.diagonals))
			l.PlainProducts += len(o.trans.diagonals)
			l.Rotations += len(o.baby) + len(o.giant)
		}
		l.Rotations += len(o.folds())
		l.PredictedMS += o.ms
	}
}
