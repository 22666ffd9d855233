package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/sotto-ml/sotto/internal/atomicfile"
)

// Table prints rows in aligned columns, the first row as the head when head is
// true. Rows may differ in length.
func Table(w io.Writer, head bool, rows ...[]string) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for r, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2)
		}
		b.WriteString("  " + strings.TrimRight(line, " ") + "\n")
		if head && r == 0 {
			total := -2
			for _, n := range widths {
				total += n + 2
			}
			b.WriteString("  " + strings.Repeat("─", max(total, 0)) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// JSON writes v, indented, to the file name, whole or not at all.
func JSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return atomicfile.Write(name, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(append(b, '\n')))
		return err
	})
}
