package accounting

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReferences compares with values made by third-party tools: the cases of
// testdata/accounting.json that are plain or Poisson-sampled Gaussians.
func TestReferences(t *testing.T) {
	raw, err := os.ReadFile("testdata/accounting.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct {
			ID, Kind, Relation string
			Q, Sigma, Delta    float64
			T                  int
			Expected           struct {
				Eps      *float64
				EpsUpper *float64 `json:"eps_upper"`
			}
			Tolerance struct{ Rel, Abs float64 }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	relations := map[string]Relation{"add_remove": AddRemove, "replace_one": ReplaceOne, "zero_out": ReplaceSpecial}
	seen := 0
	for _, c := range file.Cases {
		if c.Kind != "subsampled_gaussian_epsilon" || c.Expected.Eps == nil {
			continue
		}
		seen++
		r, ok := relations[c.Relation]
		require.True(t, ok, c.ID)
		e := SelfComposed{PoissonSampled{c.Q, Gaussian{c.Sigma}}, c.T}
		got, err := Epsilon(e, r, c.Delta)
		require.NoError(t, err, c.ID)
		want, slack := *c.Expected.Eps, c.Tolerance.Abs+c.Tolerance.Rel*math.Abs(*c.Expected.Eps)
		if got.Upper < want-slack || got.Lower > want+slack {
			t.Errorf("%s: [%v, %v] does not hold %v", c.ID, got.Lower, got.Upper, want)
		}
		rdp, err := EpsilonRDP(e, r, c.Delta)
		require.NoError(t, err, c.ID)
		if rdp < want-slack || got.Upper > rdp*(1+1e-3)+1e-3 {
			t.Errorf("%s: RDP gives %v, the interval is [%v, %v], the truth %v", c.ID, rdp, got.Lower, got.Upper, want)
		}
		if c.Delta >= 1e-7 && c.T <= 100_000 && got.Upper > want*1.01+2e-3 {
			t.Errorf("%s: upper %v is loose, the truth is %v", c.ID, got.Upper, want)
		}
	}
	require.GreaterOrEqual(t, seen, 16)
}
