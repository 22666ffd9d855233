//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package ledger

import (
	"errors"
	"os"
)

// lock refuses: without a lock, two processes could spend the same budget.
func lock(*os.File) error { return errors.New("this system has no file locks that end with a process") }
