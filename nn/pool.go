package nn

import (
	"errors"
	"fmt"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// AvgPool is the mean of every Kernel×Kernel window of each channel, the zeros
// of the padding counted, as PyTorch's default.
type AvgPool struct {
	Kernel  int
	Stride  int `json:",omitempty"` // 0 stands for Kernel
	Padding int `json:",omitempty"` // at most Kernel/2
}

// MaxPool is the maximum of every Kernel×Kernel window of each channel. The
// signal goes to one maximum: of equal ones, the first from the left and there
// the uppermost.
type MaxPool struct {
	Kernel  int
	Stride  int `json:",omitempty"` // 0 stands for Kernel
	Padding int `json:",omitempty"` // at most Kernel/2; never the maximum
}

// GlobalAvgPool is the mean of each channel: an image becomes a vector of its
// channels.
type GlobalAvgPool struct{}

// newPool checks what the pools share.
func newPool(in Shape, kernel, stride, padding int) (*pool, error) {
	if !in.isImage() {
		return nil, errors.New("wants an image")
	}
	if stride < 0 {
		return nil, fmt.Errorf("has Stride %d, want at least 0 (which stands for Kernel)", stride)
	}
	if stride == 0 {
		stride = max(kernel, 1)
	}
	w, err := newWindow(in, kernel, stride, padding, 1)
	if err != nil {
		return nil, err
	}
	if padding > kernel/2 {
		return nil, fmt.Errorf("has Padding %d, want at most half of Kernel %d", padding, kernel)
	}
	return &pool{window: w, out: Shape{in[0], w.outH, w.outW}}, nil
}

type pool struct {
	window
	out Shape
}

func (p *pool) shape() Shape       { return p.out }
func (p *pool) tensors() []*tensor { return nil }

func (a AvgPool) build(in Shape) (node, error) {
	p, err := newPool(in, a.Kernel, a.Stride, a.Padding)
	if err != nil {
		return nil, err
	}
	return &avgPool{p}, nil
}

type avgPool struct{ *pool }

func (p *avgPool) stage() stage {
	return &avgPoolStage{pool: p.pool, frame: newFrame(p.window, 0), sum: newFrame(p.window, 0), row: make([]float32, p.padW*p.channels)}
}

type avgPoolStage struct {
	*pool
	frame frame     // the image within zeros
	sum   frame     // its derivatives
	row   []float32 // one row of the padded image
	y, dx []float32
}

func (s *avgPoolStage) forgetsOutput() {}
func (s *avgPoolStage) absorbs() bool  { return true }

func (s *avgPoolStage) forward(b *batch, x []float32) []float32 {
	in, out := s.inSize(), s.out.Size()
	s.y = grow(s.y, b.n*out)
	outRow := s.outW * s.channels
	scale := 1 / float32(s.kernel*s.kernel)
	for i := range b.n {
		image := s.frame.surround(x[i*in : (i+1)*in])
		y := s.y[i*out : (i+1)*out]
		for oy := range s.outH {
			at := oy * s.stride * len(s.row)
			copy(s.row, image[at:])
			for range s.kernel - 1 {
				at += len(s.row)
				kernel.Add(s.row, image[at:at+len(s.row)])
			}
			to := y[oy*outRow : (oy+1)*outRow]
			clear(to)
			for kx := range s.kernel {
				s.eachTap(kx, func(o, r, n int) { kernel.Add(to[o:o+n], s.row[r:r+n]) })
			}
			kernel.Scale(to, scale, to)
		}
	}
	return s.y
}

func (s *avgPoolStage) backward(b *batch, dy []float32, need bool) []float32 {
	in, out := s.inSize(), s.out.Size()
	s.dx = grow(s.dx, b.n*in)
	outRow := s.outW * s.channels
	scale := 1 / float32(s.kernel*s.kernel)
	kernel.Scale(dy, scale, dy)
	for i := range b.n {
		dx := s.dx[i*in : (i+1)*in]
		sum := s.sum.sums(dx)
		clear(sum)
		for oy := range s.outH {
			from := dy[i*out+oy*outRow : i*out+(oy+1)*outRow]
			clear(s.row)
			for kx := range s.kernel {
				s.eachTap(kx, func(o, r, n int) { kernel.Add(s.row[r:r+n], from[o:o+n]) })
			}
			for ky := range s.kernel {
				at := (oy*s.stride + ky) * len(s.row)
				kernel.Add(sum[at:at+len(s.row)], s.row)
			}
		}
		s.sum.finish(dx)
	}
	return s.dx
}

// eachTap calls f for the stretches of an output row, n elements from o on,
// whose kx-th input lies side by side in a row of the padded image, from r on.
func (p *pool) eachTap(kx int, f func(o, r, n int)) {
	c := p.channels
	if p.stride == 1 {
		f(0, kx*c, p.outW*c)
		return
	}
	for ox := range p.outW {
		f(ox*c, (ox*p.stride+kx)*c, c)
	}
}

func (m MaxPool) build(in Shape) (node, error) {
	p, err := newPool(in, m.Kernel, m.Stride, m.Padding)
	if err != nil {
		return nil, err
	}
	return &maxPool{p}, nil
}

func (GlobalAvgPool) build(in Shape) (node, error) {
	if !in.isImage() {
		return nil, errors.New("wants an image")
	}
	return &globalAvgPool{in: in}, nil
}

type globalAvgPool struct{ in Shape }

func (g *globalAvgPool) shape() Shape       { return Shape{g.in[0]} }
func (g *globalAvgPool) tensors() []*tensor { return nil }
func (g *globalAvgPool) stage() stage       { return &globalAvgPoolStage{globalAvgPool: g} }

type globalAvgPoolStage struct {
	*globalAvgPool
	y, dx []float32
}

func (s *globalAvgPoolStage) forgetsOutput() {}
func (s *globalAvgPoolStage) absorbs() bool  { return true }

func (s *globalAvgPoolStage) forward(b *batch, x []float32) []float32 {
	c, size := s.in[0], s.in.Size()
	s.y = grow(s.y, b.n*c)
	clear(s.y)
	for i := range b.n {
		y := s.y[i*c : (i+1)*c]
		for at := i * size; at < (i+1)*size; at += c {
			kernel.Add(y, x[at:at+c])
		}
	}
	kernel.Scale(s.y, float32(c)/float32(size), s.y)
	return s.y
}

func (s *globalAvgPoolStage) backward(b *batch, dy []float32, need bool) []float32 {
	c, size := s.in[0], s.in.Size()
	s.dx = grow(s.dx, b.n*size)
	kernel.Scale(dy, float32(c)/float32(size), dy)
	for i := range b.n {
		fillRows(s.dx[i*size:(i+1)*size], dy[i*c:(i+1)*c])
	}
	return s.dx
}
