package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgressTellsTheTimeLeft(t *testing.T) {
	at := time.Unix(0, 0)
	var b bytes.Buffer
	p := newProgress(&b, "train", 200, false, func() time.Time { return at })
	p.Update(1, "early")
	require.Empty(t, b.String(), "nothing before the pause is over")
	at = at.Add(10 * time.Second)
	p.Update(50, "accuracy 90%")
	require.Equal(t, "train      ██████░░░░░░░░░░░░░░░░░░  25%  30s left  accuracy 90%\n", b.String())
	b.Reset()
	at = at.Add(75 * time.Second)
	require.Equal(t, 85*time.Second, p.Done("ok"))
	require.Equal(t, "train      done in 1m25s  ok\n", b.String())
}

func TestProgressOnATerminalLeavesNoResidue(t *testing.T) {
	at := time.Unix(0, 0)
	var b bytes.Buffer
	p := newProgress(&b, "x", 2, true, func() time.Time { return at })
	at = at.Add(time.Second)
	p.Update(1, "a long fact")
	at = at.Add(time.Second)
	p.Update(2, "")
	p.Done("")
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\r")
	require.Len(t, lines, 4)
	width := len([]rune(lines[1]))
	for _, l := range lines[2:] {
		require.GreaterOrEqual(t, len([]rune(l)), width-len("a long fact")-2)
	}
	require.Len(t, []rune(lines[2]), width, "the shorter line covers the longer one")
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Table(&b, true, []string{"rule", "ε"}, []string{"median", "1.25"}, []string{"x"}))
	require.Equal(t, "  rule    ε\n  ────────────\n  median  1.25\n  x\n", b.String())
}

func TestJSON(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.json")
	require.NoError(t, JSON(name, map[string]float64{"accuracy": 0.5}))
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	var got map[string]float64
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, 0.5, got["accuracy"])
	require.Error(t, JSON(name, math.NaN()))
	after, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, b, after)
}

func TestPlot(t *testing.T) {
	dir := t.TempDir()
	panel := Panel{Title: "t", X: "x", Y: "y", Curves: []Curve{{"a", []float64{0, 1}, []float64{0, 1}}, {"b", []float64{0, 1}, []float64{1, 0}}}}
	for _, ext := range []string{".png", ".svg", ".pdf"} {
		require.NoError(t, Plot(filepath.Join(dir, "a"+ext), panel, panel))
	}
	f, err := os.Open(filepath.Join(dir, "a.png"))
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	// The first curve's colour is really on the picture.
	blue := 0
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			if r, g, b, _ := img.At(x, y).RGBA(); r>>8 == 0 && g>>8 == 114 && b>>8 == 178 {
				blue++
			}
		}
	}
	require.Greater(t, blue, 200)

	require.ErrorContains(t, Plot(filepath.Join(dir, "a.gif"), panel), ".gif")
	require.Error(t, Plot(filepath.Join(dir, "b.png")))
	panel.Curves[0].Y = nil
	require.ErrorContains(t, Plot(filepath.Join(dir, "b.png"), panel), "curve \"a\"")
	require.NoFileExists(t, filepath.Join(dir, "b.png"))
}

func TestHeatMap(t *testing.T) {
	name := filepath.Join(t.TempDir(), "map.svg")
	require.NoError(t, HeatMap(name, "a title", []string{"up", "down"}, []string{"left"}, [][]Cell{{{Value: 0.25}}, {{Value: 1}}}, 0))
	require.NoError(t, HeatMap(name, "a title", []string{"up", "down"}, []string{"left", "right"},
		[][]Cell{{{Value: 0.25}, {Value: math.NaN(), Text: "none"}}, {{Value: 1}, {Text: "nought"}}}, 1))
	drawn, err := os.ReadFile(name)
	require.NoError(t, err)
	for _, text := range []string{"a title", "up", "down", "left", "right", "0.25", "1.00", "none", "nought"} {
		require.Contains(t, string(drawn), text)
	}
	require.ErrorContains(t, HeatMap(name, "", []string{"up"}, []string{"left"}, [][]Cell{{{}, {}}}, 0), "row \"up\" has 2 cells, must have 1")
	require.ErrorContains(t, HeatMap(name, "", []string{"up"}, []string{"left"}, nil, 0), "0 rows of cells")
	require.Error(t, HeatMap("map.gif", "", nil, nil, nil, 0))
}

func TestStatus(t *testing.T) {
	var out bytes.Buffer
	require.Zero(t, status(nil, &out))
	require.Zero(t, status(flag.ErrHelp, &out))
	require.Zero(t, status(fmt.Errorf("flags: %w", flag.ErrHelp), &out))
	require.Empty(t, out.String(), "help is printed by then")
	require.Equal(t, 1, status(errors.New("no such file"), &out))
	require.Equal(t, "no such file\n", out.String())
}
