package whitening

import (
	"errors"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"

	"github.com/sotto-ml/sotto/internal/kernel"
)

const (
	rounds = 4  // of the subspace iteration
	spare  = 20 // directions beyond those asked for
)

// principal writes to axes, features×o.Components, the leading eigenvectors of
// the covariance of x, n rows of mean zero, each divided by
// sqrt(eigenvalue + ridge), largest eigenvalue first.
func principal(axes, x []float32, n, features int, o Options) error {
	wide := min(o.Components+spare, features)
	basis := make([]float32, features*wide)
	r := rand.New(rand.NewPCG(o.Seed, 0x77686974656e))
	for i := range basis {
		basis[i] = float32(r.NormFloat64())
	}
	y := make([]float32, n*wide)
	project := func() {
		each(n, func(at, end int) {
			kernel.GEMM(kernel.NN, end-at, wide, features, x[at*features:], features, basis, wide, y[at*wide:], wide, false)
		})
	}
	if err := orthonormalise(basis, features, wide); err != nil {
		return err
	}
	for range rounds {
		project()
		each(features, func(at, end int) {
			kernel.GEMM(kernel.TN, end-at, wide, n, x[at:], features, y, wide, basis[at*wide:], wide, false)
		})
		if err := orthonormalise(basis, features, wide); err != nil {
			return err
		}
	}
	project()
	var eigen mat.EigenSym
	if !eigen.Factorize(gram(y, n, wide), true) {
		return errors.New("whitening: the eigenvalues of the samples' covariance do not settle")
	}
	values := eigen.Values(nil) // ascending
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	turn := make([]float32, wide*o.Components)
	for c := range o.Components {
		e := wide - 1 - c
		scale := 1 / math.Sqrt(max(0, values[e])/float64(n)+o.Ridge)
		for j := range wide {
			turn[j*o.Components+c] = float32(vectors.At(j, e) * scale)
		}
	}
	each(features, func(at, end int) {
		kernel.GEMM(kernel.NN, end-at, o.Components, wide, basis[at*wide:], wide, turn, o.Components, axes[at*o.Components:], o.Components, false)
	})
	return nil
}

// gram returns yᵀy, k×k, of n rows, summed over chunks in float64.
func gram(y []float32, n, k int) *mat.SymDense {
	parts := make([][]float32, (n+chunk-1)/chunk)
	each(n, func(at, end int) {
		p := make([]float32, k*k)
		kernel.GEMM(kernel.TN, k, k, end-at, y[at*k:], k, y[at*k:], k, p, k, false)
		parts[at/chunk] = p
	})
	sum := make([]float64, k*k)
	for _, p := range parts {
		for i, v := range p {
			sum[i] += float64(v)
		}
	}
	return mat.NewSymDense(k, sum)
}

// orthonormalise makes the k columns of q, n rows, orthonormal by shifted
// Cholesky QR (Fukaya et al. 2020): the shift of the first passes keeps the
// factorisation alive where columns are all but dependent, later ones remove
// what it left.
func orthonormalise(q []float32, n, k int) error {
	out := make([]float32, len(q))
	for pass := range 5 {
		g := gram(q, n, k)
		var top float64
		for i := range k {
			top = max(top, g.At(i, i))
		}
		if pass < 3 {
			// Above the rounding of a float32 Gram matrix, n·k·2^-24 at worst
			// and near sqrt(n)·2^-24 in truth.
			for i := range k {
				g.SetSym(i, i, g.At(i, i)+1e-5*top)
			}
		}
		var factor mat.Cholesky
		if !factor.Factorize(g) {
			return errors.New("whitening: the samples span too few directions for Options.Components")
		}
		var upper, inverse mat.TriDense
		factor.UTo(&upper)
		if err := inverse.InverseTri(&upper); err != nil {
			return errors.New("whitening: the samples span too few directions for Options.Components")
		}
		t := make([]float32, k*k)
		for i := range k {
			for j := i; j < k; j++ {
				t[i*k+j] = float32(inverse.At(i, j))
			}
		}
		each(n, func(at, end int) {
			kernel.GEMM(kernel.NN, end-at, k, k, q[at*k:], k, t, k, out[at*k:], k, false)
		})
		copy(q, out)
	}
	return nil
}
