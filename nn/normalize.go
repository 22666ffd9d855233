package nn

import "math"

// normalizer is what GroupNorm and LayerNorm share. An example is instances ×
// positions × channels; each instance's channels are cut in groups, and every
// group is normalised by its own mean and variance over positions and the
// group's channels:
//
//	h = (x - mean)·r,  r = 1/√(variance + eps),  y = gamma·h + beta
//
// with the biased variance, as in PyTorch. Nothing is shared between examples.
// Sums run in float64 in an order that depends on the sizes alone.
type normalizer struct {
	instances, positions, channels, groups int
	eps                                    float64
}

func (n normalizer) size() int { return n.instances * n.positions * n.channels }

// stats is the length of an example's saved statistics: mean and r of every
// group of every instance.
func (n normalizer) stats() int { return 2 * n.instances * n.groups }

// normScratch is room for one normalizer's row work; one per goroutine.
type normScratch struct {
	a, b    []float64 // sums per channel
	x, y, z []float32 // factors per channel
}

func (n normalizer) scratch() *normScratch {
	c := n.channels
	f, g := make([]float64, 2*c), make([]float32, 3*c)
	return &normScratch{a: f[:c], b: f[c:], x: g[:c], y: g[c : 2*c], z: g[2*c:]}
}

// forward writes the normalised example x to y (which may be x) and its
// statistics to stats. A nil gamma stands for ones, a nil beta for zeros.
func (n normalizer) forward(y, x, gamma, beta, stats []float32, s *normScratch) {
	c, per := n.channels, n.channels/n.groups
	count := float64(n.positions * per)
	one := n.positions * c
	for i := range n.instances {
		x, y := x[i*one:(i+1)*one], y[i*one:(i+1)*one]
		stats := stats[2*n.groups*i : 2*n.groups*(i+1)]
		sum, mean, scale := s.a, s.x[:c], s.y[:c]
		clear(sum)
		for at := 0; at < one; at += c {
			row := x[at : at+c : at+c]
			for j, v := range row {
				sum[j] += float64(v)
			}
		}
		for g := range n.groups {
			var t float64
			for _, v := range sum[g*per : (g+1)*per] {
				t += v
			}
			m := float32(t / count)
			stats[2*g] = m
			for j := g * per; j < (g+1)*per; j++ {
				mean[j] = m
			}
		}
		clear(sum)
		for at := 0; at < one; at += c {
			row := x[at : at+c : at+c]
			for j, v := range row {
				d := float64(v - mean[j])
				sum[j] += d * d
			}
		}
		for g := range n.groups {
			var t float64
			for _, v := range sum[g*per : (g+1)*per] {
				t += v
			}
			r := float32(1 / math.Sqrt(t/count+n.eps))
			stats[2*g+1] = r
			for j := g * per; j < (g+1)*per; j++ {
				scale[j] = r
				if gamma != nil {
					scale[j] *= gamma[j]
				}
			}
		}
		if beta == nil {
			beta = s.z[:c]
			clear(beta)
		}
		beta := beta[:c]
		for at := 0; at < one; at += c {
			row, out := x[at:at+c:at+c], y[at:at+c:at+c]
			for j, v := range row {
				out[j] = (v-mean[j])*scale[j] + beta[j]
			}
		}
	}
}

// backward writes the gradient with respect to the example x to dx (which may
// be dy; nil: not wanted), and adds those with respect to gamma and beta to
// dgamma and dbeta (both nil: not wanted).
func (n normalizer) backward(dx, dgamma, dbeta, dy, x, gamma, stats []float32, s *normScratch) {
	c, per := n.channels, n.channels/n.groups
	count := float64(n.positions * per)
	one := n.positions * c
	for i := range n.instances {
		x, dy := x[i*one:(i+1)*one], dy[i*one:(i+1)*one]
		stats := stats[2*n.groups*i : 2*n.groups*(i+1)]
		mean, rstd := s.x[:c], s.y[:c]
		for g := range n.groups {
			for j := g * per; j < (g+1)*per; j++ {
				mean[j], rstd[j] = stats[2*g], stats[2*g+1]
			}
		}
		// Per channel: Σ dy and Σ dy·h. They are the gradients of beta and
		// gamma, and weighted by gamma what the group's statistics receive.
		plain, along := s.a[:c], s.b[:c]
		clear(plain)
		clear(along)
		for at := 0; at < one; at += c {
			row, up := x[at:at+c:at+c], dy[at:at+c:at+c]
			for j, v := range row {
				h := (v - mean[j]) * rstd[j]
				plain[j] += float64(up[j])
				along[j] += float64(up[j]) * float64(h)
			}
		}
		if dgamma != nil {
			for j := range c {
				dgamma[j] += float32(along[j])
				dbeta[j] += float32(plain[j])
			}
		}
		if dx == nil {
			continue
		}
		dx := dx[i*one : (i+1)*one]
		shift, slope := s.z[:c], s.a[:c]
		for g := range n.groups {
			var t, u float64
			for j := g * per; j < (g+1)*per; j++ {
				w := 1.0
				if gamma != nil {
					w = float64(gamma[j])
				}
				t += w * plain[j]
				u += w * along[j]
			}
			for j := g * per; j < (g+1)*per; j++ {
				shift[j], slope[j] = float32(t/count), u/count
			}
		}
		for at := 0; at < one; at += c {
			row, up, down := x[at:at+c:at+c], dy[at:at+c:at+c], dx[at:at+c:at+c]
			for j, v := range row {
				u := up[j]
				if gamma != nil {
					u *= gamma[j]
				}
				h := (v - mean[j]) * rstd[j]
				down[j] = rstd[j] * (u - shift[j] - h*float32(slope[j]))
			}
		}
	}
}
