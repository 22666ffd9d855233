package federated

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Rounding up or down is by chance, so that the mean of many packings is the vector, and
// one is never off by more than a step.
func TestQuantizedIsUnbiased(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	x := make([]float32, 3000)
	for j := range x {
		x[j] = float32(r.NormFloat64())
	}
	top := make([]float64, len(x))
	for j := range x {
		block := x[j/quantizedBlock*quantizedBlock : min(len(x), (j/quantizedBlock+1)*quantizedBlock)]
		for _, v := range block {
			top[j] = max(top[j], math.Abs(float64(v)))
		}
	}
	const times = 400
	mean := make([]float64, len(x))
	for range times {
		data := Quantized{}.pack(x, nil, r)
		require.LessOrEqual(t, len(data), len(x)+len(x)/200+20)
		got, err := Quantized{}.unpack(data, len(x))
		require.NoError(t, err)
		for j, v := range got {
			require.LessOrEqual(t, math.Abs(float64(v-x[j])), top[j]/127*(1+1e-5))
			mean[j] += float64(v) / times
		}
	}
	chi := 0.0
	for j := range x {
		step := top[j] / 127
		part := math.Mod(math.Abs(float64(x[j]))/step, 1)
		if variance := part * (1 - part) * step * step / times; part > 0.05 && part < 0.95 {
			chi += (mean[j] - float64(x[j])) * (mean[j] - float64(x[j])) / variance
		} else {
			chi++
		}
	}
	require.InDelta(t, 1, chi/float64(len(x)), 5*math.Sqrt(2/float64(len(x))))
}

// What was sent and what is left over add up to what there was.
func TestTopKLosesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	c := TopK{Share: 0.1}
	const d = 50
	residual := make([]float32, d)
	all, sent := make([]float64, d), make([]float64, d)
	for range 40 {
		x := make([]float32, d)
		for j := range x {
			x[j] = float32(r.IntN(2001)-1000) / 64 // sums are exact
			all[j] += float64(x[j])
		}
		before := append([]float32(nil), residual...)
		got, err := c.unpack(c.pack(x, residual, nil), d)
		require.NoError(t, err)
		least, most, count := math.Inf(1), 0.0, 0
		for j, v := range got {
			sent[j] += float64(v)
			if v != 0 {
				count++
				least = min(least, math.Abs(float64(v)))
				require.Equal(t, before[j]+x[j], v)
			} else {
				most = max(most, math.Abs(float64(residual[j])))
			}
		}
		require.Equal(t, 5, count)
		require.GreaterOrEqual(t, least, most)
	}
	for j := range all {
		require.Equal(t, all[j], sent[j]+float64(residual[j]))
	}
}

// A client's leftover follows what the server counted: an update that did not count is
// not taken for sent.
func TestTopKFeedbackFollowsWhatCounted(t *testing.T) {
	plan := Plan{Parameters: 4, Rounds: 9, Strategy: FedAvg{}, Selection: All{}, Compression: TopK{Share: 0.25}}
	c, err := Protect(plan, "a", ClientFunc(func(context.Context, Task) (Update, error) {
		return Update{Delta: []float32{4, 3, 2, 1}}, nil
	}))
	require.NoError(t, err)
	train := func(round, counted int) []float32 {
		u, err := c.Train(t.Context(), Task{Round: round, Attempt: 1, Counted: counted, Params: make([]float32, 4)})
		require.NoError(t, err)
		got, err := plan.Compression.unpack(u.Packed, 4)
		require.NoError(t, err)
		return got
	}
	require.Equal(t, []float32{4, 0, 0, 0}, train(1, 0))
	require.Equal(t, []float32{4, 0, 0, 0}, train(2, 0), "round 1 did not count: nothing is left over")
	require.Equal(t, []float32{0, 6, 0, 0}, train(3, 2), "round 2 did: 3 is left over from it")
	require.Equal(t, []float32{0, 6, 0, 0}, train(3, 2), "asked again")
	require.Equal(t, []float32{8, 0, 0, 0}, train(4, 3), "4 was left over from round 3")
}

func TestPackedRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	good := Quantized{}.pack([]float32{1, 2}, nil, r)
	sparse := TopK{0.5}.pack([]float32{1, 2}, make([]float32, 2), nil)
	for want, f := range map[string]func() ([]float32, error){
		"is not of the plan's kind":       func() ([]float32, error) { return Quantized{}.unpack(sparse, 2) },
		"has 2 elements, must have 3":     func() ([]float32, error) { return Quantized{}.unpack(good, 3) },
		"has 5 bytes, must have 6":        func() ([]float32, error) { return Quantized{}.unpack(good[:len(good)-1], 2) },
		"has a scale of NaN":              func() ([]float32, error) { return Quantized{}.unpack(with(good, 5, 0, 0, 0xc0, 0x7f), 2) },
		"holds an infinity":               func() ([]float32, error) { return Quantized{}.unpack(with(good, 5, 0xff, 0xff, 0x7f, 0x7f, 0x80), 2) },
		"has 4 bytes, must have 8":        func() ([]float32, error) { return TopK{0.5}.unpack(sparse[:9], 2) },
		"has element 7 after -1":          func() ([]float32, error) { return TopK{0.5}.unpack(with(sparse, 5, 7), 2) },
		"of 3 bytes is not of the plan's": func() ([]float32, error) { return TopK{0.5}.unpack(sparse[:3], 2) },
	} {
		_, err := f()
		require.ErrorContains(t, err, want)
	}
}

// with returns data with some bytes replaced.
func with(data []byte, at int, b ...byte) []byte {
	out := append([]byte(nil), data...)
	copy(out[at:], b)
	return out
}

func FuzzUnpack(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	f.Add(Quantized{}.pack([]float32{1, 2, 3}, nil, r), 3)
	f.Add(TopK{0.5}.pack([]float32{1, 2, 3}, make([]float32, 3), nil), 3)
	f.Fuzz(func(t *testing.T, data []byte, d int) {
		if d < 1 || d > 5000 {
			return
		}
		for _, c := range []Compression{Quantized{}, TopK{0.5}} {
			x, err := c.unpack(data, d)
			if err == nil {
				require.Len(t, x, d)
				require.LessOrEqual(t, len(data), 5+12*d)
			}
		}
	})
}

// TopK keeps what sorting all by magnitude keeps, the first of equals.
func TestTopKEqualsSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 300 {
		d := 1 + r.IntN(200)
		x := make([]float32, d)
		for j := range x {
			switch r.IntN(4) {
			case 0: // many equals
				x[j] = float32(r.IntN(3) - 1)
			case 1:
				x[j] = float32(r.NormFloat64() * math.Pow(10, float64(r.IntN(80)-40)))
			default:
				x[j] = float32(r.NormFloat64())
			}
		}
		c := TopK{Share: 1 - r.Float64()}
		order := make([]int, d)
		for j := range order {
			order[j] = j
		}
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Compare(math.Abs(float64(x[b])), math.Abs(float64(x[a])))
		})
		want := make([]float32, d)
		left := slices.Clone(x)
		for _, j := range order[:c.kept(d)] {
			want[j], left[j] = x[j], 0
		}
		residual := make([]float32, d)
		got, err := c.unpack(c.pack(x, residual, nil), d)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, left, residual)
	}
}

// A task that is repeated, by a server that was restarted, is packed to the same bits;
// those of another round or client are drawn anew.
func TestPackingRepeats(t *testing.T) {
	p := Plan{Parameters: 64, Rounds: 2, Strategy: FedAvg{}, Selection: All{}, MinMembers: 1, MaxMembers: 4, Compression: Quantized{}}
	delta := make([]float32, 64)
	for j := range delta {
		delta[j] = float32(j) / 61
	}
	packed := func(id ClientID, rounds ...int) (out [][]byte) {
		c, err := Protect(p, id, ClientFunc(func(context.Context, Task) (Update, error) { return Update{Delta: slices.Clone(delta)}, nil }))
		require.NoError(t, err)
		for i, r := range rounds {
			u, err := c.Train(t.Context(), Task{Round: r, Attempt: i, Params: make([]float32, 64)})
			require.NoError(t, err)
			out = append(out, u.Packed)
		}
		return out
	}
	got := packed("a", 1, 1, 2)
	require.Equal(t, got[0], got[1])
	require.NotEqual(t, got[0], got[2])
	require.Equal(t, got[2], packed("a", 2)[0])
	require.NotEqual(t, got[0], packed("b", 1)[0])
}
