package nn

import "fmt"

// window is the geometry of square windows sliding over a padded image.
type window struct {
	channels, inH, inW                int
	kernel, stride, padding, dilation int
	padH, padW                        int // of the padded image
	outH, outW                        int
}

// newWindow returns an error that names the field if the window does not fit
// in the padded image. stride and dilation are at least 1.
func newWindow(in Shape, kernel, stride, padding, dilation int) (window, error) {
	w := window{channels: in[0], inH: in[1], inW: in[2], kernel: kernel, stride: stride, padding: padding, dilation: dilation}
	switch {
	case kernel < 1 || kernel > sizeLimit:
		return w, fmt.Errorf("has Kernel %d, want 1 to 2^31", kernel)
	case stride > sizeLimit:
		return w, fmt.Errorf("has Stride %d, want at most 2^31", stride)
	case padding < 0 || padding > sizeLimit:
		return w, fmt.Errorf("has Padding %d, want 0 to 2^31", padding)
	case dilation > sizeLimit:
		return w, fmt.Errorf("has Dilation %d, want at most 2^31", dilation)
	}
	w.padH, w.padW = w.inH+2*padding, w.inW+2*padding
	if mulLimit(w.padH, w.padW, w.channels) > sizeLimit {
		return w, fmt.Errorf("has Padding %d: more than 2^31 elements", padding)
	}
	span := (kernel-1)*dilation + 1
	if span > w.padH || span > w.padW {
		return w, fmt.Errorf("has Kernel %d: windows of %d do not fit in %d×%d with Padding %d", kernel, span, w.inH, w.inW, padding)
	}
	w.outH, w.outW = (w.padH-span)/stride+1, (w.padW-span)/stride+1
	return w, nil
}

func (w *window) inSize() int { return w.channels * w.inH * w.inW }

// frame is an image with its padding around it, one at a time.
type frame struct {
	window
	padded []float32 // nil without padding
}

func newFrame(w window, border float32) frame {
	f := frame{window: w}
	if w.padding > 0 {
		f.padded = make([]float32, w.padH*w.padW*w.channels)
		for i := range f.padded {
			f.padded[i] = border
		}
	}
	return f
}

// surround returns image with its padding, until the next call.
func (f *frame) surround(image []float32) []float32 {
	if f.padded == nil {
		return image
	}
	f.fill(image)
	return f.padded
}

// inside returns where the image begins in padded, and the lengths of a row in
// the image and in padded.
func (f *frame) inside() (at, inner, outer int) {
	return (f.padding*f.padW + f.padding) * f.channels, f.inW * f.channels, f.padW * f.channels
}

func (f *frame) fill(image []float32) {
	at, inner, outer := f.inside()
	for ; len(image) > 0; at += outer {
		copy(f.padded[at:at+inner], image)
		image = image[inner:]
	}
}

// crop copies the padded image's inside to image.
func (f *frame) crop(image []float32) {
	at, inner, outer := f.inside()
	for ; len(image) > 0; at += outer {
		copy(image[:inner], f.padded[at:at+inner])
		image = image[inner:]
	}
}

// sums returns where derivatives by the padded image are summed; finish then
// leaves those by the image in dx, whose memory it is where there is no padding.
func (f *frame) sums(dx []float32) []float32 {
	if f.padded == nil {
		return dx
	}
	return f.padded
}

func (f *frame) finish(dx []float32) {
	if f.padded != nil {
		f.crop(dx)
	}
}
