package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"time"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"

	"github.com/sotto-ml/sotto/he"
	"github.com/sotto-ml/sotto/internal/mnist"
)

// order is what the server's process reads on its standard input. It serves until that
// input ends.
type order struct {
	Model string     `json:"model"`
	Data  string     `json:"data"`
	Token string     `json:"token"`
	HE    he.Options `json:"he"`
}

// hello is what the server's process says when it is ready.
type hello struct {
	Address     string    `json:"address"`
	Certificate []byte    `json:"certificate"` // in PEM: the client believes no other
	Digest      he.Digest `json:"digest"`
	Report      he.Report `json:"report"`
	EvalMS      float64   `json:"eval_ms"`     // of a query, on one core
	RotationMS  float64   `json:"rotation_ms"` // of the reference, on the same core
	Ratio       float64   `json:"ratio"`       // of the two
	Capacity    int       `json:"capacity"`
}

// calibration is the number of images, the last of the test half, that calibrate a
// program. They stand in for public ones.
const calibration = 512

// compile makes the program of a model in a file.
func compile(name, data string, options he.Options) (*he.Program, [][]float32, error) {
	m, features, normalise, err := load(name)
	if err != nil {
		return nil, nil, err
	}
	_, test, err := mnist.Load(data)
	if err != nil {
		return nil, nil, err
	}
	rows, err := inputs(m, features, normalise, test.Rows()[test.Len()-calibration:])
	if err != nil {
		return nil, nil, err
	}
	p, err := he.Compile(m, rows, options)
	return p, rows, err
}

// serve is the server's process.
func serve(in io.Reader, out io.Writer) error {
	stdin := bufio.NewReader(in)
	line, err := stdin.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("encrypted: server: %w", err)
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("encrypted: server: %w", err)
	}
	p, rows, err := compile(o.Model, o.Data, o.HE)
	if err != nil {
		return err
	}
	h := hello{Digest: p.Schema().Digest(), Report: p.Report(), Capacity: p.Schema().Capacity()}
	if h.EvalMS, h.RotationMS, h.Ratio, err = measure(p, rows); err != nil {
		return err
	}
	handler, err := he.NewHandler(p, he.HandlerOptions{
		Authenticate: func(r *http.Request) (string, error) {
			if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+o.Token)) != 1 {
				return "", errors.New("unknown token")
			}
			return "example", nil
		},
		MaxKeyMemory: 4 << 30, MaxQueryMemory: 8 << 30, TransferTimeout: 5 * time.Minute,
	})
	if err != nil {
		return err
	}
	certificate, encoded, err := selfSigned()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13},
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	h.Address, h.Certificate = "https://"+listener.Addr().String(), encoded
	if err := json.NewEncoder(out).Encode(h); err != nil {
		return err
	}
	closed := make(chan struct{})
	go func() {
		io.Copy(io.Discard, stdin) // until the client's process ends or closes it
		close(closed)
	}()
	select {
	case err := <-ended:
		return err
	case <-closed:
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(handler.Shutdown(ctx), server.Shutdown(ctx))
}

// selfSigned makes a certificate for this run alone.
func selfSigned() (c tls.Certificate, encoded []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return c, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "sotto example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return c, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// child is the server's process, seen from the client's.
type child struct {
	hello
	token string
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// start runs this program once more, as the server.
func start(o order) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{token: o.Token, cmd: exec.Command(program, "serve")}
	c.cmd.Stderr = os.Stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	err = json.NewEncoder(c.stdin).Encode(o)
	if err == nil {
		err = json.NewDecoder(stdout).Decode(&c.hello)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("encrypted: the server did not start: %w", err), c.stop())
	}
	return c, nil
}

// stop lets the server finish and waits for its end.
func (c *child) stop() error {
	c.stdin.Close()
	return c.cmd.Wait()
}

// client is an HTTP client that believes the child's certificate alone.
func (c *child) client() (*http.Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.Certificate) {
		return nil, errors.New("encrypted: the server's certificate is none")
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, ExpectContinueTimeout: 10 * time.Second,
	}}, nil
}

// measure times a query's evaluation and the reference on one core, in turns. Rotations
// are timed in blocks about as long as an evaluation, so that what else the machine does
// slows both alike. ratio is the median over turns. The keys are made for that and
// thrown away.
func measure(p *he.Program, rows [][]float32) (eval, rotation, ratio float64, err error) {
	client := he.NewClient(p.Schema())
	server, err := he.NewServer(p, client.Keys())
	if err != nil {
		return 0, 0, 0, err
	}
	query, err := client.Encrypt(rows[:1])
	if err != nil {
		return 0, 0, 0, err
	}
	rotate, err := newRotation()
	if err != nil {
		return 0, 0, 0, err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	evaluate := func() error { _, err := server.Evaluate(query); return err }
	timed := func(times int, f func() error) (float64, error) {
		start := time.Now()
		for range times {
			if err := f(); err != nil {
				return 0, err
			}
		}
		return milliseconds(time.Since(start)) / float64(times), nil
	}
	var evals, rotations, ratios []float64
	begin := time.Now()
	// The first turn warms up.
	for turn := 0; turn <= 3 || turn <= 15 && time.Since(begin) < 5*time.Second; turn++ {
		e, err := timed(1, evaluate)
		if err != nil {
			return 0, 0, 0, err
		}
		block := 1
		if turn > 0 {
			block = min(max(1, int(math.Round(e/median(rotations)))), 100)
		}
		r, err := timed(block, rotate)
		if err != nil {
			return 0, 0, 0, err
		}
		if turn == 0 {
			rotations = append(rotations, r)
			continue
		}
		if turn == 1 {
			rotations = rotations[:0]
		}
		evals, rotations, ratios = append(evals, e), append(rotations, r), append(ratios, e/r)
	}
	return median(evals), median(rotations), median(ratios), nil
}

// newRotation makes the unit in which evaluations are told, whatever the machine: one
// rotation by lattigo at the top level of logN 13, depth 6, log2(QP) 214.
func newRotation() (func() error, error) {
	params, err := hefloat.NewParametersFromLiteral(hefloat.ParametersLiteral{
		LogN: 13, LogQ: []int{28, 25, 25, 25, 25, 25, 25}, LogP: []int{36}, LogDefaultScale: 25,
	})
	if err != nil {
		return nil, err
	}
	keys := rlwe.NewKeyGenerator(params)
	secret := keys.GenSecretKeyNew()
	evaluator := hefloat.NewEvaluator(params, rlwe.NewMemEvaluationKeySet(nil, keys.GenGaloisKeyNew(params.GaloisElement(1), secret)))
	from := rlwe.NewEncryptor(params, secret).EncryptZeroNew(params.MaxLevel())
	to := from.CopyNew()
	return func() error { return evaluator.Rotate(from, 1, to) }, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

// median is the middle one, 0 of none. It sorts a copy.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
