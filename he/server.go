package he

import (
	"fmt"
	"math"
	"runtime"
	"slices"
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

// NewServer makes a server. It keeps the buffers of as many evaluations as there are
// cores; those of a [Handler]'s sessions share theirs. It returns [ErrOtherProgram] if the
// keys are for another program.
func NewServer(p *Program, keys *EvaluationKeys) (*Server, error) {
	return newServer(newWorkers(p, runtime.GOMAXPROCS(0)), keys)
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

// stock lends what is costly to make. What comes back is lent again before more is made,
// so there is never more of it than was lent at once. A sync.Pool does not do: each core
// keeps in it one that no other finds, for two collections.
type stock[T any] struct {
	make func() T
	most int // that is kept

	mutex sync.Mutex
	free  []T
}

func (s *stock[T]) take() T {
	s.mutex.Lock()
	if last := len(s.free) - 1; last >= 0 {
		v := s.free[last]
		s.free = slices.Delete(s.free, last, last+1)
		s.mutex.Unlock()
		return v
	}
	s.mutex.Unlock()
	return s.make()
}

func (s *stock[T]) put(v T) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.free) < s.most {
		s.free = append(s.free, v)
	}
}

// workers evaluate a program's queries, any client's. Their buffers, which may be larger
// than a client's keys, belong to the evaluations that run: each takes what it needs and
// puts its client's keys in for as long as it runs.
type workers struct {
	program *Program
	latency *stock[*worker]         // nil in batch mode
	batch   *stock[*rlwe.Evaluator] // nil if the program needs none
}

// newWorkers makes workers that keep the buffers of so many evaluations at once.
func newWorkers(p *Program, most int) *workers {
	s := p.schema
	if s.mode == Batch {
		return &workers{program: p, batch: newRelinearizers(s, most*runtime.GOMAXPROCS(0))}
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
	return &workers{program: p, latency: &stock[*worker]{make: func() *worker { return first().copy() }, most: most}}
}

// run evaluates one query. What panics is not used again.
func (w *workers) run(inputs []*rlwe.Ciphertext, keys rlwe.EvaluationKeySet) ([]*rlwe.Ciphertext, error) {
	if w.program.schema.mode == Batch {
		return w.runBatch(inputs, keys)
	}
	one := w.latency.take()
	one.eval.EvaluationKeySet = keys
	ct, err := one.run(inputs)
	one.eval.EvaluationKeySet = nil
	w.latency.put(one)
	if err != nil {
		return nil, err
	}
	return []*rlwe.Ciphertext{ct}, nil
}

func (w *workers) runBatch(inputs []*rlwe.Ciphertext, keys rlwe.EvaluationKeySet) ([]*rlwe.Ciphertext, error) {
	if w.batch == nil {
		return w.program.batch.run(inputs, nil)
	}
	own := &stock[*rlwe.Evaluator]{most: math.MaxInt, make: func() *rlwe.Evaluator {
		e := w.batch.take()
		e.EvaluationKeySet = keys
		return e
	}}
	out, err := w.program.batch.run(inputs, own)
	for _, e := range own.free {
		e.EvaluationKeySet = nil
		w.batch.put(e)
	}
	return out, err
}
