package scattering

import (
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// lanes is the number of images that are transformed side by side: the fastest
// index of every array. No step mixes lanes.
const lanes = 8

// fold multiplies a spectrum with all orientations of a scale and samples the
// product in space, by adding up the frequencies that alias. To halve the
// inverse transform that follows it goes one step further and leaves four
// folded spectra, for even and odd rows and columns of samples.
//
// The four outputs, one after the other, even columns first, then even rows
// first, are each [c][v][u][orientation][lanes] with groups elements before the
// orientation. See spectrum and spectra for the source.
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
// grid of resolution from to that of resolution to. Its source is a half
// spectrum, as spectrum leaves it, or, if split, the spectra of l paths, as
// spectra leaves them; then to is above from. Coefficients carry the
// 1/(rows·columns) of the inverse transform.
func newFold(filters [][]float64, p, q, from, to, l int, split bool) *fold {
	hp, hq := p>>to/2, q>>to/2
	side := 2 << (to - from) // aliases in one dimension
	f := &fold{groups: 2 * hp * hq, terms: side * side / 4, l: l}
	b := builder{fold: f, filters: filters, p: p, q: q, sp: p >> from, sq: q >> from}
	step, parities, add := side, 1, b.whole
	if split {
		step, parities, add = side/2, 4, b.part
	}
	for c := range 2 {
		for v := range hq {
			for u := range hp {
				for i := 0; i < step; i += 2 {
					for k := 0; k < step; k += 2 {
						for parity := range parities {
							for class := range 4 {
								add(u+(k+class%2)*hp, v+(i+class/2)*hq, c, parity)
							}
						}
					}
				}
			}
		}
	}
	return f
}

// A builder appends terms to a fold.
type builder struct {
	*fold
	filters      [][]float64
	p, q, sp, sq int // the full grid and the source's
}

// filter returns the value of orientation t at frequency (u, v) of the source
// grid, which keeps the lowest frequencies of the full one.
func (b *builder) filter(t, u, v int) float64 {
	if u >= b.sp/2 {
		u += b.p - b.sp
	}
	if v >= b.sq/2 {
		v += b.q - b.sq
	}
	return b.filters[t][u*b.q+v] / float64(b.sp*b.sq)
}

// whole appends the term of frequency (u, v) of a half spectrum of real samples,
// [v 0..q/2][c][u][lanes]. Opposite frequencies are conjugate, so the half that
// is not stored is read from the half that is.
func (b *builder) whole(u, v, c, _ int) {
	sign := 1.0
	fu, fv := u, v
	if v > b.sq/2 {
		fu, fv = (b.sp-u)%b.sp, b.sq-v
		if c == 1 {
			sign = -1
		}
	}
	b.offsets = append(b.offsets, int32(((2*fv+c)*b.sp+fu)*lanes))
	for t := range b.l {
		b.coefs = append(b.coefs, float32(sign*b.filter(t, u, v)))
	}
}

// part appends the joint term of the frequencies (u, v), u < p/2, v < q/2, and
// those p/2 and q/2 beyond, all of which alias, of one parity of samples. Its
// spectrum Y repeats after p/2 and q/2, with the sign -1 where the parity is
// odd, and is stored as [v 0..q/4][c][u 0..p/2-1][orientation][lanes]; opposite
// frequencies are conjugate.
func (b *builder) part(u, v, c, parity int) {
	hp, hq := b.sp/2, b.sq/2
	flipU, flipV := 1-2*float64(parity%2), 1-2*float64(parity/2)
	sign := 1.0
	fu, fv := u, v
	if v > hq/2 {
		fv = hq - v
		sign *= flipV
		if u > 0 {
			fu = hp - u
			sign *= flipU
		}
		if c == 1 {
			sign = -sign
		}
	}
	b.offsets = append(b.offsets, int32((((parity*(hq/2+1)+fv)*2+c)*hp+fu)*b.l*lanes))
	for t := range b.l {
		sum := b.filter(t, u, v) + flipU*b.filter(t, u+hp, v) + flipV*b.filter(t, u, v+hq) + flipU*flipV*b.filter(t, u+hp, v+hq)
		b.coefs = append(b.coefs, float32(sign*sum))
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
