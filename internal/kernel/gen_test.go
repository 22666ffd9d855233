package kernel

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The assembly is what the generator writes.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the generator")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command")
	}
	out, err := exec.Command(goTool, "run", "-C", "_gen", ".", "-check").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// Every function that dirties the upper halves of vector registers cleans them
// right before it returns, for the SSE code of the compiler, and no frame comes
// near the limit of NOSPLIT.
func TestAssemblyDiscipline(t *testing.T) {
	const maxFrame = 512
	text := regexp.MustCompile(`^TEXT ·(\w+(?:<>)?)\(SB\), .*\$(\d+)-\d+`)
	upper := regexp.MustCompile(`\b[YZ]([0-9]|[12][0-9]|3[01])\b`)
	files, err := filepath.Glob("*_amd64.s")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		name, last, dirty, returns := "", "", false, 0
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			if m := text.FindStringSubmatch(line); m != nil {
				require.True(t, name == "" || returns > 0, "%s: %s does not return", file, name)
				name, dirty, returns = m[1], false, 0
				frame, err := strconv.Atoi(m[2])
				require.NoError(t, err)
				require.LessOrEqual(t, frame, maxFrame, "%s: frame of %s", file, name)
			}
			if strings.HasPrefix(line, "TEXT") {
				require.True(t, strings.Contains(line, "·"+name+"("), "%s: %q is not understood", file, line)
			}
			dirty = dirty || upper.MatchString(line)
			if line == "RET" {
				returns++
				require.True(t, !dirty || last == "VZEROUPPER", "%s: %s returns without VZEROUPPER", file, name)
			}
			if line != "" {
				last = line
			}
		}
		require.NoError(t, lines.Err())
		require.Positive(t, returns, file)
	}
}
