package accounting

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var casesFile = flag.String("cases", "testdata/accounting.json", "file of reference cases")

// number is a float64 or "inf".
type number float64

func (n *number) UnmarshalJSON(data []byte) error {
	if string(data) == `"inf"` {
		*n = number(math.Inf(1))
		return nil
	}
	return json.Unmarshal(data, (*float64)(n))
}

// referenceCase is a case of the file; see the definitions beside it.
type referenceCase struct {
	ID, Kind, Relation, Sampling, Mechanism   string
	Q, Sigma, Sensitivity, Delta, Epsilon, Mu float64
	Scale, A, P, Rho, Xi, Mean                float64
	T, K, N, M, Iterations, Epochs            int
	NumBands                                  int   `json:"num_bands"`
	TruncatedBatchSize                        int   `json:"truncated_batch_size"`
	StepCounts                                []int `json:"step_counts"`
	Shape                                     number
	Alphas, Orders, Rdp, Sensitivities, Probs []float64
	Coefs                                     []float64
	MinSep                                    int       `json:"min_sep"`
	MaxParticipations                         int       `json:"max_participations"`
	FalsePositiveRates                        []float64 `json:"false_positive_rates"`
	Events                                    []struct {
		Type            string
		Q, Sigma, Scale float64
		Count           int
	}
	Expected struct {
		Eps, EpsUpper, EpsLower, EpsRDP, EpsTrue, EpsClassic, EpsSimple *float64
		Delta, LogDelta, Sigma, SigmaRDP, Q, Mu, Sensitivity            *float64
		T, TRDP                                                         *int
		Infinite                                                        bool
		Rdp, TruePositiveRates, CoefsHead                               []float64
		ColumnNorm, LastCoef, MaxError, RMSE, TruncationProbability     *float64
		Order                                                           *float64
		Rounds, Depth                                                   *int
	}
	Tolerance, ReferenceError struct{ Rel, Abs float64 }
}

// snake gives Expected's fields their names in the file.
func (c *referenceCase) UnmarshalJSON(data []byte) error {
	type plain referenceCase
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	rename := map[string]string{
		"eps_upper": "EpsUpper", "eps_lower": "EpsLower", "eps_rdp": "EpsRDP", "eps_true": "EpsTrue", "eps_classic": "EpsClassic",
		"eps_simple": "EpsSimple", "log_delta": "LogDelta", "sigma_rdp": "SigmaRDP", "T_rdp": "TRDP",
		"true_positive_rates": "TruePositiveRates", "coefs_head": "CoefsHead", "column_norm": "ColumnNorm", "last_coef": "LastCoef",
		"max_error": "MaxError", "root_mean_squared_error": "RMSE", "truncation_probability": "TruncationProbability",
	}
	var expected map[string]json.RawMessage
	if err := json.Unmarshal(raw["expected"], &expected); err != nil {
		return err
	}
	for from, to := range rename {
		if v, ok := expected[from]; ok {
			expected[to] = v
			delete(expected, from)
		}
	}
	var err error
	if raw["expected"], err = json.Marshal(expected); err != nil {
		return err
	}
	if v, ok := raw["reference_error"]; ok {
		raw["ReferenceError"] = v
	}
	delete(raw, "peers")
	whole, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	return json.Unmarshal(whole, (*plain)(c))
}

// references runs cases and remembers what is wrong.
type references struct {
	t      *testing.T
	orders []float64
	c      *referenceCase
	bad    []string
	widest float64
}

func (r *references) fail(format string, args ...any) {
	r.bad = append(r.bad, fmt.Sprintf(format, args...))
}

// near compares an estimate.
func (r *references) near(what string, got float64, want *float64) {
	if want == nil {
		return
	}
	if !(math.Abs(got-*want) <= r.c.Tolerance.Abs+r.c.Tolerance.Rel*math.Abs(*want)) {
		r.fail("%s is %v, want %v", what, got, *want)
	}
}

func (r *references) nearAll(what string, got, want []float64) {
	if len(got) != len(want) {
		r.fail("%s has %d values, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		r.near(fmt.Sprintf("%s[%d]", what, i), got[i], &want[i])
	}
}

// holds compares a certified interval of ε.
func (r *references) holds(e Event, rel Relation, width float64) {
	i, err := Epsilon(e, rel, r.c.Delta)
	if err != nil {
		r.fail("%v", err)
		return
	}
	want := *r.c.Expected.Eps
	slack := r.c.ReferenceError.Abs + r.c.ReferenceError.Rel*want
	if i.Upper < want-slack || i.Lower > want+slack {
		r.fail("[%v, %v] does not hold %v", i.Lower, i.Upper, want)
	}
	r.near("upper", i.Upper, r.c.Expected.Eps)
	if u := r.c.Expected.EpsUpper; u != nil && i.Upper > *u*(1+1e-3) {
		r.fail("upper %v is looser than a peer's %v", i.Upper, *u)
	}
	if i.Upper > 0 {
		w := (i.Upper - i.Lower) / i.Upper
		r.widest = max(r.widest, w)
		if w > width {
			r.fail("[%v, %v] is %.2g wide, may be %.0e", i.Lower, i.Upper, w, width)
		}
	}
	if r.c.Expected.EpsRDP != nil {
		r.rdp(e, rel, r.orders)
	}
}

// rdp compares ε by Rényi orders; by all orders it may only be less.
func (r *references) rdp(e Event, rel Relation, orders []float64) {
	got, err := EpsilonRDP(e, rel, r.c.Delta, orders...)
	if err != nil {
		r.fail("%v", err)
		return
	}
	r.near("eps_rdp", got, r.c.Expected.EpsRDP)
	free, err := EpsilonRDP(e, rel, r.c.Delta)
	if err != nil || free > got*(1+1e-6) {
		r.fail("over all orders eps_rdp is %v, over the given ones %v", free, got)
	}
}

func (r *references) relation() Relation {
	switch r.c.Relation {
	case "replace_one":
		return ReplaceOne
	case "zero_out":
		return ReplaceSpecial
	}
	return AddRemove
}

func (r *references) run() {
	c, rel := r.c, r.relation()
	x := &c.Expected
	times := func(e Event) Event { return SelfComposed{e, max(c.T, 1)} }
	sampledGaussian := func() Event { return times(PoissonSampled{c.Q, Gaussian{c.Sigma}}) }
	s := c.Sensitivity
	if s == 0 {
		s = 1
	}
	switch c.Kind {
	case "gaussian_epsilon":
		r.holds(times(Gaussian{c.Sigma / s}), rel, 1e-3)
	case "gaussian_delta", "gdp_delta", "subsampled_gaussian_delta":
		e := times(Gaussian{c.Sigma / s})
		if c.Kind == "gdp_delta" {
			e = Gaussian{1 / c.Mu}
		} else if c.Kind == "subsampled_gaussian_delta" {
			e = sampledGaussian()
		}
		i, err := LogDelta(e, rel, c.Epsilon)
		if err != nil {
			r.fail("%v", err)
			return
		}
		slack := c.ReferenceError.Rel + c.ReferenceError.Abs
		if i.Upper < *x.LogDelta-slack || i.Lower > *x.LogDelta+slack {
			r.fail("log delta in [%v, %v], want %v", i.Lower, i.Upper, *x.LogDelta)
		}
		r.near("delta", math.Exp(i.Upper), x.Delta)
		r.near("delta", math.Exp(i.Lower), x.Delta)
	case "gaussian_sigma":
		got, err := CalibrateNoise(c.Epsilon, c.Delta, AddRemove, func(sigma float64) Event { return Gaussian{sigma} })
		require.NoError(r.t, err)
		if got *= s; got < *x.Sigma*(1-c.ReferenceError.Rel) || got > *x.Sigma*(1+2e-6) {
			r.fail("sigma is %v, want %v", got, *x.Sigma)
		}
	case "gdp_epsilon":
		r.holds(Gaussian{1 / c.Mu}, rel, 1e-3)
	case "gdp_tradeoff":
		got, err := TradeOff(Gaussian{1 / c.Mu}, rel, c.FalsePositiveRates)
		require.NoError(r.t, err)
		for i, want := range x.TruePositiveRates {
			if got[i].Upper < want*(1-1e-12) || got[i].Lower > want*(1+1e-12) || got[i].Upper-got[i].Lower > 1e-3*got[i].Upper {
				r.fail("true-positive rate at %v in %v, want %v", c.FalsePositiveRates[i], got[i], want)
			}
		}
	case "gdp_clt":
		mu := CentralLimitMu(c.Q, c.Sigma, c.T, c.Sampling == "uniform")
		r.near("mu", mu, x.Mu)
		i, err := Epsilon(Gaussian{1 / mu}, AddRemove, c.Delta)
		require.NoError(r.t, err)
		r.near("eps", i.Upper, x.Eps)
		if x.EpsTrue != nil {
			i, err := Epsilon(sampledGaussian(), AddRemove, c.Delta)
			require.NoError(r.t, err)
			if math.Abs(i.Upper-*x.EpsTrue) > 1e-6**x.EpsTrue {
				r.fail("the true eps is %v, want %v", i, *x.EpsTrue)
			}
		}
	case "laplace_epsilon":
		r.holds(times(Laplace{c.Scale / s}), rel, 1e-2)
	case "subsampled_laplace_epsilon":
		r.holds(times(PoissonSampled{c.Q, Laplace{c.Scale / s}}), rel, 1e-2)
	case "subsampled_gaussian_epsilon":
		r.holds(sampledGaussian(), rel, 1e-3)
	case "discrete_gaussian_epsilon":
		r.holds(times(DiscreteGaussian{c.Sigma, int(s)}), rel, 1e-2)
	case "discrete_laplace_epsilon":
		r.holds(times(DiscreteLaplace{1 / c.A, int(s)}), rel, 1e-2)
	case "randomized_response_epsilon":
		r.holds(times(RandomizedResponse{c.P, c.K}), rel, 1e-2)
	case "mixture_gaussian_epsilon":
		r.holds(times(MixtureGaussian{c.Sigma, c.Sensitivities, c.Probs}), rel, 1e-2)
	case "truncated_poisson_epsilon":
		full := upperTail(c.N-1, c.Q, c.TruncatedBatchSize)
		if x.TruncationProbability != nil && math.Abs(full-*x.TruncationProbability) > 1e-9**x.TruncationProbability {
			r.fail("truncation probability is %v, want %v", full, *x.TruncationProbability)
		}
		r.holds(times(TruncatedPoisson{c.N, c.Q, c.TruncatedBatchSize, c.Sigma}), rel, 1e-2)
	case "bandmf_epsilon":
		r.holds(BandMF{c.Sigma, c.Iterations, c.NumBands, c.Q}, rel, 1e-2)
	case "heterogeneous_epsilon":
		var all Composed
		for _, e := range c.Events {
			part := map[string]Event{"gaussian": Gaussian{e.Sigma}, "poisson_gaussian": PoissonSampled{e.Q, Gaussian{e.Sigma}}, "laplace": Laplace{e.Scale}}[e.Type]
			all.Events = append(all.Events, SelfComposed{part, e.Count})
		}
		r.holds(all, rel, 1e-2)
	case "rdp_subsampled_gaussian", "rdp_laplace", "rdp_randomized_response", "rdp_pure_dp", "rdp_without_replacement", "tree_aggregation", "repeat_and_select":
		e, orders := r.renyiEvent()
		b, err := billFor(e, rel, 0, 0)
		if err != nil {
			r.fail("%v", err)
			return
		}
		var got []float64
		for _, a := range c.Alphas {
			got = append(got, b.renyi(a, orders))
		}
		r.nearAll("rdp", got, x.Rdp)
		if x.EpsRDP != nil {
			all := e
			if c.Kind == "rdp_without_replacement" {
				all = times(e)
			}
			if c.Kind == "tree_aggregation" {
				orders = r.orders
			}
			r.rdp(all, rel, orders)
		}
		if c.Kind == "tree_aggregation" {
			r.holds(e, rel, 1e-3)
		}
	case "rdp_exponential":
		r.rdp(times(BoundedRange{c.Epsilon}), rel, r.orders)
	case "zcdp_epsilon":
		e := ZeroConcentrated{c.Rho, c.Xi}
		free, err := EpsilonRDP(e, rel, c.Delta)
		require.NoError(r.t, err)
		r.near("eps", free, x.Eps)
		i, err := Epsilon(e, rel, c.Delta)
		require.NoError(r.t, err)
		r.near("upper", i.Upper, x.Eps)
		r.near("eps_simple", c.Rho+c.Xi+2*math.Sqrt(c.Rho*math.Log(1/c.Delta)), x.EpsSimple)
		c.Tolerance.Rel = max(c.Tolerance.Rel, 1e-8)
		r.rdp(e, rel, r.orders)
	case "rdp_to_epsilon":
		got, order, err := RenyiEpsilon(c.Orders, c.Rdp, c.Delta)
		require.NoError(r.t, err)
		r.near("eps", got, x.Eps)
		r.near("order", order, x.Order)
		if x.EpsClassic != nil && got > *x.EpsClassic {
			r.fail("eps %v is above the classic conversion's %v", got, *x.EpsClassic)
		}
	case "rdp_to_delta":
		got, order, err := RenyiDelta(c.Orders, c.Rdp, c.Epsilon)
		require.NoError(r.t, err)
		r.near("delta", got, x.Delta)
		r.near("order", order, x.Order)
	case "calibrate_sigma":
		event := func(sigma float64) Event { return times(PoissonSampled{c.Q, Gaussian{sigma}}) }
		got, err := CalibrateNoise(c.Epsilon, c.Delta, rel, event)
		require.NoError(r.t, err)
		if got < *x.Sigma*(1-c.ReferenceError.Rel) {
			r.fail("sigma %v is below the least, %v", got, *x.Sigma)
		}
		r.near("sigma", got, x.Sigma)
		if x.SigmaRDP != nil {
			lo, hi := *x.SigmaRDP*(1-1e-3), *x.SigmaRDP*(1+1e-3)
			a, err := EpsilonRDP(event(lo), rel, c.Delta, r.orders...)
			require.NoError(r.t, err)
			b, err := EpsilonRDP(event(hi), rel, c.Delta, r.orders...)
			require.NoError(r.t, err)
			if a < c.Epsilon || b > c.Epsilon {
				r.fail("eps_rdp is %v and %v around sigma_rdp %v", a, b, *x.SigmaRDP)
			}
		}
	case "calibrate_steps":
		event := func(n int) Event { return SelfComposed{PoissonSampled{c.Q, Gaussian{c.Sigma}}, n} }
		got, err := MostCount(EpsilonGoal{c.Epsilon, c.Delta}, rel, 1<<30, event)
		require.NoError(r.t, err)
		if got > *x.T || float64(*x.T-got) > c.Tolerance.Rel*float64(*x.T)+c.Tolerance.Abs {
			r.fail("%d steps, want %d", got, *x.T)
		}
		if x.TRDP != nil {
			a, err := EpsilonRDP(event(*x.TRDP), rel, c.Delta, r.orders...)
			require.NoError(r.t, err)
			b, err := EpsilonRDP(event(*x.TRDP+2), rel, c.Delta, r.orders...)
			require.NoError(r.t, err)
			if a > c.Epsilon*(1+1e-6) || b < c.Epsilon {
				r.fail("eps_rdp is %v and %v around T_rdp %d", a, b, *x.TRDP)
			}
		}
	case "calibrate_q":
		got, err := MostRate(EpsilonGoal{c.Epsilon, c.Delta}, rel, func(q float64) Event { return times(PoissonSampled{q, Gaussian{c.Sigma}}) })
		require.NoError(r.t, err)
		if got > *x.Q*(1+c.ReferenceError.Rel) {
			r.fail("q %v is above the most, %v", got, *x.Q)
		}
		r.near("q", got, x.Q)
	case "mf_sensitivity":
		strategy := Toeplitz{c.Coefs, c.N}
		got, err := strategy.Sensitivity(c.MinSep, c.MaxParticipations)
		require.NoError(r.t, err)
		r.near("sensitivity", got, x.Sensitivity)
		norm, err := strategy.ColumnNorm()
		require.NoError(r.t, err)
		r.near("column norm", norm, x.ColumnNorm)
		if x.Eps != nil {
			i, err := Epsilon(Gaussian{c.Sigma / got}, AddRemove, c.Delta)
			require.NoError(r.t, err)
			r.near("eps", i.Upper, x.Eps)
		}
	case "mf_square_root":
		strategy := SquareRoot(c.N)
		r.nearAll("coefficients", strategy.Coefficients[:len(x.CoefsHead)], x.CoefsHead)
		r.near("last coefficient", strategy.Coefficients[c.N-1], x.LastCoef)
		norm, err := strategy.ColumnNorm()
		require.NoError(r.t, err)
		r.near("sensitivity", norm, x.Sensitivity)
		greatest, rms, err := strategy.Errors()
		require.NoError(r.t, err)
		r.near("max error", greatest, x.MaxError)
		r.near("root mean squared error", rms, x.RMSE)
	case "edge":
		r.edge()
	default:
		r.fail("kind %q is not known", c.Kind)
	}
}

// renyiEvent is the event of a case that asks for divergences, and the orders
// that it may be optimised over.
func (r *references) renyiEvent() (Event, []float64) {
	c := r.c
	switch c.Kind {
	case "rdp_subsampled_gaussian":
		return PoissonSampled{c.Q, Gaussian{c.Sigma}}, nil
	case "rdp_laplace":
		return Laplace{c.Scale / max(c.Sensitivity, 1e-300)}, nil
	case "rdp_randomized_response":
		return RandomizedResponse{c.P, c.K}, nil
	case "rdp_pure_dp":
		return PureDP{c.Epsilon}, nil
	case "rdp_without_replacement": // sigma is over the change when a record is replaced, twice a record's norm
		return FixedSize{c.N, c.M, Gaussian{2 * c.Sigma}}, c.Alphas
	case "tree_aggregation":
		return SelfComposed{TreeAggregation{c.Sigma, c.StepCounts}, c.Epochs}, r.orders
	}
	return RepeatAndSelect{SelfComposed{Gaussian{c.Sigma}, c.T}, c.Mean, float64(c.Shape)}, c.Alphas
}

// edge cases: no noise at all is NonPrivate, and δ = 0 is asked of PureEpsilon.
func (r *references) edge() {
	c := r.c
	var e Event
	noise := c.Sigma
	switch c.Mechanism {
	case "gaussian":
		e = Gaussian{c.Sigma}
	case "poisson_gaussian":
		e = PoissonSampled{c.Q, Gaussian{c.Sigma}}
	case "laplace":
		e, noise = Laplace{c.Scale}, c.Scale
	case "poisson_laplace":
		e, noise = PoissonSampled{c.Q, Laplace{c.Scale}}, c.Scale
	default:
		r.fail("mechanism %q is not known", c.Mechanism)
		return
	}
	if noise == 0 {
		if _, err := Epsilon(e, AddRemove, 1e-5); err == nil {
			r.fail("no noise is not refused")
		}
		e = NonPrivate{}
		if c.Q > 0 {
			e = PoissonSampled{c.Q, e}
		}
	}
	e = SelfComposed{e, c.T}
	var got Interval
	var err error
	if c.Delta == 0 {
		got.Upper, err = PureEpsilon(e, r.relation())
		got.Lower = got.Upper
	} else {
		got, err = Epsilon(e, r.relation(), c.Delta)
	}
	require.NoError(r.t, err)
	if c.Expected.Infinite {
		if !math.IsInf(got.Upper, 1) || !math.IsInf(got.Lower, 1) {
			r.fail("eps is %v, want infinity", got)
		}
		return
	}
	r.near("upper", got.Upper, c.Expected.Eps)
	r.near("lower", got.Lower, c.Expected.Eps)
}

// TestReferences compares with values made by third-party tools: those of
// testdata/accounting.json, or of the file that -cases names.
func TestReferences(t *testing.T) {
	raw, err := os.ReadFile(*casesFile)
	require.NoError(t, err)
	var file struct {
		RDPOrders []float64 `json:"rdp_orders"`
		Cases     []referenceCase
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	for i := range file.Cases {
		r := &references{t: t, orders: file.RDPOrders, c: &file.Cases[i]}
		start := time.Now()
		r.run()
		for _, line := range r.bad {
			t.Errorf("%s: %s", r.c.ID, line)
		}
		if testing.Verbose() {
			t.Logf("%s: width %.1e, %v", r.c.ID, r.widest, time.Since(start).Round(time.Millisecond))
		}
	}
}
