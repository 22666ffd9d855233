package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sotto-ml/sotto/dp/accounting/ledger"
	"github.com/sotto-ml/sotto/federated"
	"github.com/sotto-ml/sotto/internal/clients"
	"github.com/sotto-ml/sotto/internal/report"
)

// table prints a row after each round.
type table struct {
	out    io.Writer
	rounds int
	start  time.Time
}

func newTable(out io.Writer, r *clients.Run) *table {
	fmt.Fprintf(out, "%6s  %9s  %12s  %8s  %8s  %10s  %8s\n", "round", "accuracy", "participants", "refused", "dropped", "ε", "left")
	return &table{out, r.Plan.Rounds, time.Now()}
}

func (t *table) row(x clients.Round) error {
	epsilon := "-"
	if x.Epsilon > 0 {
		epsilon = fmt.Sprintf("%.4f", x.Epsilon)
	}
	left := time.Duration(float64(time.Since(t.start)) / float64(x.Number) * float64(t.rounds-x.Number))
	_, err := fmt.Fprintf(t.out, "%6d  %8.2f%%  %12d  %8d  %8d  %10s  %8s", x.Number, 100*x.Accuracy, x.Participants, x.Refused, x.Dropped, epsilon, left.Round(time.Second))
	if err == nil && x.Outcome != federated.KindAccepted {
		_, err = fmt.Fprintf(t.out, "  %s: %s", x.Outcome, x.Reason)
	}
	if err == nil {
		_, err = fmt.Fprintln(t.out)
	}
	return err
}

// results are what -json writes.
type results struct {
	Strategy               string    `json:"strategy"`
	Model                  string    `json:"model"`
	Accuracy               float64   `json:"accuracy"`
	BestAccuracy           float64   `json:"best_accuracy"`
	Accuracies             []float64 `json:"accuracies"`
	Rounds                 int       `json:"rounds"`
	Accepted               int       `json:"accepted"`
	Epsilon                *float64  `json:"epsilon"` // null without privacy
	Delta                  float64   `json:"delta,omitempty"`
	Unit                   string    `json:"unit"`
	Relation               string    `json:"relation,omitempty"`
	Adversary              string    `json:"adversary,omitempty"`
	Refused                int       `json:"refused"`
	Quarantined            int       `json:"quarantined"`
	Dropped                int       `json:"dropped"`
	Stopped                string    `json:"stopped,omitempty"`
	Seconds                float64   `json:"seconds"`
	ClientUpdates          int       `json:"client_updates"`
	ClientUpdatesPerSecond float64   `json:"client_updates_per_second"`
	LogHead                string    `json:"log_head,omitempty"`
}

func (s *settings) report(out io.Writer, r *clients.Run, got *clients.Result, took time.Duration) error {
	res := results{
		Strategy: s.strategy, Model: s.model, Accuracy: got.Accuracy, BestAccuracy: got.Best, Rounds: len(got.Rounds), Unit: "none: no privacy",
		Refused: got.Refused, Quarantined: got.Quarantined, Dropped: got.Dropped, Stopped: got.Stopped,
		Seconds: took.Seconds(), ClientUpdates: got.Updates, ClientUpdatesPerSecond: float64(got.Updates) / got.Training.Seconds(),
	}
	var number, epsilons []float64
	for _, x := range got.Rounds {
		if x.Outcome == federated.KindAccepted {
			res.Accepted++
		}
		res.Accuracies = append(res.Accuracies, x.Accuracy)
		number, epsilons = append(number, float64(x.Number)), append(epsilons, x.Epsilon)
	}
	rows := [][]string{
		{"strategy", fmt.Sprintf("%s, %s", s.strategy, s.model)},
		{"test accuracy", fmt.Sprintf("%.2f%% after %d rounds, %d of them accepted; the best was %.2f%%", 100*res.Accuracy, res.Rounds, res.Accepted, 100*res.BestAccuracy)},
		{"updates refused", fmt.Sprintf("%d; clients quarantined %d times", res.Refused, res.Quarantined)},
		{"drop-outs", fmt.Sprint(res.Dropped)},
		{"speed", fmt.Sprintf("%.0f client updates/s, tests aside", res.ClientUpdatesPerSecond)},
		{"time", fmt.Sprintf("%.1fs", res.Seconds)},
	}
	if got.Stopped != "" {
		rows = append(rows, []string{"stopped early", got.Stopped})
	}
	if g := got.Guarantee; r.Plan.Privacy != nil {
		res.Epsilon, res.Delta, res.Unit, res.Relation, res.Adversary = &g.Epsilon, g.Delta, g.Unit, g.Relation.String(), g.Adversary
		rows = append(rows, []string{"privacy", g.String()})
	} else {
		rows = append(rows, []string{"privacy", res.Unit})
	}
	if s.log != "" {
		f, err := os.Open(s.log)
		if err != nil {
			return fmt.Errorf("federation: %w", err)
		}
		found, err := federated.Verify(f, nil)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		res.LogHead = found.Head.String()
		rows = append(rows, []string{"log", fmt.Sprintf("%s, %d entries, head %s", s.log, found.Entries, res.LogHead)})
	}
	if s.json != "" {
		if err := report.JSON(s.json, res); err != nil {
			return err
		}
	}
	if s.plot != "" && len(number) > 0 {
		percent := make([]float64, len(res.Accuracies))
		for i, a := range res.Accuracies {
			percent[i] = 100 * a
		}
		panels := []report.Panel{{Title: "Test accuracy", X: "round", Y: "accuracy (%)", Curves: []report.Curve{{Name: s.strategy, X: number, Y: percent}}}}
		if r.Plan.Privacy != nil {
			panels = append(panels, report.Panel{Title: fmt.Sprintf("Privacy spent, δ = %g", res.Delta), X: "round", Y: "ε per client", Curves: []report.Curve{{Name: s.dp, X: number, Y: epsilons}}})
		}
		if err := report.Plot(s.plot, panels...); err != nil {
			return err
		}
	}
	fmt.Fprintln(out)
	return report.Table(out, false, rows...)
}

// verify checks a log and prints what it holds.
func verify(name, head string, out io.Writer) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("federation: -verify: %w", err)
	}
	defer func() { _ = f.Close() }()
	known := head == ""
	s, err := federated.Verify(f, func(e federated.Entry) error {
		known = known || strings.EqualFold(e.Hash.String(), head)
		return nil
	})
	if err != nil {
		return err
	}
	if raw, err := hex.DecodeString(head); head != "" && (err != nil || len(raw) != len(s.Head)) {
		return fmt.Errorf("federation: -head is %q, must be %d hexadecimal digits", head, 2*len(s.Head))
	}
	if !known {
		return fmt.Errorf("federation: %s: its chain is whole but does not hold %s: %w", name, head, federated.ErrTampered)
	}
	rows := [][]string{{"entries", fmt.Sprint(s.Entries)}, {"head", s.Head.String()}}
	if s.Torn > 0 {
		rows = append(rows, []string{"torn", fmt.Sprintf("%d bytes at the end, as a crash leaves them", s.Torn)})
	}
	var kinds []string
	for k, n := range s.Kinds {
		kinds = append(kinds, fmt.Sprintf("%s %d", k, n))
	}
	slices.Sort(kinds)
	rows = append(rows, []string{"kinds", strings.Join(kinds, ", ")})
	fmt.Fprintf(out, "%s is whole\n", name)
	return report.Table(out, false, rows...)
}

// logFile is the file of -log.
type logFile struct{ f *os.File }

func (s *settings) openLog(r *clients.Run) (logFile, error) {
	if s.log == "" {
		return logFile{}, nil
	}
	f, err := os.OpenFile(s.log, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return logFile{}, fmt.Errorf("federation: -log: %w", err)
	}
	r.Log = f
	return logFile{f}, nil
}

// close returns what the run returned, or what closing does.
func (l logFile) close(err error) error {
	if l.f == nil {
		return err
	}
	return errors.Join(err, l.f.Close())
}

// book is the ledger of a private run.
type book struct {
	ledger *ledger.Ledger
	folder string // to be removed
}

func (s *settings) openLedger(r *clients.Run) (b book, err error) {
	if r.Plan.Privacy == nil {
		if s.ledger != "" {
			return b, fmt.Errorf("federation: -ledger needs -dp, which is none")
		}
		return b, nil
	}
	name := s.ledger
	if name == "" {
		if b.folder, err = os.MkdirTemp("", "federation"); err != nil {
			return b, fmt.Errorf("federation: %w", err)
		}
		name = filepath.Join(b.folder, "ledger")
	}
	if b.ledger, err = ledger.Create(name); errors.Is(err, os.ErrExist) {
		b.ledger, err = ledger.Open(name)
	}
	if err != nil {
		b.close()
		return b, err
	}
	g, err := r.Plan.Guarantee()
	if err == nil {
		r.Ledger, err = b.ledger.Account(ledger.Budget{DataSet: "MNIST clients", Relation: g.Relation, Epsilon: s.epsilon, Delta: s.delta, Plan: r.Plan.Event(r.Plan.Rounds)})
	}
	if err != nil {
		b.close()
	}
	return b, err
}

func (b book) close() {
	if b.ledger != nil {
		_ = b.ledger.Close()
	}
	if b.folder != "" {
		_ = os.RemoveAll(b.folder)
	}
}
