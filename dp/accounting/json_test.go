package accounting

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allEvents holds one event of every kind, with fields that are hard to print.
var allEvents = []Event{
	Gaussian{0.1 + 0.2},
	DiscreteGaussian{math.Pi, 3},
	Laplace{5e-324},
	DiscreteLaplace{1 / 3.0, 1 << 20},
	RandomizedResponse{math.Nextafter(1, 0), 2},
	PureDP{1e-300},
	BoundedRange{0.7},
	ZeroConcentrated{0.1, 0},
	NonPrivate{},
	MixtureGaussian{2, []float64{0, 1, 2.5}, []float64{0.25, 0.5, 0.25}},
	PoissonSampled{0, Gaussian{1.7976931348623157e308}},
	TruncatedPoisson{60000, 0.005, 330, 1},
	FixedSize{1000, 10, Gaussian{2}},
	RandomAllocation{2, 100, Gaussian{2}},
	BandMF{1.2, 2000, 8, 0.08},
	TreeAggregation{3, []int{1, 1000}},
	AdaptiveClip{1, 20},
	RepeatAndSelect{Gaussian{5}, 10, math.Inf(1)},
	RepeatAndSelect{Composed{[]Event{Gaussian{5}, Laplace{2}}}, 10, -0.5},
	SelfComposed{Composed{[]Event{SelfComposed{PoissonSampled{0.01, Laplace{1}}, maxCount}, NonPrivate{}}}, 7},
}

func TestJSONRoundTrip(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range append(allEvents, Composed{allEvents}) {
		data, err := MarshalEvent(e)
		require.NoError(t, err)
		back, err := UnmarshalEvent(data)
		require.NoError(t, err, string(data))
		require.Equal(t, e, back)
		again, err := MarshalEvent(back)
		require.NoError(t, err)
		require.Equal(t, string(data), string(again))
		seen[strings.Split(string(data), `"`)[3]] = true
	}
	require.Len(t, seen, len(kinds), "every kind of event is tried")
}

func TestJSONIsStrict(t *testing.T) {
	for in, want := range map[string]string{
		``:                              "EOF",
		`null`:                          "object",
		`[]`:                            "object",
		`{}`:                            "must be type",
		`{"noise_multiplier":1}`:        "must be type",
		`{"type":"gauss"}`:              "type is gauss",
		`{"type":7}`:                    "type is 7",
		`{"type":"gaussian"}`:           "noise_multiplier is missing",
		`{"type":"gaussian","noise":1}`: "no member noise",
		`{"type":"gaussian","noise_multiplier":1,"noise_multiplier":2}`:                              "twice",
		`{"type":"gaussian","noise_multiplier":1}{}`:                                                 "more than one",
		`{"type":"gaussian","noise_multiplier":1}]`:                                                  "more than one",
		`{"type":"gaussian","noise_multiplier":"1"}`:                                                 "number was expected",
		`{"type":"gaussian","noise_multiplier":null}`:                                                "number was expected",
		`{"type":"gaussian","noise_multiplier":1e999}`:                                               "range",
		`{"type":"gaussian","noise_multiplier":"inf"}`:                                               "NoiseMultiplier is +Inf",
		`{"type":"gaussian","noise_multiplier":-1}`:                                                  "NoiseMultiplier is -1",
		`{"type":"gaussian","noise_multiplier":{"type":"gaussian"}}`:                                 "number was expected",
		`{"type":"self_composed","count":1.5,"event":{"type":"non_private"}}`:                        "count",
		`{"type":"self_composed","count":0,"event":{"type":"non_private"}}`:                          "Count is 0",
		`{"type":"self_composed","count":99999999999999999999,"event":{"type":"non_private"}}`:       "count",
		`{"type":"self_composed","count":2,"event":{"type":"gaussian","noise_multiplier":0}}`:        "NoiseMultiplier is 0",
		`{"type":"self_composed","count":2,"event":null}`:                                            "object",
		`{"type":"composed","events":[]}`:                                                            "Events is empty",
		`{"type":"composed","events":null}`:                                                          "list",
		`{"type":"poisson_sampled","event":{"type":"non_private"}}`:                                  "rate is missing",
		`{"type":"poisson_sampled","rate":2,"event":{"type":"non_private"}}`:                         "Rate is 2",
		`{"type":"mixture_gaussian","standard_deviation":1,"sensitivities":[1],"probs":[0.5,0.5]}`:   "Probs",
		`{"type":"mixture_gaussian","standard_deviation":1,"sensitivities":[1,2],"probs":[0.5,0.4]}`: "sum to 1",
		`{"type":"gaussian","noise_multiplier":1`:                                                    "EOF",
	} {
		_, err := UnmarshalEvent([]byte(in))
		require.ErrorContains(t, err, want, in)
	}
	deep := strings.Repeat(`{"type":"self_composed","count":1,"event":`, 2000) + `{"type":"non_private"}` + strings.Repeat("}", 2000)
	_, err := UnmarshalEvent([]byte(deep))
	require.ErrorContains(t, err, "deep")
	_, err = MarshalEvent(Gaussian{-1})
	require.ErrorContains(t, err, "NoiseMultiplier")
	_, err = MarshalEvent(nil)
	require.ErrorContains(t, err, "missing")
}

// FuzzUnmarshalEvent: whatever is read is valid and is written back the same.
func FuzzUnmarshalEvent(f *testing.F) {
	for _, e := range allEvents {
		data, err := MarshalEvent(e)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"type":"composed","events":[{"type":"gaussian","noise_multiplier":1e-320},{"type":"non_private"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := UnmarshalEvent(data)
		if err != nil {
			return
		}
		out, err := MarshalEvent(e)
		require.NoError(t, err)
		back, err := UnmarshalEvent(out)
		require.NoError(t, err)
		require.Equal(t, e, back)
	})
}
