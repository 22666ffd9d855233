package whitening

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/nn"
)

// samples draws rows of mean 3, with variances that fall by a quarter from one
// direction to the next, along turned axes.
func samples(n, features int, seed uint64) [][]float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	turn := mat.NewDense(features, features, nil)
	for i := range features {
		for j := range features {
			turn.Set(i, j, r.NormFloat64())
		}
	}
	var qr mat.QR
	qr.Factorize(turn)
	qr.QTo(turn)
	rows := make([][]float32, n)
	z := make([]float64, features)
	for i := range rows {
		scale := 10.0
		for j := range z {
			z[j] = scale * r.NormFloat64()
			scale *= math.Sqrt(0.75)
		}
		rows[i] = make([]float32, features)
		for j := range rows[i] {
			rows[i][j] = float32(3 + mat.Dot(turn.RowView(j), mat.NewVecDense(features, z)))
		}
	}
	return rows
}

func TestCoordinatesAreThoseOfTheEigenvectors(t *testing.T) {
	const n, features, components, ridge = 1500, 40, 12, 0.5
	rows := samples(n, features, 1)
	w, err := New(rows, Options{Components: components, Ridge: ridge, Seed: 7})
	require.NoError(t, err)
	require.Equal(t, features, w.Features())
	require.Equal(t, components, w.Components())

	// The oracle: gonum's covariance and its eigenvectors in float64.
	x := mat.NewDense(n, features, nil)
	for i, row := range rows {
		for j, v := range row {
			x.Set(i, j, float64(v))
		}
	}
	var cov mat.SymDense
	stat.CovarianceMatrix(&cov, x, nil)
	cov.ScaleSym(float64(n-1)/n, &cov)
	var eigen mat.EigenSym
	require.True(t, eigen.Factorize(&cov, true))
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	values := eigen.Values(nil)
	mean := make([]float64, features)
	for j := range mean {
		mean[j] = stat.Mean(mat.Col(nil, j, x), nil)
	}
	got := w.Apply(nil, rows)
	for c := range components {
		e := features - 1 - c
		sign := 0.0
		for i := range rows {
			want := 0.0
			for j := range features {
				want += vectors.At(j, e) * (float64(rows[i][j]) - mean[j])
			}
			want /= math.Sqrt(values[e] + ridge)
			if sign == 0 {
				sign = math.Copysign(1, want*float64(got[i][c]))
			}
			require.InDelta(t, sign*want, got[i][c], 2e-3, "row %d, component %d", i, c)
		}
	}
}

func TestFoldedModelIsTheSame(t *testing.T) {
	rows := samples(300, 30, 2)
	w, err := New(rows, Options{Components: 8, Ridge: 1})
	require.NoError(t, err)
	small, err := nn.New(nn.Shape{8}, nn.Linear{Out: 5})
	require.NoError(t, err)
	small.Init(nn.XavierUniform, 3)
	for i := range small.Params()[40:] {
		small.Params()[40+i] = float32(i)
	}
	large, err := nn.New(nn.Shape{30}, nn.Linear{Out: 5})
	require.NoError(t, err)
	dirty := large.Params()
	for i := range dirty {
		dirty[i] = float32(math.NaN())
	}
	w.Fold(dirty, small.Params(), 5)
	want, got := nn.Predict(small, w.Apply(nil, rows)), nn.Predict(large, rows)
	for i := range want {
		require.InDeltaSlice(t, want[i], got[i], 1e-4)
	}
	require.Equal(t, dirty, w.Fold(nil, small.Params(), 5))
}

func TestCoresDoNotMatter(t *testing.T) {
	rows := samples(700, 60, 3)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one, err := New(rows, Options{Components: 10, Ridge: 1})
	require.NoError(t, err)
	y := one.Apply(nil, rows)
	runtime.GOMAXPROCS(5)
	five, err := New(rows, Options{Components: 10, Ridge: 1})
	require.NoError(t, err)
	require.Equal(t, one, five)
	require.Equal(t, y, five.Apply(nil, rows))
	// A row's result is its own.
	require.Equal(t, y[400:403], five.Apply(nil, rows[400:403]))
}

func TestLevelsAgree(t *testing.T) {
	rows := samples(500, 40, 4)
	for _, level := range kernel.Levels() {
		restore := kernel.Use(level)
		w, err := New(rows, Options{Components: 5, Ridge: 1})
		require.NoError(t, err)
		var variance float64
		for _, y := range w.Apply(nil, rows) {
			variance += float64(y[0]) * float64(y[0]) / 500
		}
		require.InDelta(t, 0.99, variance, 0.03, level.String())
		restore()
	}
}

// Samples that lie in few directions still give a map: the others' coordinates
// are next to nothing.
func TestFewDirections(t *testing.T) {
	rows := samples(200, 50, 5)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range rows {
		a, b := float32(r.NormFloat64()), float32(r.NormFloat64())
		for j := range rows[i] {
			rows[i][j] = a*float32(j) + b
		}
	}
	w, err := New(rows, Options{Components: 6, Ridge: 1})
	require.NoError(t, err)
	for _, y := range w.Apply(nil, rows) {
		for _, v := range y[2:] {
			require.InDelta(t, 0, v, 1e-2)
		}
	}
}

func TestRefusals(t *testing.T) {
	rows := samples(30, 10, 6)
	for want, try := range map[string]func() (*Whitening, error){
		"Options.Components is 0, want 1 to 10":  func() (*Whitening, error) { return New(rows, Options{Ridge: 1}) },
		"Options.Components is 11, want 1 to 10": func() (*Whitening, error) { return New(rows, Options{Components: 11, Ridge: 1}) },
		"Options.Components is 5, want 1 to 4":   func() (*Whitening, error) { return New(rows[:5], Options{Components: 5, Ridge: 1}) },
		"Options.Ridge is 0, want positive":      func() (*Whitening, error) { return New(rows, Options{Components: 5}) },
		"Options.Ridge is NaN":                   func() (*Whitening, error) { return New(rows, Options{Components: 5, Ridge: math.NaN()}) },
		"1 samples, want at least 2":             func() (*Whitening, error) { return New(rows[:1], Options{Components: 1, Ridge: 1}) },
		"sample 1 has 9 features, sample 0 has 10": func() (*Whitening, error) {
			return New([][]float32{rows[0], rows[1][:9], rows[2]}, Options{Components: 1, Ridge: 1})
		},
		"sample 2 holds a value that is not finite": func() (*Whitening, error) {
			bad := append([][]float32{}, rows...)
			bad[2] = append([]float32{float32(math.NaN())}, rows[2][1:]...)
			return New(bad, Options{Components: 1, Ridge: 1})
		},
	} {
		_, err := try()
		require.ErrorContains(t, err, want)
	}
	w, err := New(rows, Options{Components: 3, Ridge: 1})
	require.NoError(t, err)
	require.Panics(t, func() { w.Apply(nil, [][]float32{make([]float32, 9)}) })
	require.Panics(t, func() { w.Apply(make([][]float32, 1), rows) })
	require.Panics(t, func() { w.Apply([][]float32{make([]float32, 2)}, rows[:1]) })
	require.Panics(t, func() { w.Fold(nil, make([]float32, 7), 2) })
	require.Panics(t, func() { w.Fold(make([]float32, 3), make([]float32, 8), 2) })
}
