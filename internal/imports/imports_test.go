// Package imports holds the test that keeps sotto's imports running one way.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/sotto-ml/sotto/"

// allowed says, for each room, which other rooms it may reach, directly or
// through others. A package belongs to the longest room that it lies in. A
// room may always import itself. A new room must be entered here.
var allowed = map[string][]string{
	"internal/kernel":      {},
	"internal/stream":      {"internal/kernel"}, // forced levels are one switch
	"internal/atomicfile":  {},
	"internal/mnist":       {},
	"internal/report":      {"internal/atomicfile"},
	"internal/imports":     {},
	"dp/accounting":        {},
	"dp/accounting/ledger": {"dp/accounting"},
	"aggregate":            {"internal/kernel"},
	"internal/poisoning":   {"internal/kernel", "internal/stream", "internal/atomicfile", "nn", "aggregate"},
	"dp/noise":             {"internal/kernel", "internal/stream", "dp/accounting"},
	"dp":                   {"internal/kernel", "internal/stream", "internal/atomicfile", "dp/accounting", "dp/noise"},
	"nn":                   {"internal/kernel", "internal/stream", "internal/atomicfile"},
	"nn/whitening":         {"internal/kernel"},
	"he":                   {"internal/kernel", "internal/stream", "internal/atomicfile", "nn"},
	"federated":            {"internal/kernel", "internal/stream", "internal/atomicfile", "aggregate", "dp", "dp/accounting", "dp/accounting/ledger", "dp/noise", "federated/secagg"},
	"federated/secagg":     {"internal/kernel", "internal/stream"},
	"internal/clients":     {"internal/kernel", "internal/stream", "internal/atomicfile", "internal/mnist", "internal/poisoning", "nn", "aggregate", "dp", "dp/accounting", "dp/accounting/ledger", "dp/noise", "federated", "federated/secagg"},
	"examples":             {"*"},
	"benchmarks":           {"*"},
}

// external says which modules outside the standard library a room may reach.
// Programs may reach anything.
var external = map[string][]string{
	"internal/kernel":      {"golang.org/x/sys"},
	"internal/stream":      {"golang.org/x/sys"},
	"dp/accounting":        {"gonum.org/v1/gonum"},
	"dp/accounting/ledger": {"golang.org/x/sys", "gonum.org/v1/gonum"},
	"aggregate":            {"golang.org/x/sys", "gonum.org/v1/gonum"},
	"internal/poisoning":   {"golang.org/x/sys", "gonum.org/v1/gonum"},
	"dp/noise":             {"golang.org/x/sys", "gonum.org/v1/gonum"},
	"dp":                   {"golang.org/x/sys", "gonum.org/v1/gonum"},
	"nn":                   {"golang.org/x/sys"},
	"nn/whitening":         {"golang.org/x/sys", "gonum.org/v1/gonum"},
	"he":                   {"golang.org/x", "gonum.org/v1/gonum", "github.com/tuneinsight/lattigo/v5", "github.com/ALTree/bigfloat", "github.com/google/go-cmp", "github.com/stretchr/testify", "go.yaml.in/yaml/v3"},
	"federated":            {"golang.org/x", "gonum.org/v1/gonum", "github.com/cloudflare/circl", "github.com/bwesterb/go-ristretto"},
	"federated/secagg":     {"golang.org/x", "github.com/cloudflare/circl", "github.com/bwesterb/go-ristretto"},
	"internal/clients":     {"golang.org/x", "gonum.org/v1/gonum", "github.com/cloudflare/circl", "github.com/bwesterb/go-ristretto"},
	"internal/report":      {"*"},
}

// contextRooms alone may pass a context: rounds and servers wait, loops over
// data do not.
var contextRooms = []string{"federated", "federated/secagg", "internal/clients", "he", "examples", "benchmarks"}

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	DepsErrors []struct{ Err string }
	Module     *struct{ Path string }
}

func list(t *testing.T, args ...string) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Standard,Imports,Deps,DepsErrors,Module"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	pkgs := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else {
			require.NoError(t, err)
		}
		require.Empty(t, p.DepsErrors, p.ImportPath)
		pkgs[p.ImportPath] = p
	}
}

func room(path string) string {
	rel, ok := strings.CutPrefix(path, module)
	if !ok {
		return ""
	}
	best := ""
	for r := range allowed {
		if (rel == r || strings.HasPrefix(rel, r+"/")) && len(r) > len(best) {
			best = r
		}
	}
	return best
}

// violations gives a line for every import that the house does not allow.
func violations(pkgs map[string]pkg) []string {
	var out []string
	for path, p := range pkgs {
		if !strings.HasPrefix(path, module) {
			continue
		}
		r := room(path)
		if r == "" {
			out = append(out, path+" lies in no room that imports_test.go knows")
			continue
		}
		if slices.Contains(p.Imports, "context") && !slices.ContainsFunc(contextRooms, func(c string) bool { return r == c }) {
			out = append(out, path+" imports context")
		}
		for _, dep := range p.Deps {
			q := pkgs[dep]
			switch {
			case q.Standard || slices.Contains(allowed[r], "*"):
			case strings.HasPrefix(dep, module):
				if to := room(dep); to != r && !slices.Contains(allowed[r], to) {
					out = append(out, path+" reaches "+dep)
				}
			case slices.Contains(external[r], "*"):
			case !slices.ContainsFunc(external[r], func(m string) bool { return dep == m || strings.HasPrefix(dep, m+"/") }):
				out = append(out, path+" reaches "+dep)
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestImportsRunOneWay(t *testing.T) {
	pkgs := list(t, module+"...")
	require.Greater(t, len(pkgs), 50)
	require.Empty(t, violations(pkgs))
}

// TestRulesBite plants forbidden imports in the real graph and expects each to
// be seen.
func TestRulesBite(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"nn", "dp", "nn reaches"},
		{"dp", "nn", "dp reaches"},
		{"dp/accounting", "internal/kernel", "dp/accounting reaches"},
		{"nn/scattering", "dp/noise", "nn/scattering reaches"},
		{"dp", "internal/mnist", "dp reaches"},
		{"attic", "dp", "no room"},
	} {
		from, to := module+c.from, module+c.to
		pkgs := map[string]pkg{from: {ImportPath: from, Deps: []string{to}}, to: {ImportPath: to}}
		require.NotEmpty(t, slices.DeleteFunc(violations(pkgs), func(s string) bool { return !strings.Contains(s, c.want) }), c)
	}
	out := violations(map[string]pkg{
		module + "dp": {ImportPath: module + "dp", Imports: []string{"context"}, Deps: []string{"context", "example.org/x"}},
		"context":     {ImportPath: "context", Standard: true}, "example.org/x": {ImportPath: "example.org/x"},
	})
	require.Len(t, out, 2, out)
}
