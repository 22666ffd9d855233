package nn

import (
	"fmt"
	"math"
)

// BinaryCrossEntropy is the mean over the outputs of -t·log σ(y) - (1-t)·log(1 -
// σ(y)), in nats, with σ the sigmoid: PyTorch's BCEWithLogitsLoss. The outputs
// are logits of labels that do not exclude each other; the targets are Values
// between 0 and 1 (a probability is a soft label).
type BinaryCrossEntropy struct{}

func (BinaryCrossEntropy) fits(out Shape) error {
	if out.reordered() {
		return fmt.Errorf("binary cross-entropy of an output of shape %v, want a vector; put Flatten last", out)
	}
	return nil
}

func (BinaryCrossEntropy) accepts(t Targets, width int) bool { return t.width == width && t.unit }

// evaluate uses max(y, 0) - t·y + log(1 + exp(-|y|)), which neither overflows
// nor cancels.
func (BinaryCrossEntropy) evaluate(losses, dy, y []float32, t Targets, width int) {
	scale := 1 / float64(width)
	for i := range losses {
		target := t.values[i*width : (i+1)*width]
		out, d := y[i*width:(i+1)*width], dy[i*width:(i+1)*width]
		var sum float64
		for j, v := range out {
			v, t := float64(v), float64(target[j])
			e := math.Exp(-math.Abs(v))
			sum += max(v, 0) - t*v + math.Log1p(e)
			p := 1 / (1 + e)
			if v < 0 {
				p = e / (1 + e)
			}
			d[j] = float32(scale * (p - t))
		}
		losses[i] = float32(scale * sum)
	}
}
