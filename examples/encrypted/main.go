// Command encrypted has a server classify digits that it never sees. It trains a network
// that suits encryption, starts a server of it in a process of its own, on loopback and
// over TLS, encrypts digits of MNIST, sends them, decrypts the answers, and says how they
// compare with the network's own and where the time went.
//
//	go run ./examples/encrypted
//	go run ./examples/encrypted -net lola -mode batch -json result.json
//	go run ./examples/encrypted -net mlp -report
//	go run ./examples/encrypted -model mnist.safetensors    (by examples/mnist -save)
//
// The server holds the network, which the client does not get; the client holds the key,
// which the server does not get. Here the client's process has the network as well, to
// compare.
package main

import (
	"context"
	crand "crypto/rand"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tuneinsight/lattigo/v5/he/hefloat"

	"github.com/sotto-ml/sotto/he"
	"github.com/sotto-ml/sotto/internal/atomicfile"
	"github.com/sotto-ml/sotto/internal/mnist"
	"github.com/sotto-ml/sotto/internal/report"
	"github.com/sotto-ml/sotto/nn"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		report.Exit(serve(os.Stdin, os.Stdout))
	}
	report.Exit(run(os.Args[1:], os.Stdout))
}

// settings are the command line.
type settings struct {
	net, model, data, save, json string
	he                           he.Options
	n, steps                     int
	seed                         uint64
	private, report              bool
}

func parse(args []string, out io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("encrypted", flag.ContinueOnError)
	f.SetOutput(out)
	var mode string
	f.StringVar(&s.net, "net", "mlp", "lr, mlp, mlp3, lola or lenet5")
	f.StringVar(&mode, "mode", "latency", "latency: one digit as fast as possible; batch: many at the least time for each; auto: what -n digits take less time in")
	f.IntVar(&s.he.Degree, "degree", 0, "of the polynomials that stand for activations that are none, 2 to 31 (0: the least that keeps the labels)")
	f.IntVar(&s.n, "n", 0, "digits to send (0: 1000, of lenet5 20)")
	f.StringVar(&s.model, "model", "", "take the network from this safetensors file instead of training one; -net then plays no part")
	f.BoolVar(&s.private, "private", false, "train within a privacy budget of (3, 1e-5)")
	f.IntVar(&s.steps, "steps", 0, "training steps (0: the network's own)")
	f.Uint64Var(&s.seed, "seed", 1, "public randomness of the training")
	f.StringVar(&s.save, "save", "", "write the network to this file")
	f.StringVar(&s.data, "data", "", "folder of the four MNIST .gz files (default: fetched as a Go module)")
	f.BoolVar(&s.report, "report", false, "print how the network is compiled, and stop")
	f.StringVar(&s.json, "json", "", "write the results, or with -report the report, to this file")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if s.he.Mode = he.Mode(mode); mode == "auto" {
		s.he.Mode = ""
	}
	if s.n == 0 {
		s.n = 1000
		if s.net == "lenet5" && s.model == "" {
			s.n = 20
		}
	}
	_, known := networks[s.net]
	switch most := 10000 - calibration; {
	case f.NArg() > 0:
		return s, fmt.Errorf("encrypted: unexpected argument %q", f.Arg(0))
	case !known:
		return s, fmt.Errorf("encrypted: -net is %q, allowed is lr, mlp, mlp3, lola or lenet5", s.net)
	case mode != "auto" && s.he.Mode != he.Latency && s.he.Mode != he.Batch:
		return s, fmt.Errorf("encrypted: -mode is %q, allowed is latency, batch or auto", mode)
	case s.n < 1 || s.n > most:
		return s, fmt.Errorf("encrypted: -n is %d, allowed is 1 to %d (the last %d of the test half calibrate)", s.n, most, calibration)
	case s.he.Degree != 0 && (s.he.Degree < 2 || s.he.Degree > 31):
		return s, fmt.Errorf("encrypted: -degree is %d, allowed is 2 to 31, or 0", s.he.Degree)
	case s.steps < 0:
		return s, fmt.Errorf("encrypted: -steps is %d, must not be negative", s.steps)
	case s.model != "" && (s.private || s.steps > 0):
		return s, fmt.Errorf("encrypted: -model is not trained, -private and -steps do not go with it")
	}
	s.he.Together = s.n
	if s.model != "" {
		s.net = "model"
	}
	for _, name := range []string{s.save, s.json} {
		if name != "" {
			if err := atomicfile.Probe(name); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// result is what -json writes. Times are medians in milliseconds.
type result struct {
	Net     string  `json:"net"`
	Mode    he.Mode `json:"mode"`
	Digits  int     `json:"digits"`
	Private bool    `json:"private"`
	Epsilon float64 `json:"epsilon,omitempty"`
	Delta   float64 `json:"delta,omitempty"`

	AccuracyPlain     float64 `json:"accuracy_plain"`      // on all of the test half
	AccuracyPlainSent float64 `json:"accuracy_plain_sent"` // on the digits that were sent
	AccuracyEncrypted float64 `json:"accuracy_encrypted"`
	Agreement         float64 `json:"agreement"`
	// Disagreements whose two labels' plain outputs are closer than twice the largest error
	// of the digits whose labels agree are within the precision of a tie.
	Disagreements       int     `json:"disagreements"`
	DisagreementsOfTies int     `json:"disagreements_of_ties"`
	PrecisionBits       float64 `json:"precision_bits"`  // against the network, fits included
	ArithmeticBits      float64 `json:"arithmetic_bits"` // against the fitted network
	LargestError        float64 `json:"largest_error"`

	EvalMS           float64 `json:"eval_ms"` // one query, one core
	RotationMS       float64 `json:"rotation_ms"`
	EvalOverRotation float64 `json:"eval_over_rotation"`
	AmortisedMS      float64 `json:"amortised_ms"` // one input of a full query, one core
	Capacity         int     `json:"capacity"`

	Cores      int     `json:"cores"`
	MakeKeysMS float64 `json:"make_keys_ms"`
	SendKeysMS float64 `json:"send_keys_ms"`
	EncodeMS   float64 `json:"encode_ms"` // measured apart; the rest of encryption is EncryptMS
	EncryptMS  float64 `json:"encrypt_ms"`
	SendMS     float64 `json:"send_ms"`
	QueueMS    float64 `json:"queue_ms"`
	EvaluateMS float64 `json:"evaluate_ms"` // one query, all cores
	ReceiveMS  float64 `json:"receive_ms"`
	DecryptMS  float64 `json:"decrypt_ms"`
	TotalMS    float64 `json:"total_ms"`

	KeyBytes     int64   `json:"key_bytes"`
	QueryBytes   int64   `json:"query_bytes"`
	AnswerBytes  int64   `json:"answer_bytes"`
	SecurityBits int     `json:"security_bits"`
	LogN         int     `json:"log_n"`
	LogQP        float64 `json:"log_qp"`

	SecondsTraining float64 `json:"seconds_training"`
	SecondsServer   float64 `json:"seconds_server"` // start, compilation and measurement
}

func run(args []string, out io.Writer) (err error) {
	s, err := parse(args, out)
	if err != nil {
		return err
	}
	data, err := mnist.Locate(s.data)
	if err != nil {
		return err
	}
	train, test, err := mnist.Load(data)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "encrypted")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	res := result{Net: s.net, Digits: s.n, Private: s.private, Cores: runtime.GOMAXPROCS(0)}
	file := s.model
	if file == "" {
		file = filepath.Join(dir, "model.safetensors")
		start := time.Now()
		if err := s.trainTo(file, train, &res, out); err != nil {
			return err
		}
		res.SecondsTraining = time.Since(start).Seconds()
	}
	m, features, normalise, err := load(file)
	if err != nil {
		return err
	}
	if s.save != "" {
		original, metadata, err := nn.Load(file)
		if err != nil {
			return err
		}
		if err := original.Save(s.save, metadata); err != nil {
			return err
		}
	}
	if s.report {
		p, _, err := compile(file, data, s.he)
		if err != nil {
			return err
		}
		if s.json != "" {
			if err := report.JSON(s.json, p.Report()); err != nil {
				return err
			}
		}
		return p.Report().WriteText(out)
	}
	rows, err := inputs(m, features, normalise, test.Rows())
	if err != nil {
		return err
	}
	plain := nn.Predict(m, rows)
	begin := time.Now()
	server, err := start(order{Model: file, Data: data, Token: crand.Text(), HE: s.he}.absolute())
	if err != nil {
		return err
	}
	res.SecondsServer = time.Since(begin).Seconds()
	encrypted, err := s.ask(server, rows[:s.n], &res, out)
	if stopErr := server.stop(); err == nil && stopErr != nil {
		err = fmt.Errorf("encrypted: the server ended badly: %w", stopErr)
	}
	if err != nil {
		return err
	}
	res.compare(plain, encrypted, test.Labels)
	r := server.Report
	res.Mode = r.Mode
	res.EvalMS, res.RotationMS, res.EvalOverRotation = server.EvalMS, server.RotationMS, server.Ratio
	res.Capacity, res.AmortisedMS = server.Capacity, server.EvalMS/float64(server.Capacity)
	res.KeyBytes, res.QueryBytes, res.AnswerBytes = r.KeyBytes, r.QueryBytes, r.AnswerBytes
	res.SecurityBits, res.LogN, res.LogQP, res.ArithmeticBits = r.SecurityBits, r.LogN, r.LogQP, r.ArithmeticBits
	if s.json != "" {
		if err := report.JSON(s.json, res); err != nil {
			return err
		}
	}
	return res.print(out)
}

// trainTo trains the network and writes it to a file.
func (s settings) trainTo(file string, train *mnist.Set, res *result, out io.Writer) error {
	n := networks[s.net]
	rows, err := prepare(n.features, train.Rows())
	if err != nil {
		return err
	}
	set, err := newExamples(rows, train.Labels)
	if err != nil {
		return err
	}
	shape := nn.Shape{1, mnist.Side, mnist.Side}
	if n.features != "" {
		shape = nn.Shape{len(rows[0])}
	}
	m, err := nn.New(shape, n.layers...)
	if err != nil {
		return err
	}
	metadata := map[string]string{}
	if n.features != "" {
		metadata["sotto.features"] = n.features
	}
	if s.private {
		g, err := n.trainPrivately(m, set, s.steps, s.seed, out)
		if err != nil {
			return err
		}
		res.Epsilon, res.Delta = g.Epsilon, g.Delta
	} else if err := n.train(m, set, s.steps, s.seed, out); err != nil {
		return err
	}
	return m.Save(file, metadata)
}

// inputs computes what the model reads, once normalised.
func inputs(m *nn.Model, features string, normalise *nn.Model, images [][]float32) ([][]float32, error) {
	rows, err := prepare(features, images)
	if err != nil {
		return nil, err
	}
	if want := m.Input().Size(); len(rows[0]) != want {
		return nil, fmt.Errorf("encrypted: the model reads %d values, an image gives %d", want, len(rows[0]))
	}
	if normalise != nil {
		rows = nn.Predict(normalise, rows)
	}
	return rows, nil
}

func (o order) absolute() order {
	for _, name := range []*string{&o.Model, &o.Data} {
		if abs, err := filepath.Abs(*name); err == nil {
			*name = abs
		}
	}
	return o
}

// ask sends the rows, encrypted, one query after the other.
func (s settings) ask(server *child, rows [][]float32, res *result, out io.Writer) ([][]float64, error) {
	ctx := context.Background()
	client, err := server.client()
	if err != nil {
		return nil, err
	}
	var seen []he.Timing
	remote, err := he.Dial(ctx, server.Address, he.DialOptions{
		HTTPClient: client, Digest: server.Digest,
		Authorize: func(r *http.Request) error { r.Header.Set("Authorization", "Bearer "+server.token); return nil },
		Observe:   func(t he.Timing) { seen = append(seen, t) },
	})
	if err != nil {
		return nil, err
	}
	bar := report.NewProgress(out, "encrypted digits", len(rows))
	var got [][]float64
	for chunk := range slices.Chunk(rows, remote.Schema().Capacity()) {
		values, err := remote.Predict(ctx, chunk)
		if err != nil {
			return nil, err
		}
		got = append(got, values...)
		bar.Update(len(got), "")
	}
	bar.Done("")
	if err := remote.Close(ctx); err != nil {
		return nil, err
	}
	res.MakeKeysMS, res.SendKeysMS = milliseconds(seen[0].MakeKeys), milliseconds(seen[0].SendKeys)
	part := func(f func(he.Timing) time.Duration) float64 {
		var v []float64
		for _, t := range seen[1:] {
			v = append(v, milliseconds(f(t)))
		}
		return median(v)
	}
	whole := part(func(t he.Timing) time.Duration { return t.Encrypt })
	if res.EncodeMS, err = encodeTime(remote.Schema()); err != nil {
		return nil, err
	}
	res.EncryptMS = max(0, whole-res.EncodeMS)
	res.SendMS = part(func(t he.Timing) time.Duration { return t.Send })
	res.QueueMS = part(func(t he.Timing) time.Duration { return t.Queue })
	res.EvaluateMS = part(func(t he.Timing) time.Duration { return t.Evaluate })
	res.ReceiveMS = part(func(t he.Timing) time.Duration { return t.Receive })
	res.DecryptMS = part(func(t he.Timing) time.Duration { return t.Decrypt })
	res.TotalMS = part(func(t he.Timing) time.Duration {
		return t.Encrypt + t.Send + t.Queue + t.Evaluate + t.Receive + t.Decrypt
	})
	return got, nil
}

// encodeTime is the time in which all cores encode as many vectors as a query has.
func encodeTime(s *he.Schema) (float64, error) {
	p := s.Parameters()
	params, err := hefloat.NewParametersFromLiteral(hefloat.ParametersLiteral{LogN: p.LogN, Q: p.Q, P: p.P, LogDefaultScale: p.LogScale})
	if err != nil {
		return 0, err
	}
	bits := 0.
	for _, q := range p.Q {
		bits += math.Ceil(math.Log2(float64(q)))
	}
	count := int(math.Round(float64(s.QueryBytes()) * 8 / bits / float64(params.N())))
	values := make([]float64, params.MaxSlots())
	workers := min(runtime.GOMAXPROCS(0), count)
	once := func() (float64, error) {
		start := time.Now()
		var group sync.WaitGroup
		failed := make([]error, workers)
		for w := range workers {
			group.Go(func() {
				encoder := hefloat.NewEncoder(params)
				pt := hefloat.NewPlaintext(params, params.MaxLevel())
				for i := w; i < count && failed[w] == nil; i += workers {
					failed[w] = encoder.Encode(values, pt)
				}
			})
		}
		group.Wait()
		return milliseconds(time.Since(start)), firstError(failed)
	}
	var took []float64
	for range 3 {
		v, err := once()
		if err != nil {
			return 0, err
		}
		took = append(took, v)
	}
	return median(took), nil
}

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// compare fills in how the encrypted outputs differ from the plain ones, and both from
// the labels.
func (r *result) compare(plain [][]float32, encrypted [][]float64, labels []int) {
	rightPlain, rightSent, rightEncrypted := 0, 0, 0
	for i, row := range plain {
		right := best(row) == labels[i]
		if right {
			rightPlain++
		}
		if i < len(encrypted) {
			if right {
				rightSent++
			}
			if best(encrypted[i]) == labels[i] {
				rightEncrypted++
			}
		}
	}
	n := float64(len(encrypted))
	r.AccuracyPlain = float64(rightPlain) / float64(len(plain))
	r.AccuracyPlainSent, r.AccuracyEncrypted = float64(rightSent)/n, float64(rightEncrypted)/n
	a := he.Compare(plain[:len(encrypted)], encrypted)
	r.Agreement, r.Disagreements, r.DisagreementsOfTies = a.Agreement, a.Disagreements, a.Ties
	r.LargestError, r.PrecisionBits = a.LargestError, a.PrecisionBits
}

func best[T float32 | float64](v []T) int {
	at := 0
	for i := range v {
		if v[i] > v[at] {
			at = i
		}
	}
	return at
}

func (r *result) print(out io.Writer) error {
	trained := "without privacy"
	if r.Private {
		trained = fmt.Sprintf("within (ε = %.4f, δ = %g)", r.Epsilon, r.Delta)
	}
	if r.Net == "model" {
		trained = "elsewhere"
	}
	percent := func(v float64) string { return fmt.Sprintf("%.2f%%", 100*v) }
	ms := func(v float64) string { return fmt.Sprintf("%.3f ms", v) }
	fmt.Fprintln(out)
	return report.Table(out, false,
		[]string{"network", fmt.Sprintf("%s, trained %s", r.Net, trained)},
		[]string{"mode", fmt.Sprintf("%s, up to %d inputs a query", r.Mode, r.Capacity)},
		[]string{"plain accuracy", fmt.Sprintf("%s on the test half, %s on the %d digits sent", percent(r.AccuracyPlain), percent(r.AccuracyPlainSent), r.Digits)},
		[]string{"encrypted accuracy", percent(r.AccuracyEncrypted)},
		[]string{"agreement", fmt.Sprintf("%s; %d labels differ, %d of them within the precision of a tie", percent(r.Agreement), r.Disagreements, r.DisagreementsOfTies)},
		[]string{"precision", fmt.Sprintf("%.1f bits (largest error %.2g), of the arithmetic alone %.1f", r.PrecisionBits, r.LargestError, r.ArithmeticBits)},
		[]string{"security", fmt.Sprintf("%d bits: log2(QP) %.1f at log_n %d", r.SecurityBits, r.LogQP, r.LogN)},
		[]string{"evaluation, 1 core", fmt.Sprintf("%s, %.2f reference rotations of %s", ms(r.EvalMS), r.EvalOverRotation, ms(r.RotationMS))},
		[]string{"for each input", ms(r.AmortisedMS)},
		[]string{"a query's way", fmt.Sprintf("%s on %d cores", ms(r.TotalMS), r.Cores)},
		[]string{"  encode", ms(r.EncodeMS)},
		[]string{"  encrypt", ms(r.EncryptMS)},
		[]string{"  send", ms(r.SendMS)},
		[]string{"  wait", ms(r.QueueMS)},
		[]string{"  evaluate", ms(r.EvaluateMS)},
		[]string{"  receive", ms(r.ReceiveMS)},
		[]string{"  decrypt", ms(r.DecryptMS)},
		[]string{"keys", fmt.Sprintf("%.2f MB, made in %s, sent in %s", float64(r.KeyBytes)/1e6, ms(r.MakeKeysMS), ms(r.SendKeysMS))},
		[]string{"messages", fmt.Sprintf("query %.3f MB, answer %.3f MB", float64(r.QueryBytes)/1e6, float64(r.AnswerBytes)/1e6)},
		[]string{"time", fmt.Sprintf("training %.1fs, server's start %.1fs", r.SecondsTraining, r.SecondsServer)})
}
