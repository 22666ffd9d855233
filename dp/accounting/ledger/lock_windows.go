package ledger

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lock takes the one lock of a file, which the system lifts when the file is
// closed or the process ends, however it ends. The locked byte lies far behind
// any ledger's end, as a lock here also stops readers.
func lock(f *os.File) error {
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}
