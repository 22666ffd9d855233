package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/sotto-ml/sotto/internal/report"
)

// result is one run, as -json writes it, by itself: with its setting and the worst of its rule.
type result struct {
	Rule     string   `json:"rule"`
	Attack   string   `json:"attack"`
	Accuracy *float64 `json:"accuracy"` // null if the rule does not apply, 0 if the run failed
	Diverged bool     `json:"diverged"`
	Refused  string   `json:"refused,omitempty"` // why the rule does not apply: it takes no so few rows
	Failed   string   `json:"failed,omitempty"`  // why the run failed
	Worst    *float64 `json:"worst"`             // of the rule's accuracies; see rate
	Clients  int      `json:"clients"`           // the liars among them
	Liars    int      `json:"liars"`
	Gamma    float64  `json:"gamma"`
	Steps    int      `json:"steps"`
	Batch    int      `json:"batch"`
	Rate     float64  `json:"lr"`
	Momentum float64  `json:"momentum"`
	Seed     uint64   `json:"seed"`
}

// text is the result in a table.
func (r result) text() string {
	switch {
	case r.Refused != "":
		return "n/a"
	case r.Failed != "":
		return "failed"
	case r.Diverged:
		return "diverged"
	}
	return percent(r.Accuracy)
}

func percent(accuracy *float64) string {
	if accuracy == nil {
		return "n/a"
	}
	return fmt.Sprintf("%.3f", *accuracy)
}

// rate tells the results of one rule the worst of them. A rule that does not apply under an
// attack has none; but under the attack none it may lack rows that it else has.
func rate(row []result) {
	var worst *float64
	for _, r := range row {
		if r.Refused != "" && r.Attack != "none" {
			worst = nil
			break
		}
		if r.Accuracy != nil && (worst == nil || *r.Accuracy < *worst) {
			worst = r.Accuracy
		}
	}
	for i := range row {
		row[i].Worst = worst
	}
}

func (s settings) print(out io.Writer, table [][]result) error {
	head := []string{"rule"}
	for _, cell := range table[0] {
		head = append(head, cell.Attack)
	}
	rows := [][]string{append(head, "worst")}
	for _, cells := range table {
		row := []string{cells[0].Rule}
		for _, cell := range cells {
			row = append(row, cell.text())
		}
		rows = append(rows, append(row, percent(cells[0].Worst)))
	}
	fmt.Fprintf(out, "\ntest accuracy after %d steps; %d of %d clients lie, gamma = %g\n", s.Steps, s.Liars, s.Honest+s.Liars, s.Gamma)
	if err := report.Table(out, true, rows...); err != nil {
		return err
	}
	for _, line := range reasons("n/a", table, func(r result) string { return r.Refused }) {
		fmt.Fprintln(out, line)
	}
	for _, line := range reasons("failed", table, func(r result) string { return r.Failed }) {
		fmt.Fprintln(out, line)
	}
	return nil
}

// reasons are lines of why results are as they are, each reason once.
func reasons(what string, table [][]result, of func(result) string) (lines []string) {
	type group struct {
		why            string
		rules, attacks []string
	}
	var groups []group
	for _, row := range table {
		var own []group // of this rule
		for _, r := range row {
			why := of(r)
			if why == "" {
				continue
			}
			i := slices.IndexFunc(own, func(g group) bool { return g.why == why })
			if i < 0 {
				i, own = len(own), append(own, group{why: why, rules: []string{r.Rule}})
			}
			own[i].attacks = append(own[i].attacks, r.Attack)
		}
		for _, g := range own {
			i := slices.IndexFunc(groups, func(h group) bool { return h.why == g.why && slices.Equal(h.attacks, g.attacks) })
			if i < 0 {
				groups = append(groups, g)
			} else {
				groups[i].rules = append(groups[i].rules, g.rules...)
			}
		}
	}
	for _, g := range groups {
		lines = append(lines, fmt.Sprintf("%s: %s under %s: %s", what, strings.Join(g.rules, ", "), strings.Join(g.attacks, ", "), g.why))
	}
	return lines
}

// heatMap draws the table in colours, with the worst of each rule; see report.HeatMap.
func heatMap(name, title string, table [][]result) error {
	var rows, columns []string
	for _, r := range table[0] {
		columns = append(columns, r.Attack)
	}
	value := func(accuracy *float64) float64 {
		if accuracy == nil {
			return math.NaN()
		}
		return *accuracy
	}
	cells := make([][]report.Cell, len(table))
	for i, row := range table {
		rows = append(rows, row[0].Rule)
		for _, r := range row {
			cells[i] = append(cells[i], report.Cell{Value: value(r.Accuracy), Text: r.text()})
		}
		cells[i] = append(cells[i], report.Cell{Value: value(row[0].Worst), Text: percent(row[0].Worst)})
	}
	return report.HeatMap(name, title, rows, append(columns, "worst"), cells, 1)
}
