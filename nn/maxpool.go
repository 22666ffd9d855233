package nn

import (
	"math"

	"github.com/sotto-ml/sotto/internal/kernel"
)

type maxPool struct{ *pool }

func (p *maxPool) stage() stage {
	row, outRow := p.padW*p.channels, p.outW*p.channels
	s := &maxPoolStage{
		pool:  p.pool,
		frame: newFrame(p.window, float32(math.Inf(-1))),
		sum:   newFrame(p.window, 0),
		tops:  make([]float32, p.outH*row),
		row:   make([]float32, row),
	}
	for i := range s.scratch {
		s.scratch[i] = make([]float32, max(row, outRow))
	}
	return s
}

// maxPoolStage takes maxima down the columns of a window first, then along the
// row that results; backward goes the same way back. All of it runs over
// channels side by side.
type maxPoolStage struct {
	*pool
	frame   frame     // the image within -Inf
	sum     frame     // its derivatives within zeros
	tops    []float32 // of one image: the columns' maxima, a row for each output row
	row     []float32 // derivatives by one row of them
	scratch [3][]float32
	x, y    []float32
	dx      []float32
}

func (s *maxPoolStage) absorbs() bool { return true }

// columns sets s.tops for a padded image.
func (s *maxPoolStage) columns(image []float32) {
	row := len(s.row)
	if s.stride == 1 { // all rows at once
		n := s.outH * row
		copy(s.tops, image[:n])
		for ky := 1; ky < s.kernel; ky++ {
			kernel.Max(s.tops, s.tops, image[ky*row:ky*row+n])
		}
		return
	}
	for oy := range s.outH {
		top := s.tops[oy*row : (oy+1)*row]
		at := oy * s.stride * row
		copy(top, image[at:])
		for range s.kernel - 1 {
			at += row
			kernel.Max(top, top, image[at:at+row])
		}
	}
}

func (s *maxPoolStage) forward(b *batch, x []float32) []float32 {
	in, out, row, outRow := s.inSize(), s.out.Size(), len(s.row), s.outW*s.channels
	s.x, s.y = x, grow(s.y, b.n*out)
	for i := range b.n {
		s.columns(s.frame.surround(x[i*in : (i+1)*in]))
		for oy := range s.outH {
			top, y := s.tops[oy*row:(oy+1)*row], s.y[i*out+oy*outRow:i*out+(oy+1)*outRow]
			if s.stride == 1 {
				copy(y, top)
				for kx := 1; kx < s.kernel; kx++ {
					kernel.Max(y, y, top[kx*s.channels:kx*s.channels+outRow])
				}
				continue
			}
			for ox := range s.outW {
				c := s.channels
				to, at := y[ox*c:(ox+1)*c], ox*s.stride*c
				copy(to, top[at:])
				for range s.kernel - 1 {
					at += c
					kernel.Max(to, to, top[at:at+c])
				}
			}
		}
	}
	return s.y
}

func (s *maxPoolStage) backward(b *batch, dy []float32, need bool) []float32 {
	in, out, row, outRow := s.inSize(), s.out.Size(), len(s.row), s.outW*s.channels
	s.dx = grow(s.dx, b.n*in)
	for i := range b.n {
		image := s.frame.surround(s.x[i*in : (i+1)*in])
		s.columns(image)
		dx := s.dx[i*in : (i+1)*in]
		sum := s.sum.sums(dx)
		clear(sum)
		for oy := range s.outH {
			top := s.tops[oy*row : (oy+1)*row]
			at := i*out + oy*outRow
			y, d := s.y[at:at+outRow], dy[at:at+outRow]
			clear(s.row)
			if s.stride == 1 {
				s.share(s.row, s.channels, d, y, top, s.channels)
			} else {
				for ox := range s.outW {
					c, from := s.channels, ox*s.stride*s.channels
					s.share(s.row[from:], c, d[ox*c:(ox+1)*c], y[ox*c:(ox+1)*c], top[from:], c)
				}
			}
			from := oy * s.stride * row
			s.share(sum[from:], row, s.row, top, image[from:], row)
		}
		s.sum.finish(dx)
	}
	return s.dx
}

// share adds each element of d to that of the kernel's windows of x which is
// the maximum y, the first if several are: window k starts at x[k*step] and
// adds to to[k*step]. d may be overwritten.
func (s *maxPoolStage) share(to []float32, toStep int, d, y, x []float32, step int) {
	n := len(d)
	below, next, rest := s.scratch[0][:n], s.scratch[1][:n], s.scratch[2][:n]
	left := d
	for k := range s.kernel - 1 {
		kernel.Scale(below, -1, x[k*step:k*step+n])
		kernel.Add(below, y)
		kernel.ReLUGrad(next, left, below) // what is not for window k
		kernel.Axpy(left, -1, next)
		kernel.Add(to[k*toStep:k*toStep+n], left)
		left = next
		next, rest = rest, next
	}
	k := s.kernel - 1
	kernel.Add(to[k*toStep:k*toStep+n], left)
}
