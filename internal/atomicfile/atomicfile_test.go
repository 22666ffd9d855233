package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	require.ElementsMatch(t, want, got)
}

func TestWriteReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	for _, s := range []string{"first, and long", "second"} {
		require.NoError(t, Write(name, 0o600, func(w io.Writer) error { _, err := io.WriteString(w, s); return err }))
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, s, string(got))
	}
	st, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	require.NoError(t, Write(name, 0o644, func(io.Writer) error { return nil }))
	st, err = os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), st.Mode().Perm())
	only(t, dir, "a")
}

func TestFailureLeavesTheOldFileAlone(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(name, []byte("old"), 0o644))
	bad := errors.New("disk on fire")
	err := Write(name, 0o644, func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return bad })
	require.ErrorIs(t, err, bad)
	require.ErrorContains(t, err, name)
	got, _ := os.ReadFile(name)
	require.Equal(t, "old", string(got))
	only(t, dir, "a")
	require.Error(t, Write(filepath.Join(dir, "no", "such"), 0o644, func(io.Writer) error { return nil }))
	require.Error(t, Write(dir+string(filepath.Separator), 0o644, func(io.Writer) error { return nil }))
	require.Error(t, Write(dir, 0o644, func(io.Writer) error { return nil }), "a folder is not replaced")
	only(t, dir, "a")
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Probe(filepath.Join(dir, "a")))
	only(t, dir)
	require.Error(t, Probe(dir))
	require.Error(t, Probe(filepath.Join(dir, "no", "such")))
}
