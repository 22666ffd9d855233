package nn

import "fmt"

// MeanSquaredError is the mean over the outputs of (y - target)², as PyTorch's
// default; the targets are Values, a sequence's or an image's in the caller's
// order.
type MeanSquaredError struct{}

func (MeanSquaredError) fits(out Shape) error {
	if out.reordered() {
		return fmt.Errorf("mean squared error of an output of shape %v, want a vector; put Flatten last", out)
	}
	return nil
}

func (MeanSquaredError) accepts(t Targets, width int) bool { return t.width == width }

func (MeanSquaredError) evaluate(losses, dy, y []float32, t Targets, width int) {
	scale := 1 / float64(width)
	for i := range losses {
		target := t.values[i*width : (i+1)*width]
		out, d := y[i*width:(i+1)*width], dy[i*width:(i+1)*width]
		var sum float64
		for j, v := range out {
			e := float64(v) - float64(target[j])
			sum += e * e
			d[j] = float32(2 * scale * e)
		}
		losses[i] = float32(scale * sum)
	}
}
