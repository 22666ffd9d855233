package he

import (
	"crypto/rand"
	"fmt"
	"io"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/ring/ringqp"
)

// EvaluationKeys are what a server needs, beside a program, to evaluate a client's
// queries. They decrypt nothing. Half of every key is random and travels as a seed.
type EvaluationKeys struct {
	schema    *Schema
	seed      [seedSize]byte
	relin     *rlwe.RelinearizationKey // nil if the schema asks for none
	rotations []*rlwe.GaloisKey        // in the order of the schema
}

// keyLevel makes lattigo's option for a key that is used up to a level.
func keyLevel(params hefloat.Parameters, level int) rlwe.EvaluationKeyParameters {
	p := params.MaxLevelP()
	return rlwe.EvaluationKeyParameters{LevelQ: &level, LevelP: &p}
}

// newEvaluationKeys makes the keys that the schema asks for.
func newEvaluationKeys(s *Schema, secret *rlwe.SecretKey) *EvaluationKeys {
	k := &EvaluationKeys{schema: s}
	if s.relinearize < 0 && len(s.rotations) == 0 {
		return k
	}
	rand.Read(k.seed[:])
	// Each key is made by an encryptor of its own, with fresh errors.
	generator := func(id int) *rlwe.KeyGenerator {
		return &rlwe.KeyGenerator{Encryptor: rlwe.NewEncryptor(s.lattigo, nil).WithPRNG(expand(&k.seed, uint64(id)))}
	}
	first := 0 // rotation's id
	if s.relinearize >= 0 {
		k.relin = generator(0).GenRelinearizationKeyNew(secret, keyLevel(s.lattigo, s.relinearize))
		first = 1
	}
	k.rotations = make([]*rlwe.GaloisKey, len(s.rotations))
	parallel(len(s.rotations), func(from, to int) {
		for i := from; i < to; i++ {
			r := s.rotations[i]
			k.rotations[i] = generator(first+i).GenGaloisKeyNew(s.lattigo.GaloisElement(r.Step), secret, keyLevel(s.lattigo, r.Level))
		}
	})
	return k
}

// each visits the keys' parts in order: the body and the random half of every digit.
func (k *EvaluationKeys) each(f func(id uint64, level int, digits []rlwe.VectorQP) error) error {
	id := uint64(0)
	visit := func(level int, g *rlwe.GadgetCiphertext) error {
		var digits []rlwe.VectorQP
		for _, d := range g.Value {
			digits = append(digits, d...)
		}
		err := f(id, level, digits)
		id++
		return err
	}
	if k.relin != nil {
		if err := visit(k.schema.relinearize, &k.relin.GadgetCiphertext); err != nil {
			return err
		}
	}
	for i, r := range k.rotations {
		if err := visit(k.schema.rotations[i].Level, &r.GadgetCiphertext); err != nil {
			return err
		}
	}
	return nil
}

// WriteTo writes the keys: the seed, and the bodies bit by bit.
func (k *EvaluationKeys) WriteTo(w io.Writer) (int64, error) {
	c := newCounter(w)
	c.write(header(kindKeys, k.schema.digest))
	c.write(k.seed[:])
	k.each(func(_ uint64, level int, digits []rlwe.VectorQP) error {
		for _, d := range digits {
			c.poly(d[0].Q, k.schema.params.Q[:level+1])
			c.poly(d[0].P, k.schema.params.P)
		}
		return c.err
	})
	return c.finish()
}

// KeyBytes is the length of the keys' message.
func (s *Schema) KeyBytes() int64 {
	n := int64(headerSize + seedSize)
	if s.relinearize >= 0 {
		n += s.keyBytes(s.relinearize)
	}
	for _, r := range s.rotations {
		n += s.keyBytes(r.Level)
	}
	return n
}

// keyBytes is the length of one key that is used up to a level.
func (s *Schema) keyBytes(level int) int64 {
	digits := (level + len(s.params.P)) / max(len(s.params.P), 1)
	size := 0
	for _, primes := range [][]uint64{s.params.Q[:level+1], s.params.P} {
		for _, q := range primes {
			size += packedSize(1<<s.params.LogN, q)
		}
	}
	return int64(digits * size)
}

// ReadKeys reads what [EvaluationKeys.WriteTo] writes, to the end of r. It refuses keys
// for another program with [ErrOtherProgram], and anything malformed. It allocates no
// more than the schema's keys take.
func (s *Schema) ReadKeys(r io.Reader) (*EvaluationKeys, error) {
	if _, err := readHeader(r, kindKeys, s.digest); err != nil {
		return nil, err
	}
	in := &polyReader{r: r}
	k := &EvaluationKeys{schema: s}
	fail := func(err error) (*EvaluationKeys, error) {
		return nil, fmt.Errorf("he: %s: byte %d: %w", kindKeys, headerSize+in.n, err)
	}
	if err := in.read(k.seed[:]); err != nil {
		return fail(err)
	}
	// A key is allocated when its turn comes, so that a short message costs little.
	read := func(id uint64, level int, g *rlwe.GadgetCiphertext) error {
		uniform := ringqp.NewUniformSampler(expand(&k.seed, id), *s.lattigo.RingQP())
		for _, digit := range g.Value {
			for _, d := range digit {
				if err := in.poly(d[0].Q, s.params.Q[:level+1]); err != nil {
					return err
				}
				if err := in.poly(d[0].P, s.params.P); err != nil {
					return err
				}
				uniform.AtLevel(level, s.lattigo.MaxLevelP()).Read(d[1])
			}
		}
		return nil
	}
	id := uint64(0)
	if s.relinearize >= 0 {
		k.relin = rlwe.NewRelinearizationKey(s.lattigo, keyLevel(s.lattigo, s.relinearize))
		if err := read(id, s.relinearize, &k.relin.GadgetCiphertext); err != nil {
			return fail(err)
		}
		id++
	}
	for _, rot := range s.rotations {
		g := rlwe.NewGaloisKey(s.lattigo, keyLevel(s.lattigo, rot.Level))
		g.GaloisElement = s.lattigo.GaloisElement(rot.Step)
		if err := read(id, rot.Level, &g.GadgetCiphertext); err != nil {
			return fail(err)
		}
		k.rotations = append(k.rotations, g)
		id++
	}
	if err := in.end(); err != nil {
		return fail(err)
	}
	return k, nil
}

// set is the keys in lattigo's form.
func (k *EvaluationKeys) set() *rlwe.MemEvaluationKeySet {
	return rlwe.NewMemEvaluationKeySet(k.relin, k.rotations...)
}
