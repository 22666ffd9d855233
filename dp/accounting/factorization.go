package accounting

import (
	"fmt"
	"math"
)

// Toeplitz is a matrix factorisation's strategy for Steps steps of training with
// correlated noise: lower-triangular, Coefficients[k] on the k-th diagonal, 0 on
// those beyond. Noise of standard deviation σ times its sensitivity, multiplied
// by the strategy's inverse, makes all steps together one Gaussian of noise
// multiplier σ.
type Toeplitz struct {
	Coefficients []float64 // finite, the first positive, at most Steps of them
	Steps        int       // at least 1
}

// SquareRoot is the strategy whose square is the matrix of prefix sums (Fichtenberger,
// Henzinger and Upadhyay 2022).
func SquareRoot(steps int) Toeplitz {
	t := Toeplitz{Steps: steps}
	c := 1.0
	for k := range max(steps, 0) {
		if k > 0 {
			c *= float64(2*k-1) / float64(2*k)
		}
		t.Coefficients = append(t.Coefficients, c)
	}
	return t
}

func (t Toeplitz) check() error {
	if err := count("Toeplitz.Steps", t.Steps, 1<<24); err != nil {
		return err
	}
	if len(t.Coefficients) == 0 || len(t.Coefficients) > t.Steps {
		return bad("Toeplitz.Coefficients", fmt.Sprintf("%d long", len(t.Coefficients)), fmt.Sprintf("hold 1 to %d values", t.Steps))
	}
	for k, c := range t.Coefficients {
		if math.IsNaN(c) || math.IsInf(c, 0) || k == 0 && c <= 0 {
			return bad(fmt.Sprintf("Toeplitz.Coefficients[%d]", k), c, "be finite, and the first positive")
		}
	}
	return nil
}

// ColumnNorm is the l2 norm of the first column, the longest: the sensitivity
// when each record takes part in one step.
func (t Toeplitz) ColumnNorm() (float64, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	return math.Sqrt(t.gram(0, 0)), nil
}

// gram is the inner product of columns i <= j.
func (t Toeplitz) gram(i, j int) float64 {
	sum := 0.0
	for k := 0; k+j-i < len(t.Coefficients) && j+k < t.Steps; k++ {
		sum += t.Coefficients[k] * t.Coefficients[k+j-i]
	}
	return sum
}

// searches bounds the patterns that Sensitivity tries.
const searches = 1 << 22

// Sensitivity is how far one record can move the strategy's output, in l2 norm,
// when it takes part in at most participations steps, each at least separation
// steps after the one before, with a gradient of norm 1: the square root of the
// greatest Σ |G_ij| over such patterns, G being the Gram matrix (Choquette-Choo
// et al. 2023; exact where G is non-negative, else from above). For coefficients
// that are non-negative and do not rise the greatest pattern is the steps
// 0, separation, 2·separation, … (Kalinin and Lampert 2024, Theorem 2). Else all
// patterns are tried; where they are too many, each step is charged with the most
// that a pattern through it can add, which is an upper bound still.
func (t Toeplitz) Sensitivity(separation, participations int) (float64, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	if err := first(count("separation", separation, maxCount), count("participations", participations, maxCount)); err != nil {
		return 0, err
	}
	falling := true
	for k, c := range t.Coefficients {
		falling = falling && c >= 0 && (k == 0 || c <= t.Coefficients[k-1])
	}
	if falling {
		// The output is the sum of shifted columns.
		out := make([]float64, t.Steps)
		for i, at := 0, 0; i < participations && at < t.Steps; i, at = i+1, at+separation {
			for k, c := range t.Coefficients {
				if at+k < t.Steps {
					out[at+k] += c
				}
			}
		}
		sum := 0.0
		for _, x := range out {
			sum += x * x
		}
		return math.Sqrt(sum), nil
	}
	left := searches
	best := 0.0
	var walk func(pattern []int, sum float64)
	walk = func(pattern []int, sum float64) {
		best = max(best, sum)
		left--
		if len(pattern) == participations || left < 0 {
			return
		}
		from := 0
		if len(pattern) > 0 {
			from = pattern[len(pattern)-1] + separation
		}
		for j := from; j < t.Steps; j++ {
			more := t.gram(j, j)
			for _, i := range pattern {
				more += 2 * math.Abs(t.gram(i, j))
			}
			walk(append(pattern[:len(pattern):len(pattern)], j), sum+more)
		}
	}
	walk(nil, 0)
	if left < 0 {
		best = t.charge(separation, participations)
	}
	return math.Sqrt(best), nil
}

// charge bounds Σ |G_ij| by Σ_i of the most that a pattern with i can have in row i.
func (t Toeplitz) charge(separation, participations int) float64 {
	// The norm of later columns is no longer than the first's, and |G_ij| at distance m
	// is at most Σ_k |c_k c_(k+m)|.
	row := 0.0
	for side := 0; side < 2*(participations-1) && side/2*separation < len(t.Coefficients); side++ {
		most := 0.0
		for m := (side/2 + 1) * separation; m < len(t.Coefficients) && m < (side/2+2)*separation; m++ {
			sum := 0.0
			for k := 0; k+m < len(t.Coefficients); k++ {
				sum += math.Abs(t.Coefficients[k] * t.Coefficients[k+m])
			}
			most = max(most, sum)
		}
		row += most
	}
	taking := min(participations, (t.Steps+separation-1)/separation)
	return float64(taking) * (t.gram(0, 0) + row)
}

// Errors are the largest and the root mean squared standard deviation of the
// error in the prefix sums of all steps, per unit noise multiplier, when each
// record takes part in one step.
func (t Toeplitz) Errors() (greatest, rootMeanSquare float64, err error) {
	norm, err := t.ColumnNorm()
	if err != nil {
		return 0, 0, err
	}
	// The decoder, prefix sums times the strategy's inverse, is Toeplitz too.
	inverse := make([]float64, t.Steps)
	var total, row, sum float64
	for n := range inverse {
		x := 0.0
		if n == 0 {
			x = 1
		}
		for k := 1; k <= n && k < len(t.Coefficients); k++ {
			x -= t.Coefficients[k] * inverse[n-k]
		}
		inverse[n] = x / t.Coefficients[0]
		sum += inverse[n]
		row += sum * sum
		total += row
	}
	return norm * math.Sqrt(row), norm * math.Sqrt(total/float64(t.Steps)), nil
}

// CentralLimitMu approximates a sampled Gaussian of rate q, steps times over, by
// one Gaussian of shift μ (Bu, Dong, Long and Su 2020, Corollaries 3 and 4), for
// Poisson draws or uniform ones of fixed size. It is an approximation that can
// promise too much, there for comparison with accountants that use it: never a
// guarantee.
func CentralLimitMu(q, noiseMultiplier float64, steps int, uniform bool) float64 {
	s := noiseMultiplier
	if uniform {
		phi := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
		return q * math.Sqrt(2*float64(steps)*(math.Exp(1/(s*s))*phi(1.5/s)+3*phi(-0.5/s)-2))
	}
	return q * math.Sqrt(float64(steps)*math.Expm1(1/(s*s)))
}
