package he

import (
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/ring"

	"github.com/sotto-ml/sotto/internal/stream"
)

// Client holds a secret key: it encrypts inputs and decrypts answers. It is safe for
// concurrent use.
type Client struct {
	schema *Schema
	secret *rlwe.SecretKey
	pool   sync.Pool // of *clientWorker: lattigo's objects serve one goroutine
}

type clientWorker struct {
	encoder   *hefloat.Encoder
	encryptor *rlwe.Encryptor
	decryptor *rlwe.Decryptor
}

// NewClient makes a client with a fresh secret key from the operating system's
// randomness.
func NewClient(s *Schema) *Client {
	return newClient(s, rlwe.NewKeyGenerator(s.lattigo).GenSecretKeyNew())
}

func newClient(s *Schema, secret *rlwe.SecretKey) *Client {
	c := &Client{schema: s, secret: secret}
	c.pool.New = func() any {
		return &clientWorker{
			encoder:   hefloat.NewEncoder(s.lattigo),
			encryptor: rlwe.NewEncryptor(s.lattigo, secret),
			decryptor: rlwe.NewDecryptor(s.lattigo, secret),
		}
	}
	return c
}

// Schema is what the client was made for.
func (c *Client) Schema() *Schema { return c.schema }

// Keys makes the evaluation keys that the server needs. They are made anew with each
// call; a server needs them once.
func (c *Client) Keys() *EvaluationKeys { return newEvaluationKeys(c.schema, c.secret) }

// Query is encrypted inputs.
type Query struct {
	schema *Schema
	count  int // of inputs
	seed   [seedSize]byte
	cts    []*rlwe.Ciphertext
}

// Count is the number of inputs.
func (q *Query) Count() int { return q.count }

// Encrypt encrypts inputs, at most [Schema.Capacity]. It returns an error if one has
// another length than the schema's, or holds a value beyond its bound or a NaN.
func (c *Client) Encrypt(inputs [][]float32) (*Query, error) {
	s := c.schema
	if len(inputs) < 1 || len(inputs) > s.Capacity() {
		return nil, fmt.Errorf("he: %d inputs in a query, allowed are 1 to %d", len(inputs), s.Capacity())
	}
	for i, x := range inputs {
		if len(x) != s.inputs {
			return nil, fmt.Errorf("he: input %d has %d values, must have %d", i, len(x), s.inputs)
		}
		for j, v := range x {
			if !(math.Abs(float64(v)) <= s.inputBound) {
				return nil, fmt.Errorf("he: input %d holds %g at %d, allowed are -%g to %g", i, v, j, s.inputBound, s.inputBound)
			}
		}
	}
	q := &Query{schema: s, count: len(inputs), cts: make([]*rlwe.Ciphertext, s.ciphertexts())}
	rand.Read(q.seed[:])
	parallel(len(q.cts), func(from, to int) {
		w := c.pool.Get().(*clientWorker)
		defer c.pool.Put(w)
		values := make([]float64, s.params.Slots())
		for i := from; i < to; i++ {
			s.slots(values, inputs, i)
			q.cts[i] = w.encrypt(s, values, &q.seed, uint64(i))
		}
	})
	return q, nil
}

// slots lays out ciphertext i of a query.
func (s *Schema) slots(values []float64, inputs [][]float32, i int) {
	clear(values)
	if s.mode == Batch {
		for j, x := range inputs {
			values[j] = float64(x[i]) / s.inputBound
		}
		return
	}
	tap := s.taps[i]
	for p := range values {
		if x := tap[p&(len(tap)-1)]; x >= 0 {
			values[p] = float64(inputs[0][x]) / s.inputBound
		}
	}
}

func (w *clientWorker) encrypt(s *Schema, values []float64, seed *[seedSize]byte, id uint64) *rlwe.Ciphertext {
	pt := hefloat.NewPlaintext(s.lattigo, s.lattigo.MaxLevel())
	if err := w.encoder.Encode(values, pt); err != nil {
		panic("he: encode: " + err.Error()) // shapes are the schema's
	}
	ct := hefloat.NewCiphertext(s.lattigo, 1, pt.Level())
	if err := w.encryptor.WithPRNG(expand(seed, id)).Encrypt(pt, ct); err != nil {
		panic("he: encrypt: " + err.Error())
	}
	return ct
}

// WriteTo writes the query: the number of inputs, the seed, and of each ciphertext the
// half that is not random.
func (q *Query) WriteTo(w io.Writer) (int64, error) {
	c := newCounter(w)
	c.write(header(kindQuery, q.schema.digest))
	c.write([]byte{byte(q.count), byte(q.count >> 8), byte(q.count >> 16), byte(q.count >> 24)})
	c.write(q.seed[:])
	for _, ct := range q.cts {
		c.poly(ct.Value[0], q.schema.params.Q)
	}
	return c.finish()
}

// QueryBytes is the length of a query's message.
func (s *Schema) QueryBytes() int64 {
	size := 0
	for _, p := range s.params.Q {
		size += packedSize(1<<s.params.LogN, p)
	}
	return int64(headerSize + 4 + seedSize + s.ciphertexts()*size)
}

// ReadQuery reads what [Query.WriteTo] writes, to the end of r. It refuses queries for
// another program with [ErrOtherProgram], and anything malformed.
func (s *Schema) ReadQuery(r io.Reader) (*Query, error) {
	if _, err := readHeader(r, kindQuery, s.digest); err != nil {
		return nil, err
	}
	in := &polyReader{r: r}
	fail := func(err error) (*Query, error) {
		return nil, fmt.Errorf("he: %s: byte %d: %w", kindQuery, headerSize+in.n, err)
	}
	q := &Query{schema: s}
	var count [4]byte
	if err := in.read(count[:]); err != nil {
		return fail(err)
	}
	q.count = int(count[0]) | int(count[1])<<8 | int(count[2])<<16 | int(count[3])<<24
	if q.count < 1 || q.count > s.Capacity() {
		return fail(fmt.Errorf("%d inputs, allowed are 1 to %d", q.count, s.Capacity()))
	}
	if err := in.read(q.seed[:]); err != nil {
		return fail(err)
	}
	for range s.ciphertexts() {
		ct := hefloat.NewCiphertext(s.lattigo, 1, s.lattigo.MaxLevel())
		if err := in.poly(ct.Value[0], s.params.Q); err != nil {
			return fail(err)
		}
		q.cts = append(q.cts, ct)
	}
	if err := in.end(); err != nil {
		return fail(err)
	}
	parallel(len(q.cts), func(from, to int) {
		for i := from; i < to; i++ {
			ring.NewUniformSampler(expand(&q.seed, uint64(i)), s.lattigo.RingQ()).Read(q.cts[i].Value[1])
		}
	})
	return q, nil
}

// Answer is encrypted outputs.
type Answer struct {
	schema *Schema
	count  int
	cts    []*rlwe.Ciphertext
}

// newAnswerCiphertext is one of an answer's, empty.
func (s *Schema) newAnswerCiphertext() *rlwe.Ciphertext {
	ct := hefloat.NewCiphertext(s.lattigo, s.degree, s.level)
	ct.Scale = rlwe.NewScale(s.scale)
	return ct
}

// WriteTo writes the answer.
func (a *Answer) WriteTo(w io.Writer) (int64, error) {
	c := newCounter(w)
	c.write(header(kindAnswer, a.schema.digest))
	c.write([]byte{byte(a.count), byte(a.count >> 8), byte(a.count >> 16), byte(a.count >> 24)})
	for _, ct := range a.cts {
		for _, p := range ct.Value {
			c.poly(p, a.schema.params.Q[:a.schema.level+1])
		}
	}
	return c.finish()
}

// AnswerBytes is the length of an answer's message.
func (s *Schema) AnswerBytes() int64 {
	size := 0
	for _, p := range s.params.Q[:s.level+1] {
		size += packedSize(1<<s.params.LogN, p)
	}
	return int64(headerSize + 4 + s.answers()*(s.degree+1)*size)
}

// ReadAnswer reads what [Answer.WriteTo] writes, to the end of r.
func (s *Schema) ReadAnswer(r io.Reader) (*Answer, error) {
	if _, err := readHeader(r, kindAnswer, s.digest); err != nil {
		return nil, err
	}
	in := &polyReader{r: r}
	fail := func(err error) (*Answer, error) {
		return nil, fmt.Errorf("he: %s: byte %d: %w", kindAnswer, headerSize+in.n, err)
	}
	a := &Answer{schema: s}
	var count [4]byte
	if err := in.read(count[:]); err != nil {
		return fail(err)
	}
	a.count = int(count[0]) | int(count[1])<<8 | int(count[2])<<16 | int(count[3])<<24
	if a.count < 1 || a.count > s.Capacity() {
		return fail(fmt.Errorf("%d inputs, allowed are 1 to %d", a.count, s.Capacity()))
	}
	for range s.answers() {
		ct := s.newAnswerCiphertext()
		for _, p := range ct.Value {
			if err := in.poly(p, s.params.Q[:s.level+1]); err != nil {
				return fail(err)
			}
		}
		a.cts = append(a.cts, ct)
	}
	if err := in.end(); err != nil {
		return fail(err)
	}
	return a, nil
}

// Decrypt gives the outputs, one row for each input of the query.
//
// They are for the key's owner alone. The errors in their last bits depend on the
// secret key: whoever sees enough of them beside the ciphertexts can find the key (Li
// and Micciancio 2021, "On the security of homomorphic encryption on approximate
// numbers"). What is published goes through [Client.DecryptPublic].
func (c *Client) Decrypt(a *Answer) ([][]float64, error) {
	s := c.schema
	if a.schema.digest != s.digest {
		return nil, fmt.Errorf("%w: answer for program %.16s…, the client's is %.16s…", ErrOtherProgram, a.schema.digest, s.digest)
	}
	out := make([][]float64, a.count)
	for i := range out {
		out[i] = make([]float64, s.outputs)
	}
	var failed error
	var mutex sync.Mutex
	parallel(len(a.cts), func(from, to int) {
		w := c.pool.Get().(*clientWorker)
		defer c.pool.Put(w)
		for i := from; i < to; i++ {
			pt := w.decryptor.DecryptNew(a.cts[i])
			width := s.params.Slots()
			if s.mode == Latency {
				width = s.width
				for pt.LogDimensions.Cols = 0; 1<<pt.LogDimensions.Cols < width; pt.LogDimensions.Cols++ {
				}
			}
			values := make([]float64, width)
			if err := w.encoder.Decode(pt, values); err != nil {
				mutex.Lock()
				failed = fmt.Errorf("he: decode: %w", err)
				mutex.Unlock()
				return
			}
			if s.mode == Latency {
				for j := range out[0] {
					out[0][j] = values[j] * s.outputGain
				}
			} else {
				for j := range out {
					out[j][i] = values[j] * s.outputGain
				}
			}
		}
	})
	return out, failed
}

// Publication says how outputs may be published.
type Publication struct {
	// Answers is the largest number of inputs whose outputs will ever be published
	// under this client's key, this one's included.
	Answers int
	// Distance is the largest statistical distance, above 0 and at most 1/2, that all
	// that is published may have from what would be if every output were exact.
	Distance float64
}

// Deviation is the standard deviation of the noise that [Client.DecryptPublic] adds to
// every output. Errors of at most B = [Schema.ErrorBound] in m = Answers·Outputs
// outputs shift Gaussian noise by a divergence of at most m·B²/2σ² nats, which by
// Pinsker's inequality is a distance of B·√m/2σ. It returns an error if a field is out
// of range.
func (p Publication) Deviation(s *Schema) (float64, error) {
	if p.Answers < 1 {
		return 0, fmt.Errorf("he: Publication.Answers is %d, must be at least 1", p.Answers)
	}
	if !(p.Distance > 0 && p.Distance <= .5) {
		return 0, fmt.Errorf("he: Publication.Distance is %g, allowed are above 0 to 0.5", p.Distance)
	}
	return s.errorBound * math.Sqrt(float64(p.Answers)*float64(s.outputs)) / (2 * p.Distance), nil
}

// DecryptPublic gives outputs that may be shown to others than the key's owner, even to
// the server: to each it adds Gaussian noise of [Publication.Deviation] and rounds it to
// a multiple of the power of two next below 1/16 of that, so that the errors that depend
// on the secret key are drowned (Li, Micciancio, Schultz and Sorrell 2022, "Securing
// Approximate Homomorphic Encryption Using Differential Privacy").
//
// [Schema.ErrorBound] is many times what was measured, not proved. It holds for answers of a
// server that computes honestly, to inputs that stay within the calibrated ranges: others may
// have any error, so publish none of those, nor what an untrusted server may have forged.
// It counts no calls: Answers is the caller's promise.
func (c *Client) DecryptPublic(a *Answer, p Publication) ([][]float64, error) {
	sigma, err := p.Deviation(c.schema)
	if err != nil {
		return nil, err
	}
	rows, err := c.Decrypt(a)
	if err != nil {
		return nil, err
	}
	grid := math.Exp2(math.Floor(math.Log2(sigma / 16)))
	key := stream.NewKey()
	noise := stream.New(&key, 0)
	defer key.Erase()
	defer noise.Erase()
	for _, row := range rows {
		for j := range row {
			row[j] = math.RoundToEven((row[j]+sigma*gaussian(noise.Uint64(), noise.Uint64()))/grid) * grid
		}
	}
	return rows, nil
}

// gaussian is Box and Muller's transform of two uniform words: 53 bits of each. Rounded to
// 1/16 or to 1/32 of the deviation, what it gives is within a statistical distance of
// 2^-40 of the Gaussian law: there are fewer than 600 cells up to the largest value, 8.6,
// each bound between two moves by less than 2^-50 for the words' and for float64's
// resolution, and beyond lie 2^-53.
func gaussian(u, v uint64) float64 {
	radius := math.Sqrt(-2 * math.Log((float64(u>>11)+1)*0x1p-53))
	return radius * math.Cos(2*math.Pi*0x1p-53*float64(v>>11))
}

// secretSize is the bytes of a ternary secret: two bits a coefficient.
func (s *Schema) secretSize() int { return 1 << s.params.LogN / 4 }

// WriteTo writes the client's secret key. Whoever reads it can decrypt everything.
func (c *Client) WriteTo(w io.Writer) (int64, error) {
	out := newCounter(w)
	out.write(header(kindSecret, c.schema.digest))
	r := c.schema.lattigo.RingQ().AtLevel(0)
	p := r.NewPoly()
	r.IMForm(c.secret.Value.Q, p)
	r.INTT(p, p)
	q := c.schema.params.Q[0]
	packed := make([]byte, c.schema.secretSize())
	for i, v := range p.Coeffs[0] {
		code := byte(v) // 0 or 1
		if v == q-1 {
			code = 2
		}
		packed[i/4] |= code << (2 * (i % 4))
	}
	out.write(packed)
	return out.finish()
}

// ReadClient reads what [Client.WriteTo] writes, to the end of r.
func (s *Schema) ReadClient(r io.Reader) (*Client, error) {
	if _, err := readHeader(r, kindSecret, s.digest); err != nil {
		return nil, err
	}
	in := &polyReader{r: r}
	packed := make([]byte, s.secretSize())
	err := in.read(packed)
	if err == nil {
		err = in.end()
	}
	if err != nil {
		return nil, fmt.Errorf("he: %s: byte %d: %w", kindSecret, headerSize+in.n, err)
	}
	secret := rlwe.NewSecretKey(s.lattigo)
	for i := range 1 << s.params.LogN {
		code := packed[i/4] >> (2 * (i % 4)) & 3
		if code == 3 {
			return nil, fmt.Errorf("he: %s: coefficient %d is none of -1, 0 and 1", kindSecret, i)
		}
		set := func(rows [][]uint64, primes []uint64) {
			for j, q := range primes {
				rows[j][i] = [...]uint64{0, 1, q - 1}[code]
			}
		}
		set(secret.Value.Q.Coeffs, s.params.Q)
		set(secret.Value.P.Coeffs, s.params.P)
	}
	ringQP := s.lattigo.RingQP()
	ringQP.NTT(secret.Value, secret.Value)
	ringQP.MForm(secret.Value, secret.Value)
	return newClient(s, secret), nil
}
