package scattering

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The features are those of Kymatio (see testdata), but for its value of π: sizes that are no
// multiples of 2^J, J = 1 and 3, and the order of channels included.
func TestAgainstKymatio(t *testing.T) {
	text, err := os.ReadFile("testdata/kymatio.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			Height, Width, J, L, Order, Stride int
			Features                           []float64
		}
	}
	require.NoError(t, json.Unmarshal(text, &file))
	require.Len(t, file.Cases, 6)
	for _, c := range file.Cases {
		t.Run(fmt.Sprintf("%dx%d,J=%d,L=%d", c.Height, c.Width, c.J, c.L), func(t *testing.T) {
			image := make([]float32, c.Height*c.Width)
			for u := range c.Height {
				for v := range c.Width {
					image[u*c.Width+v] = float32((u*7919+v*104729+u*v*31)%256) / 255
				}
			}
			tr := must(t, c.Height, c.Width, Options{J: c.J, L: c.L, Order: c.Order})
			got := tr.Apply(nil, image)
			require.Len(t, c.Features, (len(got)+c.Stride-1)/c.Stride)
			_, h, w := tr.OutputShape()
			worst := 0.0
			for i, want := range c.Features {
				order := 0
				switch channel := i * c.Stride / (h * w); {
				case channel > c.J*c.L:
					order = 2
				case channel > 0:
					order = 1
				}
				want *= math.Pow(3.1415/math.Pi, float64(order+1))
				worst = max(worst, math.Abs(float64(got[i*c.Stride])-want))
			}
			t.Logf("worst difference %.2g", worst)
			require.Less(t, worst, 1e-6) // its filters are complex64
		})
	}
}
