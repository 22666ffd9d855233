package nn

import (
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// method is how a positionSum finds the norms of examples' gradients. The
// fastest that the memory allows is chosen once, from the model's sizes alone.
type method uint8

const (
	// kept: every example's gradient is made, in the time that the plain
	// gradient takes, and kept; the weighted sum then reads it back.
	kept method = iota + 1
	// direct: the gradient is made for its norm and thrown away.
	direct
	// ghost: the norm comes from the positions' inner products, |G|² =
	// Σ_pq (d_p·d_q)(x_p·x_q), in positions²·(in+out) steps (Li, Tramèr,
	// Liang and Hashimoto 2022, "Large language models can be strong
	// differentially private learners", section 4; the choice by cost is
	// Bu, Mao and Xu 2022, "Scalable and efficient training of large
	// convolutional neural networks with differential privacy").
	ghost
)

// forced, if not 0, is used instead of the choice: for tests.
var forced method

// keepFactor bounds the kept gradient of an example by the layer's input and
// output, which are kept anyway.
const keepFactor = 3

// positionSum is the gradient of weights that act at several positions of an
// example: with the signal d_p (out wide) and the input x_p (in wide for each
// group) at position p,
//
//	G = Σ_p d_p ⊗ x_p, group by group, and Σ_p d_p for the bias.
//
// It lies in memory as [out][in] and then the bias.
//
// # Rounding
//
// What weightedSum adds is not w·G but what float32 makes of it. Let u = 2^-24,
// gamma_k = k·u/(1-k·u), L the positions, x'_p = (x_p, 1) and S = Σ_p |d_p||x'_p|,
// which cancellation can leave far above |G|. By the usual analysis of a chain
// of L multiply-adds (Higham 2002, section 3.1), whose terms carry the rounding
// of w·d_p too, what is added differs from w·G by at most gamma_{L+1}·w·S in
// l2 norm. So the norms reported are
//
//	kept:   |M|, M the gradient as made; w·M is rounded once.
//	direct: |M| + (gamma_L + gamma_{L+1})·S, since |M - G| <= gamma_L·S; S is
//	        bounded by √(Σ|d_p|² Σ|x'_p|²).
//	ghost:  √(N² + e) + gamma_{L+1}·S, N² the computed double sum. Inner
//	        products of length k come with gamma_k of |d_p||d_q| or |x_p||x_q|
//	        and k·2^-149 for what underflows, so |N² - |G|²| <= e =
//	        (gamma_out + gamma_in + 2^-17)·S² + 2^-148·(out·(Σ|x'_p|)² +
//	        in·(Σ|d_p|)² + L²), the 2^-17 and L² for kernel.Dot.
//
// Where nothing cancels, S is about |G| and all this is below 2^-14; where
// much does, the norm is too large by what cannot be known of it. The ghost's
// √e grows fastest: an example where e is a good part of N² is given the lesser
// of it and direct.
type positionSum struct {
	positions int // L
	in, out   int // of a group; of all groups
	groups    int
	bias      bool
	method    method
	block     int // examples per unfold

	gradients []float32    // kept: rows that spare has no room for; else one
	spare     [2][]float32 // memory that no one else needs until the next forward
	run       []float32
	scaled    []float32
	ones      []float32
	gramD     []float32
	gramX     []float32
	ends      []int
}

// unfolder gives the inputs of count examples from first on: the group's count·L
// rows of in, until its next call.
type unfolder interface {
	unfold(group, first, count int) []float32
}

// newPositionSum chooses the method and the block; activations is the size of
// an example's input and output.
func newPositionSum(positions, in, out, groups int, bias bool, activations int) *positionSum {
	p := &positionSum{positions: positions, in: in, out: out, groups: groups, bias: bias}
	// About 64 KiB of unfolded input at a time.
	p.block = max(1, (1<<14)/(positions*in))
	each := out / groups
	switch {
	case p.params() <= keepFactor*activations:
		p.method = kept
	case positions*(in+each) < in*each:
		p.method = ghost
	default:
		p.method = direct
	}
	if forced != 0 {
		p.method = forced
	}
	return p
}

func (p *positionSum) params() int {
	if p.bias {
		return p.out * (p.in + 1)
	}
	return p.out * p.in
}

// gamma bounds the relative error of k float32 roundings.
func gamma(k int) float64 {
	const u = 0x1p-24
	return float64(k) * u / (1 - float64(k)*u)
}

// gammaProduct bounds that of an inner product of length k by kernel.GEMM:
// chains of at most 256 terms, added in order.
func gammaProduct(k int) float64 { return gamma(min(k, 256) + (k+255)/256) }

func (p *positionSum) squares(dy []float32, x unfolder, dst []float64) {
	n, size := len(dst), p.params()
	switch p.method {
	case kept:
		p.gradients = grow(p.gradients, max(0, n-len(p.spare[0])/size-len(p.spare[1])/size)*size)
	case direct:
		p.gradients = grow(p.gradients, size)
	case ghost:
		p.gradients = grow(p.gradients, size) // for those that cancel
		p.gramD, p.gramX = grow(p.gramD, p.positions*p.positions), grow(p.gramX, p.positions*p.positions)
	}
	for first := 0; first < n; first += p.block {
		count := min(p.block, n-first)
		some := dst[first : first+count]
		clear(some)
		for g := range p.groups {
			rows := x.unfold(g, first, count)
			for i := range some {
				one := rows[i*p.positions*p.in : (i+1)*p.positions*p.in]
				signal := dy[(first+i)*p.positions*p.out : (first+i+1)*p.positions*p.out]
				switch p.method {
				case kept:
					p.gradient(p.keptRow(first+i), signal, one, g)
				case direct:
					some[i] += p.directSquare(signal, one, g)
				case ghost:
					some[i] += p.ghostSquare(signal, one, g)
				}
			}
		}
	}
	if p.method == kept {
		for i := range dst {
			dst[i] = kernel.SumSquares(p.keptRow(i))
		}
	}
}

// keptRow returns the place of example i's kept gradient.
func (p *positionSum) keptRow(i int) []float32 {
	size := p.params()
	for _, spare := range p.spare {
		room := len(spare) / size
		if i < room {
			return spare[i*size : (i+1)*size]
		}
		i -= room
	}
	return p.gradients[i*size : (i+1)*size]
}

// gradient sets the group's part of the example's gradient to, and the bias'.
func (p *positionSum) gradient(to, signal, x []float32, g int) {
	each := p.out / p.groups
	kernel.GEMM(kernel.TN, each, p.in, p.positions, signal[g*each:], p.out, x, p.in, to[g*each*p.in:], p.in, false)
	if p.bias {
		p.ones = growOnes(p.ones, p.positions)
		kernel.GEMM(kernel.NN, 1, each, p.positions, p.ones, p.positions, signal[g*each:], p.out, to[p.out*p.in+g*each:], p.out, false)
	}
}

func (p *positionSum) directSquare(signal, x []float32, g int) float64 {
	each := p.out / p.groups
	to := p.gradients
	p.gradient(to, signal, x, g)
	square := kernel.SumSquares(to[g*each*p.in : (g+1)*each*p.in])
	x2, d2 := capSquare(kernel.SumSquares(x)), capSquare(kernel.SumSquares(signal))
	if p.bias {
		at := p.out*p.in + g*each
		square += kernel.SumSquares(to[at : at+each])
		x2 += float64(p.positions)
	}
	bound := (gamma(p.positions) + gammaProduct(p.positions) + gamma(1)) * math.Sqrt(d2*x2)
	norm := math.Sqrt(square) + bound
	return norm * norm
}

func (p *positionSum) ghostSquare(signal, x []float32, g int) float64 {
	l, each := p.positions, p.out/p.groups
	whole := signal
	signal = signal[g*each:]
	kernel.GEMM(kernel.NT, l, l, each, signal, p.out, signal, p.out, p.gramD, l, false)
	kernel.GEMM(kernel.NT, l, l, p.in, x, p.in, x, p.in, p.gramX, l, false)
	square, bias := kernel.Dot(p.gramD, p.gramX), 0.0
	if p.bias {
		bias = 1
		p.ones = growOnes(p.ones, l*l)
		square += kernel.Dot(p.gramD, p.ones)
	}
	var s, sd, sx float64
	for i := range l {
		d2 := kernel.SumSquares(signal[i*p.out : i*p.out+each])
		x2 := kernel.SumSquares(x[i*p.in:(i+1)*p.in]) + bias
		s += math.Sqrt(capSquare(d2) * capSquare(x2))
		sd += math.Sqrt(d2)
		sx += math.Sqrt(x2)
	}
	const ofDot, underflow = 0x1p-17, 0x1p-148
	raised := (gammaProduct(each)+gammaProduct(p.in)+ofDot)*s*s +
		underflow*(float64(each)*sx*sx+float64(p.in)*sd*sd+float64(l*l))
	norm := math.Sqrt(max(square, 0)+raised) + gamma(l+1)*s
	if raised > tooMuch*square { // most of it cancels
		return min(norm*norm, p.directSquare(whole, x, g))
	}
	return norm * norm
}

// tooMuch is what part of a squared norm the ghost's rounding may be before
// the example's gradient is made after all.
const tooMuch = 0x1p-8

// largestSquare bounds the squared norms of signals and inputs that are
// multiplied only after a weight is folded in. Below it, with weights up to 2^47,
// the fold cannot overflow, and what it loses to underflow is below 2^-69 of
// an integer.
const largestSquare = 0x1p160

// capSquare returns s, or +Inf above largestSquare.
func capSquare(s float64) float64 {
	if s > largestSquare {
		return math.Inf(1)
	}
	return s
}

func (p *positionSum) weightedSum(dy []float32, x unfolder, sum []int64, w []float32, ends []int) {
	if p.method == kept {
		p.addKept(sum, w, ends)
		return
	}
	each, rows := p.out/p.groups, p.positions*p.out
	p.ones = growOnes(p.ones, p.block*p.positions)
	p.scaled = grow(p.scaled, p.block*rows)
	for len(p.ends) < p.block {
		p.ends = append(p.ends, (len(p.ends)+1)*p.positions)
	}
	for first := 0; first < len(w); {
		if w[first] == 0 {
			first++
			continue
		}
		count := 1
		for count < p.block && first+count < len(w) && w[first+count] != 0 {
			count++
		}
		foldWeights(p.scaled[:count*rows], dy[first*rows:], w[first:first+count], rows)
		for g := range p.groups {
			unfolded := x.unfold(g, first, count)
			kernel.GEMMRuns(each, p.in, p.scaled[g*each:], p.out, unfolded, p.in, p.ends[:count], sum[g*each*p.in:], p.in)
		}
		if p.bias {
			kernel.GEMMRuns(1, p.out, p.ones, 1, p.scaled, p.out, p.ends[:count], sum[p.out*p.in:], p.out)
		}
		first += count
	}
}

// addKept adds the kept gradients, run by run.
func (p *positionSum) addKept(sum []int64, w []float32, ends []int) {
	p.run = grow(p.run, len(sum))
	start := 0
	for _, end := range ends {
		begun := false
		for i := start; i < end; i++ {
			begun = addWeighted(p.run, w[i], p.keptRow(i), begun)
		}
		if begun {
			kernel.RoundAdd(sum, p.run)
		}
		start = end
	}
}

// addWeighted adds w·gradient to run, or sets run to it unless begun. A weight
// of 0 leaves the gradient unread. It reports whether run is now begun.
func addWeighted(run []float32, w float32, gradient []float32, begun bool) bool {
	switch {
	case w == 0:
		return begun
	case begun:
		kernel.Axpy(run, w, gradient)
	default:
		kernel.Scale(run, w, gradient)
	}
	return true
}

func (p *positionSum) mean(n int, dy []float32, x unfolder, dst []float32) {
	each := p.out / p.groups
	for first := 0; first < n; first += p.block {
		count := min(p.block, n-first)
		k := count * p.positions
		signal := dy[first*p.positions*p.out:]
		for g := range p.groups {
			rows := x.unfold(g, first, count)
			kernel.GEMM(kernel.TN, each, p.in, k, signal[g*each:], p.out, rows, p.in, dst[g*each*p.in:], p.in, first > 0)
		}
		if p.bias {
			p.ones = growOnes(p.ones, k)
			kernel.GEMM(kernel.NN, 1, p.out, k, p.ones, k, signal, p.out, dst[p.out*p.in:], p.out, first > 0)
		}
	}
	kernel.Scale(dst, 1/float32(n), dst)
}
