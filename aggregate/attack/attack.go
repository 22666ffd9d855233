package attack

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Attack is a way of lying.
type Attack interface {
	// Forge fills the liars' rows, given what the honest clients send. It returns an
	// error if there are no honest rows, rows are of unequal length, or a field is not
	// what it may be; the liars' rows then hold anything.
	Forge(liars, honest [][]float32) error
}

// check returns an error unless rows are of one length.
func check(liars, honest [][]float32) error {
	if len(honest) == 0 {
		return fmt.Errorf("attack: no honest rows, must be at least one")
	}
	for i, row := range honest {
		if len(row) != len(honest[0]) {
			return fmt.Errorf("attack: honest row %d has %d values, must have as many as row 0, %d", i, len(row), len(honest[0]))
		}
	}
	for i, row := range liars {
		if len(row) != len(honest[0]) {
			return fmt.Errorf("attack: liar's row %d has %d values, must have as many as the honest, %d", i, len(row), len(honest[0]))
		}
	}
	return nil
}

// number returns an error unless a field is finite.
func number(field string, x float64) error {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return fmt.Errorf("attack: %s is %v, must be finite", field, x)
	}
	return nil
}

// moments are the mean and, of two rows at least, the standard deviation (divisor
// n-1) of each coordinate, summed in float64 in the rows' order.
func moments(rows [][]float32) (mean, deviation []float32) {
	n, d := len(rows), len(rows[0])
	mean, deviation = make([]float32, d), make([]float32, d)
	const block = 1 << 10
	var sums, offs [block]float64
	for a := 0; a < d; a += block {
		b := min(a+block, d)
		sum, squares := sums[:b-a], offs[:b-a]
		clear(sum)
		clear(squares)
		addRows(sum, rows, a)
		for j := range sum {
			sum[j] /= float64(n)
			mean[a+j] = float32(sum[j])
		}
		addSquares(squares, sum, rows, a)
		for j, x := range squares {
			deviation[a+j] = float32(math.Sqrt(x / float64(max(n-1, 1))))
		}
	}
	return mean, deviation
}

// addRows adds the rows' values from a on, four rows at a time.
func addRows(sum []float64, rows [][]float32, a int) {
	b := a + len(sum)
	for ; len(rows) >= 4; rows = rows[4:] {
		r, s, t, u := rows[0][a:b], rows[1][a:b], rows[2][a:b], rows[3][a:b]
		for j := range sum {
			sum[j] = sum[j] + float64(r[j]) + float64(s[j]) + float64(t[j]) + float64(u[j])
		}
	}
	for _, row := range rows {
		for j, x := range row[a:b] {
			sum[j] += float64(x)
		}
	}
}

// addSquares adds the squares of their distances from the mean.
func addSquares(squares, mean []float64, rows [][]float32, a int) {
	b := a + len(squares)
	for ; len(rows) >= 4; rows = rows[4:] {
		r, s, t, u := rows[0][a:b], rows[1][a:b], rows[2][a:b], rows[3][a:b]
		for j, m := range mean[:len(squares)] {
			x, y, z, w := float64(r[j])-m, float64(s[j])-m, float64(t[j])-m, float64(u[j])-m
			squares[j] = squares[j] + float64(x*x) + float64(y*y) + float64(z*z) + float64(w*w)
		}
	}
	for _, row := range rows {
		for j, x := range row[a:b] {
			off := float64(x) - mean[j]
			squares[j] += float64(off * off)
		}
	}
}

// along fills rows with base + step·direction, of a step of 0 whatever the direction.
func along(liars [][]float32, base []float32, step float64, direction []float32) {
	for i, row := range liars {
		if i > 0 {
			copy(row, liars[0])
			continue
		}
		for j := range row {
			x := 0.0
			if base != nil {
				x = float64(base[j])
			}
			if step != 0 {
				x += step * float64(direction[j])
			}
			row[j] = float32(x)
		}
	}
}

// SignFlip sends the honest mean with its sign turned (Allen-Zhu et al. 2020).
type SignFlip struct{}

// Forge implements [Attack].
func (SignFlip) Forge(liars, honest [][]float32) error { return IPM{1}.Forge(liars, honest) }

// IPM, inner product manipulation, sends -Tau times the honest mean (Xie, Koyejo and
// Gupta 2020).
type IPM struct {
	Tau float64 // finite
}

// Forge implements [Attack].
func (a IPM) Forge(liars, honest [][]float32) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	if err := number("IPM.Tau", a.Tau); err != nil {
		return err
	}
	mean, _ := moments(honest)
	along(liars, nil, -a.Tau, mean)
	return nil
}

// ALIE, a little is enough, sends the honest mean plus Tau standard deviations in each
// coordinate (Baruch, Baruch and Goldberg 2019). [ALIETau] is the paper's choice.
type ALIE struct {
	Tau float64 // finite
}

// Forge implements [Attack].
func (a ALIE) Forge(liars, honest [][]float32) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	if err := number("ALIE.Tau", a.Tau); err != nil {
		return err
	}
	mean, deviation := moments(honest)
	along(liars, mean, a.Tau, deviation)
	return nil
}

// ALIETau is how many standard deviations f of n clients may go so that of a normal
// crowd enough honest clients lie beyond to make a majority with them.
func ALIETau(n, f int) float64 {
	supporters := n/2 + 1 - f
	p := float64(n-f-supporters) / float64(n-f)
	if !(p > 0 && p < 1) {
		return 0
	}
	return math.Sqrt2 * math.Erfinv(2*p-1)
}

// Mimic sends what one honest client sends, so that it counts more than others
// (Karimireddy, He and Jaggi 2022). The paper fixes one client after a warm-up, the one
// farthest along the direction in which the rows of those rounds vary most: give its index
// to do so. -1 keeps no memory and chooses in each round, so that over many rounds its
// victims may differ and their bias cancel, where a fixed one's adds up.
type Mimic struct {
	Client int // index of an honest row, or -1: the one farthest from the round's honest mean
}

// Forge implements [Attack].
func (a Mimic) Forge(liars, honest [][]float32) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	if a.Client < -1 || a.Client >= len(honest) {
		return fmt.Errorf("attack: Mimic.Client is %d of %d honest rows, must be the index of one, or -1", a.Client, len(honest))
	}
	if a.Client == -1 {
		mean, _ := moments(honest)
		far := -1.0
		for i, row := range honest {
			if d2 := squared(row, mean); d2 > far {
				a.Client, far = i, d2
			}
		}
	}
	for _, row := range liars {
		copy(row, honest[a.Client])
	}
	return nil
}

func squared(x, y []float32) float64 {
	sum := 0.0
	for j := range x {
		off := float64(x[j]) - float64(y[j])
		sum += off * off
	}
	return sum
}

// Direction is in which way [MinMax] and [MinSum] leave the honest mean.
type Direction int

// The directions.
const (
	AgainstDeviation Direction = iota // less a multiple of the standard deviation
	AgainstMean                       // less a multiple of the mean
	AgainstSign                       // less a multiple of the mean's sign
)

func (d Direction) of(field string, mean, deviation []float32) ([]float32, error) {
	switch d {
	case AgainstDeviation:
		return deviation, nil
	case AgainstMean:
		return mean, nil
	case AgainstSign:
		signs := make([]float32, len(mean))
		for j, x := range mean {
			switch {
			case x > 0:
				signs[j] = 1
			case x < 0:
				signs[j] = -1
			}
		}
		return signs, nil
	}
	return nil, fmt.Errorf("attack: %s is %d, must be AgainstDeviation, AgainstMean or AgainstSign", field, int(d))
}

// MinMax goes as far from the honest mean as leaves it no farther from any honest row
// than two of these are from each other (Shejwalkar and Houmansadr 2021). The distance
// is exact, the root of a quadratic.
type MinMax struct{ Direction Direction }

// Forge implements [Attack].
func (a MinMax) Forge(liars, honest [][]float32) error {
	return within("MinMax.Direction", a.Direction, liars, honest, func(apart, product, size []float64, d2 func(i, j int) float64) float64 {
		widest := 0.0
		for i := range apart {
			for j := range i {
				widest = max(widest, d2(i, j))
			}
		}
		step := math.Inf(1)
		for i := range apart { // |m - x|² - 2 step <m-x, v> + step² |v|² <= widest
			step = min(step, root(size[0], -2*product[i], apart[i]-widest))
		}
		return step
	})
}

// MinSum goes as far from the honest mean as leaves the sum of its squared distances
// to the honest rows no greater than that of one of these (Shejwalkar and Houmansadr
// 2021).
type MinSum struct{ Direction Direction }

// Forge implements [Attack].
func (a MinSum) Forge(liars, honest [][]float32) error {
	return within("MinSum.Direction", a.Direction, liars, honest, func(apart, product, size []float64, d2 func(i, j int) float64) float64 {
		most, sum, cross := 0.0, 0.0, 0.0
		for i := range apart {
			mine := 0.0
			for j := range apart {
				if j != i {
					mine += d2(i, j)
				}
			}
			most = max(most, mine)
			sum += apart[i]
			cross += product[i]
		}
		return root(float64(len(apart))*size[0], -2*cross, sum-most)
	})
}

// root is the greater root of a quadratic with a root at 0 or above.
func root(a, b, c float64) float64 {
	return (-b + math.Sqrt(max(b*b-4*a*c, 0))) / (2 * a)
}

// within sends the honest mean less step times the direction.
func within(field string, direction Direction, liars, honest [][]float32,
	step func(apart, product, size []float64, d2 func(i, j int) float64) float64) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	mean, deviation := moments(honest)
	way, err := direction.of(field, mean, deviation)
	if err != nil {
		return err
	}
	size := 0.0
	for _, x := range way {
		size += float64(x) * float64(x)
	}
	if size == 0 {
		along(liars, mean, 0, way)
		return nil
	}
	apart, product := make([]float64, len(honest)), make([]float64, len(honest))
	for i, row := range honest {
		apart[i] = squared(row, mean)
		for j, x := range way {
			product[i] += float64(x) * (float64(mean[j]) - float64(row[j]))
		}
	}
	d2 := func(i, j int) float64 { return squared(honest[i], honest[j]) }
	along(liars, mean, -step(apart, product, []float64{size}, d2), way)
	return nil
}

// Constant sends one value in each coordinate: infinities, NaN or zero.
type Constant struct{ Value float32 }

// Forge implements [Attack].
func (a Constant) Forge(liars, honest [][]float32) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	for _, row := range liars {
		for j := range row {
			row[j] = a.Value
		}
	}
	return nil
}

// Inf sends infinities.
func Inf() Attack { return Constant{float32(math.Inf(1))} }

// NaN sends what is not a number.
func NaN() Attack { return Constant{float32(math.NaN())} }

// Gaussian sends noise, each liar its own.
type Gaussian struct {
	Mean, Deviation float64        // finite, Deviation at least 0
	Seed            uint64         // of the noise: the same seed, the same noise; 0 draws one at each call
	Normal          func() float64 // the noise itself, instead of Seed
}

// Forge implements [Attack].
func (a Gaussian) Forge(liars, honest [][]float32) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	if err := number("Gaussian.Mean", a.Mean); err != nil {
		return err
	}
	if !(a.Deviation >= 0) || math.IsInf(a.Deviation, 0) {
		return fmt.Errorf("attack: Gaussian.Deviation is %v, must be at least 0 and finite", a.Deviation)
	}
	normal := a.Normal
	if normal == nil {
		seed := a.Seed
		if seed == 0 {
			seed = rand.Uint64()
		}
		normal = rand.New(rand.NewPCG(seed, 0x6761757373)).NormFloat64
	}
	for _, row := range liars {
		for j := range row {
			row[j] = float32(a.Mean + a.Deviation*normal())
		}
	}
	return nil
}

// FlipLabel is the label that a label flipper trains on: classes-1-label (Fang et al.
// 2020).
func FlipLabel(label, classes int) int { return classes - 1 - label }

// LabelFlip sends the mean of rows that were honestly made of flipped labels: give
// those for honest.
type LabelFlip struct{}

// Forge implements [Attack].
func (LabelFlip) Forge(liars, honest [][]float32) error { return ALIE{0}.Forge(liars, honest) }

// ModelReplacement sends Boost times the update that would bring the attacker's model
// about, so that it survives the mean with others (Bagdasaryan et al. 2020).
type ModelReplacement struct {
	Target []float32 // the attacker's update, of the rows' length: its model less the global one
	Boost  float64   // positive and finite; 0 stands for n/f, as the mean of n clients needs
}

// Forge implements [Attack].
func (a ModelReplacement) Forge(liars, honest [][]float32) error {
	if err := check(liars, honest); err != nil {
		return err
	}
	if len(a.Target) != len(honest[0]) {
		return fmt.Errorf("attack: ModelReplacement.Target has %d values, must have as many as the rows, %d", len(a.Target), len(honest[0]))
	}
	boost := a.Boost
	if boost == 0 {
		boost = float64(len(liars)+len(honest)) / float64(max(len(liars), 1))
	}
	if !(boost > 0) || math.IsInf(boost, 0) {
		return fmt.Errorf("attack: ModelReplacement.Boost is %v, must be positive and finite", a.Boost)
	}
	along(liars, nil, boost, a.Target)
	return nil
}
