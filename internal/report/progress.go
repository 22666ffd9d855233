// Package report prints what example and benchmark programs find: progress
// with the time left while they work, a table at the end, the same facts as
// JSON, and curves. No library package imports it.
package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// barWidth is the number of cells of a progress bar; lineEvery the pause
// between lines where the output is no terminal.
const (
	barWidth  = 24
	lineEvery = 5 * time.Second
)

// A Progress shows how far a stage is: a bar that is redrawn on a terminal,
// or a line every few seconds elsewhere (a log file, CI). It is not safe for
// concurrent use.
type Progress struct {
	w        io.Writer
	stage    string
	total    int
	terminal bool
	now      func() time.Time
	start    time.Time
	next     time.Time
	width    int // of the line that stands on the terminal
}

// NewProgress begins a stage of total units of work on w.
func NewProgress(w io.Writer, stage string, total int) *Progress {
	return newProgress(w, stage, total, isTerminal(w), time.Now)
}

func newProgress(w io.Writer, stage string, total int, terminal bool, now func() time.Time) *Progress {
	p := &Progress{w: w, stage: stage, total: max(total, 1), terminal: terminal, now: now, start: now()}
	p.next = p.start.Add(p.pause())
	return p
}

func (p *Progress) pause() time.Duration {
	if p.terminal {
		return 100 * time.Millisecond
	}
	return lineEvery
}

// Update says that done units are finished, and facts worth seeing now, such
// as "accuracy 97.1%". It prints only when the last print is long enough ago.
func (p *Progress) Update(done int, facts string) {
	now := p.now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(p.pause())
	p.print(done, facts, now)
}

func (p *Progress) print(done int, facts string, now time.Time) {
	done = min(max(done, 0), p.total)
	elapsed := now.Sub(p.start)
	left := "?"
	if done > 0 {
		left = clock(time.Duration(float64(elapsed) * float64(p.total-done) / float64(done)))
	}
	cells := done * barWidth / p.total
	line := fmt.Sprintf("%-10s %s%s %3d%%  %s left", p.stage, strings.Repeat("█", cells), strings.Repeat("░", barWidth-cells), done*100/p.total, left)
	if facts != "" {
		line += "  " + facts
	}
	if !p.terminal {
		_, _ = fmt.Fprintln(p.w, line)
		return
	}
	n := len([]rune(line))
	_, _ = fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.width-n)))
	p.width = n
}

// Done ends the stage with one line that stays, and returns the time it took.
func (p *Progress) Done(facts string) time.Duration {
	elapsed := p.now().Sub(p.start)
	line := fmt.Sprintf("%-10s done in %s", p.stage, clock(elapsed))
	if facts != "" {
		line += "  " + facts
	}
	pad := ""
	if p.terminal {
		pad = "\r"
		line += strings.Repeat(" ", max(0, p.width-len([]rune(line))))
	}
	_, _ = fmt.Fprintln(p.w, pad+line)
	return elapsed
}

// clock prints a duration as a person reads it: 0.4s, 12s, 3m05s, 1h02m.
func clock(d time.Duration) string {
	s := d.Seconds()
	switch {
	case s < 10:
		return fmt.Sprintf("%.1fs", s)
	case s < 60:
		return fmt.Sprintf("%.0fs", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", int(s)/60, int(s)%60)
	}
	return fmt.Sprintf("%dh%02dm", int(s)/3600, int(s)/60%60)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
