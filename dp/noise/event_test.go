package noise

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// TestEvents: each law's event is the one of its own mass. The ε of one release
// of a discrete Laplace is its shift over its scale.
func TestEvents(t *testing.T) {
	l, err := NewDiscreteLaplace(4)
	require.NoError(t, err)
	pure, err := accounting.PureEpsilon(l.Event(3), accounting.AddRemove)
	require.NoError(t, err)
	require.InEpsilon(t, 0.75, pure, 1e-12)
	d, err := NewDiscreteGaussian(50)
	require.NoError(t, err)
	r, err := NewRoundedGaussian(50)
	require.NoError(t, err)
	// On so fine a lattice the discrete law costs what the continuous one does.
	a, err := accounting.Epsilon(d.Event(100), accounting.AddRemove, 1e-5)
	require.NoError(t, err)
	b, err := accounting.Epsilon(r.Event(100), accounting.AddRemove, 1e-5)
	require.NoError(t, err)
	require.InEpsilon(t, b.Upper, a.Upper, 1e-2)
	for _, f := range []func(){func() { d.Event(0) }, func() { l.Event(-1) }, func() { r.Event(0) }} {
		require.Panics(t, f)
	}
}
