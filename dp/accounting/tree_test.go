package accounting

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// reader makes events of bytes.
type reader struct{ data []byte }

func (r *reader) byte() int {
	if len(r.data) == 0 {
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return int(b)
}

// between is a number from lo to hi, spread by its logarithm.
func (r *reader) between(lo, hi float64) float64 {
	return lo * math.Pow(hi/lo, float64(r.byte()*256+r.byte())/65535)
}

// single is one mechanism that can be sampled under add/remove.
func (r *reader) single(scale float64) Event {
	switch r.byte() % 6 {
	case 0:
		return Laplace{r.between(1, 20) * scale}
	case 1:
		return DiscreteLaplace{r.between(1, 20) * scale, 1 + r.byte()%3}
	case 2:
		return PureDP{r.between(0.01, 0.5) / scale}
	case 3:
		return AdaptiveClip{r.between(0.8, 8) * scale, r.between(5, 50)}
	case 4:
		return MixtureGaussian{r.between(1, 4) * scale, []float64{0, 1, 2}, []float64{0.5, 0.375, 0.125}}
	}
	return Gaussian{r.between(0.7, 10) * scale}
}

// tree is an event; scale and rate move all its noise and sampling rates.
func (r *reader) tree(depth int, scale, rate float64) Event {
	switch k := r.byte() % 8; {
	case k == 0 && depth > 0:
		var c Composed
		for range 1 + r.byte()%3 {
			c.Events = append(c.Events, r.tree(depth-1, scale, rate))
		}
		return c
	case k == 1 && depth > 0:
		return SelfComposed{r.tree(depth-1, scale, rate), 1 + r.byte()%20}
	case k == 2:
		return BandMF{r.between(0.7, 4) * scale, 1 + r.byte()*4, 1 + r.byte()%8, r.between(1e-3, 0.5) * rate}
	case k == 3:
		return TruncatedPoisson{1000 + r.byte()*16, 0.02 * rate, 30 + r.byte()%30, r.between(0.8, 3) * scale}
	case k < 6:
		return PoissonSampled{r.between(1e-3, 0.9) * rate, r.single(scale)}
	}
	return r.single(scale)
}

// checkTrees is the property of FuzzEvents for one input.
func checkTrees(t *testing.T, data []byte) {
	const delta = 1e-6
	build := func(scale, rate float64) Event { return (&reader{data}).tree(1, scale, rate) }
	e := build(1, 1)
	raw, err := MarshalEvent(e)
	require.NoError(t, err)
	back, err := UnmarshalEvent(raw)
	require.NoError(t, err)
	require.Equal(t, e, back)

	ask := func(e Event) Interval {
		i, err := Epsilon(e, AddRemove, delta)
		require.NoError(t, err, string(raw))
		require.False(t, math.IsNaN(i.Lower) || math.IsNaN(i.Upper), string(raw))
		require.LessOrEqual(t, i.Lower, i.Upper, string(raw))
		require.GreaterOrEqual(t, i.Lower, 0.0)
		return i
	}
	i := ask(e)
	rdp, err := EpsilonRDP(e, AddRemove, delta)
	require.NoError(t, err)
	require.LessOrEqual(t, i.Upper, rdp*(1+1e-9)+1e-12, "the best is no looser than Rényi orders: %s", raw)
	require.LessOrEqual(t, i.Lower, rdp*(1+1e-9), "Rényi orders are a guarantee: %s", raw)
	if grid, err := EpsilonPLD(e, AddRemove, delta); err == nil && !math.IsInf(grid.Upper, 1) {
		require.LessOrEqual(t, i.Lower, grid.Upper*(1+1e-12)+1e-300, "two accountants agree: %s", raw)
		require.LessOrEqual(t, grid.Lower, i.Upper*(1+1e-12)+1e-300, "two accountants agree: %s", raw)
	}

	// What costs less: certified bounds may not contradict it.
	for what, cheaper := range map[string]Event{"noise": build(1.25, 1), "rate": build(1, 0.8)} {
		require.LessOrEqual(t, ask(cheaper).Lower, i.Upper*(1+1e-12), "%s: %s", what, raw)
	}
	twice := ask(SelfComposed{e, 2})
	require.GreaterOrEqual(t, twice.Upper, i.Lower*(1-1e-12), "steps: %s", raw)
	require.GreaterOrEqual(t, 2*i.Upper*(1+1e-9)+1e-300, 0.0)
	less, err := Epsilon(e, AddRemove, delta*10)
	require.NoError(t, err)
	require.LessOrEqual(t, less.Lower, i.Upper*(1+1e-12), "delta: %s", raw)

	// Composition does not depend on its brackets.
	again := ask(Composed{[]Event{e, Composed{[]Event{e}}}})
	require.LessOrEqual(t, again.Lower, twice.Upper*(1+1e-12), string(raw))
	require.LessOrEqual(t, twice.Lower, again.Upper*(1+1e-12), string(raw))

	// ε and δ are inverses of each other.
	if !math.IsInf(i.Upper, 1) {
		d, err := Delta(e, AddRemove, min(i.Upper, 1e6))
		require.NoError(t, err)
		require.LessOrEqual(t, d.Lower, delta*(1+1e-9), string(raw))
	}
}

// FuzzEvents drives random event trees through all accountants.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{"", "\x06\x05\x20\x20", "\x04\x40\x00\x05\x80\x00", "\x01\x04\x10\x00\x00\x80\x00\x09", "\x02\x80\x00\xff\x03\x10\x00",
		"\x03\x20\x10\x40\x00", "\x00\x01\x06\x00\x80\x00\x06\x01\x10\x00\x02", "\x07\x03\x10\x10\x10\x10", "\x06\x01\x00\x10\x02"} {
		f.Add([]byte(seed))
	}
	finest = 1 << 14 // coarse grids are as valid
	f.Cleanup(func() { finest = 1 << 20 })
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64 {
			return
		}
		checkTrees(t, data)
	})
}

// TestCorners are those where other accountants fail or are loose: each has a
// certified answer, and where the truth is known it is held.
func TestCorners(t *testing.T) {
	steps := func(q, sigma float64, n int) Event { return SelfComposed{PoissonSampled{q, Gaussian{sigma}}, n} }
	for name, c := range map[string]struct {
		e     Event
		r     Relation
		delta float64
		width float64
	}{
		"tiny delta":               {steps(0.01, 1, 1e4), AddRemove, 1e-100, 1e-6},
		"tiny delta, replace-one":  {steps(0.5, 1, 1000), ReplaceOne, 1e-100, 1e-6},
		"a million steps":          {steps(1e-3, 0.8, 1e6), AddRemove, 1e-12, 1e-6},
		"a billion steps":          {steps(1e-3, 1, 1e9), AddRemove, 1e-5, 1e-4},
		"tiny epsilon":             {steps(1e-5, 10, 1000), AddRemove, 1e-12, 1e-3},
		"epsilon 1e-6":             {Gaussian{1e6}, AddRemove, 1e-12, 1e-6},
		"epsilon near 1000":        {Gaussian{0.03}, AddRemove, 1e-30, 1e-6},
		"strong and sampled":       {steps(0.1, 0.3, 100), AddRemove, 1e-30, 1e-6},
		"few rare steps":           {steps(1e-3, 1, 100), AddRemove, 1e-5, 1e-3},
		"Laplace beyond its reach": {SelfComposed{Laplace{2}, 20}, AddRemove, 1e-12, 1e-6},
		"responses composed":       {SelfComposed{RandomizedResponse{0.5, 3}, 50}, ReplaceOne, 1e-5, 1e-9},
		"discrete, coarse":         {SelfComposed{DiscreteGaussian{0.7, 1}, 30}, AddRemove, 1e-20, 1e-6},
		"discrete, fine":           {SelfComposed{DiscreteGaussian{3000, 90}, 100}, AddRemove, 1e-9, 1e-3},
	} {
		i, err := Epsilon(c.e, c.r, c.delta)
		require.NoError(t, err, name)
		require.Greater(t, i.Lower, 0.0, name)
		require.LessOrEqual(t, i.Upper-i.Lower, c.width*i.Upper, "%s: %v", name, i)
	}
	// Where a closed form says what is right: one Gaussian in disguise, twenty
	// Laplace at their pure ε but for e^-κ, exponential mechanisms that each count.
	i, err := Epsilon(SelfComposed{DiscreteGaussian{3000, 90}, 100}, AddRemove, 1e-9)
	require.NoError(t, err)
	g, err := Epsilon(Gaussian{10.0 / 3}, AddRemove, 1e-9)
	require.NoError(t, err)
	require.InEpsilon(t, g.Upper, i.Upper, 1e-3)
	one, err := EpsilonRDP(BoundedRange{0.5}, AddRemove, 1e-6)
	require.NoError(t, err)
	hundred, err := EpsilonRDP(SelfComposed{BoundedRange{0.5}, 100}, AddRemove, 1e-6)
	require.NoError(t, err)
	require.Greater(t, hundred, 20*one)
	pure, err := PureEpsilon(SelfComposed{Laplace{4}, 10}, AddRemove)
	require.NoError(t, err)
	require.InEpsilon(t, 2.5, pure, 1e-12)
	pure, err = PureEpsilon(Gaussian{1}, AddRemove)
	require.NoError(t, err)
	require.True(t, math.IsInf(pure, 1))
	for _, r := range []Relation{AddRemove, ReplaceOne} {
		i, err := Epsilon(Composed{[]Event{Gaussian{1}, NonPrivate{}}}, r, 1e-5)
		require.NoError(t, err)
		require.Equal(t, Interval{math.Inf(1), math.Inf(1)}, i)
	}
}

// TestUnknownBounds: an event without a bound under a relation says which and why.
func TestUnknownBounds(t *testing.T) {
	for want, c := range map[string]struct {
		e Event
		r Relation
	}{
		"RandomizedResponse has no bound under add/remove":                 {RandomizedResponse{0.5, 3}, AddRemove},
		"TreeAggregation has no bound under add/remove":                    {TreeAggregation{1, []int{8}}, AddRemove},
		"FixedSize has no bound under add/remove":                          {FixedSize{10, 2, Gaussian{1}}, AddRemove},
		"FixedSize has no bound under replace-one: its Event":              {FixedSize{10, 2, Laplace{1}}, ReplaceOne},
		"RandomAllocation has no bound under replace-one":                  {RandomAllocation{1, 10, Gaussian{1}}, ReplaceOne},
		"MixtureGaussian has no bound under replace-one":                   {MixtureGaussian{1, []float64{1}, []float64{1}}, ReplaceOne},
		"TruncatedPoisson has no bound under replace-one":                  {TruncatedPoisson{100, 0.1, 20, 1}, ReplaceOne},
		"PoissonSampled Laplace has no bound under replace-one":            {PoissonSampled{0.1, Laplace{1}}, ReplaceOne},
		"PoissonSampled.Event is ZeroConcentrated, must be":                {PoissonSampled{0.1, ZeroConcentrated{1, 0}}, AddRemove},
		"event holds 4.6116860141324206e+18 compositions, must be at most": {SelfComposed{SelfComposed{Gaussian{1}, maxCount}, maxCount}, AddRemove},
	} {
		_, err := Epsilon(c.e, c.r, 1e-5)
		require.ErrorContains(t, err, want)
		_, err = EpsilonRDP(c.e, c.r, 1e-5)
		require.ErrorContains(t, err, want)
		_, err = Delta(c.e, c.r, 1)
		require.ErrorContains(t, err, want)
	}
}

// TestGridsHoldTheContour: two methods that share only the pairs agree, and both
// of the grid's sides close in.
func TestGridsHoldTheContour(t *testing.T) {
	for _, c := range []struct {
		e     Event
		r     Relation
		delta float64
	}{
		{SelfComposed{PoissonSampled{0.05, Gaussian{1.5}}, 300}, AddRemove, 1e-10},
		{SelfComposed{PoissonSampled{0.5, Gaussian{20}}, 10}, AddRemove, 1e-5},
		{SelfComposed{PoissonSampled{0.3, Gaussian{2}}, 20}, ReplaceOne, 1e-40},
		{SelfComposed{TruncatedPoisson{6000, 0.005, 40, 1}, 200}, ReplaceSpecial, 1e-7},
		{Composed{[]Event{SelfComposed{Laplace{4}, 5}, SelfComposed{Gaussian{5}, 10}}}, AddRemove, 1e-7},
	} {
		a, err := Epsilon(c.e, c.r, c.delta)
		require.NoError(t, err)
		b, err := EpsilonPLD(c.e, c.r, c.delta)
		require.NoError(t, err)
		require.LessOrEqual(t, b.Lower, a.Lower)
		require.GreaterOrEqual(t, b.Upper, a.Upper)
		require.LessOrEqual(t, b.Upper-b.Lower, 1e-3*b.Upper, "%+v", c)
	}
}

// TestAllocationHolds compares with sampling: no estimate of δ of one allocation
// in few rounds is surely above the bound.
func TestAllocationHolds(t *testing.T) {
	const n, sigma, draws = 30, 1.2, 200000
	e := RandomAllocation{1, n, Gaussian{sigma}}
	rng := newTestNormal(7)
	for _, eps := range []float64{0.1, 0.5, 1} {
		bound, err := Delta(e, AddRemove, eps)
		require.NoError(t, err)
		// The record is there: E_P (1 - e^(ε-L))+ with L = log mean of the ratios.
		sum, square := 0.0, 0.0
		for range draws {
			ratio := 0.0
			for i := range n {
				x := sigma * rng()
				if i == 0 {
					x++
				}
				ratio += math.Exp((2*x - 1) / (2 * sigma * sigma))
			}
			v := max(1-math.Exp(eps)*n/ratio, 0)
			sum += v
			square += v * v
		}
		mean := sum / draws
		sd := math.Sqrt((square/draws - mean*mean) / draws)
		require.LessOrEqual(t, mean-5*sd, bound.Upper, "ε %v", eps)
		require.GreaterOrEqual(t, mean+5*sd, bound.Lower, "ε %v", eps)
	}
	plain, err := Epsilon(RandomAllocation{1, 1000, Gaussian{1}}, AddRemove, 1e-6)
	require.NoError(t, err)
	whole, err := Epsilon(Gaussian{1}, AddRemove, 1e-6)
	require.NoError(t, err)
	require.Less(t, plain.Upper, whole.Upper/5, "allocation amplifies")
}

// newTestNormal is a small generator of normal numbers.
func newTestNormal(seed uint64) func() float64 {
	uniform := func() float64 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return (float64(seed>>11) + 0.5) / (1 << 53)
	}
	return func() float64 { return math.Sqrt(-2*math.Log(uniform())) * math.Cos(2*math.Pi*uniform()) }
}

func TestTradeOff(t *testing.T) {
	phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	// A Gaussian's: Φ(Φ^-1(α) + μ).
	for _, mu := range []float64{0.1, 1, 4} {
		for _, x := range []float64{-4, -2, -1, 0.5} {
			i, err := TruePositiveRate(Gaussian{1 / mu}, AddRemove, phi(x))
			require.NoError(t, err)
			want := phi(x + mu)
			require.LessOrEqual(t, i.Lower, want+1e-15)
			require.GreaterOrEqual(t, i.Upper, want-1e-15)
			require.Less(t, i.Upper-i.Lower, 1e-3*want)
		}
		a, err := Advantage(Gaussian{1 / mu}, AddRemove)
		require.NoError(t, err)
		require.InEpsilon(t, 2*phi(mu/2)-1, a.Upper, 1e-9)
		m, err := Mu(Gaussian{1 / mu}, AddRemove, 1e-7)
		require.NoError(t, err)
		require.LessOrEqual(t, m.Lower, mu)
		require.GreaterOrEqual(t, m.Upper, mu*(1-1e-6))
		require.Less(t, m.Upper, mu*1.1)
	}
	// Randomised response is its own best test: at α = P(wrong) the power is P(right).
	i, err := TruePositiveRate(PureDP{1}, AddRemove, 1/(1+math.E))
	require.NoError(t, err)
	require.InDelta(t, math.E/(1+math.E), i.Upper, 1e-3)
	require.LessOrEqual(t, i.Lower, math.E/(1+math.E))
	e := SelfComposed{PoissonSampled{0.01, Gaussian{1}}, 1000}
	curve, err := TradeOff(e, AddRemove, []float64{0, 1e-6, 1e-3, 0.1, 0.5, 1})
	require.NoError(t, err)
	for k, i := range curve {
		require.LessOrEqual(t, i.Lower, i.Upper)
		if k > 0 {
			require.GreaterOrEqual(t, i.Upper, curve[k-1].Upper)
		}
	}
	require.Equal(t, Interval{1, 1}, curve[5])
	_, err = TradeOff(e, AddRemove, []float64{0.5, 2})
	require.ErrorContains(t, err, "falsePositiveRates[1] is 2")
	_, err = Mu(e, AddRemove, 0)
	require.ErrorContains(t, err, "floor is 0")
}

func TestCalibration(t *testing.T) {
	const r = AddRemove
	noisy := func(sigma float64) Event { return SelfComposed{PoissonSampled{0.02, Gaussian{sigma}}, 200} }
	for _, g := range []Goal{EpsilonGoal{1, 1e-5}, AdvantageGoal{0.1}, RateGoal{0.01, 0.05}} {
		if _, ok := g.(RateGoal); ok {
			noisy = func(sigma float64) Event { return Composed{[]Event{Gaussian{sigma}, Gaussian{sigma}}} }
		}
		sigma, err := LeastNoise(g, r, noisy)
		require.NoError(t, err)
		ok, err := g.meets(noisy(sigma), r)
		require.NoError(t, err)
		require.True(t, ok, "%+v: %v meets it", g, sigma)
		ok, err = g.meets(noisy(sigma*(1-1e-3)), r)
		require.NoError(t, err)
		require.False(t, ok, "%+v: less than %v does not", g, sigma)
	}
	g := EpsilonGoal{1.2, 1e-5}
	sampled := func(q float64) Event { return SelfComposed{PoissonSampled{q, Gaussian{1}}, 200} }
	q, err := MostRate(g, r, sampled)
	require.NoError(t, err)
	ok, err := g.meets(sampled(q), r)
	require.NoError(t, err)
	require.True(t, ok)
	ok, err = g.meets(sampled(q*(1+1e-5)), r)
	require.NoError(t, err)
	require.False(t, ok)
	long := func(n int) Event { return SelfComposed{PoissonSampled{0.01, Gaussian{1.1}}, n} }
	for _, most := range []int{1, 700} {
		n, err := MostCount(g, r, most, long)
		require.NoError(t, err)
		ok, err := g.meets(long(n), r)
		require.NoError(t, err)
		require.True(t, ok)
		if n < most {
			ok, err = g.meets(long(n+1), r)
			require.NoError(t, err)
			require.False(t, ok, "%d", n)
		}
	}
	for want, g := range map[string]Goal{
		"Advantage is 0":           AdvantageGoal{0},
		"FalsePositiveRate is 1":   RateGoal{1, 1},
		"TruePositiveRate is 0.1,": RateGoal{0.2, 0.1},
		"epsilon is NaN":           EpsilonGoal{math.NaN(), 0.1},
		"delta is 1":               EpsilonGoal{1, 1},
	} {
		_, err := LeastNoise(g, r, noisy)
		require.ErrorContains(t, err, want)
		_, err = MostRate(g, r, sampled)
		require.ErrorContains(t, err, want)
		_, err = MostCount(g, r, 10, long)
		require.ErrorContains(t, err, want)
	}
	_, err = MostCount(g, r, 10, func(int) Event { return NonPrivate{} })
	require.ErrorContains(t, err, "not even 1")
	_, err = LeastNoise(g, r, func(float64) Event { return NonPrivate{} })
	require.ErrorContains(t, err, "no noise multiplier")
}

func TestToeplitz(t *testing.T) {
	// Against all patterns by plain search, with signs and rises.
	for _, c := range [][]float64{{1, 0.5, 0.25}, {1, -0.5, 0.3, 0.2}, {0.5, 1, 0.2}} {
		s := Toeplitz{c, 9}
		for _, sep := range []int{1, 2, 4} {
			for _, k := range []int{1, 2, 3} {
				best := 0.0
				for set := range 1 << 9 {
					var at []int
					for i := range 9 {
						if set>>i&1 == 1 {
							at = append(at, i)
						}
					}
					ok := len(at) <= k
					for i := 1; i < len(at); i++ {
						ok = ok && at[i]-at[i-1] >= sep
					}
					sum := 0.0
					for _, i := range at {
						for _, j := range at {
							sum += math.Abs(s.gram(min(i, j), max(i, j)))
						}
					}
					if ok {
						best = max(best, sum)
					}
				}
				got, err := s.Sensitivity(sep, k)
				require.NoError(t, err)
				require.InEpsilon(t, math.Sqrt(best), got, 1e-12, "%v %d %d", c, sep, k)
				require.GreaterOrEqual(t, s.charge(sep, k), best*(1-1e-12), "the bound without a search holds")
			}
		}
	}
	for want, s := range map[string]Toeplitz{"Steps is 0": {[]float64{1}, 0}, "Coefficients is 0 long": {nil, 3}, "Coefficients[0] is -1": {[]float64{-1}, 3}} {
		_, err := s.Sensitivity(1, 1)
		require.ErrorContains(t, err, want)
		_, _, err = s.Errors()
		require.ErrorContains(t, err, want)
	}
	_, err := Toeplitz{[]float64{1}, 3}.Sensitivity(0, 1)
	require.ErrorContains(t, err, "separation is 0")
}
