package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ErrLocked is what Open's error wraps if the ledger is open for writing
// elsewhere, in this process or another.
var ErrLocked = errors.New("the ledger is open for writing elsewhere")

// file is a ledger file open for appending.
type file struct {
	f      *os.File
	end    int64 // where the next record goes
	head   Hash
	broken error // what a failed write left, until the file is opened again
}

// createFile makes a ledger of one record. It refuses to replace a file.
func createFile(path string, payload []byte) (_ *file, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(path))
		}
	}()
	if err := lock(f); err != nil {
		return nil, err
	}
	l := &file{f: f, end: int64(len(magic)), head: firstHash()}
	if _, err := f.WriteAt([]byte(magic), 0); err != nil {
		return nil, err
	}
	if err := l.append(payload); err != nil {
		return nil, err
	}
	syncDir(filepath.Dir(path))
	return l, nil
}

// openFile opens a ledger for appending and drops what a crash left of a record.
// Others cannot open it until it is closed.
func openFile(path string) (_ *file, s scanned, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, s, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if info, err := f.Stat(); err != nil {
		return nil, s, err
	} else if !info.Mode().IsRegular() {
		return nil, s, errors.New("not a regular file")
	}
	if err := lock(f); err != nil {
		return nil, s, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, s, err
	}
	if s, err = scan(data); err != nil {
		return nil, s, err
	}
	l := &file{f: f, end: int64(s.end), head: s.hashes[len(s.hashes)-1]}
	if err := l.mend(data, s); err != nil {
		return nil, s, err
	}
	return l, s, nil
}

// mend makes the file end in a seal.
func (l *file) mend(data []byte, s scanned) error {
	if s.sealed && s.end == len(data) {
		return nil
	}
	if err := l.f.Truncate(int64(s.end)); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return err
	}
	if s.sealed {
		return nil
	}
	if _, err := l.f.WriteAt(seal, l.end); err != nil {
		return err
	}
	l.end += int64(len(seal))
	return l.f.Sync()
}

// append makes a record durable. When it returns without an error the record is
// on the disk; after an error it may be or not, and nothing more is appended.
func (l *file) append(payload []byte) error {
	if l.broken != nil {
		return fmt.Errorf("an earlier write failed, open the ledger again: %w", l.broken)
	}
	if len(payload) > maxPayload {
		return fmt.Errorf("record of %d bytes, must be at most %d", len(payload), maxPayload)
	}
	record, hash := appendRecord(nil, l.head, payload)
	if err := l.write(record); err != nil {
		l.broken = err
		return err
	}
	l.head = hash
	l.end += int64(len(record))
	// The record stands without its seal; not writing it costs a later reader
	// the difference between damage and a crash, and no more.
	if _, err := l.f.WriteAt(seal, l.end); err != nil {
		l.broken = err
		return nil
	}
	l.end += int64(len(seal))
	return nil
}

func (l *file) write(record []byte) error {
	if _, err := l.f.WriteAt(record, l.end); err != nil {
		return err
	}
	return l.f.Sync()
}

func (l *file) close() error { return errors.Join(l.f.Sync(), l.f.Close()) }

// readFile reads a ledger that may be written to meanwhile.
func readFile(path string) (s scanned, err error) {
	var former []byte
	for {
		data, err := os.ReadFile(path)
		if err != nil {
			return s, err
		}
		// A writer that drops a torn record and appends another while the file
		// is read can make the two look like one that was tampered with.
		if s, err = scan(data); err == nil || bytes.Equal(data, former) {
			return s, err
		}
		former = data
	}
}

// syncDir makes a new file's name durable where the file system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
