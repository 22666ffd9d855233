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
	program *Program
	first   *worker   // latency mode; never run, only copied
	pool    sync.Pool // of *worker
	relin   *relinearizer
}

// NewServer makes a server. It returns [ErrOtherProgram] if the keys are for another
// program.
func NewServer(p *Program, keys *EvaluationKeys) (*Server, error) {
	if keys.schema.digest != p.schema.digest {
		return nil, fmt.Errorf("%w: keys for program %.16s…, the server's is %.16s…", ErrOtherProgram, keys.schema.digest, p.schema.digest)
	}
	s := &Server{program: p}
	if p.schema.mode == Batch {
		s.relin = newRelinearizer(p.schema, keys)
		return s, nil
	}
	s.first = newWorker(p.circuit, keys.set())
	s.pool.New = func() any { return s.first.copy() }
	return s, nil
}

// Evaluate computes the encrypted outputs of a query, which it leaves as it is.
func (s *Server) Evaluate(q *Query) (*Answer, error) {
	schema := s.program.schema
	if q.schema.digest != schema.digest {
		return nil, fmt.Errorf("%w: query for program %.16s…, the server's is %.16s…", ErrOtherProgram, q.schema.digest, schema.digest)
	}
	a := &Answer{schema: schema, count: q.count}
	if schema.mode == Batch {
		var err error
		a.cts, err = s.program.batch.run(q.cts, s.relin)
		return a, err
	}
	w := s.pool.Get().(*worker)
	defer s.pool.Put(w)
	ct, err := w.run(q.cts)
	if err != nil {
		return nil, fmt.Errorf("he: evaluate: %w", err)
	}
	a.cts = []*rlwe.Ciphertext{ct}
	return a, nil
}
