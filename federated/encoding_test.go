package federated

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/dp/noise"
	"github.com/sotto-ml/sotto/internal/stream"
)

// vector draws a vector of some kind: of round or ragged elements, within a norm or not.
func vector(r *rand.Rand, d int) []float32 {
	x := make([]float32, d)
	kind, size := r.IntN(4), math.Pow(10, 6*r.Float64()-3)
	for j := range x {
		switch kind {
		case 0:
			x[j] = float32(size * r.NormFloat64())
		case 1:
			x[j] = float32(size)
		case 2: // halves of units, which rounding moves most
			x[j] = float32(size) * (float32(r.IntN(3)) - 1) * 0.5
		case 3:
			if j == 0 {
				x[j] = float32(size)
			}
		}
	}
	return x
}

// What one client can move a sum by is never more than what the noise is made for.
func TestPlacedBoundsEveryClient(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		d := 1 + r.IntN(300)
		clip := math.Pow(10, 4*r.Float64()-2)
		unit := math.Ldexp(1, -r.IntN(20)) * clip
		x := vector(r, d)
		whole := make([]int64, d)
		within := place(whole, x, clip, unit)
		norm, length := 0.0, 0.0
		for j, v := range whole {
			norm += float64(v) * float64(v)
			length += float64(x[j]) * float64(x[j])
		}
		require.LessOrEqual(t, math.Sqrt(norm), placed(clip, unit, d))
		require.Equal(t, math.Sqrt(length) <= clip, within)
		if within { // and what is within is only rounded
			for j, v := range whole {
				require.LessOrEqual(t, math.Abs(float64(v)*unit-float64(x[j])), unit/2*(1+1e-9))
			}
		}
	}
}

func securePlan(clients, d int, privacy Privacy) Plan {
	return Plan{Parameters: d, Rounds: 1, Strategy: FedAvg{}, Selection: Uniform{Clients: clients}, MaxMembers: clients,
		Secure: true, MaxNorm: 1, Privacy: privacy}
}

// The largest updates of the largest cohort, all alike, do not leave 32 bits, noise
// included, and come back as they were.
func TestSumsDoNotOverflow(t *testing.T) {
	for _, clients := range []int{2, 3, 100, 1000} {
		for _, privacy := range []Privacy{nil, Distributed{ClipNorm: 1, NoiseMultiplier: 3, MinSurvivors: max(2, clients/2), Relation: accounting.ReplaceSpecial, Delta: 1e-5}} {
			p := securePlan(clients, 4, privacy)
			require.NoError(t, p.Validate())
			e := p.encoding()
			require.Equal(t, clients, e.most)
			sum := make([]uint32, 4)
			for range clients {
				key := stream.NewKey()
				x, err := e.encode([]float32{-5, 0, 0, 0}, &key) // scaled down to norm 1
				require.NoError(t, err)
				for j, v := range x {
					sum[j] += v
				}
			}
			mean := make([]float32, 4)
			e.decode(mean, sum, 1/float64(clients))
			tolerance := e.unit
			if privacy != nil { // 7 standard deviations of the mean's noise
				tolerance += 7 * e.share * e.unit / math.Sqrt(float64(clients))
			}
			require.InDelta(t, -1, mean[0], tolerance)
			require.Less(t, float64(clients)*e.clip/e.unit+16*e.share*math.Sqrt(float64(clients)), 0x1p31)
		}
	}
}

// The noise in a sum of the fewest survivors, all colluders silent, is what the plan
// says: the variance of many coordinates is within what chance allows.
func TestSharesAddUpToTheNoise(t *testing.T) {
	const clients, d = 12, 40000
	private := Distributed{ClipNorm: 1, NoiseMultiplier: 2, MinSurvivors: 8, Colluders: 3, Relation: accounting.ReplaceSpecial, Delta: 1e-5}
	p := securePlan(clients, d, private)
	e := p.encoding()
	sum := make([]uint32, d)
	for range private.MinSurvivors - private.Colluders {
		key := stream.NewKey()
		x, err := e.encode(make([]float32, d), &key)
		require.NoError(t, err)
		for j, v := range x {
			sum[j] += v
		}
	}
	square := 0.0
	for _, v := range sum {
		square += float64(int32(v)) * float64(int32(v))
	}
	ratio := math.Sqrt(square/d) / (private.NoiseMultiplier * e.sensitivity)
	require.InDelta(t, 1, ratio, 5/math.Sqrt(2*d)) // five deviations of a chi-square
	require.Less(t, e.share*math.Sqrt(4), private.NoiseMultiplier*e.sensitivity*0.99, "one share fewer would be too little")
}

func TestDistributedEvent(t *testing.T) {
	private := Distributed{ClipNorm: 1, NoiseMultiplier: 2, MinSurvivors: 8, Colluders: 3, Relation: accounting.ReplaceSpecial, Delta: 1e-5}
	p := securePlan(12, 100, private)
	rho := private.RoundEvent(&p).(accounting.ZeroConcentrated).Rho
	require.InDelta(t, 1.0/8, rho, 1e-9) // 1/(2z²): shares are wide, so that their sum is all but Gaussian
	private.Relation = accounting.ReplaceOne
	require.InDelta(t, 4*rho, private.RoundEvent(&p).(accounting.ZeroConcentrated).Rho, 1e-9)
}

func TestEncodingRefuses(t *testing.T) {
	p := securePlan(1<<20, 1<<26, nil)
	require.ErrorContains(t, p.Validate(), "32 bits are too few")
	p = securePlan(1<<19, 10, Distributed{ClipNorm: 1, NoiseMultiplier: 0.001, MinSurvivors: 1 << 19, Relation: accounting.ReplaceSpecial, Delta: 1e-5})
	require.ErrorContains(t, p.Validate(), "must be at least 2")
	require.Greater(t, noise.MaxSigma, 1e6)
}
