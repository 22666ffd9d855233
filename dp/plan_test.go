package dp

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
)

func TestRule01OnlyPoissonIsAccounted(t *testing.T) {
	for _, s := range []Sampling{nil, Shuffled{}, &Poisson{Rate: 0.1}} {
		p := somePlan()
		p.Sampling = s
		require.ErrorContains(t, p.Validate(), "must be Poisson")
		_, err := NewTrainer(p, newTrial(10, somePlan()).task)
		require.ErrorContains(t, err, "Sampling")
		_, err = p.Epsilon()
		require.ErrorContains(t, err, "Sampling")
		_, err = CalibrateNoise(p, 3)
		require.ErrorContains(t, err, "Sampling")
	}
	var p Plan
	data, err := json.Marshal(somePlan())
	require.NoError(t, err)
	require.ErrorContains(t, json.Unmarshal([]byte(strings.Replace(string(data), "poisson", "shuffled", 1)), &p), `sampling is "shuffled"`)
}

// What runs is what is accounted: the event's numbers, read back from a run.
func TestRule01EventIsWhatRuns(t *testing.T) {
	for name, plan := range everyClip() {
		composed, ok := plan.Event().(accounting.SelfComposed)
		require.True(t, ok)
		sampled, ok := composed.Event.(accounting.PoissonSampled)
		require.True(t, ok)
		var gradient, count float64
		switch e := sampled.Event.(type) {
		case accounting.Gaussian:
			gradient = e.NoiseMultiplier
		case accounting.AdaptiveClip:
			gradient, count = e.NoiseMultiplier, 2*e.CountNoise
		}
		require.Positive(t, gradient)

		tr := newTrial(400, plan)
		trainer := tr.start(t)
		require.Equal(t, sampled.Rate, math.Ldexp(float64(trainer.draw.threshold), -64-trainer.draw.coins))
		require.Equal(t, count > 0, trainer.countNoise != nil)
		steps := 0
		for ; trainer.Step() == nil; steps++ {
			z := trainer.crew.noise.Sigma() / trainer.crew.grid.sensitivity
			require.GreaterOrEqual(t, z, gradient, name)
			require.InEpsilon(t, gradient, z, 1e-9, name)
			if count > 0 {
				// The sum of ±1 that runs has twice the sensitivity of the event's bits.
				require.GreaterOrEqual(t, trainer.countNoise.Sigma(), count, name)
				require.InEpsilon(t, count, trainer.countNoise.Sigma(), 1e-9, name)
			}
		}
		require.Equal(t, composed.Count, steps)
	}
}

func TestPlanRefusesByName(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		want   string
		change func(p *Plan)
	}{
		{"Sampling", func(p *Plan) { p.Sampling = nil }},
		{"Poisson.Rate is 0", func(p *Plan) { p.Sampling = Poisson{} }},
		{"Poisson.Rate is 1.01", func(p *Plan) { p.Sampling = Poisson{Rate: 1.01} }},
		{"Poisson.Rate is NaN", func(p *Plan) { p.Sampling = Poisson{Rate: nan} }},
		{"Poisson.Rate is -1", func(p *Plan) { p.Sampling = Poisson{Rate: -1} }},
		{"BatchSize is 0", func(p *Plan) { p.BatchSize = 0 }},
		{"BatchSize is -3", func(p *Plan) { p.BatchSize = -3 }},
		{"data set of", func(p *Plan) { p.Sampling = Poisson{Rate: 1e-13} }},
		{"Steps is 0", func(p *Plan) { p.Steps = 0 }},
		{"Steps is 2147483648", func(p *Plan) { p.Steps = 1 << 31 }},
		{"Clip is missing", func(p *Plan) { p.Clip = nil }},
		{"Clip is *dp.Flat", func(p *Plan) { p.Clip = &Flat{Norm: 1} }},
		{"Clip is *dp.Flat", func(p *Plan) { p.Clip = (*Flat)(nil) }},
		{"Flat.Norm is 0", func(p *Plan) { p.Clip = Flat{} }},
		{"Flat.Norm is NaN", func(p *Plan) { p.Clip = Flat{Norm: nan} }},
		{"Flat.Norm is +Inf", func(p *Plan) { p.Clip = Flat{Norm: inf} }},
		{"PerLayer.Norms is empty", func(p *Plan) { p.Clip = PerLayer{} }},
		{"PerLayer.Norms[1] is 0", func(p *Plan) { p.Clip = PerLayer{Norms: []float64{1, 0}} }},
		{"both Norms and Total", func(p *Plan) { p.Clip = PerLayer{Norms: []float64{1}, Total: 1} }},
		{"Automatic.Norm is 0", func(p *Plan) { p.Clip = Automatic{Stability: 0.01} }},
		{"Automatic.Stability is 0", func(p *Plan) { p.Clip = Automatic{Norm: 1} }},
		{"AdaptiveQuantile.Initial is 0", func(p *Plan) { p.Clip = AdaptiveQuantile{} }},
		{"AdaptiveQuantile.Quantile is 1", func(p *Plan) { p.Clip = AdaptiveQuantile{Initial: 1, Quantile: 1} }},
		{"AdaptiveQuantile.LearningRate is 0", func(p *Plan) { p.Clip = AdaptiveQuantile{Initial: 1, Quantile: 0.5} }},
		{"AdaptiveQuantile.NoiseShare is 0", func(p *Plan) { p.Clip = AdaptiveQuantile{Initial: 1, Quantile: 0.5, LearningRate: 0.2} }},
		{"NoiseMultiplier is 0", func(p *Plan) { p.NoiseMultiplier = 0 }},
		{"NoiseMultiplier is NaN", func(p *Plan) { p.NoiseMultiplier = nan }},
		{"NoiseMultiplier is +Inf", func(p *Plan) { p.NoiseMultiplier = inf }},
		{"Relation is missing", func(p *Plan) { p.Relation = 0 }},
		{"Delta is 0", func(p *Plan) { p.Delta = 0 }},
		{"Delta is 1", func(p *Plan) { p.Delta = 1 }},
		{"Delta is NaN", func(p *Plan) { p.Delta = nan }},
	} {
		p := somePlan()
		c.change(&p)
		require.ErrorContains(t, p.Validate(), c.want)
		_, err := json.Marshal(p)
		require.Error(t, err, c.want)
		_, err = NewTrainer(p, newTrial(10, somePlan()).task)
		require.ErrorContains(t, err, c.want)
		_, err = p.Guarantee()
		require.ErrorContains(t, err, c.want)
		require.Panics(t, func() { p.Event() })
		require.NotPanics(t, func() { _ = p.String() })
	}
	require.Error(t, Plan{}.Validate())
	require.NoError(t, somePlan().Validate())
}

func TestTaskRefusesByName(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(tr *trial)
	}{
		{"Params is empty", func(tr *trial) { tr.task.Params = nil }},
		{"Params hold a NaN", func(tr *trial) { tr.task.Params[3] = float32(math.NaN()) }},
		{"Records is -1", func(tr *trial) { tr.task.Records = -1 }},
		{"Records is 401, the plan allows at most 400", func(tr *trial) { tr.task.Records = 401 }},
		{"Optimizer is missing", func(tr *trial) { tr.task.Optimizer = nil }},
		{"NewWorker is missing", func(tr *trial) { tr.task.NewWorker = nil }},
		{"NewWorker returned nil", func(tr *trial) { tr.task.NewWorker = func() (Worker, error) { return nil, nil } }},
		{"not LayerGradients", func(tr *trial) { tr.plan.Clip = PerLayer{Total: 1} }},
		{"has 2 norms, the model 3 layers", func(tr *trial) {
			tr.plan.Clip = PerLayer{Norms: []float64{1, 1}}
			inner := tr.worker
			tr.worker = func() *rowsWorker { w := inner(); w.layers = []int{1, 2, 12}; return w }
		}},
		{"end at parameter 11 of 12", func(tr *trial) {
			tr.plan.Clip = PerLayer{Total: 1}
			inner := tr.worker
			tr.worker = func() *rowsWorker { w := inner(); w.layers = []int{11}; return w }
		}},
		{"weights up to", func(tr *trial) { tr.plan.Clip = Flat{Norm: 1e-11} }},
		{"weights up to", func(tr *trial) { tr.plan.Clip = Automatic{Norm: 1, Stability: 1e-11} }},
	} {
		tr := newTrial(400, somePlan())
		c.change(tr)
		_, err := NewTrainer(tr.plan, tr.task)
		require.ErrorContains(t, err, c.want)
	}
}

func TestPlanTravelsAsJSON(t *testing.T) {
	for name, p := range everyClip() {
		p.Sampling, p.NoiseMultiplier, p.Delta = Poisson{Rate: 4096. / 60000}, 1.1/3, 1e-5/3
		p.BatchSize = 4096
		for r := range relationNames {
			p.Relation = r
			data, err := json.Marshal(p)
			require.NoError(t, err)
			var q Plan
			require.NoError(t, json.Unmarshal(data, &q))
			require.Equal(t, p, q, name)
			require.Contains(t, string(data), relationNames[r])
		}
	}
	data, err := json.Marshal(somePlan())
	require.NoError(t, err)
	for _, swap := range [][2]string{
		{`"delta"`, `"dleta"`}, {`"add/remove"`, `""`}, {`"flat"`, `"none"`}, {`"norm":1`, `"norm":1,"noise":0`},
		{`"noise_multiplier":1.5`, `"noise_multiplier":0`}, {`"steps":6`, `"steps":6.5`}, {`"sample_rate":0.625,`, ``},
	} {
		bad := strings.Replace(string(data), swap[0], swap[1], 1)
		require.NotEqual(t, string(data), bad)
		q := somePlan()
		q.Steps = 99
		require.Error(t, json.Unmarshal([]byte(bad), &q), bad)
		require.Equal(t, 99, q.Steps)
	}
}

func TestGuaranteeTravelsAsJSON(t *testing.T) {
	for _, p := range everyClip() {
		g, err := p.Spent(4)
		require.NoError(t, err)
		data, err := json.Marshal(g)
		require.NoError(t, err)
		var back Guarantee
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, g, back)
		for _, swap := range [][2]string{
			{`"delta":0.00001,`, `"delta":0.00002,`}, {`"relation":"add/remove",`, `"relation":"replace-one",`},
			{`"steps":4`, `"steps":7`}, {`"epsilon":`, `"epsilon":-`}, {`"plan":`, `"plane":`}, {`"noise_multiplier":1.5`, `"noise_multiplier":0`},
		} {
			bad := strings.Replace(string(data), swap[0], swap[1], 1)
			if swap[0] == `"delta":0.00001,` && bad == string(data) {
				bad = strings.Replace(string(data), `"delta":1e-05,`, `"delta":2e-05,`, 1)
			}
			require.NotEqual(t, string(data), bad, swap[0])
			var q Guarantee
			require.Error(t, json.Unmarshal([]byte(bad), &q), bad)
			require.Zero(t, q)
		}
	}
}

// A document that says a thing twice, in another spelling or not at all reads
// differently to different readers: a guarantee without an epsilon is not one
// of 0.
func TestJSONIsExact(t *testing.T) {
	g, err := somePlan().Spent(4)
	require.NoError(t, err)
	g.Epsilon = 2.5
	data, err := json.Marshal(g)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, new(Guarantee)))
	for _, c := range []struct{ from, to, want string }{
		{`"epsilon":2.5,`, ``, "epsilon is missing"},
		{`"steps":4,`, ``, "steps is missing"},
		{`"epsilon":2.5,`, `"epsilon":2.5,"epsilon":0.1,`, "epsilon is given twice"},
		{`"epsilon":2.5,`, `"epsilon":2.5,"Epsilon":0.1,`, `unknown field "Epsilon"`},
		{`"count":4`, `"count":3`, "event is"},
		{`"batch_size":250,`, `"batch_size":250,"batch_size":250,`, "batch_size is given twice"},
		{`"batch_size":250,`, `"Batch_Size":250,`, "batch_size is missing"},
		{`"norm":1`, `"norm":1,"norm":2`, "norm is given twice"},
	} {
		bad := strings.Replace(string(data), c.from, c.to, 1)
		require.NotEqual(t, string(data), bad, c.from)
		require.ErrorContains(t, json.Unmarshal([]byte(bad), new(Guarantee)), c.want)
	}
	var spaced bytes.Buffer
	require.NoError(t, json.Indent(&spaced, data, "", "  "))
	require.NoError(t, json.Unmarshal(spaced.Bytes(), new(Guarantee)))
	zero, err := somePlan().Spent(0)
	require.NoError(t, err)
	data, err = json.Marshal(zero)
	require.NoError(t, err)
	var back Guarantee
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, zero, back)
	for _, bad := range []Guarantee{
		{Epsilon: math.Inf(1), Steps: 1, Plan: somePlan()}, {Epsilon: math.NaN(), Steps: 1, Plan: somePlan()},
		{Epsilon: 1, Steps: 7, Plan: somePlan()}, {Epsilon: 1, Steps: -1, Plan: somePlan()},
	} {
		_, err := json.Marshal(bad)
		require.ErrorContains(t, err, "dp: guarantee")
	}
}

func FuzzPlanJSON(f *testing.F) {
	for _, p := range everyClip() {
		data, err := json.Marshal(p)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Plan
		if json.Unmarshal(data, &p) != nil {
			return
		}
		require.NoError(t, p.Validate())
		again, err := json.Marshal(p)
		require.NoError(t, err)
		var q Plan
		require.NoError(t, json.Unmarshal(again, &q))
		require.Equal(t, p.Sampling, q.Sampling)
		require.Equal(t, p.String(), q.String())
	})
}

func TestRule05RelationIsRequiredAndPrinted(t *testing.T) {
	p := somePlan()
	p.Relation = 0
	_, err := p.Epsilon()
	require.ErrorContains(t, err, "Relation")
	_, err = CalibrateNoise(p, 3)
	require.ErrorContains(t, err, "Relation")
	epsilons := map[accounting.Relation]float64{}
	for r, name := range relationNames {
		p.Relation = r
		g, err := p.Guarantee()
		require.NoError(t, err)
		require.Contains(t, g.String(), name)
		require.Contains(t, p.String(), name)
		data, err := json.Marshal(g)
		require.NoError(t, err)
		require.Contains(t, string(data), `"relation":"`+name+`"`)
		require.Contains(t, string(data), NotAccounted)
		epsilons[r] = g.Epsilon
	}
	// Replacing moves a sum twice as far.
	require.Greater(t, epsilons[accounting.ReplaceOne], 1.3*epsilons[accounting.AddRemove])
}

// Only what says so hands out what is not private.
func TestRule11NotPrivateSaysSo(t *testing.T) {
	private := map[string]bool{ // by the guarantee, or public
		"Plan": true, "Steps": true, "Done": true, "ClipNorm": true, "Spent": true,
		"Step": true, "Save": true, "Erase": true,
	}
	trainer := reflect.TypeFor[*Trainer]()
	for i := range trainer.NumMethod() {
		m := trainer.Method(i)
		if !private[m.Name] {
			require.Contains(t, m.Name, "NotPrivate")
		}
		for k := range m.Type.NumOut() {
			if out := m.Type.Out(k).String(); strings.Contains(out, "Stats") || strings.Contains(out, "Counts") {
				require.Contains(t, m.Name, "NotPrivate")
			}
		}
	}
	require.Zero(t, reflect.TypeFor[Trainer]().NumMethod())
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Trainer]()) {
		require.False(t, f.IsExported(), f.Name)
	}
}

func TestRule12StopsAtTheBudget(t *testing.T) {
	plan := somePlan()
	plan, err := CalibrateNoise(plan, 2)
	require.NoError(t, err)
	tr := newTrial(400, plan)
	trainer := tr.start(t)
	last := -1.0
	for !trainer.Done() {
		g, err := trainer.Spent()
		require.NoError(t, err)
		require.Equal(t, trainer.Steps(), g.Steps)
		require.Greater(t, g.Epsilon, last)
		last = g.Epsilon
		require.NoError(t, trainer.Step())
	}
	require.Zero(t, func() float64 { g, _ := plan.Spent(0); return g.Epsilon }())
	g, err := trainer.Spent()
	require.NoError(t, err)
	whole, err := plan.Guarantee()
	require.NoError(t, err)
	require.Equal(t, whole, g)
	require.LessOrEqual(t, g.Epsilon, 2.0)
	require.Greater(t, g.Epsilon, 1.98)
	e, err := plan.Epsilon()
	require.NoError(t, err)
	require.Equal(t, e.Upper, g.Epsilon) // the pessimistic end
	for range 3 {
		before := append([]float32(nil), tr.task.Params...)
		require.ErrorIs(t, trainer.Step(), ErrFinished)
		require.Equal(t, before, tr.task.Params)
	}
	require.Contains(t, g.String(), "δ = 1e-05")
}

func TestCalibrate(t *testing.T) {
	base := somePlan()
	base.Sampling, base.BatchSize, base.Steps = Poisson{Rate: 256. / 60000}, 256, 500
	base.NoiseMultiplier = 0
	noisy, err := CalibrateNoise(base, 1.5)
	require.NoError(t, err)
	epsilon := func(p Plan) float64 {
		e, err := p.Epsilon()
		require.NoError(t, err)
		return e.Upper
	}
	require.LessOrEqual(t, epsilon(noisy), 1.5)
	require.Greater(t, epsilon(noisy), 1.49)

	longest, err := CalibrateSteps(noisy, 2)
	require.NoError(t, err)
	require.LessOrEqual(t, epsilon(longest), 2.0)
	more := longest
	more.Steps++
	require.Greater(t, epsilon(more), 2.0)

	widest, err := CalibrateBatch(noisy, 2)
	require.NoError(t, err)
	require.LessOrEqual(t, epsilon(widest), 2.0)
	require.Equal(t, 60000, widest.Population())
	require.Greater(t, widest.BatchSize, 256)
	wider := widest
	wider.BatchSize++
	wider.Sampling = Poisson{Rate: float64(wider.BatchSize) / 60000}
	require.Greater(t, epsilon(wider), 2.0)

	for _, e := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		_, err := CalibrateNoise(base, e)
		require.ErrorContains(t, err, "epsilon is")
	}
	_, err = CalibrateSteps(noisy, 1e-9)
	require.ErrorContains(t, err, "a single step")
	_, err = CalibrateBatch(noisy, 1e-9)
	require.ErrorContains(t, err, "a batch of one")
	base.Sampling, base.BatchSize, base.Steps, base.Delta = Poisson{Rate: 1}, 60000, 1<<30, 1e-12
	_, err = CalibrateNoise(base, 1e-9)
	require.ErrorContains(t, err, "ε = 1e-09")
}

// The chance of a run overflow is taken off delta before the accountant sees it.
func TestDeltaPaysForOverflow(t *testing.T) {
	p := somePlan()
	require.Less(t, p.MechanismDelta(), p.Delta)
	require.InDelta(t, p.Delta, p.MechanismDelta()+p.runs().chance, 1e-18)
	e, err := p.Epsilon()
	require.NoError(t, err)
	direct, err := accounting.Epsilon(p.Event(), p.Relation, p.MechanismDelta())
	require.NoError(t, err)
	require.Equal(t, direct, e)
}
