package he

import (
	"fmt"
	"sync"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
)

// Server evaluates one client's queries with that client's evaluation keys. It holds
// nothing that decrypts. It is safe for concurrent use; an answer's outputs do not
// depend on the number of cores.
type Server struct {
	workers *workers
	keys    rlwe.EvaluationKeySet
}

// NewServer makes a server. It returns [ErrOtherProgram] if the keys are for another
// program.
func NewServer(p *Program, keys *EvaluationKeys) (*Server, error) {
	return newServer(newWorkers(p), keys)
}

func newServer(w *workers, keys *EvaluationKeys) (*Server, error) {
	if digest := w.program.schema.digest; keys.schema.digest != digest {
		return nil, fmt.Errorf("%w: keys for program %.16s…, the server's is %.16s…", ErrOtherProgram, keys.schema.digest, digest)
	}
	return &Server{workers: w, keys: keys.set()}, nil
}

// Evaluate computes the encrypted outputs of a query, which it leaves as it is.
func (s *Server) Evaluate(q *Query) (*Answer, error) {
	schema := s.workers.program.schema
	if q.schema.digest != schema.digest {
		return nil, fmt.Errorf("%w: query for program %.16s…, the server's is %.16s…", ErrOtherProgram, q.schema.digest, schema.digest)
	}
	cts, err := s.workers.run(q.cts, s.keys)
	if err != nil {
		return nil, fmt.Errorf("he: evaluate: %w", err)
	}
	return &Answer{schema: schema, count: q.count, cts: cts}, nil
}

// workers evaluate a program's queries, any client's. Their buffers, which may be larger
// than a client's keys, belong to the evaluations that run: each takes what it needs and
// puts its client's keys in for as long as it runs.
type workers struct {
	program *Program
	latency sync.Pool // of *worker
	batch   *relinearizer
}

func newWorkers(p *Program) *workers {
	w := &workers{program: p}
	s := p.schema
	if s.mode == Batch {
		w.batch = newRelinearizer(s, &EvaluationKeys{schema: s})
		return w
	}
	first := sync.OnceValue(func() *worker { // never run, only copied
		// Of each rotation lattigo keeps a permutation, which it must find when it is
		// first copied: later it would write to a map that all copies share.
		var all []*rlwe.GaloisKey
		for _, r := range s.rotations {
			all = append(all, &rlwe.GaloisKey{GaloisElement: s.lattigo.GaloisElement(r.Step)})
		}
		return newWorker(p.circuit, rlwe.NewMemEvaluationKeySet(nil, all...))
	})
	w.latency.New = func() any { return first().copy() }
	return w
}

// run evaluates one query. What panics is not used again.
func (w *workers) run(inputs []*rlwe.Ciphertext, keys rlwe.EvaluationKeySet) ([]*rlwe.Ciphertext, error) {
	if w.program.schema.mode == Batch {
		return w.runBatch(inputs, keys)
	}
	one := w.latency.Get().(*worker)
	one.eval.EvaluationKeySet = keys
	ct, err := one.run(inputs)
	one.eval.EvaluationKeySet = nil
	w.latency.Put(one)
	if err != nil {
		return nil, err
	}
	return []*rlwe.Ciphertext{ct}, nil
}

func (w *workers) runBatch(inputs []*rlwe.Ciphertext, keys rlwe.EvaluationKeySet) ([]*rlwe.Ciphertext, error) {
	if w.batch == nil {
		return w.program.batch.run(inputs, nil)
	}
	own := &relinearizer{}
	own.pool.New = func() any {
		e := w.batch.pool.Get().(*rlwe.Evaluator)
		e.EvaluationKeySet = keys
		return e
	}
	out, err := w.program.batch.run(inputs, own)
	own.pool.New = nil
	for {
		e, ok := own.pool.Get().(*rlwe.Evaluator)
		if !ok {
			return out, err
		}
		e.EvaluationKeySet = nil
		w.batch.pool.Put(e)
	}
}
