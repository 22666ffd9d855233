// Command _gen writes the polynomials and tables of the fast rounded Gaussian,
// ../rounded_table.go, and its assembly, ../rounded_amd64.s.
//
//	go run .          writes them
//	go run . -check   compares instead, and fails if one differs
package main

import (
	"bytes"
	"flag"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	check := flag.Bool("check", false, "compare the files instead of writing them")
	flag.Parse()
	t := newTables()
	stale := false
	for name, text := range map[string][]byte{
		"rounded_table.go": t.source(),
		"rounded_amd64.s":  assembly(t),
	} {
		path := filepath.Join("..", name)
		if !*check {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				log.Fatal(err)
			}
			continue
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, text) {
			log.Print(name + ": differs from what the generator writes")
			stale = true
		}
	}
	if stale {
		os.Exit(1)
	}
}
