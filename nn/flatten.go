package nn

// Flatten turns an image or a sequence into a vector, an image in the order
// (channel, row, column), as PyTorch does.
type Flatten struct{}

func (Flatten) build(in Shape) (node, error) { return &flatten{in: in}, nil }

type flatten struct{ in Shape }

func (f *flatten) shape() Shape       { return Shape{f.in.Size()} }
func (f *flatten) tensors() []*tensor { return nil }
func (f *flatten) stage() stage       { return &flattenStage{flatten: f} }

type flattenStage struct {
	*flatten
	y, dx []float32
}

func (s *flattenStage) absorbs() bool { return s.in.reordered() }

func (s *flattenStage) forward(b *batch, x []float32) []float32 {
	if !s.in.reordered() {
		return x
	}
	size := s.in.Size()
	s.y = grow(s.y, b.n*size)
	for at := 0; at < len(s.y); at += size {
		s.in.outer(s.y[at:at+size], x[at:at+size])
	}
	return s.y
}

func (s *flattenStage) backward(b *batch, dy []float32, need bool) []float32 {
	if !s.in.reordered() {
		return dy
	}
	size := s.in.Size()
	s.dx = grow(s.dx, b.n*size)
	for at := 0; at < len(s.dx); at += size {
		s.in.inner(s.dx[at:at+size], dy[at:at+size])
	}
	return s.dx
}
