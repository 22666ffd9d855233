package scattering

import (
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// lanes is the number of images that are transformed side by side: the fastest
// index of every array. No step mixes lanes.
const lanes = 8

// fold multiplies a half spectrum with all orientations of a scale and samples
// the product in space, by adding up the frequencies that alias. To halve the
// inverse transform that follows it goes one step further and leaves four
// folded spectra, for even and odd rows and columns of samples.
//
// The source is [v 0..q/2][c][u 0..p-1][angles][lanes]. The four outputs, one
// after the other, even columns first, then even rows first, are each
// [c][v][u][orientation][lanes] with groups elements before the orientation.
type fold struct {
	groups  int       // 2·(columns/2)·(rows/2) of the target grid
	terms   int       // aliases of each of the 4 parity classes
	l       int       // orientations
	offsets []int32   // [group][term][class], of the source element, in elements
	coefs   []float32 // [group][term][class][orientation]
}

// newBank returns the Fourier transforms of ψ, [j][t][u·q+v].
func newBank(p, q, j, l int) [][][]float64 {
	bank := make([][][]float64, j)
	for scale := range bank {
		bank[scale] = make([][]float64, l)
		for t := range l {
			w := newMorlet(scale, t, l)
			f := make([]float64, p*q)
			for u := range p {
				for v := range q {
					f[u*q+v] = w.at(2*math.Pi*float64(u)/float64(p), 2*math.Pi*float64(v)/float64(q))
				}
			}
			bank[scale][t] = f
		}
	}
	return bank
}

// newFold returns the fold with filters, given on the full p×q grid, from the
// grid of resolution from, whose spectra hold angles paths side by side, to
// that of resolution to. Coefficients carry the 1/(p·q) of the inverse.
func newFold(filters [][]float64, p, q, from, to, angles, l int) *fold {
	sp, sq := p>>from, q>>from // source grid
	hp, hq := p>>to/2, q>>to/2
	side := 2 << (to - from) // aliases in one dimension
	f := &fold{groups: 2 * hp * hq, terms: side * side / 4, l: l}
	scale := 1 / float64(sp*sq)
	for c := range 2 {
		for v := range hq {
			for u := range hp {
				for a := 0; a < side; a += 2 {
					for b := 0; b < side; b += 2 {
						for class := range 4 {
							f.add(filters, p, q, sp, sq, u+(b+class%2)*hp, v+(a+class/2)*hq, c, angles, scale)
						}
					}
				}
			}
		}
	}
	return f
}

// add appends the term of frequency (u, v) of the source grid. Real samples have
// conjugate values at opposite frequencies, so the half that is not stored is
// read from the half that is.
func (f *fold) add(filters [][]float64, p, q, sp, sq, u, v, c, angles int, scale float64) {
	fu, fv := u, v // the same frequencies on the full grid
	if u >= sp/2 {
		fu += p - sp
	}
	if v >= sq/2 {
		fv += q - sq
	}
	if v > sq/2 {
		u, v = (sp-u)%sp, sq-v
		if c == 1 {
			scale = -scale
		}
	}
	f.offsets = append(f.offsets, int32(((2*v+c)*sp+u)*angles*lanes))
	for t := range f.l {
		f.coefs = append(f.coefs, float32(filters[t][fu*q+fv]*scale))
	}
}

// run folds src, which starts at the path wanted, into dst.
func (f *fold) run(dst, src []float32) {
	plane := f.groups * f.l * lanes
	f.dispatch(dst[:4*plane], src, plane)
}

// foldGeneric is the reference of the fold kernel.
func foldGeneric(f *fold, dst, src []float32, plane int) {
	for g := range f.groups {
		for t := range f.l {
			var sum [4][lanes]float32
			for class := range sum {
				for i := range f.terms {
					at := (g*f.terms+i)*4 + class
					c := f.coefs[at*f.l+t]
					x := src[f.offsets[at]:][:lanes]
					for b := range x {
						sum[class][b] += float32(c * x[b])
					}
				}
			}
			out := (g*f.l + t) * lanes
			for b := range lanes {
				s0, s1 := sum[0][b]+sum[2][b], sum[1][b]+sum[3][b]
				d0, d1 := sum[0][b]-sum[2][b], sum[1][b]-sum[3][b]
				dst[out+b] = s0 + s1
				dst[plane+out+b] = s0 - s1
				dst[2*plane+out+b] = d0 + d1
				dst[3*plane+out+b] = d0 - d1
			}
		}
	}
}

// multiply is a product of a matrix of ours with an array of rows of n elements.
func multiply(c, a, b []float32, m, n, k, lda, ldb int) {
	kernel.GEMM(kernel.NN, m, n, k, a, lda, b, ldb, c, n, false)
}
