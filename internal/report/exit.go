package report

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Exit ends the program as its run ended: with status 0, also if that was asked for help and
// has given it, or with the error on standard error and status 1.
func Exit(err error) { os.Exit(status(err, os.Stderr)) }

func status(err error, out io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(out, err)
	return 1
}
