package aggregate

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/lapack"
	"gonum.org/v1/gonum/lapack/lapack64"
)

// gram is the inner products of points less their mean by weights, which sum to 1, of
// the points' squared distances.
func gram(d2 []float64, weights []float64) []float64 {
	n := len(weights)
	toMean := make([]float64, n) // squared distances to the mean, but for a constant
	constant := 0.0
	for i := range n {
		for j, w := range weights {
			if w != 0 {
				toMean[i] += w * d2[i*n+j]
			}
		}
		constant += weights[i] * toMean[i]
	}
	g := make([]float64, n*n)
	for i := range n {
		for j := range n {
			g[i*n+j] = (toMean[i] + toMean[j] - constant - d2[i*n+j]) / 2
		}
	}
	return g
}

// top is the largest eigenvalue of a symmetric positive semidefinite n×n matrix and
// its eigenvector, by Lanczos' method with full reorthogonalisation: exact to rounding
// for n up to 150, and above to 1e-12 of the eigenvalue or 150 steps.
func top(m []float64, n int) (value float64, vector []float64) {
	const most = 150
	matrix := blas64.Symmetric{N: n, Stride: n, Data: m, Uplo: 'U'}
	rng := rand.New(rand.NewPCG(uint64(n), 0x746f70))
	q := make([]float64, n)
	for i := range q {
		q[i] = rng.NormFloat64()
	}
	floats.Scale(1/floats.Norm(q, 2), q)
	var basis [][]float64
	var diagonal, beside []float64
	for len(basis) < min(n, most) {
		basis = append(basis, q)
		w := make([]float64, n)
		blas64.Symv(1, matrix, blas64.Vector{N: n, Inc: 1, Data: q}, 0, blas64.Vector{N: n, Inc: 1, Data: w})
		diagonal = append(diagonal, floats.Dot(q, w))
		size := floats.Norm(w, 2)
		for range 2 {
			for _, b := range basis {
				floats.AddScaled(w, -floats.Dot(b, w), b)
			}
		}
		rest := floats.Norm(w, 2)
		k := len(basis)
		spent := rest <= 1e-14*size || k == min(n, most) // nothing is left to find
		if spent || k >= 20 && k%5 == 0 {
			value, vector = topOfTridiagonal(diagonal, beside)
			if spent || rest*math.Abs(vector[k-1]) <= 1e-13*value {
				break
			}
		}
		beside = append(beside, rest)
		floats.Scale(1/rest, w)
		q = w
	}
	out := make([]float64, n)
	for k, x := range vector {
		floats.AddScaled(out, x, basis[k])
	}
	if size := floats.Norm(out, 2); size > 0 {
		floats.Scale(1/size, out)
	}
	return max(value, 0), out
}

// topOfTridiagonal is the largest eigenvalue and its eigenvector.
func topOfTridiagonal(diagonal, beside []float64) (float64, []float64) {
	k := len(diagonal)
	a := blas64.Symmetric{N: k, Stride: k, Data: make([]float64, k*k), Uplo: 'U'}
	for i, x := range diagonal {
		a.Data[i*k+i] = x
		if i+1 < k {
			a.Data[i*k+i+1] = beside[i]
		}
	}
	w := make([]float64, k)
	work := make([]float64, 1)
	lapack64.Syev(lapack.EVCompute, a, w, work, -1)
	work = make([]float64, int(work[0]))
	lapack64.Syev(lapack.EVCompute, a, w, work, len(work))
	vector := make([]float64, k)
	for i := range vector {
		vector[i] = a.Data[i*k+k-1]
	}
	return w[k-1], vector
}

// form is xᵀDy for a symmetric matrix.
func form(d2, x, y []float64) float64 {
	n, sum := len(x), 0.0
	for i, a := range x {
		if a != 0 {
			for j, b := range y {
				if b != 0 {
					sum += a * b * d2[i*n+j]
				}
			}
		}
	}
	return sum
}
