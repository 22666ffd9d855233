package federated

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// The noise is what the budget asks for, and hardly more, whoever adds it.
func TestCalibrateNoise(t *testing.T) {
	base := Plan{Parameters: 1000, Rounds: 20, Strategy: FedAvg{}, Selection: All{}, MaxMembers: 100}
	for name, make := range map[string]func(z float64) Plan{
		"central": func(z float64) Plan {
			p := base
			p.Selection = Poisson{0.2}
			p.Privacy = Central{ClipNorm: 1, NoiseMultiplier: z, Population: 100, Relation: accounting.AddRemove, Delta: 1e-5}
			return p
		},
		"distributed": func(z float64) Plan {
			p := base
			p.Secure = true
			p.Privacy = Distributed{ClipNorm: 2, NoiseMultiplier: z, MinSurvivors: 60, Colluders: 10, Relation: accounting.ReplaceOne, Delta: 1e-5}
			return p
		},
		"local": func(z float64) Plan {
			p := base
			p.Privacy = Local{ClipNorm: 1, NoiseMultiplier: z, Relation: accounting.ReplaceSpecial, Delta: 1e-5}
			return p
		},
	} {
		p, err := make(0).CalibrateNoise(4)
		require.NoError(t, err, name)
		g, err := p.Guarantee()
		require.NoError(t, err, name)
		require.LessOrEqual(t, g.Epsilon, 4.0, name)
		require.Greater(t, g.Epsilon, 3.99, name)
	}
	_, err := base.CalibrateNoise(1)
	require.ErrorContains(t, err, "Privacy is missing")
	bad := base
	bad.Privacy = Local{ClipNorm: -1, Relation: accounting.ReplaceOne, Delta: 1e-5}
	_, err = bad.CalibrateNoise(1)
	require.ErrorContains(t, err, "Local.ClipNorm is -1")
	bad.Privacy = Local{ClipNorm: 1, Relation: accounting.ReplaceOne, Delta: 1e-5}
	_, err = bad.CalibrateNoise(-1)
	require.ErrorContains(t, err, "-1")
	_, err = bad.CalibrateNoise(1e-4)
	require.ErrorContains(t, err, "NoiseMultiplier", "it would need more noise than is allowed")
}
