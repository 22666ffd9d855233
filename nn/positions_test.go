package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// rowsUnfolder gives positions that lie as they are needed.
type rowsUnfolder struct {
	x    []float32
	size int
}

func (u rowsUnfolder) unfold(_, first, count int) []float32 {
	return u.x[first*u.size : (first+count)*u.size]
}

// TestNormsCoverRounding drives float32 rounding and cancellation inside one
// example far beyond what data do, and holds the norm to what is really added.
func TestNormsCoverRounding(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	const l, in, out = 64, 24, 10
	fill := map[string]func(d, x []float32){
		// Nothing cancels.
		"positive": func(d, x []float32) {
			for _, v := range [][]float32{d, x} {
				for i := range v {
					v[i] = 1 + random.Float32()
				}
			}
		},
		"normal": func(d, x []float32) {
			copy(d, normal(random, len(d)))
			copy(x, normal(random, len(x)))
		},
		// Positions come in pairs that cancel but for their last bits.
		"cancelling": func(d, x []float32) {
			for p := 0; p < l; p += 2 {
				copy(d[p*out:], normal(random, out))
				copy(x[p*in:], normal(random, in))
				for i := range out {
					d[(p+1)*out+i] = -d[p*out+i]
				}
				for i := range in {
					x[(p+1)*in+i] = x[p*in+i] * (1 + 0x1p-23*float32(random.IntN(3)))
				}
			}
		},
		// The first half's sum is taken away again in another order.
		"reordered": func(d, x []float32) {
			for p := range l / 2 {
				copy(d[p*out:], normal(random, out))
				copy(x[p*in:], normal(random, in))
			}
			for p, q := range random.Perm(l / 2) {
				for i := range out {
					d[(l/2+p)*out+i] = -d[q*out+i]
				}
				copy(x[(l/2+p)*in:(l/2+p+1)*in], x[q*in:])
			}
		},
		// Signals whose products underflow, on huge inputs.
		"underflow": func(d, x []float32) {
			for i := range d {
				d[i] = 0x1p-78 * (1 + random.Float32())
			}
			for i := range x {
				x[i] = 0x1p60 * (1 + random.Float32())
			}
		},
	}
	for name, fill := range fill {
		for _, m := range []method{kept, direct, ghost} {
			for _, bias := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/bias=%v", name, m, bias), func(t *testing.T) {
					for range 10 {
						d, x := make([]float32, l*out), make([]float32, l*in)
						fill(d, x)
						p := newPositionSum(l, in, out, 1, bias, 1)
						p.method = m
						u := rowsUnfolder{x, l * in}
						var square [1]float64
						p.squares(d, u, square[:])
						reported := math.Sqrt(square[0])
						require.False(t, math.IsNaN(reported) || math.IsInf(reported, 0))

						const unit = 1.3 * (1 << 45) // a factor that rounds
						w := []float32{unit / float32(max(reported, 0x1p-10))}
						sum := make([]int64, p.params())
						p.weightedSum(d, u, sum, w, []int{1})
						added := 0.0
						for _, v := range sum {
							added += float64(v) * float64(v)
						}
						added = math.Sqrt(added) / float64(w[0])
						rounding := math.Sqrt(float64(len(sum))) / float64(w[0])
						require.GreaterOrEqual(t, reported*(1+0x1p-14)+rounding, added)
						if name == "positive" || name == "normal" {
							require.LessOrEqual(t, reported, added*(1+0x1p-8))
						}
						if name == "positive" && m != ghost {
							require.LessOrEqual(t, reported, added*(1+0x1p-13))
						}
					}
				})
			}
		}
	}
}

// TestHugeValuesCountAsInfinite: beyond 2^80 a weight could overflow when it is
// folded in, before the other factor brings it back.
func TestHugeValuesCountAsInfinite(t *testing.T) {
	for _, c := range []struct{ target, x float32 }{{0x1p126, 0x1p-100}, {1, 0x1p90}} {
		m, err := New(Shape{2}, Linear{Out: 2, NoBias: true})
		require.NoError(t, err)
		y, err := Values([][]float32{{c.target, 0}})
		require.NoError(t, err)
		g := NewPass(m, MeanSquaredError{}).Backward([][]float32{{c.x, 0}}, y, nil)
		require.True(t, math.IsInf(float64(g.Norms(nil)[0]), 1), "%v", g.Norms(nil))
	}
}

func TestMethodIsChosenByCostAndMemory(t *testing.T) {
	for _, c := range []struct {
		positions, in, out, activations int
		want                            method
	}{
		{196, 64, 16, 784 + 3136, kept},             // first layer of the 26k CNN
		{25, 256, 32, 2704 + 800, kept},             // and its second
		{128, 768, 3072, 128 * (768 + 3072), ghost}, // a transformer's
		{4096, 600, 600, 4096 * 6, direct},
	} {
		require.Equal(t, c.want, newPositionSum(c.positions, c.in, c.out, 1, true, c.activations).method, "%+v", c)
	}
}
