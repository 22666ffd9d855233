package encrypted_test

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"

	"github.com/sotto-ml/sotto/he"
	"github.com/sotto-ml/sotto/nn"
)

type network struct {
	name   string
	input  nn.Shape
	layers []nn.Layer
	// Published seconds of an evaluation: see the package's documentation.
	published map[string]float64
}

var image = nn.Shape{1, 28, 28}

// fittedSiLU is examples/encrypted's.
var fittedSiLU = nn.Polynomial{Coefficients: []float32{0.18874, 0.5, 0.11615}}

var networks = []network{
	{"lr", nn.Shape{32}, []nn.Layer{nn.Linear{Out: 10}}, nil},
	{"mlp", image, []nn.Layer{nn.Flatten{}, nn.Linear{Out: 128}, nn.Square{}, nn.Linear{Out: 10}},
		map[string]float64{"x-concrete-ml": 3.5, "x-fhe-benchmarking": 7.6}},
	{"mlp3", image, []nn.Layer{nn.Flatten{}, nn.Linear{Out: 128}, nn.Square{}, nn.Linear{Out: 128}, nn.Square{}, nn.Linear{Out: 10}},
		map[string]float64{"x-orion": 0.49}},
	{"lola", image, []nn.Layer{nn.Conv2D{Out: 5, Kernel: 5, Stride: 2, Padding: 1}, nn.Square{}, nn.Flatten{}, nn.Linear{Out: 100}, nn.Square{}, nn.Linear{Out: 10}},
		map[string]float64{"x-orion": 0.23, "x-lola": 2.2, "x-tenseal": 2}},
	{"lenet5", image, []nn.Layer{nn.Conv2D{Out: 6, Kernel: 5, Padding: 2}, fittedSiLU, nn.AvgPool{Kernel: 2},
		nn.Conv2D{Out: 16, Kernel: 5}, fittedSiLU, nn.AvgPool{Kernel: 2}, nn.Flatten{},
		nn.Linear{Out: 120}, fittedSiLU, nn.Linear{Out: 84}, fittedSiLU, nn.Linear{Out: 10}}, nil},
}

// inputs are like images: most of their values are 0.
func inputs(n, size int) [][]float32 {
	r := rand.New(rand.NewPCG(3, 4))
	x := make([][]float32, n)
	for i := range x {
		x[i] = make([]float32, size)
		for j := range x[i] {
			x[i][j] = max(0, r.Float32()*5-4)
		}
	}
	return x
}

// encrypted is a network's server with a query of as many inputs as it takes.
type encrypted struct {
	program *he.Program
	server  *he.Server
	query   *he.Query
}

func compile(b *testing.B, n network, mode he.Mode) encrypted {
	b.Helper()
	m, err := nn.New(n.input, n.layers...)
	require.NoError(b, err)
	m.Init(nn.XavierNormal, 1)
	x := inputs(32, n.input.Size())
	p, err := he.Compile(m, x, he.Options{Mode: mode})
	require.NoError(b, err)
	c := he.NewClient(p.Schema())
	s, err := he.NewServer(p, c.Keys())
	require.NoError(b, err)
	rows := make([][]float32, p.Schema().Capacity())
	for i := range rows {
		rows[i] = x[i%len(x)]
	}
	q, err := c.Encrypt(rows)
	require.NoError(b, err)
	return encrypted{p, s, q}
}

func (e encrypted) evaluate() {
	if _, err := e.server.Evaluate(e.query); err != nil {
		panic(err)
	}
}

// rotation returns the reference rotation.
func rotation(b *testing.B) func() {
	b.Helper()
	params, err := hefloat.NewParametersFromLiteral(hefloat.ParametersLiteral{
		LogN: 13, LogQ: []int{28, 25, 25, 25, 25, 25, 25}, LogP: []int{36}, LogDefaultScale: 25})
	require.NoError(b, err)
	require.LessOrEqual(b, params.LogQP(), 214.)
	keys := rlwe.NewKeyGenerator(params)
	secret := keys.GenSecretKeyNew()
	eval := hefloat.NewEvaluator(params, rlwe.NewMemEvaluationKeySet(nil, keys.GenGaloisKeyNew(params.GaloisElement(1), secret)))
	in, out := hefloat.NewCiphertext(params, 1, params.MaxLevel()), hefloat.NewCiphertext(params, 1, params.MaxLevel())
	require.NoError(b, rlwe.NewEncryptor(params, secret).EncryptZero(in))
	return func() {
		if err := eval.Rotate(in, 1, out); err != nil {
			panic(err)
		}
	}
}

// besideRotation times the evaluation and as many rotations as take about as long, so that
// what else the machine does slows both alike. It returns the seconds of each
// evaluation and of each rotation, by round.
func besideRotation(rounds int, evaluate, rotate func()) (evaluations, rotations []float64) {
	first := inTurns(1, evaluate, rotate)
	block := max(1, int(median(first[0])/median(first[1])+.5))
	block = min(block, 100)
	s := inTurns(rounds, evaluate, func() {
		for range block {
			rotate()
		}
	})
	for i := range s[1] {
		s[1][i] /= float64(block)
	}
	return s[0], s[1]
}

// inTurns times the functions in turns and returns the seconds of each call, by round.
func inTurns(rounds int, fs ...func()) [][]float64 {
	seconds := make([][]float64, len(fs))
	for _, f := range fs {
		f() // warms up
	}
	began := time.Now()
	for round := 0; round < rounds && (round < 5 || time.Since(began) < 20*time.Second); round++ {
		for i, f := range fs {
			start := time.Now()
			f()
			seconds[i] = append(seconds[i], time.Since(start).Seconds())
		}
	}
	return seconds
}

func median(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return s[len(s)/2]
}

// medianRatio returns the median over rounds of num/den.
func medianRatio(num, den []float64) float64 {
	r := make([]float64, len(num))
	for i := range r {
		r[i] = num[i] / den[i]
	}
	return median(r)
}

func rounds() int {
	if testing.Short() {
		return 1
	}
	return 41
}

func oneCore(b *testing.B) {
	cores := runtime.GOMAXPROCS(1)
	b.Cleanup(func() { runtime.GOMAXPROCS(cores) })
}

func sizes(b *testing.B, e encrypted) {
	s := e.program.Schema()
	b.ReportMetric(float64(s.KeyBytes())/1e6, "key-MB")
	b.ReportMetric(float64(s.QueryBytes())/1e6, "query-MB")
	b.ReportMetric(float64(s.AnswerBytes())/1e6, "answer-MB")
	b.ReportMetric(e.program.Report().ArithmeticBits, "bits")
}

// BenchmarkLatency evaluates one input.
func BenchmarkLatency(b *testing.B) {
	for _, n := range networks {
		b.Run("net="+n.name, func(b *testing.B) {
			if testing.Short() && n.name == "lenet5" {
				b.Skip("compiling it takes half a minute")
			}
			oneCore(b)
			e, r := compile(b, n, he.Latency), rotation(b)
			var evaluations, rotations []float64
			for b.Loop() {
				evaluations, rotations = besideRotation(rounds(), e.evaluate, r)
			}
			b.ReportMetric(medianRatio(evaluations, rotations), "x-rotation")
			b.ReportMetric(1e3*median(evaluations), "ms")
			b.ReportMetric(1e3*median(rotations), "rotation-ms")
			for name, seconds := range n.published {
				b.ReportMetric(seconds/median(evaluations), name)
			}
			sizes(b, e)
		})
	}
}

// BenchmarkBatch evaluates as many inputs at once as there are slots.
func BenchmarkBatch(b *testing.B) {
	for _, n := range networks[:4] {
		b.Run("net="+n.name, func(b *testing.B) {
			if testing.Short() && n.name != "lr" && n.name != "mlp" {
				b.Skip("a query of it takes seconds")
			}
			oneCore(b)
			e, r := compile(b, n, he.Batch), rotation(b)
			var evaluations, rotations []float64
			for b.Loop() {
				evaluations, rotations = besideRotation(min(rounds(), 7), e.evaluate, r)
			}
			each := float64(e.program.Schema().Capacity())
			b.ReportMetric(medianRatio(evaluations, rotations)/each, "x-rotation")
			b.ReportMetric(1e3*median(evaluations)/each, "ms")
			b.ReportMetric(1e3*median(rotations), "rotation-ms")
			b.ReportMetric(each, "inputs")
			sizes(b, e)
		})
	}
}

// BenchmarkCores evaluates as many queries at a time as there are cores.
func BenchmarkCores(b *testing.B) {
	cores := runtime.GOMAXPROCS(0)
	for _, mode := range []he.Mode{he.Latency, he.Batch} {
		for _, n := range networks[1:4] {
			if testing.Short() && n.name != "mlp" {
				continue
			}
			b.Run("mode="+string(mode)+"/net="+n.name, func(b *testing.B) {
				defer runtime.GOMAXPROCS(cores)
				e := compile(b, n, mode)
				queries := cores
				if mode == he.Batch { // one query keeps all cores busy
					queries = 1
				}
				var s [][]float64
				for b.Loop() {
					s = inTurns(min(rounds(), 15), func() {
						runtime.GOMAXPROCS(1)
						for range queries {
							e.evaluate()
						}
					}, func() {
						runtime.GOMAXPROCS(cores)
						var group sync.WaitGroup
						for range queries {
							group.Go(e.evaluate)
						}
						group.Wait()
					})
				}
				b.ReportMetric(medianRatio(s[0], s[1]), "x-cores")
				b.ReportMetric(float64(cores), "cores")
			})
		}
	}
}
