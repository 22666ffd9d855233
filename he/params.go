package he

import (
	"fmt"
	"math"

	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/ring"
)

// maxLogQP is, by log2 of the ring degree, the largest log2 of the modulus with which
// ternary secrets and errors of deviation 3.2 keep 128 bits of security against the
// known attacks (Bossuat et al. 2024, "Security Guidelines for Implementing
// Homomorphic Encryption", eprint 2024/463, table 5.2).
var maxLogQP = map[int]int{11: 53, 12: 106, 13: 214, 14: 430, 15: 868, 16: 1747}

// SecurityBits is the security that every program's parameters have.
const SecurityBits = 128

// SecuritySource names the table that says so.
const SecuritySource = "Bossuat et al. 2024, eprint 2024/463, table 5.2, ternary secret, 128 bits"

// Parameters are a CKKS parameter set: rings Z[X]/(X^N+1) modulo the products of Q and
// of P, secrets with ternary coefficients, errors of deviation 3.2. Q[0] is never
// divided away; P are the auxiliary primes of key switching, none if no keys are used.
type Parameters struct {
	LogN     int      `json:"log_n"`
	Q        []uint64 `json:"q"`
	P        []uint64 `json:"p"`
	LogScale int      `json:"log_scale"` // log2 of the factor that values are scaled by
}

// LogQP is log2 of the whole modulus.
func (p Parameters) LogQP() float64 {
	sum := 0.
	for _, primes := range [][]uint64{p.Q, p.P} {
		for _, q := range primes {
			sum += math.Log2(float64(q))
		}
	}
	return sum
}

// Slots is the number of values in one ciphertext.
func (p Parameters) Slots() int { return 1 << (p.LogN - 1) }

// check is the security gate, and refuses numbers that no arithmetic could use.
func (p Parameters) check() error {
	limit, ok := maxLogQP[p.LogN]
	if !ok {
		return fmt.Errorf("he: log_n is %d, allowed are 11 to 16", p.LogN)
	}
	if len(p.Q) == 0 || len(p.Q)+len(p.P) > 64 {
		return fmt.Errorf("he: %d primes in q and %d in p, allowed are 1 to 64 in all", len(p.Q), len(p.P))
	}
	seen := map[uint64]bool{}
	for _, primes := range [][]uint64{p.Q, p.P} {
		for _, q := range primes {
			if q < 1<<16 || q >= 1<<60 || q%(2<<p.LogN) != 1 || seen[q] || !ring.IsPrime(q) {
				return fmt.Errorf("he: modulus %d must be a prime of 17 to 60 bits that is 1 modulo %d, each once", q, 2<<p.LogN)
			}
			seen[q] = true
		}
	}
	if log := p.LogQP(); log > float64(limit) {
		return fmt.Errorf("he: log2(QP) is %.1f, at most %d is secure at log_n %d (%s)", log, limit, p.LogN, SecuritySource)
	}
	if p.LogScale < 15 || p.LogScale > 50 {
		return fmt.Errorf("he: log_scale is %d, allowed are 15 to 50", p.LogScale)
	}
	return nil
}

// lattigo is p in lattigo's form, after the gate.
func (p Parameters) lattigo() (hefloat.Parameters, error) {
	if err := p.check(); err != nil {
		return hefloat.Parameters{}, err
	}
	return hefloat.NewParametersFromLiteral(hefloat.ParametersLiteral{
		LogN: p.LogN, Q: p.Q, P: p.P, LogDefaultScale: p.LogScale,
		Xs: ring.Ternary{P: 2. / 3},
		Xe: ring.DiscreteGaussian{Sigma: 3.2, Bound: 19.2},
	})
}

// newParameters finds primes of the given bits.
func newParameters(logN int, logQ, logP []int, logScale int) (Parameters, error) {
	lit := hefloat.ParametersLiteral{LogN: logN, LogQ: logQ, LogP: logP, LogDefaultScale: logScale}
	h, err := hefloat.NewParametersFromLiteral(lit)
	if err != nil {
		return Parameters{}, fmt.Errorf("he: no primes of %v and %v bits at log_n %d: %w", logQ, logP, logN, err)
	}
	p := Parameters{LogN: logN, Q: h.Q(), P: h.P(), LogScale: logScale}
	return p, p.check()
}
