package nn

import (
	"fmt"
	"math"
	"slices"

	"github.com/sotto-ml/sotto/internal/kernel"
)

// Loss is how far a model's output is from its target: SoftmaxCrossEntropy,
// BinaryCrossEntropy or MeanSquaredError.
type Loss interface {
	// fits returns an error unless outputs of shape out can be compared.
	fits(out Shape) error
	// accepts reports whether t holds targets for width outputs.
	accepts(t Targets, width int) bool
	// evaluate sets losses[i] and the width derivatives of it by the outputs.
	evaluate(losses, dy, y []float32, t Targets, width int)
}

// Targets are what a model's outputs should be, one per example: class labels
// or rows of numbers. They are checked once, when made.
type Targets struct {
	labels  []int32
	classes int
	values  []float32
	width   int
	unit    bool // values are between 0 and 1
}

// Labels returns the targets of a classifier. It returns an error that names
// the example if a label is not in [0, classes).
func Labels(labels []int, classes int) (Targets, error) {
	if classes < 1 || classes > math.MaxInt32 {
		return Targets{}, fmt.Errorf("nn: classes is %d, want at least 1", classes)
	}
	t := Targets{labels: make([]int32, len(labels)), classes: classes}
	for i, label := range labels {
		if label < 0 || label >= classes {
			return Targets{}, fmt.Errorf("nn: label %d is %d, want 0 to %d", i, label, classes-1)
		}
		t.labels[i] = int32(label)
	}
	return t, nil
}

// Values returns the targets of a regression or of binary labels: a row of
// numbers for each example, copied. It returns an error that names the example
// if a number is not finite or rows differ in length. BinaryCrossEntropy takes
// only numbers between 0 and 1.
func Values(rows [][]float32) (Targets, error) {
	t := Targets{unit: true}
	for i, row := range rows {
		if i == 0 {
			t.width = len(row)
		}
		if len(row) == 0 || len(row) != t.width {
			return Targets{}, fmt.Errorf("nn: target %d has %d numbers, want %d (at least 1, as target 0)", i, len(row), t.width)
		}
		for j, v := range row {
			if v-v != 0 {
				return Targets{}, fmt.Errorf("nn: target %d has %v at %d, want a finite number", i, v, j)
			}
			t.unit = t.unit && v >= 0 && v <= 1
		}
		t.values = append(t.values, row...)
	}
	return t, nil
}

// Len returns the number of examples.
func (t Targets) Len() int {
	if t.classes > 0 {
		return len(t.labels)
	}
	if t.width == 0 {
		return 0
	}
	return len(t.values) / t.width
}

// Pick returns the targets of the examples ids of t, in that order, written
// over the memory of dst where that is large enough. It panics if an id is out
// of range. dst must not be t.
func (t Targets) Pick(dst Targets, ids []int) Targets {
	out := Targets{labels: dst.labels[:0], classes: t.classes, values: dst.values[:0], width: t.width, unit: t.unit}
	for _, id := range ids {
		if t.classes > 0 {
			out.labels = append(out.labels, t.labels[id])
		} else {
			out.values = append(out.values, t.values[id*t.width:(id+1)*t.width]...)
		}
	}
	return out
}

// SoftmaxCrossEntropy is -log softmax(y)[label], in nats: the outputs are the
// logits of classes that exclude each other, the targets Labels.
type SoftmaxCrossEntropy struct{}

func (SoftmaxCrossEntropy) fits(out Shape) error {
	if len(out) != 1 {
		return fmt.Errorf("softmax cross-entropy of an output of shape %v, want a vector", out)
	}
	return nil
}

func (SoftmaxCrossEntropy) accepts(t Targets, width int) bool { return t.classes == width }

func (SoftmaxCrossEntropy) evaluate(losses, dy, y []float32, t Targets, width int) {
	for i := range losses {
		row, shifted := y[i*width:(i+1)*width], dy[i*width:(i+1)*width]
		top := slices.Max(row) // NaN if one is
		for j, v := range row {
			shifted[j] = v - top
		}
		losses[i] = shifted[t.labels[i]]
	}
	kernel.Exp(dy, dy)
	for i := range losses {
		p := dy[i*width : (i+1)*width]
		var sum float32
		for _, v := range p {
			sum += v
		}
		inverse := 1 / sum
		for j := range p {
			p[j] *= inverse
		}
		p[t.labels[i]]--
		losses[i] = float32(math.Log(float64(sum))) - losses[i]
	}
}
