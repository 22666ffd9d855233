package nn

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Conv2D is a two-dimensional cross-correlation with square kernels, PyTorch's
// Conv2d: the image is surrounded by Padding zeros on each side, and each of Out
// channels reads the channels of its group. The output is floor((size +
// 2·Padding - Dilation·(Kernel-1) - 1)/Stride) + 1 high and wide.
type Conv2D struct {
	Out      int
	Kernel   int
	Stride   int  `json:",omitempty"` // 0 stands for 1
	Padding  int  `json:",omitempty"`
	Dilation int  `json:",omitempty"` // 0 stands for 1
	Groups   int  `json:",omitempty"` // 0 stands for 1; divides the channels in and out
	NoBias   bool `json:",omitempty"`
}

func (c Conv2D) build(in Shape) (node, error) {
	if !in.isImage() {
		return nil, errors.New("wants an image")
	}
	stride, dilation, groups := max(c.Stride, 1), max(c.Dilation, 1), max(c.Groups, 1)
	switch {
	case c.Out < 1 || c.Out > sizeLimit:
		return nil, fmt.Errorf("has Out %d, want 1 to 2^31", c.Out)
	case c.Stride < 0:
		return nil, fmt.Errorf("has Stride %d, want at least 0 (which stands for 1)", c.Stride)
	case c.Dilation < 0:
		return nil, fmt.Errorf("has Dilation %d, want at least 0 (which stands for 1)", c.Dilation)
	case c.Groups < 0 || in[0]%groups != 0 || c.Out%groups != 0:
		return nil, fmt.Errorf("has Groups %d, want a divisor of the %d channels in and the %d out", c.Groups, in[0], c.Out)
	}
	w, err := newWindow(in, c.Kernel, stride, c.Padding, dilation)
	if err != nil {
		return nil, err
	}
	// A row of unfolded input, and the unfolded example, must stay addressable.
	each := in[0] / groups
	width := mulLimit(c.Kernel, c.Kernel, each)
	if mulLimit(width, w.outH, w.outW) > sizeLimit || mulLimit(width, c.Out) > sizeLimit {
		return nil, fmt.Errorf("has Kernel %d: more than 2^31 products", c.Kernel)
	}
	n := &conv{window: w, out: Shape{c.Out, w.outH, w.outW}, groups: groups}
	n.weight = &tensor{
		name: "weight", shape: []int{c.Out, c.Kernel, c.Kernel, each}, kernel: true,
		fanIn: width, fanOut: mulLimit(c.Kernel, c.Kernel, c.Out/groups),
	}
	n.list = []*tensor{n.weight}
	if !c.NoBias {
		n.bias = &tensor{name: "bias", shape: []int{c.Out}}
		n.list = append(n.list, n.bias)
	}
	return n, nil
}

type conv struct {
	window
	out          Shape
	groups       int
	weight, bias *tensor // bias may be nil
	list         []*tensor
}

func (c *conv) shape() Shape       { return c.out }
func (c *conv) tensors() []*tensor { return c.list }

func (c *conv) stage() stage {
	positions, width := c.outH*c.outW, c.kernel*c.kernel*c.channels/c.groups
	return &convStage{
		conv:  c,
		sum:   newPositionSum(positions, width, c.out[0], c.groups, c.bias != nil, c.inSize()+c.out.Size()),
		frame: newFrame(c.window, 0),
		fold:  newFrame(c.window, 0),
	}
}

type convStage struct {
	*conv
	sum      *positionSum
	frame    frame     // the image within zeros
	fold     frame     // its derivatives
	x, dy    []float32 // of the latest batch, others' memory
	y, dx    []float32
	unfolded []float32
	turned   []float32 // weights, each group's transposed

	spareY, spareDX bool // after backward
}

func (s *convStage) parameters() []*tensor { return s.list }
func (s *convStage) forgetsOutput()        {}
func (s *convStage) reuse(y, dx bool)      { s.spareY, s.spareDX = y, dx }

// unfold copies the windows of examples into rows ("im2col").
func (s *convStage) unfold(group, first, count int) []float32 {
	size, in := s.sum.positions*s.sum.in, s.inSize()
	s.unfolded = grow(s.unfolded, s.sum.block*size)
	for i := range count {
		padded := s.frame.surround(s.x[(first+i)*in : (first+i+1)*in])
		s.unfoldOne(s.unfolded[i*size:(i+1)*size], padded, group)
	}
	return s.unfolded[:count*size]
}

func (s *convStage) forward(b *batch, x []float32) []float32 {
	s.x = x
	out, k, each := s.out[0], s.sum.in, s.out[0]/s.groups
	size := s.sum.positions * out
	s.y = grow(s.y, b.n*size)
	if s.bias != nil {
		fillRows(s.y, s.bias.of(b.params))
	}
	// Transposed once, not once a block.
	weight := s.weight.of(b.params)
	s.turned = grow(s.turned, len(weight))
	for at := 0; at < len(weight); at += each * k {
		transpose(s.turned[at:at+each*k], weight[at:at+each*k], each, k)
	}
	for first := 0; first < b.n; first += s.sum.block {
		count := min(s.sum.block, b.n-first)
		y := s.y[first*size : (first+count)*size]
		for g := range s.groups {
			rows := s.unfold(g, first, count)
			kernel.GEMM(kernel.NN, count*s.sum.positions, each, k, rows, k, s.turned[g*each*k:], each, y[g*each:], out, s.bias != nil)
		}
	}
	return s.y
}

func (s *convStage) backward(b *batch, dy []float32, need bool) []float32 {
	s.dy = dy
	if !need {
		return nil
	}
	in, out, k, each := s.inSize(), s.out[0], s.sum.in, s.out[0]/s.groups
	rows := s.sum.positions
	s.dx = grow(s.dx, b.n*in)
	s.unfolded = grow(s.unfolded, s.sum.block*rows*k)
	weight := s.weight.of(b.params)
	block := s.sum.block
	if s.groups > 1 { // each adds to the same image
		block = 1
	}
	for first := 0; first < b.n; first += block {
		count := min(block, b.n-first)
		for g := range s.groups {
			signal := dy[first*rows*out+g*each:]
			kernel.GEMM(kernel.NN, count*rows, k, each, signal, out, weight[g*each*k:], k, s.unfolded, k, false)
			for i := range count {
				dx := s.dx[(first+i)*in : (first+i+1)*in]
				to := s.fold.sums(dx)
				if g == 0 {
					clear(to)
				}
				s.foldOne(to, s.unfolded[i*rows*k:(i+1)*rows*k], g)
				if g == s.groups-1 {
					s.fold.finish(dx)
				}
			}
		}
	}
	return s.dx
}

func (s *convStage) squares(b *batch, dst []float64) {
	s.sum.spare = [2][]float32{}
	if s.spareY {
		s.sum.spare[0] = s.y
	}
	if s.spareDX {
		s.sum.spare[1] = s.dx
	}
	s.sum.squares(s.dy, s, dst)
}

func (s *convStage) weightedSum(b *batch, sum []int64, w []float32, ends []int) {
	s.sum.weightedSum(s.dy, s, sum, w, ends)
}

func (s *convStage) mean(b *batch, dst []float32) { s.sum.mean(b.n, s.dy, s, dst) }

// unfoldOne copies the windows of a padded image, channels of the group alone,
// to dst, a row of [kh][kw][channels] for every output position.
func (c *conv) unfoldOne(dst, padded []float32, group int) {
	each := c.channels / c.groups
	row := c.padW * c.channels
	if c.groups == 1 && c.dilation == 1 {
		n, step := c.kernel*c.channels, c.stride*c.channels
		for oy := range c.outH {
			to := dst[oy*c.outW*c.kernel*n : (oy+1)*c.outW*c.kernel*n]
			for ky := range c.kernel {
				from := padded[(oy*c.stride+ky)*row : (oy*c.stride+ky+1)*row]
				copyPieces(to[ky*n:], c.kernel*n, from, step, n, c.outW)
			}
		}
		return
	}
	for oy := range c.outH {
		for ox := range c.outW {
			from := (oy*c.padW+ox)*c.stride*c.channels + group*each
			for ky := range c.kernel {
				for kx := range c.kernel {
					at := from + (ky*c.padW+kx)*c.dilation*c.channels
					copy(dst[:each], padded[at:at+each])
					dst = dst[each:]
				}
			}
		}
	}
}

// copyPieces copies count >= 1 pieces of n elements, srcStep apart in src, to
// dst, dstStep apart; the slices do not overlap. Pieces of 4 and 8 elements are
// too short for a call or a check each.
func copyPieces(dst []float32, dstStep int, src []float32, srcStep, n, count int) {
	d := unsafe.Pointer(unsafe.SliceData(dst[:(count-1)*dstStep+n]))
	s := unsafe.Pointer(unsafe.SliceData(src[:(count-1)*srcStep+n]))
	switch n {
	case 4:
		for range count - 1 {
			*(*[4]float32)(d) = *(*[4]float32)(s)
			d, s = unsafe.Add(d, 4*dstStep), unsafe.Add(s, 4*srcStep)
		}
		*(*[4]float32)(d) = *(*[4]float32)(s)
	case 8:
		for range count - 1 {
			copy8(d, s)
			d, s = unsafe.Add(d, 4*dstStep), unsafe.Add(s, 4*srcStep)
		}
		copy8(d, s)
	default:
		to, from := 0, 0
		for range count {
			copy(dst[to:to+n], src[from:from+n])
			to, from = to+dstStep, from+srcStep
		}
	}
}

// copy8 copies 8 elements in halves, which the compiler moves through a
// register.
func copy8(d, s unsafe.Pointer) {
	*(*[4]float32)(d) = *(*[4]float32)(s)
	*(*[4]float32)(unsafe.Add(d, 16)) = *(*[4]float32)(unsafe.Add(s, 16))
}

// foldOne adds the windows of a padded image back to where they came from: the
// transpose of unfoldOne.
func (c *conv) foldOne(padded, rows []float32, group int) {
	each := c.channels / c.groups
	row := c.padW * c.channels
	if c.groups == 1 && c.dilation == 1 {
		n, step := c.kernel*c.channels, c.stride*c.channels
		for oy := range c.outH {
			for ox := range c.outW {
				at := oy*c.stride*row + ox*step
				for range c.kernel {
					kernel.Add(padded[at:at+n], rows[:n])
					rows, at = rows[n:], at+row
				}
			}
		}
		return
	}
	for oy := range c.outH {
		for ox := range c.outW {
			from := (oy*c.padW+ox)*c.stride*c.channels + group*each
			for ky := range c.kernel {
				for kx := range c.kernel {
					at := from + (ky*c.padW+kx)*c.dilation*c.channels
					to := padded[at : at+each]
					for j, v := range rows[:each] {
						to[j] += v
					}
					rows = rows[each:]
				}
			}
		}
	}
}
