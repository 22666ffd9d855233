package he

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/utils/bignum"
)

// counting counts the products of ciphertexts.
type counting struct {
	*hefloat.Evaluator
	products int
}

func (c *counting) count(op rlwe.Operand) {
	switch op.(type) {
	case *rlwe.Ciphertext:
		c.products++
	}
}

func (c *counting) Mul(a *rlwe.Ciphertext, b rlwe.Operand, out *rlwe.Ciphertext) error {
	c.count(b)
	return c.Evaluator.Mul(a, b, out)
}

func (c *counting) MulNew(a *rlwe.Ciphertext, b rlwe.Operand) (*rlwe.Ciphertext, error) {
	c.count(b)
	return c.Evaluator.MulNew(a, b)
}

func (c *counting) MulRelin(a *rlwe.Ciphertext, b rlwe.Operand, out *rlwe.Ciphertext) error {
	c.count(b)
	return c.Evaluator.MulRelin(a, b, out)
}

func (c *counting) MulRelinNew(a *rlwe.Ciphertext, b rlwe.Operand) (*rlwe.Ciphertext, error) {
	c.count(b)
	return c.Evaluator.MulRelinNew(a, b)
}

func (c *counting) MulThenAdd(a *rlwe.Ciphertext, b rlwe.Operand, out *rlwe.Ciphertext) error {
	c.count(b)
	return c.Evaluator.MulThenAdd(a, b, out)
}

// The report's number of products for a series is what lattigo makes of it.
func TestSeriesProducts(t *testing.T) {
	params, err := hefloat.NewParametersFromLiteral(hefloat.ParametersLiteral{
		LogN: 6, LogQ: []int{50, 40, 40, 40, 40, 40, 40, 40}, LogP: []int{50}, LogDefaultScale: 40,
	})
	require.NoError(t, err)
	g := rlwe.NewKeyGenerator(params)
	secret := g.GenSecretKeyNew()
	keys := rlwe.NewMemEvaluationKeySet(g.GenRelinearizationKeyNew(secret))
	pt := hefloat.NewPlaintext(params, params.MaxLevel())
	require.NoError(t, hefloat.NewEncoder(params).Encode([]float64{.5, -.25}, pt))
	ct, err := rlwe.NewEncryptor(params, secret).EncryptNew(pt)
	require.NoError(t, err)
	var got [32]int
	for degree := 3; degree < 32; degree++ {
		c := &counting{Evaluator: hefloat.NewEvaluator(params, keys)}
		series := make([]float64, degree+1)
		for i := range series {
			series[i] = 1 / float64(i+2)
		}
		p := hefloat.NewPolynomial(bignum.NewPolynomial(bignum.Chebyshev, series, [2]float64{-1, 1}))
		_, err := hefloat.NewPolynomialEvaluator(params, c).Evaluate(ct.CopyNew(), p, params.DefaultScale())
		require.NoError(t, err)
		got[degree] = c.products
	}
	require.Equal(t, seriesProducts, got)
}
