// Command federation trains a digit classifier over clients that keep their parts of
// MNIST: any strategy, with or without liars and a rule against them, secure sums,
// differential privacy at the level of clients, drop-outs.
//
//	go run ./examples/federation
//	go run ./examples/federation -dirichlet 0.1 -strategy scaffold -model cnn -epochs 5
//	go run ./examples/federation -clients 50 -cohort 0 -byzantine 10 -attack alie -rule arc+nnm+trimmed -momentum 0.9
//	go run ./examples/federation -clients 1000 -dp central -epsilon 8
//	go run ./examples/federation -secure -dp distributed -dropout 0.1 -log rounds.log
//	go run ./examples/federation -verify rounds.log
//
// What does not go together is refused, with the reason.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sotto-ml/sotto/internal/clients"
	"github.com/sotto-ml/sotto/internal/report"
)

func main() { report.Exit(run(os.Args[1:], os.Stdout)) }

func run(args []string, out io.Writer) error {
	s, err := parse(args, out)
	if err != nil {
		return err
	}
	if s.verify != "" {
		return verify(s.verify, s.head, out)
	}
	r, err := s.build()
	if err != nil {
		return err
	}
	if r.Data, err = clients.Load(s.data); err != nil {
		return err
	}
	if err := s.split(r); err != nil {
		return err
	}
	book, err := s.openLedger(r)
	if err != nil {
		return err
	}
	defer book.close()
	log, err := s.openLog(r)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%v\n\n", r.Plan)
	live := newTable(out, r)
	r.Watch = live.row
	start := time.Now()
	result, err := r.Do(context.Background())
	if err := log.close(err); err != nil {
		return err
	}
	return s.report(out, r, result, time.Since(start))
}
