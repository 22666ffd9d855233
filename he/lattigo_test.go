package he

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/nn"
)

// What lattigo v5.0.7 gets wrong is not called: several transformations at once, which
// corrupts all but the first; InnerSum and its like, which check neither keys nor
// lengths; bootstrapping, whose keys are weaker than the parameters say, and which
// overwrites its input and fails without an error. A program that needs what is not
// called is not compiled.
func TestWhatLattigoGetsWrongIsNotCalled(t *testing.T) {
	names := map[string]bool{}
	for _, name := range []string{"EvaluateMany", "EvaluateManyNew", "EvaluateSequential", "InnerSum", "InnerFunction", "Replicate", "Average", "PartialTracesSum"} {
		names[name] = true
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	calls := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, i := range f.Imports {
			for _, bad := range []string{"bootstrap", "/mhe", "/schemes/bfv", "/schemes/bgv"} {
				require.NotContains(t, i.Path.Value, bad, name)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				require.False(t, names[s.Sel.Name], "%s calls %s", name, s.Sel.Name)
				calls++
			}
			return true
		})
	}
	require.Greater(t, calls, 1000)

	var deep []nn.Layer
	for range 20 {
		deep = append(deep, nn.Square{}, nn.Linear{Out: 4})
	}
	m := network(t, nn.Shape{4}, deep...)
	for _, mode := range []Mode{Latency, Batch} {
		_, err := Compile(m, examples(4, 4, 1), Options{Mode: mode, LogN: 13})
		require.ErrorContains(t, err, "no secure parameters", mode)
	}
	_, err = Compile(m, examples(4, 4, 1), Options{LogN: 13})
	require.ErrorContains(t, err, "depth 41 leaves")
}

// A modulus above the table's row is refused with the numbers, in every row; one that
// fills it is not.
func TestEveryRowOfTheSecurityTable(t *testing.T) {
	for logN, limit := range map[int]int{11: 53, 12: 106, 13: 214, 14: 430, 15: 868, 16: 1747} {
		fill := func(bits int) []int {
			var logQ []int
			for n := (bits + 44) / 45; n > 0; n-- {
				logQ = append(logQ, bits/n)
				bits -= bits / n
			}
			return logQ
		}
		p, err := newParameters(logN, fill(limit-1), nil, 20)
		require.NoError(t, err, "%d bits at %d", limit-1, logN)
		require.InDelta(t, limit, p.LogQP(), 2)
		_, err = newParameters(logN, fill(limit+1), nil, 20)
		require.ErrorContains(t, err, "log2(QP) is")
		require.ErrorContains(t, err, "is secure at log_n")
		_, err = p.lattigo()
		require.NoError(t, err)
		p.Q = append(p.Q, 1<<19+21*(2<<logN)+1)
		_, err = p.lattigo()
		require.Error(t, err)
	}
}

// The public halves of ciphertexts and keys come from a seed, their errors do not: two
// encryptions of the same values from the same seed have the same public half and other
// errors. Were the errors from the seed too, anyone could subtract them.
func TestErrorsAreNotFromTheSeed(t *testing.T) {
	s := small(t, Latency).Schema()
	c := NewClient(s)
	w := c.pool.Get().(*clientWorker)
	values := make([]float64, s.params.Slots())
	seed := [seedSize]byte{1}
	one, two := w.encrypt(s, values, &seed, 5), w.encrypt(s, values, &seed, 5)
	require.True(t, one.Value[1].Equal(&two.Value[1]))
	other := w.encrypt(s, values, &seed, 6)
	require.False(t, one.Value[1].Equal(&other.Value[1]))
	r := s.lattigo.RingQ()
	r.Sub(one.Value[0], two.Value[0], one.Value[0])
	r.INTT(one.Value[0], one.Value[0])
	q := s.params.Q[0]
	square, n := 0., 0.
	for _, v := range one.Value[0].Coeffs[0] {
		d := float64(min(v, q-v))
		require.Less(t, d, 2*19.2+1)
		square, n = square+d*d, n+1
	}
	require.InEpsilon(t, 2*3.2*3.2, square/n, .15, "the difference of two errors of deviation 3.2")

	a, b := c.Keys(), c.Keys()
	require.NotEqual(t, a.seed, b.seed)
	x, err := c.Encrypt(examples(1, 10, 1))
	require.NoError(t, err)
	y, err := c.Encrypt(examples(1, 10, 1))
	require.NoError(t, err)
	require.NotEqual(t, x.seed, y.seed)
}

// A schema whose messages would be without end is refused before anything is made.
func TestSchemaIsBounded(t *testing.T) {
	s := tinySchema(t, Latency)
	var fields map[string]any
	text, err := json.Marshal(s)
	require.NoError(t, err)
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	require.NoError(t, d.Decode(&fields))
	large, err := newParameters(16, []int{45, 45, 45, 45, 45, 45, 45, 45}, []int{45}, 40)
	require.NoError(t, err)
	fields["parameters"] = large
	var steps []Rotation
	for i := range 1000 {
		steps = append(steps, Rotation{i + 1, 7})
	}
	fields["rotations"] = steps
	text, err = json.Marshal(fields)
	require.NoError(t, err)
	var out Schema
	took := allocated(func() { err = json.Unmarshal(text, &out) })
	require.ErrorContains(t, err, "schema's keys take")
	require.ErrorContains(t, err, "at most 8589934592")
	require.Less(t, took, int64(4<<20), "no tables for the arithmetic")
}
